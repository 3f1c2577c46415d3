#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The command line's contract where real arrays and mounts are needed: forms of SRC and of -o, exit
# codes, status in every state, what create leaves alone.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

is_json() { python3 -m json.tool >/dev/null; }
mounted_with() { awk -v m="$mnt" '$2 == m {print $4}' /proc/mounts | tr , '\n' | grep -qx "$1"; }
field() { python3 -c 'import json,sys; d = json.load(sys.stdin); print(eval("d" + sys.argv[1]))' "$1"; }

make_array 3 64M 8M --label demo >/dev/null || { echo "not ok create"; exit 1; }

claim "-o may be given several times" mount_array -o ro -o threads=4
claim "and each counts" mounted_with ro
claim "unmount" unmount_array
claim "of opposite options the last counts" mount_array -o ro -o rw
claim "which is rw here" mounted_with rw

# ---- status --------------------------------------------------------------------------------------
claim "status of the files of a mounted array is the mount's" \
    eval '[ "$("$R5FS" status "$work/disks" --json | field "[\"pool\"][\"mounted\"]")" = "$mnt" ]'
claim "status of everything is JSON" eval '"$R5FS" status --json | is_json'
claim_exit "check of a mounted array" 8 "$R5FS" check "$work/disks"
claim_exit "create over a mounted array, even by force" 4 \
    "$R5FS" create --force --journal "$journal" "${members[@]}"
: >"$work/once.a"
: >"$work/once.b"
: >"$work/once.c"
: >"$work/once.log"
held=("$work"/once.{a,b,c,log})
claim "create over empty files" eval 'python3 "$lib_dir/count_closes.py" "${held[@]}" -- \
    "$R5FS" create --size 64M --journal "$work/once.log" --journal-size 8M "$work"/once.{a,b,c} >"$work/once.said"'
claim "holds each of them from the first look to the last byte" \
    eval '[ "$(grep -c "^1 $work/once" "$work/once.said")" = 4 ]'
claim "and what it made is good" "$R5FS" check -n "${held[@]}"
rm -f "${held[@]}"
second=$work/second
mkdir -p "$second/mnt"
"$R5FS" create --size 64M --sparse --journal-size 8M "$second/a" "$second/b" "$second/c" >/dev/null
"$R5FS" mount "$second" "$second/mnt"
pid=$("$R5FS" status "$second/mnt" --json | field '["pid"]')
kill -9 "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
claim "status of everything is JSON though a daemon died" eval '"$R5FS" status --json 2>/dev/null | is_json'
claim_exit "status of a mount whose daemon died" 3 "$R5FS" status "$second/mnt"
claim_exit "unmount of a mount whose daemon died" 6 "$R5FS" unmount "$second/mnt"

pid=$(daemon_pid)
kill -STOP "$pid"
since=$SECONDS
claim_exit "unmount of a mount whose daemon is stopped" 4 timeout 30 "$R5FS" unmount "$mnt" --timeout 3
said=$(cat "$work/.out")
claim "keeps its timeout" [ $((SECONDS - since)) -le 5 ]
claim "says why in one line" eval '[[ $said == *"does not answer"* ]] && [ "$(wc -l <<<"$said")" = 1 ]'
claim "leaves it mounted" is_mounted
since=$SECONDS
claim_exit "status of a mount whose daemon is stopped" 4 timeout 30 "$R5FS" status "$mnt"
claim_exit "status of its files" 4 timeout 30 "$R5FS" status "$work/disks"
claim "does not wait for ever" [ $((SECONDS - since)) -le 28 ]
kill -CONT "$pid"
claim "it goes on" "$R5FS" status "$mnt"

claim "unmount" unmount_array --timeout 30
claim_exit "unmount of what is not mounted" 3 unmount_array
claim "status of the files" eval '[ "$("$R5FS" status "$work/disks" --json | field "[\"pool\"][\"mounted\"]")" = None ]'
claim_exit "status of the files says whether they are healthy" 0 "$R5FS" status "$work/disks" --check

# ---- SRC -----------------------------------------------------------------------------------------
colon=$work/with:colon
mkdir "$colon"
cp --sparse=always "$work"/disks/* "$colon"
joined=$(printf '%s:' "$colon"/* | sed 's/with:colon/with\\:colon/g; s/:$//')
claim "a joined source with escaped colons" "$R5FS" check "$joined" -n
claim "LABEL= is searched in R5FS_PATH" env R5FS_PATH="$second:$work/disks" "$R5FS" check LABEL=demo -n
claim_exit "LABEL= of nothing" 3 env R5FS_PATH="$work/disks" "$R5FS" status LABEL=other
claim_exit "a source that names nothing" 2 "$R5FS" status :
rm -rf "$colon"

cd "$work" || exit 1
claim "the form by which mount(8) calls" "$R5FS" disks mnt -o defaults,nofail,x-systemd.automount
claim "unmount with a slash behind" "$R5FS" unmount mnt/
cd - >/dev/null || exit 1

# ---- usage ---------------------------------------------------------------------------------------
claim_exit "an unknown option of check is fsck(8)'s 16" 16 "$R5FS" check --bogus "$work/disks"
claim_exit "-n and -y of check exclude each other" 16 "$R5FS" check -n -y "$work/disks"
claim_exit "an unknown option" 2 "$R5FS" status --bogus
claim_exit "an unknown mount option" 2 mount_array -o bogus
said=$(cat "$work/.out")
claim "one hint is enough" eval '[ "$(grep -o "(hint:" <<<"$said" | wc -l)" = 1 ]'
claim_exit "more memory than there is" 2 mount_array -o memory=99999G
said=$(cat "$work/.out")
claim "is called too large" eval '[[ $said == *"too large"* ]]'
claim_exit "holes in what is no regular file" 2 "$R5FS" dump volume "$work/disks" --sparse -o /dev/full
claim "a sparse copy of the volume" "$R5FS" dump volume "$work/disks" --sparse -o "$work/copy"
claim "is the volume" eval 'cmp "$work/copy" <("$R5FS" dump volume "$work/disks" -o -)'
rm -f "$work/copy"
claim_exit "check of the members without their journal" 4 "$R5FS" check "${members[@]}" -n
said=$(cat "$work/.out")
claim "says so" eval '[[ $said == *"journal: missing"* ]]'
claim "and counts it" eval '[[ $said == *" 1 problems, 0 repaired"* ]]'
claim_exit "a command of later" 1 "$R5FS" scrub start "$mnt"
claim "nothing is mounted after failures" eval '! is_mounted'

# ---- create --------------------------------------------------------------------------------------
new=$work/new
mkdir "$new"
claim_exit "create --dry-run" 0 "$R5FS" create --dry-run --size 64M "$new/a" "$new/b" "$new/c"
claim "makes nothing" eval '[ -z "$(ls "$new")" ]'
claim_exit "create with a journal too small" 2 "$R5FS" create --size 64M --journal-size 1M "$new/a" "$new/b" "$new/c"
claim_exit "create with the same file twice" 5 "$R5FS" create --size 64M "$new/a" "$new/./a" "$new/c"
claim "leaves nothing" eval '[ -z "$(ls "$new")" ]'
echo precious >"$new/b"
claim_exit "create over data" 5 "$R5FS" create --size 64M "$new/a" "$new/b" "$new/c"
claim "leaves it alone" eval '[ "$(cat "$new/b")" = precious ] && [ "$(ls "$new")" = b ]'
rm "$new/b"
claim "create without --journal" "$R5FS" create --size 64M --journal-size 8M "$new/a" "$new/b" "$new/c"
claim "puts it beside the first member" test -s "$new/a.journal"
finish
