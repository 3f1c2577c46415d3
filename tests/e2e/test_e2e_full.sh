#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A full filesystem: ENOSPC is clean, nothing synced is lost, deleting works, the space comes back.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

make_array 3 64M 8M --chunk 4K >/dev/null || { echo "not ok create"; exit 1; }
claim "mount" mount_array -o memory=64M || finish
head -c 5000000 /dev/urandom >"$work/keep"
claim "a file before it is full" bash -c "cp '$work/keep' '$mnt/keep' && sync '$mnt/keep'"
before=$(df -P "$mnt" | awk 'NR == 2 {print $4}')
mkdir "$mnt/fill"
i=0
while head -c 1000000 /dev/urandom >"$mnt/fill/$i" 2>/dev/null; do
    i=$((i + 1))
    [ $i -lt 1000 ] || break
done
claim "writing ends with ENOSPC" [ $i -lt 1000 ]
j=0
while : >"$mnt/fill/small$j" 2>/dev/null; do
    j=$((j + 1))
    [ $j -lt 200000 ] || break
done
claim "the synced file is whole when full" cmp "$work/keep" "$mnt/keep"
claim "overwriting in place works when full" bash -c "dd if='$work/keep' of='$mnt/keep' conv=notrunc,fsync bs=1M status=none"
claim "deleting works when full" rm -rf "$mnt/fill"
after=$(df -P "$mnt" | awk 'NR == 2 {print $4}')
claim "the space is back (before $before KiB, after $after KiB)" [ $((before - after)) -le 512 ]
claim "a new file fits again" bash -c "head -c 20000000 /dev/zero > '$mnt/again' && sync '$mnt/again'"
claim "unmount" unmount_array
claim "check and parity" check_array --parity
finish
