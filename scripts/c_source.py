# SPDX-License-Identifier: GPL-2.0-or-later
"""What the checking scripts share: the files of the tree, and C text without comments and strings."""
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED_DIRS = {".git", "build", "quickstart"}

_TOKEN = re.compile(
    r"""
    (?P<block>/\*.*?\*/)
  | (?P<line>//[^\n]*)
  | (?P<string>"(?:\\.|[^"\\\n])*")
  | (?P<char>'(?:\\.|[^'\\\n])*')
    """,
    re.VERBOSE | re.DOTALL,
)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)


def tree_files():
    """Paths from ROOT of all files that are, or are about to be, part of the project."""
    try:
        out = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard"],
            check=True, capture_output=True,
        ).stdout.decode()
        names = [n for n in out.split("\0") if n]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [d for d in folders if d not in SKIPPED_DIRS]
            names += [os.path.relpath(os.path.join(folder, f), ROOT) for f in files]
    return sorted(n for n in set(names) if os.path.isfile(os.path.join(ROOT, n)))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def strip_c(text):
    """(code, line_comments): comments and the contents of strings become blanks, lines stay lines;
    line_comments are the line numbers of // comments."""
    line_comments = []

    def replace(match):
        if match.lastgroup == "line":
            line_comments.append(text.count("\n", 0, match.start()) + 1)
        if match.lastgroup in ("string", "char"):
            body = match.group()
            return body[0] + _blank(body[1:-1]) + body[-1]
        return _blank(match.group())

    return _TOKEN.sub(replace, text), line_comments


def includes(text):
    """(line number, is_system, name) of each #include that is not in a comment."""
    without_comments = _TOKEN.sub(
        lambda m: _blank(m.group()) if m.lastgroup in ("block", "line") else m.group(), text
    )
    for match in _INCLUDE.finditer(without_comments):
        line = without_comments.count("\n", 0, match.start()) + 1
        yield line, match.group(1) == "<", match.group(2)


def line_of(text, position):
    return text.count("\n", 0, position) + 1
