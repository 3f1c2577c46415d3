# SPDX-License-Identifier: GPL-2.0-or-later
"""Claims of fuse_traps.py: who may what, and what goes with a write. As root."""
import errno
import mmap
import os
import stat
import struct
import subprocess

from fuse_kit import R5FS, acl, as_user, drop_caches, expect, expect_errno, get, put, status


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


def trusted_attributes_are_for_root(mnt):
    path = f"{mnt}/trusted"
    put(path, b"", mode=0o666)
    os.setxattr(path, "trusted.secret", b"1")
    os.setxattr(path, "user.open", b"2")
    expect("list of root", ["trusted.secret", "user.open"], sorted(os.listxattr(path)))

    def try_it():
        expect("list of a user", ["user.open"], os.listxattr(path))
        expect_errno("get", errno.ENODATA, os.getxattr, path, "trusted.secret")
        expect_errno("set", errno.EPERM, os.setxattr, path, "trusted.secret", b"3")
        expect_errno("remove", errno.EPERM, os.removexattr, path, "trusted.secret")

    as_user(65534, try_it)
    expect("value", b"1", os.getxattr(path, "trusted.secret"))
    os.unlink(path)


def access_lists_of_many_users(mnt):
    """Its file stays, for check."""
    name = "system.posix_acl_access"
    none = 0xffffffff
    path = f"{mnt}/many"
    put(path, b"shared", mode=0o600)

    def make_list(users):
        named = ((2, 4, uid) for uid in range(70000, 70000 + users))
        return acl((1, 6, none), *named, (4, 0, none), (0x10, 4, none), (0x20, 0, none))

    os.setxattr(path, name, make_list(231))
    expect("list", make_list(231), os.getxattr(path, name))
    as_user(70000 + 230, lambda: expect("the last may read", b"shared", get(path)))
    as_user(70000 + 231, lambda: expect_errno("others", errno.EACCES, get, path))
    expect_errno("one more", errno.ENOSPC, os.setxattr, path, name, make_list(232))
    expect("list", make_list(231), os.getxattr(path, name))


def control_is_for_owner_and_root(mnt):
    def try_it():
        run = subprocess.run([R5FS, "status", mnt], capture_output=True)
        expect("exit", True, run.returncode != 0)
        run = subprocess.run([R5FS, "unmount", mnt], capture_output=True)
        expect("exit", 5, run.returncode)

    as_user(65534, try_it)
    status(mnt)
