#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One claim about the FUSE floor for each function; see docs/FUSE.md.

  fuse_traps.py CLAIM MNT [ARG...]     exit 0 when it holds

Run on a mounted filesystem; R5FS names the binary. What a claim makes, it takes away.
"""
import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time

R5FS = os.environ["R5FS"]
MIB = 1 << 20
FUSE_NODE_POOL = "fuse node"


def status(mnt):
    out = subprocess.run([R5FS, "status", mnt, "--json"], check=True, capture_output=True)
    return json.loads(out.stdout)


def requests(mnt):
    return status(mnt)["daemon"]["requests"]


def pool(mnt, name):
    return next(p for p in status(mnt)["pools"] if p["name"] == name)


def expect(what, wanted, got):
    if wanted != got:
        sys.exit(f"{what}: expected {wanted!r}, got {got!r}")


def expect_errno(what, wanted, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except OSError as error:
        expect(what, errno.errorcode[wanted], errno.errorcode[error.errno])
        return
    sys.exit(f"{what}: expected {errno.errorcode[wanted]}, got success")


def put(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def as_user(uid, run):
    """Runs in a child that has become `uid`; its failure is ours."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            run()
            code = 0
        except SystemExit as error:
            print(error.code, file=sys.stderr)
        except OSError as error:
            print(f"as {uid}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    expect(f"child as {uid}", 0, os.waitpid(pid, 0)[1])


def drop_caches():
    subprocess.run(["sync"], check=False)
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")


# ---- INIT ------------------------------------------------------------------------------------

def init_flags(mnt):
    """What libfuse 3.14 leaves out is in the answer, what would hurt is not."""
    flags = status(mnt)["daemon"]["fuse_flags"]
    on = {"ASYNC_READ": 0, "EXPORT_SUPPORT": 4, "BIG_WRITES": 5, "DONT_MASK": 6, "READDIRPLUS": 13,
          "READDIRPLUS_AUTO": 14, "ASYNC_DIO": 15, "PARALLEL_DIROPS": 18, "POSIX_ACL": 20,
          "MAX_PAGES": 22, "CACHE_SYMLINKS": 23, "EXPLICIT_INVAL_DATA": 25, "KILLPRIV_V2": 28,
          "SETXATTR_EXT": 29}
    off = {"POSIX_LOCKS": 1, "ATOMIC_O_TRUNC": 3, "FLOCK_LOCKS": 10, "AUTO_INVAL_DATA": 12,
           "WRITEBACK_CACHE": 16}
    for name, bit in on.items():
        expect(name, 1, flags >> bit & 1)
    for name, bit in off.items():
        expect(name, 0, flags >> bit & 1)


# ---- data ------------------------------------------------------------------------------------

def truncating_open(mnt):
    """printf AB > file leaves AB, not AB23456789; also when the file is open elsewhere."""
    path = f"{mnt}/trunc"
    put(path, b"0123456789")
    put(path, b"AB")
    expect("contents", b"AB", get(path))
    held = os.open(path, os.O_RDONLY)
    put(path, b"")
    expect("size through the other handle", 0, os.fstat(held).st_size)
    os.close(held)
    os.unlink(path)


def write_costs_one_request(mnt):
    """No GETXATTR(security.capability) before each write."""
    path = f"{mnt}/cost"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, b"x", 0)
    before = requests(mnt)
    for i in range(100):
        os.pwrite(fd, b"y" * 4096, i * 4096)
    spent = requests(mnt) - before
    os.close(fd)
    os.unlink(path)
    if not 100 <= spent <= 110:
        sys.exit(f"100 writes took {spent} requests")


def large_write_arrives_in_few_requests(mnt):
    """max_write is 1 MiB: 4 MiB are 4 requests."""
    path = f"{mnt}/large"
    data = random.Random(1).randbytes(4 * MIB)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, b"x", 0)
    before = requests(mnt)
    expect("written", len(data), os.pwrite(fd, data, 0))
    spent = requests(mnt) - before
    expect("contents", data, os.pread(fd, len(data), 0))
    os.close(fd)
    drop_if_root()
    expect("contents from the array", data, get(path))
    os.unlink(path)
    if spent > 12:
        sys.exit(f"4 MiB took {spent} requests")


def drop_if_root():
    if os.geteuid() == 0:
        drop_caches()


