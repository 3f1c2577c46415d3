#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The disk under one member is full: fsync still answers, the message and status name the member, a mount
# after a crash says which it is, and everything goes on when there is room.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

[ "$(id -u)" = 0 ] || skip "needs root, for a small tmpfs"
small=$work/small
mkdir "$small"
mount -t tmpfs -o size=100M tmpfs "$small" 2>/dev/null || skip "tmpfs cannot be mounted here"
trap 'umount -l "$small"; clean_up' EXIT

make_array 3 64M 16M >/dev/null
cp --sparse=always "${members[1]}" "$small/d1" # with holes: writing needs room
rm "${members[1]}"
members[1]=$small/d1
head -c 200M /dev/zero >"$small/filler" 2>/dev/null
claim "the host of one member is full" [ "$(stat -f -c %f "$small")" = 0 ] || finish

claim "mount" mount_array -o commit=300 || finish
status_json() { "$R5FS" status "$mnt" --json | python3 -c "import json,sys; print(json.load(sys.stdin)$1)"; }
wait_for() { # WANTED: journal.waiting_for_space
    local i
    for ((i = 0; i < 100; i++)); do
        [ "$(status_json '["journal"]["waiting_for_space"]')" = "$1" ] && return 0
        sleep 0.1
    done
    return 1
}
put() { dd if=/dev/urandom of="$mnt/$1" bs=64k count=16 conv=fsync status=none; }
claim "fsync answers all the same" put first
claim "status --json says that it waits" wait_for True
"$R5FS" status "$mnt" >"$work/said"
claim "status names the member" grep -q "waits .* $small/d1" "$work/said"
claim "nothing failed" [ "$(status_json '["array"]["missing"]')" = 0 ]
(cd "$mnt" && sha256sum first) >"$work/contents"

kill_daemon "$(daemon_pid)"
mount_array >"$work/said" 2>&1 && unmount_array >/dev/null 2>&1
claim "a mount after a crash names the member" grep -q "$small/d1" "$work/said"

rm "$small/filler"
claim "mount with room again" mount_array || finish
claim "the fsynced file is there" bash -c "cd '$mnt' && sha256sum --quiet -c '$work/contents'"

head -c 200M /dev/zero >"$small/filler" 2>/dev/null
claim "fsync while it is full again" put second
claim "it waits again" wait_for True
rm "$small/filler"
claim "it goes on by itself when there is room" wait_for False
claim "unmount" unmount_array
claim "check and parity" check_array --parity
finish
