#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kill -9 of the daemon at random moments under load: each remount replays, everything fsynced is there,
# check is clean, parity is consistent on every row; every third time a member is gone at the remount.
#   R5FS_KILLS=50 R5FS_SEED=1 tests/e2e/test_e2e_kill.sh
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

kills=${R5FS_KILLS:-8}
seed=${R5FS_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "replay: R5FS_KILLS=$kills R5FS_SEED=$seed $0"
RANDOM=$((seed % 32768))
threads=3

members_of_round=(3 4 5 8)
chunks=(4K 64K 512K)
make_array "${members_of_round[seed % 4]}" 192M "$((seed % 3 * 28 + 8))M" --chunk "${chunks[seed % 3]}" >/dev/null ||
    { echo "not ok create"; exit 1; }

for ((round = 1; round <= kills; round++)); do
    claim "mount before kill $round" mount_array -o memory=96M || finish
    pid=$(daemon_pid)
    loads=()
    for ((t = 0; t < threads; t++)); do
        python3 "$lib_dir/crash_load.py" run "$mnt" "$work/acked.$t" $((seed + round)) $t &
        loads+=($!)
    done
    sleep "$((RANDOM % 3)).$((RANDOM % 7 + 3))"
    kill -9 "$pid"
    for load in "${loads[@]}"; do
        wait "$load" # not in claim's subshell, whose child it is not
        claim "load of round $round met only the kill" [ $? -eq 0 ]
    done
    kill_daemon "$pid" 2>/dev/null
    if ((round % 3 == 0)); then
        gone=$((RANDOM % ${#members[@]}))
        cp --sparse=always -r "$work/disks" "$work/disks-degraded"
        rm "$work/disks-degraded/d$gone"
        claim "mount after kill $round without member $gone" \
            "$R5FS" mount "$work/disks-degraded" "$mnt" -o degraded,memory=96M || finish
        claim "synced files after kill $round without member $gone" \
            python3 "$lib_dir/crash_load.py" verify "$mnt" "$work"/acked.*
        claim "unmount degraded after kill $round" unmount_array
        claim "check degraded after kill $round" "$R5FS" check "$work/disks-degraded" -n
        rm -rf "$work/disks-degraded"
    fi
    claim "mount after kill $round" mount_array -o memory=96M || finish
    claim "synced files after kill $round" python3 "$lib_dir/crash_load.py" verify "$mnt" "$work"/acked.*
    claim "unmount after kill $round" unmount_array
    claim "check and parity after kill $round" check_array --parity || finish
    rm -f "$work"/acked.*
done
finish
