#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# After the mount nothing of ours allocates: under full load with a daemon that aborts when it does
# (tests/lib/sealed), and with one whose every allocation fails from then on. What libfuse allocates for
# a request is the one exception: when that fails, the caller gets ENOMEM, and nothing else is lost.
#   R5FS_SEED=1 R5FS_SECONDS=60 tests/e2e/test_e2e_sealed.sh
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"
[ -n "${R5FS_SEALED:-}" ] || skip "this build has no r5fs_sealed (a sanitizer has its own allocator)"

seed=${R5FS_SEED:-$((RANDOM * 32768 + RANDOM))}
seconds=${R5FS_SECONDS:-12}
echo "replay: R5FS_SEED=$seed R5FS_SECONDS=$seconds $0"
mkdir "$work/sealed" && install -m 755 "$R5FS_SEALED" "$work/sealed/r5fs" || exit 1
export R5FS_SEALED_PAGE=$work/page
export R5FS_SEALED_REPORT=$work/report

ABORT=0 FAIL=1 FAIL_SOME=2
page() { # FIELD: libfuse, failed, ours
    python3 -c 'import struct,sys
page = open(sys.argv[1], "rb").read(32)
print(struct.unpack("<IIQQQ", page)[["mode", "sealed", "libfuse", "failed", "ours"].index(sys.argv[2])])' "$work/page" "$1"
}
set_mode() { printf "\\x0$1" | dd of="$work/page" bs=1 conv=notrunc status=none; }
nobody_of_ours() {
    [ "$(page ours)" -eq 0 ] && [ ! -e "$work/report" ] && return 0
    addr2line -Cfpe "$work/sealed/r5fs" $(sed -n 's/.*sealed\/r5fs(+\(0x[0-9a-f]*\)).*/\1/p' "$work/report" 2>/dev/null) 2>/dev/null
    cat "$work/report"
    return 1
}
mount_sealed() {
    rm -f "$work/report"
    dd if=/dev/zero of="$work/page" bs=4096 count=1 status=none
    "$work/sealed/r5fs" mount "${members[@]}" "$journal" "$mnt" -o memory=64M,threads=6 "$@"
}
ask_status_for() { # SECONDS
    local until=$((SECONDS + $1))
    while [ $SECONDS -lt $until ]; do
        "$R5FS" status "$mnt" -v >/dev/null 2>&1
        "$R5FS" status "$mnt" --json >/dev/null 2>&1
        df "$mnt" >/dev/null 2>&1
    done
}
load() { # SECONDS [again]
    local asking
    ask_status_for "$1" &
    asking=$!
    python3 "$lib_dir/full_load.py" run "$mnt" "$work/state" "$seed" "$1" 8 ${2:-}
    local code=$?
    wait $asking
    return $code
}

# One member on another mount, whose daemon is killed later on.
outer=$work/outer
mkdir -p "$outer"
clean_up_both() {
    is_mounted && "$R5FS" unmount "$mnt" --timeout 20 >/dev/null 2>&1
    is_mounted "$outer" && fusermount3 -u -z "$outer"
    clean_up
}
trap clean_up_both EXIT
make_array 3 256M 16M --sparse >/dev/null && mv "$work/disks" "$work/outer-disks" &&
    "$R5FS" mount "$work/outer-disks" "$outer" -o memory=64M || { echo "not ok outer mount"; exit 1; }