def unaligned_appends(mnt):
    """5000 then 9000 bytes, appended; and pieces over each other at odd places."""
    path = f"{mnt}/append"
    rng = random.Random(2)
    model = bytearray()
    for size in (5000, 9000, 1, 4095, 4097, 70000):
        data = rng.randbytes(size)
        put(path, data, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        model += data
    for _ in range(200):
        at = rng.randrange(len(model))
        piece = rng.randbytes(min(len(model) - at, rng.randrange(1, 20000)))
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, piece, at)
        os.close(fd)
        model[at:at + len(piece)] = piece
    expect("contents", bytes(model), get(path))
    drop_if_root()
    expect("contents from the array", bytes(model), get(path))
    os.unlink(path)


def mapped_writes_reach_us(mnt):
    """A shared mapping: msync makes it durable, reads see it."""
    path = f"{mnt}/mapped"
    put(path, b"\0" * 20000)
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 20000) as area:
        area[5000:5005] = b"hello"
        area.flush()
        expect("read(2)", b"hello", os.pread(fd, 5, 5000))
        area[0:3] = b"end"
    os.close(fd)
    drop_if_root()
    data = get(path)
    expect("after msync", b"hello", data[5000:5005])
    expect("after munmap", b"end", data[0:3])
    os.unlink(path)


def direct_io_and_cache_agree(mnt):
    path = f"{mnt}/direct"
    area = mmap.mmap(-1, 8192)
    put(path, b"a" * 16384)
    expect("cached", b"a" * 16384, get(path))
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    area[:] = b"b" * 8192
    expect("written", 8192, os.pwritev(fd, [area], 4096))
    expect("cached after direct", b"a" * 4096 + b"b" * 8192 + b"a" * 4096, get(path))
    put(path, b"c" * 4096, os.O_WRONLY)
    expect("read", 8192, os.preadv(fd, [area], 0))
    expect("direct after cached", b"c" * 4096 + b"b" * 4096, bytes(area))
    os.close(fd)
    os.unlink(path)


def holes_are_found(mnt):
    path = f"{mnt}/holes"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, b"x" * 4096, MIB)
    expect("data", MIB, os.lseek(fd, 0, os.SEEK_DATA))
    expect("hole", 0, os.lseek(fd, 0, os.SEEK_HOLE))
    expect("hole at the end", MIB + 4096, os.lseek(fd, MIB, os.SEEK_HOLE))
    expect_errno("no data behind", errno.ENXIO, os.lseek, fd, MIB + 4096, os.SEEK_DATA)
    os.close(fd)
    os.unlink(path)


