# SPDX-License-Identifier: GPL-2.0-or-later
"""What the claims of fuse_traps.py share."""
import errno
import json
import os
import struct
import subprocess
import sys

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


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def drop_if_root():
    if os.geteuid() == 0:
        drop_caches()
