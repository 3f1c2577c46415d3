#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A record that rots in the middle of the live log: refused with the loss named, nothing changed, readable
# with ro,norecovery; going on without the lost part takes the explicit option. An older copy of the
# journal is not taken silently.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

make_array 4 64M 16M >/dev/null || { echo "not ok create"; exit 1; }
claim "mount" mount_array -o commit=300 || finish
for i in $(seq 40); do
    head -c 20000 /dev/urandom >"$mnt/f$i"
    sync "$mnt/f$i"
done
cp --sparse=always "$journal" "$work/journal-before"
kill_daemon "$(daemon_pid)"

# A page in the middle of what is live: the 20th unit's first payload.
page=$("$R5FS" dump journal "${members[@]}" "$journal" | awk '/^unit/ {n++} n == 20 && /page=/ {sub(/.*page=/, ""); print $1; exit}')
offset=$("$R5FS" examine --json "$journal" | python3 -c 'import json,sys; print(json.load(sys.stdin)["files"][0]["data_offset"])')
claim "the dump names a payload page in the live log" [ -n "$page" ] || finish
cp --sparse=always "$journal" "$work/journal-good"
dd if=/dev/urandom of="$journal" bs=4096 seek=$((offset / 4096 + page)) count=1 conv=notrunc status=none
sums() { sha256sum "${members[@]}" "$journal"; }
before=$(sums)
claim_exit "a rotten record in the live log is refused" 6 mount_array
cp "$work/.out" "$work/said"
claim "the refusal names the loss and the way out" grep -q 'accept.damaged.log' "$work/said"
claim "nothing was changed by the refusal" [ "$(sums)" = "$before" ]
claim_exit "check refuses too" 8 check_array
claim_exit "dump volume refuses too" 6 "$R5FS" dump volume "${members[@]}" "$journal" -o "$work/volume"
claim "nothing was changed by check and dump" [ "$(sums)" = "$before" ]
claim "the option goes on" mount_array -o accept_damaged_log || finish
claim "the first file is there" [ "$(stat -c %s "$mnt/f1")" = 20000 ]
claim "unmount" unmount_array
claim "check and parity" check_array --parity
claim "it mounts without the option afterwards" mount_array
claim "unmount again" unmount_array

# --- an older copy of the journal
rm -rf "$work/disks"
make_array 3 64M 16M >/dev/null
claim "mount (older journal)" mount_array
claim "unmount (older journal)" unmount_array
cp --sparse=always "$journal" "$work/journal-old"
claim "mount once more" mount_array
claim "a file after the copy" bash -c "echo later >'$mnt/later' && sync '$mnt/later'"
claim "unmount once more" unmount_array
cp --sparse=always "$work/journal-old" "$journal"
claim_exit "a journal from before the last mount is refused" 6 mount_array

# --- an older copy of the journal, taken within the same mount
rm -rf "$work/disks"
make_array 3 64M 4M >/dev/null
claim "mount (copy within a mount)" mount_array -o commit=300
put() { # NAME KIB: a new file, or the old one again, durable
    dd if=/dev/urandom of="$mnt/$1" bs=1k count="$2" conv=fsync,notrunc status=none
}
put first 300
cp --sparse=always "$journal" "$work/journal-old"
for i in $(seq 6); do # more than the journal holds: it is written out in between
    put first 300
    put "more$i" 1500
done
put last 100
(cd "$mnt" && sha256sum ./*) >"$work/contents"
kill_daemon "$(daemon_pid)"
cp --sparse=always "$journal" "$work/journal-newest"
cp --sparse=always "$work/journal-old" "$journal"
before=$(sums)
claim_exit "an older copy from the same mount is refused" 6 mount_array
cp "$work/.out" "$work/said"
claim "the refusal says what it is" grep -q "older copy" "$work/said"
claim "and the way out" grep -q accept_damaged_log "$work/said"
claim_exit "a mount for reading refuses it" 6 mount_array -o ro
claim_exit "check refuses it" 8 check_array
claim_exit "dump volume refuses it" 6 "$R5FS" dump volume "${members[@]}" "$journal" -o "$work/volume"
claim "nothing was changed by the refusals" [ "$(sums)" = "$before" ]
mkdir "$work/refused"
cp --sparse=always "${members[@]}" "$journal" "$work/refused"
cp --sparse=always "$work/journal-newest" "$journal"
claim "with the newest journal it mounts" mount_array
claim "every fsynced file is there" bash -c "cd '$mnt' && sha256sum --quiet -c '$work/contents'"
claim "unmount (newest journal)" unmount_array
claim "check and parity (newest journal)" check_array --parity
for file in "${members[@]}" "$journal"; do cp --sparse=always "$work/refused/${file##*/}" "$file"; done
accepted() {
    "$R5FS" check "${members[@]}" "$journal" -y --accept-damaged-log
    [ $? -le 1 ] # nothing to repair, or all repaired
}
claim "the option goes on without the old log" accepted
claim "check (without the old log)" check_array