def space_can_be_allocated_and_punched(mnt):
    path = f"{mnt}/falloc"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.posix_fallocate(fd, 0, MIB)
    expect("size", MIB, os.fstat(fd).st_size)
    expect("blocks", True, os.fstat(fd).st_blocks * 512 >= MIB)
    os.pwrite(fd, b"z" * MIB, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = libc.fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    expect("punch", 0, fallocate(fd, 0x01 | 0x02, 4096, 8192))
    expect("punched", b"z" * 4096 + b"\0" * 8192 + b"z", os.pread(fd, 12289, 0))
    expect("size kept", MIB, os.fstat(fd).st_size)
    os.close(fd)
    os.unlink(path)


def copying_a_range_falls_back(mnt):
    put(f"{mnt}/from", random.Random(3).randbytes(300000))
    with open(f"{mnt}/from", "rb") as source, open(f"{mnt}/to", "wb") as target:
        left = 300000
        while left > 0:
            left -= os.copy_file_range(source.fileno(), target.fileno(), left)
    expect("copy", get(f"{mnt}/from"), get(f"{mnt}/to"))
    os.unlink(f"{mnt}/from")
    os.unlink(f"{mnt}/to")


# ---- names and attributes --------------------------------------------------------------------

def absent_names_are_remembered_rightly(mnt):
    path = f"{mnt}/absent"
    for _ in range(3):
        expect_errno("absent", errno.ENOENT, os.stat, path)
    before = requests(mnt)
    for _ in range(50):
        expect_errno("absent", errno.ENOENT, os.stat, path)
    if requests(mnt) - before > 5:
        sys.exit("negative entries are not kept")
    put(path, b"now")
    expect("now", b"now", get(path))
    os.rename(path, path + "2")
    expect_errno("renamed away", errno.ENOENT, os.stat, path)
    os.unlink(path + "2")
    expect_errno("unlinked", errno.ENOENT, os.stat, path + "2")


def attributes_of_hard_links_agree(mnt):
    a, b = f"{mnt}/link-a", f"{mnt}/link-b"
    put(a, b"1")
    os.link(a, b)
    expect("nlink", (2, 2), (os.stat(a).st_nlink, os.stat(b).st_nlink))
    put(a, b"12345", os.O_WRONLY)
    os.chmod(b, 0o600)
    expect("size by the other name", 5, os.stat(b).st_size)
    expect("mode by the other name", 0o600, stat.S_IMODE(os.stat(a).st_mode))
    before = os.stat(b).st_ctime_ns
    os.unlink(a)
    expect("nlink", 1, os.stat(b).st_nlink)
    expect("ctime moved", True, os.stat(b).st_ctime_ns > before)
    os.unlink(b)


def times_move_with_writes(mnt):
    path = f"{mnt}/times"
    put(path, b"1")
    os.utime(path, ns=(123456789, 987654321123456789))
    expect("mtime in ns", 987654321123456789, os.stat(path).st_mtime_ns)
    expect("atime in ns", 123456789, os.stat(path).st_atime_ns)
    put(path, b"2", os.O_WRONLY)
    expect("mtime moved", True, abs(os.stat(path).st_mtime - time.time()) < 10)
    directory = f"{mnt}/times.d"
    os.mkdir(directory)
    os.utime(directory, ns=(1, 1))
    put(f"{directory}/x", b"")
    expect("directory's mtime moved", True, os.stat(directory).st_mtime > 1000)
    os.unlink(f"{directory}/x")
    os.rmdir(directory)
    os.unlink(path)


def long_names(mnt):
    good, bad = "n" * 255, "n" * 256
    put(f"{mnt}/{good}", b"")
    expect("listed", True, good in os.listdir(mnt))
    os.unlink(f"{mnt}/{good}")
    expect_errno("lookup", errno.ENAMETOOLONG, os.stat, f"{mnt}/{bad}")
    expect_errno("create", errno.ENAMETOOLONG, put, f"{mnt}/{bad}", b"")
    expect_errno("mkdir", errno.ENAMETOOLONG, os.mkdir, f"{mnt}/{bad}")
    expect_errno("symlink", errno.ENAMETOOLONG, os.symlink, "x", f"{mnt}/{bad}")
    put(f"{mnt}/short", b"")
    expect_errno("rename", errno.ENAMETOOLONG, os.rename, f"{mnt}/short", f"{mnt}/{bad}")
    expect_errno("link", errno.ENAMETOOLONG, os.link, f"{mnt}/short", f"{mnt}/{bad}")
    os.unlink(f"{mnt}/short")
    target = "t" * 4095
    os.symlink(target, f"{mnt}/sym")
    expect("symlink", target, os.readlink(f"{mnt}/sym"))
    os.unlink(f"{mnt}/sym")
    expect("namemax", 255, os.statvfs(mnt).f_namemax)


def umask_is_applied_once(mnt):
    old = os.umask(0o027)
    try:
        put(f"{mnt}/masked", b"", mode=0o777)
        os.mkdir(f"{mnt}/masked.d", 0o777)
        os.mkfifo(f"{mnt}/masked.p", 0o666)
    finally:
        os.umask(old)
    expect("file", 0o750, stat.S_IMODE(os.stat(f"{mnt}/masked").st_mode))
    expect("directory", 0o750, stat.S_IMODE(os.stat(f"{mnt}/masked.d").st_mode))
    expect("fifo", 0o640, stat.S_IMODE(os.stat(f"{mnt}/masked.p").st_mode))
    os.unlink(f"{mnt}/masked")
    os.unlink(f"{mnt}/masked.p")
    os.rmdir(f"{mnt}/masked.d")


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def default_acl_is_inherited(mnt):
    """A default ACL takes the umask's place."""
    top = f"{mnt}/acl.d"
    os.mkdir(top, 0o755)
    none = 0xffffffff
    os.setxattr(top, "system.posix_acl_default",
                acl((1, 7, none), (2, 6, 12345), (4, 5, none), (16, 7, none), (32, 0, none)))
    old = os.umask(0o077)
    try:
        put(f"{top}/file", b"", mode=0o666)
        os.mkdir(f"{top}/dir", 0o777)
    finally:
        os.umask(old)
    expect("mode", 0o660, stat.S_IMODE(os.stat(f"{top}/file").st_mode))
    expect("access ACL", acl((1, 6, none), (2, 6, 12345), (4, 5, none), (16, 6, none), (32, 0, none)),
           os.getxattr(f"{top}/file", "system.posix_acl_access"))
    expect("default ACL", os.getxattr(top, "system.posix_acl_default"),
           os.getxattr(f"{top}/dir", "system.posix_acl_default"))
    os.chmod(f"{top}/file", 0o600)
    expect("mask follows chmod", acl((1, 6, none), (2, 6, 12345), (4, 5, none), (16, 0, none),
                                     (32, 0, none)),
           os.getxattr(f"{top}/file", "system.posix_acl_access"))
    os.unlink(f"{top}/file")
    os.rmdir(f"{top}/dir")
    os.rmdir(top)


def attribute_names_arrive_whole(mnt):
    """libfuse 3.13 to 3.14.0 cut them by eight bytes."""
    path = f"{mnt}/xattr"
    put(path, b"")
    names = ["user.a", "user.abcdefgh", "user." + "n" * 250]
    for i, name in enumerate(names):
        os.setxattr(path, name, b"value" * i)
    expect("names", sorted(names), sorted(os.listxattr(path)))
    for i, name in enumerate(names):
        expect(name, b"value" * i, os.getxattr(path, name))
    expect_errno("create twice", errno.EEXIST, os.setxattr, path, "user.a", b"", os.XATTR_CREATE)
    expect_errno("replace none", errno.ENODATA, os.setxattr, path, "user.zz", b"",
                 os.XATTR_REPLACE)
    big = random.Random(4).randbytes(60000)
    os.setxattr(path, "user.a", big)
    expect("a large value", big, os.getxattr(path, "user.a"))
    os.removexattr(path, "user.a")
    expect_errno("removed", errno.ENODATA, os.getxattr, path, "user.a")
    os.unlink(path)


FS_IOC_GETFLAGS = 0x80086601
UNKNOWN_IOCTL = 0x8004f7f7


def ioctls(mnt):
    path = f"{mnt}/ioctl"
    put(path, b"")
    fd = os.open(path, os.O_RDONLY)
    flags = bytearray(8)
    fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
    expect("flags", 0, struct.unpack("<I", flags[:4])[0])
    expect_errno("unknown", errno.ENOTTY, fcntl.ioctl, fd, UNKNOWN_IOCTL, flags)
    os.close(fd)
    directory = os.open(mnt, os.O_RDONLY)
    expect_errno("unknown on the root", errno.ENOTTY, fcntl.ioctl, directory, UNKNOWN_IOCTL, flags)
    os.close(directory)
    os.unlink(path)


def nameless_files_are_refused_cleanly(mnt):
    expect_errno("O_TMPFILE", errno.EOPNOTSUPP, os.open, mnt, os.O_TMPFILE | os.O_RDWR, 0o600)


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
    expect("space came back at once", True, os.statvfs(mnt).f_bfree >= free - 64)


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
    return


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


# ---- privileges ------------------------------------------------------------------------------

def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def suid_goes_when_somebody_else_writes(mnt):
    """As root, on a mount that others may use."""
    path = f"{mnt}/suid"

    def prepare():
        put(path, b"program", mode=0o777)
        os.chmod(path, 0o6777)
        expect("prepared", 0o6777, mode_of(path))

    def append():
        put(path, b"!", os.O_WRONLY | os.O_APPEND)

    def cut():
        os.truncate(path, 3)

    def reopen():
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))

    def punch():
        fd = os.open(path, os.O_WRONLY)
        os.posix_fallocate(fd, 0, 8192)
        os.close(fd)

    def direct():
        area = mmap.mmap(-1, 4096)
        fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
        os.pwritev(fd, [area], 0)
        os.close(fd)

    for action in (append, cut, reopen, punch, direct):
        prepare()
        as_user(65534, action)
        expect(f"after {action.__name__} by another", 0o777, mode_of(path))
        drop_caches()
        expect(f"after {action.__name__} by another, uncached", 0o777, mode_of(path))
    prepare()
    append()
    expect("root keeps it", 0o6777, mode_of(path))
    os.chown(path, 65534, 65534)
    expect("chown takes it", 0o777, mode_of(path))
    os.unlink(path)


