#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Members and journal on block devices: loop devices over files. Needs root and losetup.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

command -v losetup >/dev/null || skip "losetup is not installed"
[ "$(id -u)" -eq 0 ] || skip "only root may set up loop devices"

devices=()
detach_all() {
    local device
    for device in "${devices[@]}"; do losetup -d "$device" 2>/dev/null; done
}
trap 'clean_up; detach_all' EXIT

attach() { # FILE SIZE: a new loop device over a new file; its name in `device`
    truncate -s "$2" "$1" || return 1
    device=$(losetup --find --show "$1" 2>"$work/.losetup") || return 1
    devices+=("$device")
}

for name in d0 d1 d2 d3; do
    attach "$work/$name" 96M || skip "no loop device: $(cat "$work/.losetup")"
done
attach "$work/log" 24M || skip "no loop device: $(cat "$work/.losetup")"
members=("${devices[@]:0:4}")
journal=${devices[4]}

said() { [[ $output == *"$1"* ]]; }
refused() { # NAME CODE COMMAND...: as claim_exit; what the command said is in `output`
    claim_exit "$@"
    output=$(cat "$work/.out")
}
in_use() { # NAME COMMAND...
    refused "$1" 4 "${@:2}"
    claim "$1, and says so" said "in use"
}
holds() { cmp "$work/payload" "$mnt/dir/payload"; }
# Opened as mount(8), mkfs and the kernel's md do: exclusively.
open_exclusively() { python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_EXCL)' "$1"; }

# ---- create --------------------------------------------------------------------------------------
dd if=/dev/urandom of="$work/payload" bs=1M count=20 status=none
dd if="$work/payload" of="${members[2]}" bs=1M count=4 seek=40 conv=fsync status=none
mkfs.ext4 -q -F "${members[3]}" >/dev/null 2>&1 || skip "mkfs.ext4 is not installed"
create() { "$R5FS" create --journal "$journal" "$@" "${members[@]}"; }
refused "a device with a filesystem is not overwritten" 5 create
claim "it is named" said "${members[3]}: holds ext2/3/4"
mkdir "$work/ext4"
mount "${members[3]}" "$work/ext4"
in_use "a device that is mounted is refused even with --force" create --force
claim "the others were not touched by then" cmp -n 4M "$work/payload" \
    <(dd if="${members[2]}" bs=1M skip=40 count=4 status=none)
claim "nor was the mounted one" ls "$work/ext4/lost+found"
umount "$work/ext4"
claim_exit "one device given twice is refused" 2 \
    "$R5FS" create --force --journal "$journal" "${members[0]}" "${members[1]}" "${members[0]}"
claim "create with --force over devices with contents" create --force
claim "what was on a device is zeroed: parity is consistent" check_array --parity

# ---- files, and who else may have the devices -----------------------------------------------------
claim "mount" mount_array || finish
claim "files" eval 'mkdir "$mnt/dir" && cp "$work/payload" "$mnt/dir/payload" && sync "$mnt/dir/payload"'
mkdir -p "$work/second"
in_use "a second mount is refused" "$R5FS" mount "${members[@]}" "$journal" "$work/second"
claim_exit "check is refused meanwhile" 8 check_array
in_use "create is refused meanwhile, even with --force" create --force
for device in "${devices[@]}"; do
    claim_exit "$device is held against mount(8) and the kernel's md" 1 open_exclusively "$device"
done
claim "the files are there all the same" holds

# ---- kill -9 ---------------------------------------------------------------------------------------
dd if="$work/payload" of="$mnt/dir/unsynced" bs=1M count=8 status=none
kill_daemon "$(daemon_pid)"
claim "the devices are free after kill -9" open_exclusively "${members[0]}"
claim "mount after kill -9" mount_array || finish
claim "what was synced is there" holds
claim "unmount" unmount_array
claim "check is clean, parity consistent" check_array --parity

# ---- a device that is gone -------------------------------------------------------------------------
all=("${members[@]}")
members=("${all[@]:0:3}")
claim_exit "a missing device is refused without degraded" 5 mount_array
claim "degraded without a device" mount_array -o degraded
claim "reads without it" holds
claim "writes without it" eval 'cp "$work/payload" "$mnt/dir/second" && sync "$mnt/dir/second"'
claim "unmount" unmount_array
claim "check without it" check_array
finish
