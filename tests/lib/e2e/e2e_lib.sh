# SPDX-License-Identifier: GPL-2.0-or-later
# Shared by the end-to-end tests: an array over files in a directory of its own, real mounts, and
# "ok NAME" / "not ok NAME" for each claim. Sourced. Needs R5FS, the binary under test.
#
# R5FS_TEST_DIR: where the files go (default: a new directory under ${TMPDIR:-/tmp}).

set -u
lib_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
R5FS=${R5FS:?names the r5fs binary under test}
work=$(mktemp -d "${R5FS_TEST_DIR:-${TMPDIR:-/tmp}}/r5fs-e2e.XXXXXX") || exit 1
# A copy that other users can reach, too: the build directory may lie in a closed one.
chmod 755 "$work"
install -m 755 "$R5FS" "$work/r5fs" || exit 1
R5FS=$work/r5fs
mnt=$work/mnt
mkdir -p "$mnt"
failures=0

skip() {
    echo "skipped: $*"
    exit 77
}

[ -e /dev/fuse ] || skip "/dev/fuse is not there"
command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"

is_mounted() { awk -v m="${1:-$mnt}" '$2 == m {found = 1} END {exit !found}' /proc/mounts; }

# Who runs this test's own copy of the binary.
own_processes() {
    local exe
    for exe in /proc/[0-9]*/exe; do
        [[ $(readlink "$exe" 2>/dev/null) != "$R5FS" ]] || basename "${exe%/exe}"
    done
}

clean_up() {
    local pid
    for pid in $(jobs -p); do kill "$pid" 2>/dev/null; done
    if is_mounted; then
        "$R5FS" unmount "$mnt" --timeout 20 >/dev/null 2>&1 || fusermount3 -u -z "$mnt" 2>/dev/null
        for pid in $(own_processes); do kill -9 "$pid" 2>/dev/null; done
    fi
    if [ "$failures" -eq 0 ] || [ -z "${R5FS_KEEP:-}" ]; then
        rm -rf "$work"
    else
        echo "kept: $work"
    fi
}
trap clean_up EXIT

claim() { # NAME COMMAND...: ok when the command succeeds
    local name=$1 code
    shift
    "$@" >"$work/.out" 2>&1 # in this shell: make_array sets variables
    code=$?
    if [ $code -eq 0 ]; then
        echo "ok $name"
    else
        echo "not ok $name ($*: exit $code)"
        tail -20 "$work/.out" | sed 's/^/    /'
        failures=$((failures + 1))
        return 1
    fi
}

claim_exit() { # NAME CODE COMMAND...: ok when the command exits with CODE and says one line why
    local name=$1 want=$2 code
    shift 2
    "$@" >"$work/.out" 2>&1 </dev/null
    code=$?
    if [ $code -eq "$want" ]; then
        echo "ok $name"
    else
        echo "not ok $name ($*: exit $code, expected $want)"
        tail -20 "$work/.out" | sed 's/^/    /'
        failures=$((failures + 1))
        return 1
    fi
}

finish() {
    [ "$failures" -eq 0 ] || exit 1
    exit 0
}

# make_array MEMBERS SIZE JOURNAL_SIZE [CREATE OPTIONS]: sets `members` and `journal`.
make_array() {
    local count=$1 size=$2 journal_size=$3 i
    shift 3
    rm -rf "$work/disks"
    mkdir -p "$work/disks"
    members=()
    for ((i = 0; i < count; i++)); do members+=("$work/disks/d$i"); done
    journal=$work/disks/journal
    "$R5FS" create --size "$size" --journal "$journal" --journal-size "$journal_size" "$@" "${members[@]}"
}

mount_array() { "$R5FS" mount "${members[@]}" "$journal" "$mnt" "$@"; }
unmount_array() { "$R5FS" unmount "$mnt" "$@"; }
check_array() { "$R5FS" check "${members[@]}" "$journal" -n "$@"; }
daemon_pid() { "$R5FS" status "$mnt" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])'; }
# kill -9, and the dead mount taken away.
kill_daemon() {
    kill -9 "$1"
    while grep -q '^State:[[:space:]]*[^Z]' "/proc/$1/status" 2>/dev/null; do sleep 0.02; done
    fusermount3 -u -z "$mnt" 2>/dev/null || umount -l "$mnt"
}
