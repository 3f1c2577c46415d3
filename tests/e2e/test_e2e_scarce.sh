#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# With one io unit, the fewest block images and the smallest journal everything still ends, and right:
# random writes, eight writers with fsync, an untar, holes punched where somebody writes, a member gone.
# Nobody is parked at the end; the longest wait is shown. Then the same while each pool refuses half of its
# gets by a fault plan (debug builds).
#   R5FS_SECONDS=3 R5FS_SEED=1 tests/e2e/test_e2e_scarce.sh
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

seconds=${R5FS_SECONDS:-3}
seed=${R5FS_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "replay: R5FS_SECONDS=$seconds R5FS_SEED=$seed $0"
# The time for what takes a few seconds on an idle machine; beyond it is a hang.
patience=300

mount_scarce() { mount_array -o "io_units=1,stripes=128,memory=48M${1:+,$1}"; }
run_load() { timeout -k 5 $patience python3 "$lib_dir/full_load.py" run "$@"; }
run_race() { timeout -k 5 $patience python3 "$lib_dir/punch_race.py" run "$@"; }
untar() { timeout -k 5 $patience tar -xf "$work/tree.tar" -C "$mnt/tree" && timeout $patience sync -f "$mnt"; }

# Nobody is parked, sooner or later; with a plan some are for a moment again and again.
nobody_parked() {
    local i
    for ((i = 0; i < 300; i++)); do
        "$R5FS" status "$mnt" --json | python3 -c '
import json, sys
status = json.load(sys.stdin)
parked = {pool["name"]: pool["parked"] for pool in status["pools"] if pool["parked"]}
print(parked, status["journal"]["parked"])
sys.exit(1 if parked or status["journal"]["parked"] else 0)' && return 0
        sleep 0.1
    done
    return 1
}
show_waits() { # WHAT
    "$R5FS" status "$mnt" --json | python3 -c '
import json, sys
pools = json.load(sys.stdin)["pools"]
longest = max(pools, key=lambda pool: pool["longest_wait_us"])
parked = ", ".join("%s %d" % (pool["name"], pool["parked_ever"]) for pool in pools if pool["parked_ever"])
print("%s: longest wait %.1f ms (%s); parked ever: %s"
      % (sys.argv[1], longest["longest_wait_us"] / 1000, longest["name"], parked or "none"))' "$1"
}
pools_are_scarce() {
    "$R5FS" status "$mnt" --json | python3 -c '
import json, sys
pools = {pool["name"]: pool["size"] for pool in json.load(sys.stdin)["pools"]}
sys.exit(0 if pools["io unit"] == 1 and pools["stripe image"] == 128 else str(pools))'
}

each_pool_refused() {
    "$R5FS" status "$mnt" --json | python3 -c '
import json, sys
pools = json.load(sys.stdin)["pools"]
names = {"stripe image", "log space", "transaction credit", "io unit", "encode buffer", "read set", "fuse node"}
refused = {pool["name"]: pool["failures"] for pool in pools}
sys.exit(0 if all(refused[name] > 0 for name in names) else str(refused))'
}

load_all() { # NAME SECONDS
    mkdir -p "$mnt/one" "$mnt/eight" "$mnt/tree"
    claim "$1: random writes, each read back" run_load "$mnt/one" "$work/state-one" "$seed" "$2" 1
    claim "$1: eight writers with fsync" run_load "$mnt/eight" "$work/state-eight" "$seed" "$2" 8
    claim "$1: an untar" untar
    claim "$1: holes where somebody writes" run_race "$mnt/race" "$work/state-race" "$seed" "$2" 3
}
verify_all() { # NAME
    claim "$1: random writes" timeout -k 5 $patience python3 "$lib_dir/full_load.py" verify "$mnt/one" "$work/state-one"
    claim "$1: eight writers" timeout -k 5 $patience python3 "$lib_dir/full_load.py" verify "$mnt/eight" "$work/state-eight"
    claim "$1: the tree" timeout -k 5 $patience diff -r "$work/tree" "$mnt/tree"
    claim "$1: the punched file" timeout -k 5 $patience python3 "$lib_dir/punch_race.py" verify "$mnt/race" "$work/state-race"
}
round() { # NAME SECONDS
    make_array 4 96M 4M --sparse >/dev/null || { echo "not ok create"; exit 1; }
    claim "$1: mount" mount_scarce || finish
    claim "$1: the pools are as small as can be" pools_are_scarce
    load_all "$1" "$2"
    claim "$1: nobody is parked at the end" nobody_parked
    show_waits "$1"
    claim "$1: unmount" timeout $patience "$R5FS" unmount "$mnt" || finish
    claim "$1: mount again" mount_scarce || finish
    verify_all "$1, after a remount"
    claim "$1: unmount again" timeout $patience "$R5FS" unmount "$mnt" || finish
    claim "$1: check and parity" check_array --parity

    rm "${members[1]}"
    unset "members[1]"
    claim "$1: mount without a member" mount_scarce degraded || finish
    verify_all "$1, without a member"
    rm -r "$mnt/tree"
    load_all "$1, without a member" "$2"
    claim "$1: nobody is parked then, either" nobody_parked
    [ -z "${R5FS_POOL_FAULTS:-}" ] || claim "$1: by each pool" each_pool_refused
    show_waits "$1, without a member"
    claim "$1: unmount without a member" timeout $patience "$R5FS" unmount "$mnt" || finish
    # Here no log thread is there to look again for others.
    claim "$1: mount without a member, to read" mount_scarce degraded,ro || finish
    verify_all "$1, written without a member"
    claim "$1: the last unmount" timeout $patience "$R5FS" unmount "$mnt" || finish
    claim "$1: check without a member" check_array
}

# Some hundred files of all small sizes.
python3 - "$work/tree" "$seed" <<'END'
import os, random, sys
rng = random.Random(int(sys.argv[2]))
for i in range(12):
    os.makedirs(f"{sys.argv[1]}/d{i}/e")
    for j in range(25):
        with open(f"{sys.argv[1]}/d{i}/{'e/' if j % 3 else ''}f{j}", "wb") as file:
            file.write(rng.randbytes(rng.choice([0, 1, 100, 4096, 5000, 20000, 60000])))
END
tar -cf "$work/tree.tar" -C "$work/tree" .

round scarce "$seconds"

make_array 3 32M 4M --sparse >/dev/null || { echo "not ok create"; exit 1; }
if [ "${R5FS_DEBUG_CHECKS:-ON}" != ON ]; then
    export R5FS_POOL_FAULTS=no-plan
    claim "this build knows no fault plans" mount_array
    claim "unmount" unmount_array
    finish
fi
for plan in no-plan all:sometimes:1 "io unit:once:0" "nothing:once:1" "io unit:once:1,"; do
    R5FS_POOL_FAULTS=$plan claim_exit "the mount is refused: '$plan'" 1 mount_array || continue
    cp "$work/.out" "$work/said"
    claim "in one line" eval '[ "$(grep -c "is no plan for a pool" "$work/said")" = "$(wc -l <"$work/said")" ] && [ -s "$work/said" ]'
    claim "and nothing is mounted" eval '! is_mounted'
done

export R5FS_POOL_FAULTS="all:percent:50:$seed"
echo "with R5FS_POOL_FAULTS=$R5FS_POOL_FAULTS"
round "half of all gets refused" "$(python3 -c "print($seconds * 0.5)")"
finish
