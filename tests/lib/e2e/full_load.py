#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything at once, each byte known.

  full_load.py run    MNT STATE SEED SECONDS WRITERS [again]   exit 0: all that was read was right
  full_load.py verify MNT STATE                                what STATE says is there, and no more

Each writer owns a directory and knows what its files hold: it writes, appends, punches, truncates, renames,
unlinks, fsyncs, maps and reads back, lists and asks for free space. "again": what fails with ENOMEM is done
again until it succeeds (and no memory is mapped: a page that cannot be read is a signal, not an error).
"""
import ctypes
import errno
import hashlib
import json
import mmap
import os
import random
import sys
import time

PUNCH = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
FILES = 12
SIZE_MAX = 600_000
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def fallocate(fd: int, mode: int, at: int, count: int) -> None:
    if libc.fallocate(fd, mode, at, count) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Writer:
    def __init__(self, top: str, seed: int, patient: bool) -> None:
        self.rng = random.Random(seed)
        self.top = top
        self.patient = patient
        self.known: dict[str, bytearray] = {}
        self.retries = 0
        self.again(lambda: os.makedirs(top, exist_ok=True))
        for name in self.again(lambda: os.listdir(top)):
            self.again(lambda name=name: os.unlink(self.path(name)), (errno.ENOENT,))

    def again(self, call, done=()):
        """The call's answer; `done` are errors that say that an earlier try had done it."""
        tries = 0
        while True:
            try:
                return call()
            except OSError as error:
                if self.patient and error.errno == errno.ENOMEM and tries < 1000:
                    tries += 1
                    self.retries += 1
                elif tries > 0 and error.errno in done:
                    return None
                else:
                    raise

    def path(self, name: str) -> str:
        return os.path.join(self.top, name)

    def open(self, name: str) -> int:
        return self.again(lambda: os.open(self.path(name), os.O_RDWR | os.O_CREAT, 0o644))

    def close(self, fd: int) -> None:
        """Closed it is in any case; the kernel's first FLUSH may meet ENOMEM, which close then answers."""
        try:
            os.close(fd)
        except OSError as error:
            if not self.patient or error.errno != errno.ENOMEM:
                raise

    def write(self, fd: int, data: bytearray) -> None:
        at = self.rng.randrange(max(1, min(len(data) + 1, SIZE_MAX)))
        piece = self.rng.randbytes(self.rng.choice([1, 100, 4096, 5000, 40000, 131072]))
        done = 0
        while done < len(piece):
            done += self.again(lambda: os.pwrite(fd, piece[done:], at + done))
        if len(data) < at + len(piece):
            data.extend(bytes(at + len(piece) - len(data)))
        data[at:at + len(piece)] = piece

    def punch(self, fd: int, data: bytearray) -> None:
        if data:
            at = self.rng.randrange(len(data))
            count = self.rng.randrange(1, 100_000)
            self.again(lambda: fallocate(fd, PUNCH, at, count))
            end = min(len(data), at + count)
            data[at:end] = bytes(end - at)

    def truncate(self, fd: int, data: bytearray) -> None:
        size = self.rng.randrange(SIZE_MAX)
        self.again(lambda: os.ftruncate(fd, size))
        if size < len(data):
            del data[size:]
        else:
            data.extend(bytes(size - len(data)))

    def map(self, fd: int, data: bytearray) -> None:
        if data and not self.patient:
            with mmap.mmap(fd, len(data)) as memory:
                at = self.rng.randrange(len(data))
                piece = self.rng.randbytes(min(len(data) - at, 20000))
                memory[at:at + len(piece)] = piece
                data[at:at + len(piece)] = piece
                memory.flush()

    def compare(self, fd: int, name: str, data: bytearray) -> None:
        got = bytearray()
        while len(got) <= len(data):
            piece = self.again(lambda: os.pread(fd, 131072, len(got)))
            if not piece:
                break
            got += piece
        if got != data:
            raise SystemExit(f"{self.path(name)}: {len(got)} bytes read differ from {len(data)} written")

    def names(self) -> None:
        name = f"f{self.rng.randrange(FILES)}"
        other = f"f{self.rng.randrange(FILES)}"
        if name in self.known and self.rng.random() < 0.5:
            self.again(lambda: os.unlink(self.path(name)), (errno.ENOENT,))
            del self.known[name]
        elif name in self.known and other != name:
            self.again(lambda: os.rename(self.path(name), self.path(other)), (errno.ENOENT,))
            self.known[other] = self.known.pop(name)
        there = sorted(self.again(lambda: os.listdir(self.top)))
        if there != sorted(self.known):
            raise SystemExit(f"{self.top}: {there} instead of {sorted(self.known)}")

    def step(self) -> None:
        name = f"f{self.rng.randrange(FILES)}"
        fd = self.open(name)
        data = self.known.setdefault(name, bytearray())
        try:
            self.rng.choice([self.write, self.write, self.write, self.punch, self.truncate, self.map])(fd, data)
            if self.rng.random() < 0.3:
                self.again(lambda: os.fsync(fd))
            if self.rng.random() < 0.5:
                # What was cached proves little: the daemon is to be asked.
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                self.compare(fd, name, data)
        finally:
            self.close(fd)
        if self.rng.random() < 0.3:
            self.names()
        if self.rng.random() < 0.05:
            self.again(lambda: os.statvfs(self.top))
        if self.rng.random() < 0.1 and name in self.known:
            value = self.rng.randbytes(50)
            self.again(lambda: os.setxattr(self.path(name), "user.load", value))
            if self.again(lambda: os.getxattr(self.path(name), "user.load")) != value:
                raise SystemExit(f"{self.path(name)}: another xattr than set")


def run_writer(top: str, state: str, seed: int, until: float, patient: bool) -> None:
    writer = Writer(top, seed, patient)
    steps = 0
    while time.monotonic() < until:
        writer.step()
        steps += 1
    with open(state, "w", encoding="ascii") as out:
        json.dump({name: hashlib.sha256(data).hexdigest() for name, data in writer.known.items()}, out)
    print(f"{os.path.basename(top)}: {steps} steps, {writer.retries} done again")


def run(mnt: str, state: str, seed: int, seconds: float, count: int, patient: bool) -> int:
    until = time.monotonic() + seconds
    children = []
    for i in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                run_writer(os.path.join(mnt, f"w{i}"), f"{state}.{i}", seed * 100 + i, until, patient)
                code = 0
            except SystemExit as end:
                print(end)
            except OSError as error:
                print(f"w{i}: {error}")
            finally:
                sys.stdout.flush()
                os._exit(code)
        children.append(pid)
    bad = [pid for pid in children if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0]
    return 1 if bad else 0


def verify(mnt: str, state: str) -> int:
    bad = 0
    seen = 0
    index = 0
    while os.path.exists(f"{state}.{index}"):
        top = os.path.join(mnt, f"w{index}")
        with open(f"{state}.{index}", encoding="ascii") as file:
            known = json.load(file)
        if sorted(os.listdir(top)) != sorted(known):
            print(f"{top}: other names than written")
            bad += 1
        for name, want in known.items():
            with open(os.path.join(top, name), "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != want:
                    print(f"{top}/{name}: other bytes than written")
                    bad += 1
            seen += 1
        index += 1
    print(f"{seen} files of {index} writers, {bad} wrong")
    return 1 if bad or index == 0 else 0


if __name__ == "__main__":
    if sys.argv[1] == "run":
        print(f"seed {sys.argv[4]}", flush=True)
        sys.exit(run(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]),
                     "again" in sys.argv[7:]))
    sys.exit(verify(sys.argv[2], sys.argv[3]))
