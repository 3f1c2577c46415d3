#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Dirties a file through a shared mapping, page after page, faster than it can be written.

  mmap_load.py run    FILE MIB PASSES SEED    prints the sha256 that the file has when it is synced
  mmap_load.py verify FILE SHA256
"""
import hashlib
import mmap
import os
import random
import sys

PAGE = 4096


def digest(path: str) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 18):
            total.update(piece)
    return total.hexdigest()


def page_of(number: int, turn: int, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {turn} {number}".encode()).digest() * (PAGE // 32)


def run(path: str, mib: int, passes: int, seed: int) -> int:
    rng = random.Random(seed)
    pages = mib << 8
    last = [0] * pages
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, pages * PAGE)
    with mmap.mmap(fd, pages * PAGE) as memory:
        for turn in range(1, passes + 1):
            for i in range(pages):
                number = i if turn == 1 else rng.randrange(pages)
                memory[number * PAGE:(number + 1) * PAGE] = page_of(number, turn, seed)
                last[number] = turn
        memory.flush()
    os.fsync(fd)
    os.close(fd)
    total = hashlib.sha256()
    for number in range(pages):
        total.update(page_of(number, last[number], seed))
    print(total.hexdigest())
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(run(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
    got = digest(sys.argv[2])
    print(got)
    sys.exit(0 if got == sys.argv[3] else 1)
