#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Load for crash tests, and the judge afterwards.

  crash_load.py run    MNT ACKED SEED THREAD   works until the filesystem dies; exit 0
  crash_load.py verify MNT ACKED...            every acknowledged state must be there

Each thread owns a directory. It writes files of random size, overwrites, appends, renames, links,
unlinks, and fsyncs; only when fsync (of the file, and of its directory where names changed) returned
0 is a line appended to ACKED: "put NAME SIZE MODE SHA256" or "gone NAME". What was changed after the
last acknowledgement may be in either state, so each file is changed at most once per round: the line
"doing NAME" is written before, and a file with an open "doing" is not judged by its contents.
"""
import hashlib
import os
import random
import sys


def put(path: str, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    try:
        os.fchmod(fd, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_dir(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def one_round(rng: random.Random, top: str, known: dict, say) -> None:
    name = f"f{rng.randrange(200)}"
    path = os.path.join(top, name)
    mode = rng.choice([0o600, 0o644, 0o755, 0o640])
    action = rng.random()
    size = rng.choice([0, 1, 100, 4095, 4096, 4097, 20000, 70000, 300000])
    size = rng.randrange(size + 1)
    say(f"doing {name}")
    if action < 0.15 and name in known:
        os.unlink(path)
        sync_dir(top)
        known.pop(name)
        say(f"gone {name}")
    elif action < 0.35 and name in known:  # overwrite a part in place
        data = bytearray(known[name][0])
        if data:
            at = rng.randrange(len(data))
            piece = rng.randbytes(min(len(data) - at, rng.randrange(1, 9000)))
            data[at:at + len(piece)] = piece
            fd = os.open(path, os.O_WRONLY)
            try:
                os.pwrite(fd, piece, at)
                os.fdatasync(fd)
            finally:
                os.close(fd)
        known[name] = (bytes(data), known[name][1])
        report(say, name, known)
    elif action < 0.5 and name in known:  # replace by rename
        data = rng.randbytes(size)
        temporary = path + ".new"
        put(temporary, data, mode)
        os.rename(temporary, path)
        sync_dir(top)
        known[name] = (data, mode)
        report(say, name, known)
    else:
        data = rng.randbytes(size)
        put(path, data, mode)
        sync_dir(top)
        known[name] = (data, mode)
        report(say, name, known)


def report(say, name: str, known: dict) -> None:
    data, mode = known[name]
    say(f"put {name} {len(data)} {mode:o} {hashlib.sha256(data).hexdigest()}")


def run(mnt: str, acked: str, seed: int, thread: int) -> int:
    rng = random.Random(seed * 1000 + thread)
    top = os.path.join(mnt, f"t{thread}")
    known: dict = {}
    with open(acked, "a", buffering=1) as log:

        def say(line: str) -> None:
            log.write(line + "\n")

        try:
            if os.path.isdir(top):
                for name in os.listdir(top):
                    if name.startswith("f") and not name.endswith(".new"):
                        path = os.path.join(top, name)
                        with open(path, "rb") as f:
                            known[name] = (f.read(), os.stat(path).st_mode & 0o7777)
                        fd = os.open(path, os.O_RDONLY)
                        os.fsync(fd)
                        os.close(fd)
                        report(say, name, known)
            else:
                os.mkdir(top)
                sync_dir(mnt)
            while True:
                one_round(rng, top, known, say)
        except OSError as error:
            if error.errno in (107, 5, 103):  # ENOTCONN, EIO, ECONNABORTED: the daemon was killed
                return 0
            print(f"thread {thread}: {error}", file=sys.stderr)
            return 1


def verify(mnt: str, logs: list) -> int:
    bad = judged = 0
    for log in logs:
        top = os.path.join(mnt, "t" + log.rsplit(".", 1)[1])
        state: dict = {}
        with open(log) as f:
            for line in f:
                if not line.endswith("\n"):
                    break
                words = line.split()
                if words[0] == "doing":
                    state[words[1]] = None
                elif words[0] == "gone":
                    state[words[1]] = ("gone",)
                else:
                    state[words[1]] = ("put", int(words[2]), int(words[3], 8), words[4])
        for name, want in state.items():
            if want is None:
                continue
            judged += 1
            path = os.path.join(top, name)
            if want[0] == "gone":
                if os.path.exists(path):
                    print(f"{path}: was removed and synced, is back")
                    bad += 1
                continue
            try:
                with open(path, "rb") as f:
                    data = f.read()
                mode = os.stat(path).st_mode & 0o7777
            except OSError as error:
                print(f"{path}: synced, now {error}")
                bad += 1
                continue
            if (len(data), mode, hashlib.sha256(data).hexdigest()) != want[1:]:
                print(f"{path}: synced {want[1:]}, found {(len(data), oct(mode))}")
                bad += 1
    print(f"{judged} synced files judged, {bad} wrong")
    return 1 if bad or not judged else 0


def main() -> int:
    if sys.argv[1] == "run":
        return run(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    return verify(sys.argv[2], sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
