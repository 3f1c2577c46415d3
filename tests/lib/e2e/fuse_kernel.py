# SPDX-License-Identifier: GPL-2.0-or-later
"""Claims of fuse_traps.py: forgetting, directories, handles, locks, signals."""
import ctypes
import errno
import fcntl
import os
import random
import signal
import struct
import sys
import threading
import time

from fuse_kit import (FUSE_NODE_POOL, MIB, drop_caches, drop_if_root, expect, expect_errno, get,
                      pool, put)


# ---- unlinked, forgotten ---------------------------------------------------------------------

def unlinked_file_lives_until_it_is_closed(mnt):
    free = os.statvfs(mnt).f_bfree
    path = f"{mnt}/unlinked"
    data = random.Random(5).randbytes(8 * MIB)
    put(path, data)
    fd = os.open(path, os.O_RDWR)
    os.unlink(path)
    drop_if_root()
    expect("still readable", data, os.pread(fd, len(data), 0))
    os.pwrite(fd, b"more", len(data))
    expect("nlink", 0, os.fstat(fd).st_nlink)
    expect("space still taken", True, os.statvfs(mnt).f_bfree <= free - 8 * MIB // 4096)
    os.close(fd)
    # The first answer is the right one but on a machine so busy that a thread waits for its turn.
    for _ in range(3):
        if os.statvfs(mnt).f_bfree >= free - 64:
            return
    sys.exit("the space of a closed, unlinked file did not come back at once")


def deleted_space_is_there_for_the_next_write(mnt):
    """Nearly full, delete, write again at once: no ENOSPC for what was just deleted."""
    space = os.statvfs(mnt)
    size = space.f_bavail * 4096 * 6 // 10 // MIB
    for turn in range(3):
        fd = os.open(f"{mnt}/fill", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        for _ in range(size):
            expect("written", MIB, os.write(fd, b"f" * MIB))
        os.close(fd)
        os.unlink(f"{mnt}/fill")


def forgets_are_exact(mnt):
    """After ls -l of many and dropped caches the table of known inodes is as small as before."""
    if os.geteuid() != 0:
        return
    drop_caches()
    time.sleep(0.5)
    before = pool(mnt, FUSE_NODE_POOL)["in_use"]
    top = f"{mnt}/many"
    os.mkdir(top)
    for i in range(3000):
        put(f"{top}/{i}", b"")
    for _ in range(2):
        drop_caches()
        with os.scandir(top) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)
    known = pool(mnt, FUSE_NODE_POOL)["in_use"]
    if known < before + 2000:
        sys.exit(f"only {known} known after listing 3000")
    for i in range(3000):
        os.unlink(f"{top}/{i}")
    os.rmdir(top)
    drop_caches()
    for _ in range(50):
        after = pool(mnt, FUSE_NODE_POOL)["in_use"]
        if after <= before + 8:
            return
        time.sleep(0.1)
    sys.exit(f"{after} known at the end, {before} at the beginning")


def more_files_than_the_table_holds(mnt, count):
    """Every one can still be looked up; the table stays within its size."""
    count = int(count)
    top = f"{mnt}/crowd"
    size = pool(mnt, FUSE_NODE_POOL)["size"]
    if count <= size:
        sys.exit(f"the table holds {size}: {count} files are no crowd")
    os.mkdir(top)
    for i in range(count):
        put(f"{top}/{i}", b"")
    for i in range(0, count, 7):
        os.stat(f"{top}/{i}")
    with os.scandir(top) as entries:
        expect("listed", count, sum(1 for e in entries if e.stat().st_size == 0))
    if pool(mnt, FUSE_NODE_POOL)["high_water"] > size:
        sys.exit("the table outgrew its size")


# ---- directories -----------------------------------------------------------------------------

def directory_positions_are_stable(mnt):
    """Entries that stay are seen exactly once while others come and go."""
    top = f"{mnt}/listing"
    os.mkdir(top)
    keep = {f"keep-{i}" for i in range(2000)}
    for name in keep:
        put(f"{top}/{name}", b"")
    for i in range(500):
        put(f"{top}/go-{i}", b"")
    seen = []
    with os.scandir(top) as entries:
        for n, entry in enumerate(entries):
            seen.append(entry.name)
            if n % 4 == 0 and n // 4 < 500:
                os.unlink(f"{top}/go-{n // 4}")
                put(f"{top}/new-{n}", b"")
    kept = [name for name in seen if name.startswith("keep-")]
    expect("each once", (len(keep), keep), (len(kept), set(kept)))
    expect("fresh listing", keep | {n for n in os.listdir(top) if not n.startswith("keep-")},
           set(os.listdir(top)))
    for name in os.listdir(top):
        os.unlink(f"{top}/{name}")
    os.rmdir(top)
    expect_errno("removed", errno.ENOENT, os.listdir, top)


def names_there_all_along_are_listed(mnt):
    """Whatever others do in the directory, a listing holds each name that was there before it began
    and still is; replaced by rename, too."""
    top = f"{mnt}/busy"
    os.mkdir(top)
    missed = []

    def work(thread):
        rng = random.Random(thread)
        mine = set()
        for i in range(1500):
            name = f"t{thread}-{rng.randrange(200)}"
            if rng.random() < 0.7:
                put(f"{top}/{name}", b"")
                mine.add(name)
            elif mine:
                old = rng.choice(sorted(mine))
                os.rename(f"{top}/{old}", f"{top}/{name}")
                mine.discard(old)
                mine.add(name)
            if i % 40 == 0:
                missed.extend(mine - set(os.listdir(top)))

    def replace(stop):
        while not stop.is_set():
            put(f"{top}/.new", b"")
            os.rename(f"{top}/.new", f"{top}/replaced")

    put(f"{top}/replaced", b"")
    stop = threading.Event()
    replacer = threading.Thread(target=replace, args=(stop,))
    workers = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    replacer.start()
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        if "replaced" not in [entry.name for entry in os.scandir(top)]:
            missed.append("replaced")
    stop.set()
    replacer.join()
    expect("no name is missed", [], missed)


def handles_outlive_the_cache(mnt):
    """open_by_handle_at after dropped caches: lookup of "." by number (what an NFS server does)."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    os.makedirs(f"{mnt}/h1/h2", exist_ok=True)
    put(f"{mnt}/h1/h2/file", b"by handle")
    handle = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0) + bytes(128))
    mount_id = ctypes.c_int()
    root = os.open(mnt, os.O_RDONLY)
    rc = libc.name_to_handle_at(root, b"h1/h2/file", handle, ctypes.byref(mount_id), 0)
    expect("name_to_handle_at", 0, rc)
    drop_caches()
    fd = libc.open_by_handle_at(root, handle, os.O_RDONLY)
    if fd < 0:
        sys.exit(f"open_by_handle_at: {errno.errorcode[ctypes.get_errno()]}")
    expect("contents", b"by handle", os.pread(fd, 100, 0))
    os.close(fd)
    os.unlink(f"{mnt}/h1/h2/file")
    drop_caches()
    expect("stale handle", -1, libc.open_by_handle_at(root, handle, os.O_RDONLY))
    expect("stale handle", errno.ESTALE, ctypes.get_errno())
    os.close(root)
    os.rmdir(f"{mnt}/h1/h2")
    os.rmdir(f"{mnt}/h1")


# ---- locks, signals --------------------------------------------------------------------------

def locks_are_the_kernels(mnt):
    """A waiting lock costs no worker: more waiters than workers, and the mount still answers."""
    path = f"{mnt}/lock"
    put(path, b"")
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    children = []
    for i in range(40):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            mine = os.open(path, os.O_RDWR)
            if i % 2 == 0:
                fcntl.flock(mine, fcntl.LOCK_EX)
            else:
                fcntl.lockf(mine, fcntl.LOCK_EX)
            os._exit(0)
        children.append(pid)
    time.sleep(0.3)
    put(f"{mnt}/other", b"works")
    expect("still answers", b"works", get(f"{mnt}/other"))
    os.kill(children[0], signal.SIGKILL)
    expect("killed while waiting", signal.SIGKILL, os.waitpid(children[0], 0)[1])
    fcntl.flock(fd, fcntl.LOCK_UN)
    for pid in children[1:]:
        expect("lock obtained", 0, os.waitpid(pid, 0)[1])
    os.close(fd)
    os.unlink(path)
    os.unlink(f"{mnt}/other")


def signals_do_not_disturb_writes(mnt):
    """A timer's signals make no write or fsync fail, as on any disk."""
    path = f"{mnt}/signals"
    hits = []
    signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    data = b"s" * 65536
    try:
        for i in range(600):
            done = libc.pwrite(fd, data, len(data), ctypes.c_int64(i % 64 * len(data)))
            if done < 0:
                sys.exit(f"pwrite: {errno.errorcode[ctypes.get_errno()]}")
            if i % 20 == 0 and libc.fsync(fd) < 0:
                sys.exit(f"fsync: {errno.errorcode[ctypes.get_errno()]}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    os.close(fd)
    os.unlink(path)
    if not hits:
        sys.exit("no signal came")
