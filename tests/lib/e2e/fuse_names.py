# SPDX-License-Identifier: GPL-2.0-or-later
"""Claims of fuse_traps.py: names, attributes, extended attributes."""
import errno
import fcntl
import os
import random
import stat
import struct
import sys
import time

from fuse_kit import acl, expect, expect_errno, get, put, requests


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
FS_IOC_SETFLAGS = 0x40086602
FS_SYNC_FL = 0x08
FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20
FS_NODUMP_FL = 0x40
UNKNOWN_IOCTL = 0x8004f7f7


def ioctls(mnt):
    path = f"{mnt}/ioctl"
    put(path, b"")
    fd = os.open(path, os.O_RDONLY)
    flags = bytearray(8)
    fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
    expect("flags", 0, struct.unpack("<I", flags[:4])[0])
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("<Q", FS_NODUMP_FL))
    fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
    expect("flags that are kept", FS_NODUMP_FL, struct.unpack("<I", flags[:4])[0])
    for flag in (FS_IMMUTABLE_FL, FS_APPEND_FL, FS_SYNC_FL):
        wanted = struct.pack("<Q", flag)
        expect_errno("nobody keeps to it", errno.EOPNOTSUPP, fcntl.ioctl, fd, FS_IOC_SETFLAGS, wanted)
    expect_errno("unknown", errno.ENOTTY, fcntl.ioctl, fd, UNKNOWN_IOCTL, flags)
    os.close(fd)
    directory = os.open(mnt, os.O_RDONLY)
    expect_errno("unknown on the root", errno.ENOTTY, fcntl.ioctl, directory, UNKNOWN_IOCTL, flags)
    os.close(directory)
    os.unlink(path)


def nameless_files_are_refused_cleanly(mnt):
    expect_errno("O_TMPFILE", errno.EOPNOTSUPP, os.open, mnt, os.O_TMPFILE | os.O_RDWR, 0o600)
