#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Writers parked for memory or log space, because the disks do not answer: they can be killed, the
# mount still answers what needs no disk, and all goes on when the disks are back. The disks are files on
# another r5fs, whose daemon is stopped for a while.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

outer=$work/outer
inner=$work/inner
mkdir -p "$outer" "$inner"
mnt=$inner
clean_up_both() {
    [ -z "${outer_pid:-}" ] || kill -CONT "$outer_pid" 2>/dev/null
    is_mounted "$inner" && "$R5FS" unmount "$inner" >/dev/null 2>&1
    is_mounted "$outer" && "$R5FS" unmount "$outer" >/dev/null 2>&1
    clean_up
}
trap clean_up_both EXIT

pid_of() { "$R5FS" status "$1" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])'; }
parked() {
    timeout 10 "$R5FS" status "$inner" --json |
        python3 -c 'import json,sys; print(json.load(sys.stdin)["journal"]["parked"])'
}
is_dead() { [ ! -e "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null || [ ! -e "/proc/$1" ]; }
all_dead_within() { # SECONDS PID...
    local i pid alive seconds=$1
    shift
    for ((i = 0; i < seconds * 10; i++)); do
        alive=0
        for pid in "$@"; do is_dead "$pid" || alive=1; done
        [ $alive -eq 0 ] && return 0
        sleep 0.1
    done
    return 1
}

make_array 4 512M 64M --sparse >/dev/null || { echo "not ok create"; exit 1; }
claim "outer mount" "$R5FS" mount "${members[@]}" "$journal" "$outer" || finish
outer_pid=$(pid_of "$outer")
claim "create on the outer" "$R5FS" create --sparse --size 400M --journal "$outer/j" --journal-size 16M \
    "$outer/d0" "$outer/d1" "$outer/d2" || finish
claim "inner mount" "$R5FS" mount "$outer/d0" "$outer/d1" "$outer/d2" "$outer/j" "$inner" \
    -o memory=64M,threads=4 || finish

writers=6
for ((i = 0; i < writers; i++)); do
    head -c 20M /dev/zero | tr '\0' a >"$inner/f$i"
done
sync "$inner/f0"
kill -STOP "$outer_pid"
pids=()
for ((i = 0; i < writers; i++)); do
    dd if=/dev/zero of="$inner/f$i" bs=1M count=20 conv=notrunc status=none 2>/dev/null &
    pids+=($!)
done
for ((i = 0; i < 100; i++)); do
    count=$(parked)
    [ "${count:-0}" -ge 3 ] && break
    sleep 0.1
done
claim "writers are parked, and status answers" [ "${count:-0}" -ge 3 ]
claim "each is counted by what it lacks" eval 'timeout 10 "$R5FS" status "$inner" --json | python3 -c "
import json, sys
status = json.load(sys.stdin)
journal = status[\"journal\"]
lacks = journal[\"no_space\"]
assert sum(sum(by.values()) for by in lacks.values()) == journal[\"parked\"] >= 3, journal
assert sum(journal[\"units\"].values()) == 8, journal
pools = {pool[\"name\"]: pool for pool in status[\"pools\"]}
names = {\"transaction_room\": \"transaction credit\", \"image\": \"stripe image\", \"log_space\": \"log space\"}
assert sum(pools[name][\"parked\"] for name in names.values()) == journal[\"parked\"], pools
assert sum(pools[name][\"parked_ever\"] for name in names.values()) >= 3, pools
"'
claim "and shown to people" eval 'timeout 10 "$R5FS" status "$inner" -v | grep -E "^no space .*: ([1-9][0-9]* writers|.* [1-9][0-9]* operations)"'
claim "so do names" timeout 10 ls -l "$inner"
for pid in "${pids[@]}"; do kill -9 "$pid"; done
claim "parked writers can be killed" all_dead_within 10 "${pids[@]}"
kill -CONT "$outer_pid"
claim "and all goes on" eval 'echo on >"$inner/on" && sync "$inner/on"'
claim "inner unmount" "$R5FS" unmount "$inner"
claim "inner check" "$R5FS" check "$outer/d0" "$outer/d1" "$outer/d2" "$outer/j" -n --parity
claim "outer unmount" "$R5FS" unmount "$outer"
finish
