# SPDX-License-Identifier: GPL-2.0-or-later
"""Claims of fuse_traps.py: INIT, contents, what must survive."""
import ctypes
import errno
import mmap
import os
import random
import signal
import sys

from fuse_kit import MIB, drop_if_root, expect, expect_errno, get, put, requests, status


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


# ---- what must survive -----------------------------------------------------------------------

def write_direct_dsync(mnt, pid):
    area = mmap.mmap(-1, 8192)
    area[:] = b"D" * 8192
    fd = os.open(f"{mnt}/dsync", os.O_WRONLY | os.O_CREAT | os.O_DIRECT | os.O_DSYNC, 0o644)
    expect("written", 8192, os.pwritev(fd, [area], 0))
    # Not closed: nothing but the write itself makes it durable.
    put_fd = os.open(f"{mnt}/osync", os.O_WRONLY | os.O_CREAT | os.O_SYNC, 0o644)
    os.write(put_fd, b"O" * 5000)
    os.kill(int(pid), signal.SIGKILL)


def check_direct_dsync(mnt):
    expect("O_DIRECT|O_DSYNC", b"D" * 8192, get(f"{mnt}/dsync"))
    expect("O_SYNC", b"O" * 5000, get(f"{mnt}/osync"))
    os.unlink(f"{mnt}/dsync")
    os.unlink(f"{mnt}/osync")
