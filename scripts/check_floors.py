#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fails where code reaches upward, or uses a foreign library outside its home.

  check_floors.py [BUILD_DIR]

Includes: a file includes doors (include/r5fs/<floor>/) of its own floor and those below, and private
headers of its own floor only; tests see all headers up to their floor; ALLOWED_HEADERS lists exceptions.
Calls (with BUILD_DIR): no symbol that libr5_<floor>.a lacks is defined only in a higher floor's library.
Homes: each foreign library, malloc, threads and clocks have one place, listed in HOMES. An exception
stands in ALLOWED with its reason; one that nothing needs any more is an error too.
"""
import fnmatch
import os
import re
import shutil
import subprocess
import sys

import c_source

FLOOR_DIRS = [
    ("src/base", 0), ("raid", 1), ("journal", 2), ("src/fs", 3), ("src/fuse", 4), ("src/cli", 5),
]
DOORS = {"base": 0, "raid": 1, "journal": 2, "fs": 3, "fuse": 4}
TEST_FLOORS = {"base": 0, "raid": 1, "journal": 2, "fs": 3, "fuse": 4, "cli": 5}
NAMES = ["base", "raid", "journal", "fs", "fuse", "cli"]
LIBRARIES = ["base", "raid", "journal", "fs", "fuse"]

CODE = ["src/*", "raid/*", "journal/*", "include/*"]


class Home:
    """`include` and `call` are patterns; what matches belongs into `places`. `scope`: where to look."""

    def __init__(self, name, places, scope, include=None, call=None):
        self.name = name
        self.places = places
        self.scope = scope
        self.include = re.compile(include) if include else None
        # Not a member (x.free, x->free) and not the tail of a longer name.
        self.call = re.compile(r"(?<![\w.])(?<!->)(" + call + r")\s*\(") if call else None


HOMES = [
    Home("libfuse", ["src/fuse/*", "tests/unit/fuse/*"], ["*"], include=r"fuse"),
    Home("liburing", ["raid/member_uring.c"], ["*"], include=r"liburing",
         call=r"io_uring_\w+"),
    Home("ISA-L", ["raid/parity.c", "src/base/crc32c.c"], ["*"], include=r"isa-l"),
    Home("xxHash", ["src/fs/*"], ["*"], include=r"xxh", call=r"XXH\w+"),
    Home("Check", ["tests/*"], ["*"], include=r"check\.h$"),
    Home("malloc", ["src/base/arena.c"], CODE, include=r"malloc\.h$",
         call=r"malloc|calloc|realloc|reallocarray|free|posix_memalign|aligned_alloc|memalign|valloc"
              r"|strdup|strndup|asprintf|vasprintf|getline|getdelim|open_memstream|mmap|mremap|munmap"),
    Home("threads and clocks", ["src/base/env_posix.c"], CODE,
         include=r"(pthread|threads|semaphore|sys/random)\.h$",
         call=r"pthread_\w+|thrd_\w+|mtx_\w+|cnd_\w+|clock_gettime|clock_nanosleep|gettimeofday"
              r"|nanosleep|usleep|sleep|getrandom|random|rand"),
]

# (file, home, what is allowed there): reason
ALLOWED = {
    ("src/cli/cli_source.c", "malloc", "malloc realloc strdup free"):
        "path names of unknown number, looked up before there is an arena or a daemon",
}

# (file, private header of a lower floor): reason
ALLOWED_HEADERS = {
    ("src/cli/cli_source.c", "md_superblock.h"):
        "tells a member from any other file before there is an array",
    ("src/cli/cli_superblock.c", "md_superblock.h"): "examine prints the raw superblock",
    ("src/cli/cli_superblock.c", "meta_block.h"): "examine prints the raw log",
}


def floor_of(path):
    """(floor, is_test) of a file, or None for what stands on no floor."""
    match = re.match(r"include/r5fs/(\w+)/", path)
    if match and match.group(1) in DOORS:
        return DOORS[match.group(1)], False
    match = re.match(r"tests/(?:unit|lib)/(\w+)/", path)
    if match and match.group(1) in TEST_FLOORS:
        return TEST_FLOORS[match.group(1)], True
    for folder, floor in FLOOR_DIRS:
        if path.startswith(folder + "/"):
            return floor, False
    return None


class Report:
    def __init__(self):
        self.problems = []
        self.allowed_used = set()

    def add(self, path, line, text):
        self.problems.append(f"{path}:{line}: {text}" if line else f"{path}: {text}")

    def add_unless_allowed(self, path, line, home, what):
        for key in ALLOWED:
            if key[:2] == (path, home.name) and what in key[2].split():
                self.allowed_used.add(key)
                return
        self.add(path, line, f"{what}: {home.name} has its home in {', '.join(home.places)}")

    def add_stale(self, path, text):
        if os.path.exists(os.path.join(c_source.ROOT, path)):
            self.add(path, 0, f"the allowance for {text} is not needed any more")


def check_include(report, path, line, name, private_headers):
    floor, is_test = floor_of(path)
    door = re.match(r"r5fs/(\w+)/", name)
    if door:
        if door.group(1) not in DOORS:
            report.add(path, line, f"include of {name}: no such door")
        elif DOORS[door.group(1)] > floor:
            report.add(path, line, f"upward include of {name}: this file is on floor {floor}")
        return
    targets = private_headers.get(os.path.basename(name), [])
    if not targets:
        report.add(path, line, f"include of {name}: no such header in the tree")
        return
    target_floor, target_is_test = floor_of(targets[0])
    if target_is_test and not is_test:
        report.add(path, line, f"include of {name}: it belongs to the tests")
    elif target_floor > floor:
        report.add(path, line, f"upward include of {name}: floor {target_floor} from floor {floor}")
    elif (path, name) in ALLOWED_HEADERS:
        report.allowed_used.add((path, name))
    elif target_floor < floor and not is_test:
        report.add(path, line, f"include of {name}: private to floor {target_floor}, use its door")
    elif path.startswith("include/"):
        report.add(path, line, f"include of {name}: a door must not need a private header")


def in_any(path, patterns):
    return any(fnmatch.fnmatch(path, p) for p in patterns)


def check_homes(report, path, text):
    code, _ = c_source.strip_c(text)
    for home in HOMES:
        if in_any(path, home.places) or not in_any(path, home.scope):
            continue
        if home.include:
            for line, is_system, name in c_source.includes(text):
                if is_system and home.include.match(name):
                    report.add_unless_allowed(path, line, home, f"<{name}>")
        if home.call:
            for match in home.call.finditer(code):
                line = c_source.line_of(code, match.start())
                report.add_unless_allowed(path, line, home, match.group(1))


def check_sources(report):
    sources = [p for p in c_source.tree_files() if p.endswith((".c", ".h"))]
    private_headers = {}
    for path in sources:
        if path.endswith(".h") and not path.startswith("include/") and floor_of(path):
            private_headers.setdefault(os.path.basename(path), []).append(path)
    for path in sources:
        text = c_source.read(path)
        check_homes(report, path, text)
        if floor_of(path) is None:
            if not path.startswith("tests/"):
                report.add(path, 0, "stands on no floor")
            continue
        for line, is_system, name in c_source.includes(text):
            if not is_system:
                check_include(report, path, line, name, private_headers)
    for key in (ALLOWED.keys() | ALLOWED_HEADERS.keys()) - report.allowed_used:
        report.add_stale(key[0], key[-1])
    return len(sources)


def symbols(library):
    """(defined, {undefined: object file}) of a static library."""
    # Libraries of link-time-optimized objects open only to the compiler's own nm.
    tool = shutil.which("gcc-nm") or "nm"
    out = subprocess.run([tool, "-A", "-g", library], check=True, capture_output=True, text=True)
    defined = set()
    undefined = {}
    for line in out.stdout.splitlines():
        where, _, rest = line.rpartition(":")
        fields = rest.split()
        if len(fields) < 2:
            continue
        kind, name = fields[-2], fields[-1]
        if kind == "U":
            undefined.setdefault(name, where.rsplit(":", 1)[-1])
        elif kind.isupper() or kind in "vw":
            defined.add(name)
    return defined, undefined


def check_calls(report, build_dir):
    found = {}
    for name in LIBRARIES:
        library = os.path.join(build_dir, f"libr5_{name}.a")
        if os.path.exists(library):
            found[name] = symbols(library)
    if not found:
        report.add(build_dir, 0, "no floor's library here (build first)")
    reachable = set()
    for floor, name in enumerate(LIBRARIES):
        if name not in found:
            continue
        reachable |= found[name][0]
        for symbol, where in sorted(found[name][1].items()):
            if symbol in reachable:
                continue
            for above in LIBRARIES[floor + 1:]:
                if above in found and symbol in found[above][0]:
                    report.add(f"libr5_{name}.a({where})", 0,
                               f"upward call of {symbol}, which only {above} has")
    return len(found)


def main():
    report = Report()
    source_count = check_sources(report)
    library_count = check_calls(report, sys.argv[1]) if len(sys.argv) > 1 else 0
    for problem in report.problems:
        print(problem)
    print(f"check_floors: {source_count} files, {library_count} libraries, "
          f"{len(report.problems)} problems")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
