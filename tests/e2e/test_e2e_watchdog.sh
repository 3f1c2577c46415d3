#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A disk that does not answer is named by the watchdog, once, with the trace of what happened last; when it
# answers again that is said, and nothing was lost. The disk is a file on another r5fs, whose daemon is
# stopped for a while. What works is never named.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

outer=$work/outer
mkdir -p "$outer"
clean_up_both() {
    [ -z "${outer_pid:-}" ] || kill -CONT "$outer_pid" 2>/dev/null
    is_mounted && "$R5FS" unmount "$mnt" >/dev/null 2>&1
    is_mounted "$outer" && "$R5FS" unmount "$outer" >/dev/null 2>&1
    clean_up
}
trap clean_up_both EXIT

pid_of() { "$R5FS" status "$1" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])'; }
wait_for() { # TEXT
    local i
    for ((i = 0; i < 600; i++)); do
        grep -q -- "$1" "$work/log" && return 0
        sleep 0.1
    done
    cat "$work/log"
    return 1
}
count_is() { [ "$(grep -c -- "$1" "$work/log")" -eq "$2" ]; }

make_array 3 300M 16M --sparse >/dev/null && mv "$work/disks" "$work/outer-disks" || { echo "not ok create"; exit 1; }
claim "outer mount" "$R5FS" mount "$work/outer-disks" "$outer" -o memory=64M || finish
outer_pid=$(pid_of "$outer")
mkdir -p "$work/disks"
members=("$work/disks/d0" "$outer/d1" "$work/disks/d2")
journal=$work/disks/journal
claim "create with one member on the outer" "$R5FS" create --sparse --size 200M \
    --journal "$journal" --journal-size 16M "${members[@]}" || finish

# In the foreground messages go to stderr; a healthy mount, then, under the default limit.
"$R5FS" mount -f "${members[@]}" "$journal" "$mnt" -o memory=64M 2>"$work/log" &
for ((i = 0; i < 200; i++)); do is_mounted && break; sleep 0.05; done
claim "load on a healthy mount" python3 "$lib_dir/full_load.py" run "$mnt" "$work/state" 1 8 4
claim "unmount" unmount_array
claim "nothing was named" count_is "watchdog: no_progress" 0

"$R5FS" mount -f "${members[@]}" "$journal" "$mnt" -o memory=64M,watchdog=2 2>"$work/log" &
for ((i = 0; i < 200; i++)); do is_mounted && break; sleep 0.05; done
kill -STOP "$outer_pid"
# More than the log takes, so that rows must go to the member.
dd if=/dev/urandom of="$mnt/file" bs=1M count=40 status=none &
writer=$!
claim "the disk that does not answer is named" wait_for "watchdog: no_progress .*what=\"I/O\" name=$outer/d1"
claim "what waits for it, too" wait_for "watchdog: no_progress .*what=\"parked \(writers\|operations\)\""
claim "with the trace" wait_for "r5fs: trace: end"
claim "in which are its last steps" grep -q "writeout.begin" "$work/log"
claim "status answers meanwhile" timeout 10 "$R5FS" status "$mnt" -v
kill -CONT "$outer_pid"
wait $writer
claim "the writer's end" [ $? -eq 0 ]
claim "that it goes on is said" wait_for "watchdog: progress_again .*what=\"I/O\" name=$outer/d1"
claim "once it was named" count_is "no_progress .*what=\"I/O\" name=$outer/d1" 1
claim "one trace" count_is "r5fs: trace: begin" 1
claim "unmount after that" unmount_array
claim "check" check_array --parity
claim "outer unmount" "$R5FS" unmount "$outer"
finish
