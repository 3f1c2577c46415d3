#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How often files are let go of after having been open for writing.

  count_closes.py FILE... -- COMMAND...     runs COMMAND; prints "N FILE" for each; its exit code
"""
import ctypes
import os
import select
import struct
import subprocess
import sys

IN_CLOSE_WRITE = 0x08
EVENT = struct.Struct("iIII")

libc = ctypes.CDLL(None, use_errno=True)
split = sys.argv.index("--")
files, command = sys.argv[1:split], sys.argv[split + 1:]
notify = libc.inotify_init1(os.O_CLOEXEC)
watches = {}
for path in files:
    watch = libc.inotify_add_watch(notify, os.fsencode(path), IN_CLOSE_WRITE)
    if watch < 0:
        sys.exit(f"{path}: {os.strerror(ctypes.get_errno())}")
    watches[watch] = path

code = subprocess.run(command, check=False).returncode
counts = dict.fromkeys(files, 0)
# The last close of a file may come a moment after the process: what its ring held.
while select.select([notify], [], [], 0 if all(counts.values()) else 10)[0]:
    data = os.read(notify, 4096)
    while data:
        watch, _, _, name_bytes = EVENT.unpack_from(data)
        counts[watches[watch]] += 1
        data = data[EVENT.size + name_bytes:]
for path, count in counts.items():
    print(count, path)
sys.exit(code)
