#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# mount(8), umount(8) and fstab: mount -t fuse.r5fs runs the helper mount.fuse, and that "r5fs SRC MNT -o
# OPTIONS", which it looks for in the directories of the system alone. So this runs, as root, in mounts of
# its own, where the binary under test lies in the first of them.
if [ -z "${R5FS_OWN_MOUNTS:-}" ] && unshare --mount true 2>/dev/null; then
    R5FS_OWN_MOUNTS=1 exec unshare --mount "$0" "$@"
fi
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

[ -n "${R5FS_OWN_MOUNTS:-}" ] || skip "only root may have mounts of its own (unshare --mount)"
[ -x /sbin/mount.fuse ] || skip "no helper /sbin/mount.fuse (package fuse3)"
[ ! -e /sbin/mount.fuse.r5fs ] || skip "an installed /sbin/mount.fuse.r5fs would be run instead"
mount -t tmpfs own-programs /usr/local/sbin || skip "nothing can be mounted"
ln -s "$R5FS" /usr/local/sbin/r5fs

mounted_with() { awk -v m="$mnt" '$2 == m {print $4}' /proc/mounts | tr , '\n' | grep -qx "$1"; }
how_often() { awk -v m="$mnt" '$2 == m' /proc/mounts | wc -l; }
wait_free() { # the daemon of an umount(8) goes on for a moment
    local i
    for ((i = 0; i < 100; i++)); do
        [ -z "$(own_processes)" ] && return 0
        sleep 0.2
    done
    return 1
}

make_array 3 64M 8M --sparse --label by-mount8 >/dev/null || { echo "not ok create"; exit 1; }
source=$(printf '%s:' "${members[@]}")$journal

# ---- mount -t ------------------------------------------------------------------------------------
claim "mount -t fuse.r5fs" mount -t fuse.r5fs "$source" "$mnt" -o threads=3,noatime,nodev || finish
claim "it is of that type" eval '[ "$(findmnt -n -o FSTYPE "$mnt")" = fuse.r5fs ]'
claim "its source is as given" eval '[ "$(findmnt -n -o SOURCE "$mnt")" = "$source" ]'
claim "the kernel's options arrive" eval 'mounted_with noatime && mounted_with nodev'
claim "and no more than those" eval '! mounted_with nosuid && ! mounted_with noexec'
claim "our options arrive" eval '"$R5FS" status "$mnt" --json | grep -q "\"threads\":3[,}]"'
claim "it is written to" eval 'echo text >"$mnt/file" && sync "$mnt/file"'
claim "other users may enter" eval \
    'chmod 755 "$work" && setpriv --reuid=65534 --clear-groups cat "$mnt/file"'
claim "umount(8)" umount "$mnt"
claim "the daemon ends by itself" wait_free
claim "everything is on the members" check_array --parity

claim "mount -r" mount -r -t fuse.r5fs "$source" "$mnt"
claim "is read-only" mounted_with ro
claim "and reads" grep -q text "$mnt/file"
claim "umount(8) of it" umount "$mnt"
claim "the daemon of a read-only mount ends, too" wait_free

# ---- what is refused -----------------------------------------------------------------------------
claim_exit "a member that is not there" 3 mount -t fuse.r5fs "$work/absent:$journal" "$mnt"
claim_exit "an unknown option" 2 mount -t fuse.r5fs "$source" "$mnt" -o degradde
said=$(cat "$work/.out")
claim "is named" eval '[[ $said == *degradde* ]]'
claim "nothing is mounted after that" eval '! is_mounted'

# ---- fstab ---------------------------------------------------------------------------------------
echo "$source $mnt fuse.r5fs defaults,nofail,_netdev,x-systemd.requires=network.target 0 0" >"$work/fstab"
claim "mount by fstab" mount --fstab "$work/fstab" "$mnt"
claim "the file is there" grep -q text "$mnt/file"
claim "mount -a when it is mounted" mount --fstab "$work/fstab" -a
claim "mounts nothing twice" [ "$(how_often)" -eq 1 ]
claim "r5fs unmount of what mount(8) mounted" "$R5FS" unmount "$mnt"
claim "mount -a" mount --fstab "$work/fstab" -a
claim "mounts it" is_mounted
claim "unmount" "$R5FS" unmount "$mnt"

# ---- as the helper itself ------------------------------------------------------------------------
ln -s "$R5FS" "$work/mount.fuse.r5fs"
ln -s "$R5FS" "$work/umount.fuse.r5fs"
claim "by the name mount.fuse.r5fs" "$work/mount.fuse.r5fs" "$source" "$mnt" -n -o rw,noexec
claim "with the options" mounted_with noexec
claim "by the name umount.fuse.r5fs" "$work/umount.fuse.r5fs" "$mnt"
claim "nothing is mounted" eval '! is_mounted'
claim "check" check_array --parity
finish
