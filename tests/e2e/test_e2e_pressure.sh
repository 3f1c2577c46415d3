#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Memory is short for real: the daemon and its writers share a cgroup that has little more than the daemon
# needs, and the writers dirty shared mappings many times that. The kernel can free a page only when the
# daemon has written it. Nothing hangs, the daemon grows by nothing, every byte is there.
#   R5FS_SEED=1 R5FS_MIB=64 R5FS_PASSES=3 tests/e2e/test_e2e_pressure.sh
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

seed=${R5FS_SEED:-$((RANDOM * 32768 + RANDOM))}
mib=${R5FS_MIB:-64}
passes=${R5FS_PASSES:-3}
writers=3
room_mib=48 # for the writers and their pages, beyond what the daemon needs
echo "replay: R5FS_SEED=$seed R5FS_MIB=$mib R5FS_PASSES=$passes $0"

group=
remove_group() {
    clean_up
    [ -z "$group" ] || for ((i = 0; i < 50; i++)); do rmdir "$group" 2>/dev/null && break; sleep 0.1; done
}
trap remove_group EXIT

# A group within our own: what holds for us holds for it.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    parent=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
    limit=memory.max usage=memory.current
else
    parent=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
    limit=memory.limit_in_bytes usage=memory.usage_in_bytes
fi
mkdir "$parent/r5fs-pressure.$$" 2>/dev/null || skip "no cgroup can be made in $parent"
group=$parent/r5fs-pressure.$$
[ -w "$group/$limit" ] || skip "the memory controller is not for us in $parent"
bash -c 'echo $$ >"$1/cgroup.procs"' - "$group" 2>/dev/null || skip "no process can be moved to $group"

in_group() { bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"; }
rss_kib() { awk '/^RssAnon/ {print $2}' "/proc/$1/status"; }
times_at_limit() {
    if [ -e "$group/memory.events" ]; then
        awk '$1 == "max" {print $2}' "$group/memory.events"
    else
        cat "$group/memory.failcnt"
    fi
}
# Not every kernel tells; a writer that was killed is seen by its end.
kills() { awk '$1 == "oom_kill" {sum += $2} END {print sum + 0}' "$group"/memory.[eo]*[sl] 2>/dev/null; }

make_array 4 192M 32M --sparse >/dev/null || { echo "not ok create"; exit 1; }
claim "mount in the group" in_group "$R5FS" mount "${members[@]}" "$journal" "$mnt" -o memory=48M,threads=4 || finish
daemon=$(daemon_pid)
echo $(($(cat "$group/$usage") + room_mib * 1048576)) >"$group/$limit"
echo "daemon: $(rss_kib "$daemon") KiB; the group: $(($(cat "$group/$limit") >> 20)) MiB; dirtied: $((writers * mib * passes)) MiB"
before=$(rss_kib "$daemon")

loads=()
for ((i = 0; i < writers; i++)); do
    in_group timeout 900 python3 "$lib_dir/mmap_load.py" run "$mnt/m$i" "$mib" "$passes" $((seed + i)) >"$work/sum.$i" 2>"$work/err.$i" &
    loads+=($!)
done
for ((i = 0; i < writers; i++)); do
    wait "${loads[i]}"
    claim "writer $i ends" eval "[ $? -eq 0 ] || { cat '$work/err.$i'; false; }"
done
claim "nobody was killed for memory" [ "$(kills)" = 0 ]
claim "the limit was met" [ "$(times_at_limit)" -gt 0 ]
after=$(rss_kib "$daemon")
# Stacks touched for the first time; no more.
claim "the daemon did not grow: $before KiB, $after KiB" [ "$after" -le $((before + 2048)) ]
claim "status answers" "$R5FS" status "$mnt" -v
claim "unmount" unmount_array
echo "$((4096 * 1048576))" >"$group/$limit"
claim "check and parity" check_array --parity
claim "mount again" mount_array
for ((i = 0; i < writers; i++)); do
    claim "file $i is whole" python3 "$lib_dir/mmap_load.py" verify "$mnt/m$i" "$(cat "$work/sum.$i")"
done
claim "unmount again" unmount_array
finish