def capabilities_go_with_a_write(mnt):
    path = f"{mnt}/caps"
    caps = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    for action in (lambda: put(path, b"x", os.O_WRONLY), lambda: os.truncate(path, 100),
                   lambda: os.chown(path, 1, 1)):
        put(path, b"program")
        os.setxattr(path, "security.capability", caps)
        action()
        expect_errno("capability", errno.ENODATA, os.getxattr, path, "security.capability")
        os.unlink(path)


def acl_of_a_stranger_drops_sgid(mnt):
    """The owner, not in the file's group, sets an ACL: sgid goes (the long SETXATTR header)."""
    path = f"{mnt}/acl-sgid"
    none = 0xffffffff
    put(path, b"", mode=0o755)
    os.chown(path, 65534, 12345)
    os.chmod(path, 0o2755)

    def set_acl():
        os.setxattr(path, "system.posix_acl_access",
                    acl((1, 7, none), (2, 5, 999), (4, 5, none), (16, 5, none), (32, 5, none)))

    as_user(65534, set_acl)
    expect("mode", 0o755, mode_of(path))
    os.unlink(path)


def group_of_a_setgid_directory(mnt):
    top = f"{mnt}/setgid"
    os.mkdir(top)
    os.chown(top, 0, 4242)
    os.chmod(top, 0o2777)

    def fill():
        put(f"{top}/file", b"")
        os.mkdir(f"{top}/dir")

    as_user(65534, fill)
    expect("file", (65534, 4242), (os.stat(f"{top}/file").st_uid, os.stat(f"{top}/file").st_gid))
    expect("dir", 4242, os.stat(f"{top}/dir").st_gid)
    expect("setgid is inherited", 0o2000, os.stat(f"{top}/dir").st_mode & 0o2000)
    os.unlink(f"{top}/file")
    os.rmdir(f"{top}/dir")
    os.rmdir(top)