# --- an idle copy of the journal: nothing of the filesystem is in it
rm -rf "$work/disks" "$work/refused"
make_array 3 64M 4M >/dev/null
claim "mount (idle copy)" mount_array -o commit=300
journal_status() { # EXPRESSION over `j`
    "$R5FS" status "$mnt" --json | python3 -c "import json, sys; j = json.load(sys.stdin)['journal']; print($1)"
}
log_gets_idle() { # after a write: the tail moves when every row is on the members
    local used
    used=$(journal_status "j['used']") || return 1
    for _ in $(seq 600); do
        [ "$(journal_status "j['unwritten_rows'] == 0 and j['used'] < $used")" = True ] && return 0
        sleep 0.1
    done
    return 1
}
put first 300
claim "the log gets idle" log_gets_idle
cp --sparse=always "$journal" "$work/journal-idle"
put first 300 # in place: no block is allocated, no name changes
claim "the log gets idle again" log_gets_idle
(cd "$mnt" && sha256sum ./*) >"$work/contents"
kill_daemon "$(daemon_pid)"
cp --sparse=always "$journal" "$work/journal-newest"
cp --sparse=always "$work/journal-idle" "$journal"
before=$(sums)
claim_exit "an idle copy from the same mount is refused" 6 mount_array
cp "$work/.out" "$work/said"
claim "the refusal of it names the journal" grep -qF "journal $journal: is an older copy" "$work/said"
claim "and where the log ends" grep -q "what follows unit" "$work/said"
claim "and the way out of it" grep -q accept_damaged_log "$work/said"
claim_exit "a mount for reading refuses the idle copy" 6 mount_array -o ro
claim_exit "check refuses the idle copy" 8 check_array
claim_exit "dump volume refuses the idle copy" 6 "$R5FS" dump volume "${members[@]}" "$journal" -o "$work/volume"
claim "nothing was changed by refusing the idle copy" [ "$(sums)" = "$before" ]
mkdir "$work/refused"
cp --sparse=always "${members[@]}" "$journal" "$work/refused"
as_refused() { for file in "${members[@]}" "$journal"; do cp --sparse=always "$work/refused/${file##*/}" "$file"; done; }
contents_are_there() { (cd "$mnt" && sha256sum --quiet -c "$work/contents"); }
cp --sparse=always "$work/journal-newest" "$journal"
claim "with the newest journal it mounts (idle copy)" mount_array
claim "every fsynced file is there (idle copy)" contents_are_there
claim "unmount (newest journal, idle copy)" unmount_array
as_refused
claim "the mount option goes on without the idle copy" mount_array -o accept_damaged_log
claim "what was written out is there" contents_are_there
claim "unmount (idle copy accepted)" unmount_array
claim "check and parity (idle copy accepted)" check_array --parity
as_refused
claim "check with the option finds nothing to repair" \
    "$R5FS" check "${members[@]}" "$journal" -y --accept-damaged-log
claim "check needs no option afterwards" check_array --parity
claim "nor does a mount" mount_array
claim "what was written out is there after the check" contents_are_there
claim "unmount (after the check)" unmount_array

# --- the same after a clean stop, which is one event ahead of the copy
rm -rf "$work/disks"
make_array 3 64M 4M >/dev/null
claim "mount (clean stop)" mount_array -o commit=300
put first 300
claim "the log gets idle (clean stop)" log_gets_idle
cp --sparse=always "$journal" "$work/journal-idle"
put first 300
claim "unmount (clean stop)" unmount_array
cp --sparse=always "$work/journal-idle" "$journal"
before=$(sums)
claim_exit "an idle copy from before a clean stop is refused" 6 mount_array
claim "nothing was changed by refusing it" [ "$(sums)" = "$before" ]
finish