outer_pid=$("$R5FS" status "$outer" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')
mkdir -p "$work/disks"
members=("$work/disks/d0" "$work/disks/d1" "$outer/d2" "$work/disks/d3")
journal=$work/disks/journal
"$R5FS" create --size 192M --sparse --journal "$journal" --journal-size 16M "${members[@]}" >/dev/null ||
    { echo "not ok create"; exit 1; }

claim "mount, aborting" mount_sealed || finish
claim "full load while whoever of ours allocates aborts" load "$seconds"
claim "libfuse was seen to allocate" [ "$(page libfuse)" -gt 1000 ]
claim "nothing of ours allocated under load" nobody_of_ours
kill -9 "$outer_pid" # a member that fails: messages, a time of day in status
claim "load with a member that fails" load 5
claim "it has failed" eval '"$R5FS" status "$mnt" -v >"$work/status" && grep -q "^2 .*faulty .*failed" "$work/status"'
claim "nothing of ours allocated when it failed" nobody_of_ours
claim "unmount, aborting" unmount_array
claim "nothing of ours allocated on the way down" nobody_of_ours
fusermount3 -u -z "$outer"
members=("$work/disks/d0" "$work/disks/d1" "$work/disks/d3")
claim "mount again" mount_array -o degraded
claim "all that was written is there" python3 "$lib_dir/full_load.py" verify "$mnt" "$work/state"
claim "unmount" unmount_array

make_array 4 192M 16M >/dev/null || { echo "not ok create"; exit 1; }
claim "mount, libfuse short of memory now and then" mount_sealed -o backend=threads || finish
set_mode $FAIL_SOME
claim "a third of libfuse's allocations fail, what was done is done" load "$seconds" again
claim "some did fail" [ "$(page failed)" -gt 100 ]
set_mode $ABORT
claim "all that was written is there before the unmount" \
    python3 "$lib_dir/full_load.py" verify "$mnt" "$work/state"
claim "nothing of ours allocated" nobody_of_ours

# What FORGET says must not get lost with libfuse's memory: the inode would never be freed.
used() { df --output=used -B4096 "$mnt" | tail -1; }
for ((i = 0; i < 300; i++)); do head -c 40960 /dev/zero >"$mnt/gone$i"; done
filled=$(used)
set_mode $FAIL_SOME
python3 - "$mnt" <<'P'
import errno, os, sys
for i in range(300):
    while True:
        try:
            os.unlink(f"{sys.argv[1]}/gone{i}")
        except OSError as error:
            if error.errno == errno.ENOENT:
                break
            if error.errno != errno.ENOMEM:
                raise
P
set_mode $ABORT
freed() {
    local i
    for ((i = 0; i < 100; i++)); do [ $((filled - $(used))) -ge 3000 ] && return 0; sleep 0.1; done
    echo "used before $filled, now $(used)"
    return 1
}
claim "what was deleted meanwhile is freed" freed

head -c 300000 /dev/urandom >"$work/last"
cp "$work/last" "$mnt/last"
daemon=$(daemon_pid)
set_mode $FAIL
claim "every allocation fails: an error, no hang" eval '! timeout 20 mkdir "$mnt/new"; [ $? -ne 124 ]'
hammer() { # N: whatever is asked for ends, with an error or what was cached
    local i code
    for ((i = 0; i < 40; i++)); do
        timeout 20 ls -l "$mnt/w$1"
        timeout 20 cat "$mnt/last"
        timeout 20 cp "$work/last" "$mnt/w$1/f$i"
        code=$?
        [ $code -ne 124 ] || return 1
    done
    return 0
}
hammers=()
for ((n = 0; n < 8; n++)); do
    hammer $n >/dev/null 2>&1 &
    hammers+=($!)
done
for ((n = 0; n < 8; n++)); do
    wait "${hammers[n]}"
    claim "nothing hangs for user $n" [ $? -eq 0 ]
done
claim "it was libfuse that failed" [ "$(page failed)" -gt 500 ]
claim "the daemon lives on" kill -0 "$daemon"
# Who it is cannot be asked without a request of libfuse's; that all is written is seen afterwards.
claim "it can be unmounted" eval 'unmount_array --timeout 60; ! is_mounted'
gone() { for ((i = 0; i < 600; i++)); do kill -0 "$daemon" 2>/dev/null || return 0; sleep 0.1; done; return 1; }
claim "and ends" gone
claim "nothing of ours asked for memory" [ "$(page ours)" -eq 0 ]
claim "check and parity after that" check_array --parity
claim "mount once more" mount_array
claim "what was written before is there" cmp "$work/last" "$mnt/last"
claim "with all the rest" python3 "$lib_dir/full_load.py" verify "$mnt" "$work/state"
claim "unmount once more" unmount_array
finish
