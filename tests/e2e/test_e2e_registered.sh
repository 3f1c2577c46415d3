#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The log is written from memory registered with io_uring, as far as the user may lock memory; status says how
# much that is; what is beyond is written all the same.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

fact() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["daemon"][sys.argv[2]])' "$work/json" "$1"; }
text() { sed -n 's/^memory    registered with io_uring \([0-9.]*\) MiB, \([0-9]*\) transfers; refused \([0-9]*\)$/\1 \2 \3/p' "$work/text"; }
# Several threads lead a commit, each with a ring of its own.
write_some() {
    local i
    for i in 1 2 3 4 5 6; do
        (for _ in 1 2 3; do dd if="$work/pattern" of="$mnt/data$i" bs=64k conv=fsync status=none; done) &
    done
    wait
}
same() {
    local i
    for i in 1 2 3 4 5 6; do cmp "$work/pattern" "$mnt/data$i" || return 1; done
}
look() {
    "$R5FS" status "$mnt" --json >"$work/json" && "$R5FS" status "$mnt" -v >"$work/text"
}

make_array 3 128M 16M --sparse >/dev/null || { echo "not ok create"; exit 1; }
mount_array -o memory=64M,backend=uring || { echo "skipped: io_uring is refused here"; exit 77; }
head -c 2000000 /dev/urandom >"$work/pattern"
claim "write" write_some
claim "look" look
if [ "$(id -u)" -eq 0 ]; then
    claim "buffers of the log are registered, none was refused" \
        eval '[ "$(fact registered)" -gt 0 ] && [ "$(fact registered_refused)" -eq 0 ]'
    claim "and written from" [ "$(fact registered_transfers)" -ge 18 ]
    claim "people are told the same" eval '[[ "$(text)" =~ ^[0-9]+\.[0-9]\ [0-9]+\ 0$ ]] && [[ "$(text)" != 0.0* ]]'
fi
claim "unmount" unmount_array
claim "mount again" mount_array || finish
claim "what was written is there" same
chmod 1777 "$mnt"
claim "unmount again" unmount_array

[ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null || { echo "skipped: as another user (needs root, setpriv)"; finish; }
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"; }
chown -R 65534:65534 "$work/disks" "$mnt"
as_nobody test -r /dev/fuse || { echo "skipped: as another user (/dev/fuse is closed to others)"; finish; }
# Enough for the rings; half of it is less than one buffer of the log.
ulimit -l 1536
claim "mount as a user who may lock little" \
    as_nobody "$R5FS" mount "${members[@]}" "$journal" "$mnt" -o memory=64M,backend=uring || finish
export -f write_some same
export mnt work
chmod 755 "$work"
chmod 644 "$work/pattern"
claim "write as the user" as_nobody bash -c write_some
as_nobody "$R5FS" status "$mnt" --json >"$work/json"
claim "nothing is registered, status says that it was refused" \
    eval '[ "$(fact registered)" -eq 0 ] && [ "$(fact registered_refused)" -gt 0 ]'
claim "what the user wrote is there" as_nobody bash -c same
claim "unmount as the user" as_nobody "$R5FS" unmount "$mnt"
claim "check" check_array --parity
finish
