#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fails on what clang-format and clang-tidy cannot see: license lines, lengths, names, banned calls.

  check_style.py
"""
import collections
import os
import re
import sys

import c_source

SPDX = "SPDX-License-Identifier: GPL-2.0-or-later"
LINES_MAX = 650
COLUMNS_MAX = 100
# Kept byte for byte as another program made them.
FOREIGN = ("tests/golden/", "LICENSE")
# A word that marks unfinished work does not merge (put together here, so as not to find itself).
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")
BANNED = {
    "strcpy": "memcpy with a checked length",
    "strncpy": "memcpy with a checked length",
    "strcat": "snprintf",
    "strncat": "snprintf",
    "sprintf": "snprintf",
    "vsprintf": "vsnprintf",
    "gets": "fgets",
    "strtok": "strtok_r",
    "alloca": "the arena, or a fixed array",
    "assert": "R5_CHECK",
    "atoi": "strtoull with its checks",
    "atol": "strtoull with its checks",
}
BANNED_CALL = re.compile(r"(?<![\w.])(?<!->)(" + "|".join(BANNED) + r")\s*\(")
TEXT_SUFFIXES = (".c", ".h", ".py", ".sh", ".md", ".txt", ".cmake", ".json", ".yml", ".8", ".suppress")


class Report:
    def __init__(self):
        self.problems = []

    def add(self, path, line, text):
        self.problems.append(f"{path}:{line}: {text}")


def kind_of(path, text):
    """c, script or text; None for what is no text."""
    if path.endswith((".c", ".h")):
        return "c"
    if path.endswith((".py", ".sh")) or text.startswith("#!"):
        return "script"
    if path.endswith(TEXT_SUFFIXES) or os.path.basename(path) in ("CMakeLists.txt",):
        return "text"
    return None


def check_lines(report, path, lines, kind):
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            report.add(path, number, "blanks at the end of the line")
        if UNFINISHED.search(line):
            report.add(path, number, "unfinished work does not merge: open an issue or write an ADR")
        if kind != "text" and "\t" in line:
            report.add(path, number, "tab")
        if kind == "c" and len(line) > COLUMNS_MAX:
            report.add(path, number, f"{len(line)} columns, at most {COLUMNS_MAX}")
    if kind != "text" and len(lines) > LINES_MAX:
        report.add(path, len(lines), f"{len(lines)} lines, at most {LINES_MAX}: split it")


def check_license(report, path, lines, kind):
    place = 1 if kind == "script" and lines and lines[0].startswith("#!") else 0
    wanted = f"/* {SPDX} */" if kind == "c" else f"# {SPDX}"
    if len(lines) <= place or lines[place] != wanted:
        report.add(path, place + 1, f"must be: {wanted}")


def check_c(report, path, text, lines):
    code, line_comments = c_source.strip_c(text)
    for number in line_comments:
        report.add(path, number, "// comment: write /* */")
    for match in BANNED_CALL.finditer(code):
        name = match.group(1)
        report.add(path, c_source.line_of(code, match.start()),
                   f"{name} is banned: use {BANNED[name]}")
    for line, is_system, name in c_source.includes(text):
        if is_system and name == "assert.h":
            report.add(path, line, "assert.h is banned: use R5_CHECK")
    if len(lines) < 2 or not lines[1].startswith("/*"):
        report.add(path, 2, "a file opens with a comment that says what it is for")


def check_unique_names(report, paths):
    """Two files of one name make messages, debuggers and includes ambiguous."""
    by_name = collections.defaultdict(list)
    for path in paths:
        if path.endswith((".c", ".h", ".py", ".sh")):
            by_name[os.path.basename(path)].append(path)
    for name, places in sorted(by_name.items()):
        if len(places) > 1:
            report.add(places[1], 1, f"{name} exists twice: {', '.join(places)}")


def main():
    report = Report()
    paths = [p for p in c_source.tree_files() if not p.startswith(FOREIGN)]
    checked = 0
    for path in paths:
        text = c_source.read(path) if os.path.getsize(os.path.join(c_source.ROOT, path)) < 1 << 20 else ""
        kind = kind_of(path, text)
        if kind is None or not text:
            continue
        checked += 1
        lines = text.split("\n")
        if lines[-1] != "":
            report.add(path, len(lines), "no newline at the end of the file")
        else:
            lines.pop()
        check_lines(report, path, lines, kind)
        if kind != "text":
            check_license(report, path, lines, kind)
        if kind == "c":
            check_c(report, path, text, lines)
    check_unique_names(report, paths)
    for problem in report.problems:
        print(problem)
    print(f"check_style: {checked} files, {len(report.problems)} problems")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
