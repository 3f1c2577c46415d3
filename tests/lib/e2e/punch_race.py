#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes and punched holes on the same ranges at the same moment.

  punch_race.py run    FILE STATE SEED SECONDS PAIRS   exit 0: each block was what one of the two left
  punch_race.py verify FILE STATE                      the file is what STATE says

Each pair owns a part of one file. In each round one thread of it writes a range while the other punches one
that overlaps; when both are done each block is the new data, or zeros if it was punched, and what neither
touched is as before. Reads ask the daemon, not the page cache.
"""
import ctypes
import hashlib
import os
import random
import sys
import threading
import time

PUNCH = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
BLOCK = 4096
PART = 96  # blocks of each pair
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


class Pair:
    def __init__(self, path: str, seed: int, number: int) -> None:
        self.fd = os.open(path, os.O_RDWR)
        self.rng = random.Random(seed * 1000 + number)
        self.first = number * PART
        self.known = [bytes(BLOCK)] * PART
        self.both = threading.Barrier(2)
        self.hole = (0, 1)
        self.over = False
        self.error = ""
        self.rounds = 0

    def some_range(self) -> tuple[int, int]:
        at = self.rng.randrange(PART)
        return at, self.rng.randrange(1, PART - at + 1)

    def punch_along(self) -> None:
        while True:
            self.both.wait()
            if self.over:
                return
            at, count = self.hole
            if libc.fallocate(self.fd, PUNCH, (self.first + at) * BLOCK, count * BLOCK) != 0:
                self.error = os.strerror(ctypes.get_errno())
            self.both.wait()

    def judge(self, at: int, data: list[bytes]) -> None:
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        got = os.pread(self.fd, PART * BLOCK, self.first * BLOCK).ljust(PART * BLOCK, b"\0")
        hole_at, hole_count = self.hole
        for i in range(PART):
            block = got[i * BLOCK:(i + 1) * BLOCK]
            allowed = [data[i - at] if at <= i < at + len(data) else self.known[i]]
            if hole_at <= i < hole_at + hole_count:
                allowed.append(bytes(BLOCK))
                if not at <= i < at + len(data):
                    allowed.pop(0)
            if block not in allowed:
                self.error = f"block {self.first + i}: neither written nor a hole (round {self.rounds})"
            self.known[i] = block

    def step(self) -> None:
        at, count = self.some_range()
        data = [self.rng.randbytes(BLOCK) for _ in range(count)]
        self.hole = self.some_range() if self.rng.random() < 0.5 else (at, count)
        piece = b"".join(data)
        done = 0
        self.both.wait()
        try:
            while done < len(piece):
                done += os.pwrite(self.fd, piece[done:], (self.first + at) * BLOCK + done)
            if self.rng.random() < 0.2:
                os.fsync(self.fd)
        finally:
            self.both.wait()
        self.judge(at, data)
        self.rounds += 1

    def run(self, until: float) -> None:
        other = threading.Thread(target=self.punch_along)
        other.start()
        try:
            while time.monotonic() < until and not self.error:
                self.step()
        except OSError as error:
            self.error = str(error)
        finally:
            self.over = True
            self.both.wait()
            other.join()


def digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def run(path: str, state: str, seed: int, seconds: float, count: int) -> int:
    with open(path, "wb") as file:
        file.truncate(count * PART * BLOCK)
    pairs = [Pair(path, seed, i) for i in range(count)]
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=pair.run, args=(until,)) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pair in pairs:
        os.close(pair.fd)
        print(f"{pair.rounds} rounds {pair.error}")
    with open(state, "w", encoding="ascii") as out:
        out.write(hashlib.sha256(b"".join(b"".join(pair.known) for pair in pairs)).hexdigest())
    return 1 if any(pair.error or pair.rounds == 0 for pair in pairs) else 0


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(run(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6])))
    with open(sys.argv[3], encoding="ascii") as wanted:
        sys.exit(0 if digest(sys.argv[2]) == wanted.read() else "other bytes than written")
