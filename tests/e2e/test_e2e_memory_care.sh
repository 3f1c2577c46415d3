#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is asked of the kernel so that memory does not run short (locked memory, an I/O flusher's rights, a
# low out-of-memory score) is granted or refused, the refusal is in the status, and nothing depends on it.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

fact() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["daemon"][sys.argv[2]])' "$work/json" "$1"; }
has_capability() { # BIT
    (($((16#$(awk '/^CapEff/ {print $2}' /proc/self/status))) >> $1 & 1))
}

make_array 3 128M 16M --sparse >/dev/null || { echo "not ok create"; exit 1; }

claim "mount" mount_array -o memory=64M || finish
"$R5FS" status "$mnt" --json >"$work/json"
"$R5FS" status "$mnt" -v >"$work/text"
pid=$(daemon_pid)
locked=$(awk '/^VmLck/ {print $2}' "/proc/$pid/status")
if has_capability 14; then # CAP_IPC_LOCK
    claim "memory is locked, and status says so" \
        eval '[ "$(fact memory_locked)" = True ] && [ "$(fact memory_lock_error)" = None ] && [ "$locked" -ge 65536 ]'
    claim "to people, too" grep -q "^memory    locked$" "$work/text"
fi
if has_capability 24; then # CAP_SYS_RESOURCE
    claim "it is an I/O flusher" [ "$(fact io_flusher_error)" = None ]
    claim "and the last to be killed" eval '[ "$(fact oom_score_error)" = None ] && [ "$(cat /proc/$pid/oom_score_adj)" = -1000 ]'
else
    claim "an I/O flusher it is not, and status says why" eval '[ "$(fact io_flusher_error)" = EPERM ] &&
        grep -q "^memory    not given as to an I/O flusher: refused, Operation not permitted$" "$work/text"'
    claim "nor the last to be killed" eval '[ "$(fact oom_score_error)" = EACCES ] &&
        grep -q "^memory    not kept from the out-of-memory killer: refused, Permission denied$" "$work/text"'
fi
chmod 1777 "$mnt"
claim "unmount" unmount_array

[ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null || { echo "skipped: as another user (needs root, setpriv)"; finish; }
as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"; }
chown -R 65534:65534 "$work/disks" "$mnt"
as_nobody test -r /dev/fuse || { echo "skipped: as another user (/dev/fuse is closed to others)"; finish; }
# Less than the memory, and less than the rings: threads take over by themselves.
ulimit -l 64
claim "mount as a user who may lock nothing" as_nobody "$R5FS" mount "${members[@]}" "$journal" "$mnt" -o memory=64M || finish
as_nobody "$R5FS" status "$mnt" --json >"$work/json"
claim "all three refusals are in the status" eval '[ "$(fact memory_locked)" = False ] &&
    [ "$(fact memory_lock_error)" = ENOMEM ] && [ "$(fact io_flusher_error)" = EPERM ] && [ "$(fact oom_score_error)" = EACCES ]'
as_nobody "$R5FS" status "$mnt" -v >"$work/text"
claim "each once" [ "$(grep -c "^memory    not .*: refused, " "$work/text")" -eq 3 ]
chmod 755 "$work"
claim "and it works" as_nobody bash -c "head -c 3000000 /dev/zero >'$mnt/data' && sync '$mnt/data' && [ \$(stat -c %s '$mnt/data') -eq 3000000 ]"
claim "unmount as the user" as_nobody "$R5FS" unmount "$mnt"
claim "check" check_array --parity
finish