def permissions_are_checked(mnt):
    path = f"{mnt}/private"
    put(path, b"secret", mode=0o600)

    def try_it():
        expect_errno("read", errno.EACCES, os.open, path, os.O_RDONLY)
        expect_errno("chmod", errno.EPERM, os.chmod, path, 0o777)
        expect_errno("create in /", errno.EACCES, put, f"{mnt}/mine", b"")

    as_user(65534, try_it)
    os.unlink(path)


def control_is_for_owner_and_root(mnt):
    def try_it():
        run = subprocess.run([R5FS, "status", mnt], capture_output=True)
        expect("exit", True, run.returncode != 0)
        run = subprocess.run([R5FS, "unmount", mnt], capture_output=True)
        expect("exit", 5, run.returncode)

    as_user(65534, try_it)
    status(mnt)


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


# ---- what must survive -----------------------------------------------------------------------

def write_direct_dsync(mnt):
    area = mmap.mmap(-1, 8192)
    area[:] = b"D" * 8192
    fd = os.open(f"{mnt}/dsync", os.O_WRONLY | os.O_CREAT | os.O_DIRECT | os.O_DSYNC, 0o644)
    expect("written", 8192, os.pwritev(fd, [area], 0))
    # Not closed: nothing but the write itself makes it durable.
    put_fd = os.open(f"{mnt}/osync", os.O_WRONLY | os.O_CREAT | os.O_SYNC, 0o644)
    os.write(put_fd, b"O" * 5000)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    os.kill(int(sys.argv[3]), signal.SIGKILL)


def check_direct_dsync(mnt):
    expect("O_DIRECT|O_DSYNC", b"D" * 8192, get(f"{mnt}/dsync"))
    expect("O_SYNC", b"O" * 5000, get(f"{mnt}/osync"))
    os.unlink(f"{mnt}/dsync")
    os.unlink(f"{mnt}/osync")


if __name__ == "__main__":
    claim, where, *rest = sys.argv[1:]
    if claim == "write_direct_dsync":
        write_direct_dsync(where)
    else:
        globals()[claim](where, *rest)
