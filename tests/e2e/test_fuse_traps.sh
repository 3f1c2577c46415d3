#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The traps of FUSE and of libfuse 3.14, one claim each: docs/FUSE.md says which is which. As root some
# more than as a user; the part for users runs as nobody when root starts it.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"
export R5FS PYTHONDONTWRITEBYTECODE=1

trap_claim() { # NAME PYTHON_CLAIM [ARG...]
    local name=$1 what=$2
    shift 2
    claim "$name" timeout 300 python3 "$lib_dir/fuse_traps.py" "$what" "$mnt" "$@"
}

gone() { # PID: ended, or only its parent has not heard of it yet
    [ ! -e "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null || [ ! -e "/proc/$1" ]
}

wait_gone() { # PID SECONDS
    local i
    for ((i = 0; i < $2 * 20; i++)); do
        gone "$1" && return 0
        sleep 0.05
    done
    return 1
}

kill_and_clear() { # PID: as a power cut for the daemon
    kill -9 "$1"
    wait_gone "$1" 20
    fusermount3 -u -z "$mnt" 2>/dev/null || umount -l "$mnt"
}

is_root() { [ "$(id -u)" -eq 0 ]; }

make_array 4 192M 32M --sparse >/dev/null || { echo "not ok create"; exit 1; }
claim "mount" mount_array || finish

# ---- what the kernel and we agreed on, data ------------------------------------------------------
trap_claim "INIT carries the flags that libfuse forgets, and none that hurt" init_flags
trap_claim "O_TRUNC truncates though open is never asked" truncating_open
trap_claim "a write is one request" write_costs_one_request
trap_claim "a large write arrives in pieces of 1 MiB" large_write_arrives_in_few_requests
trap_claim "unaligned appends and overwrites keep every byte" unaligned_appends
trap_claim "shared mappings reach the daemon" mapped_writes_reach_us
trap_claim "direct and cached I/O of one file agree" direct_io_and_cache_agree
trap_claim "SEEK_DATA and SEEK_HOLE are answered" holes_are_found
trap_claim "fallocate and punch" space_can_be_allocated_and_punched
trap_claim "copy_file_range is the kernel's" copying_a_range_falls_back

# ---- names, attributes ---------------------------------------------------------------------------
trap_claim "absent names are kept, and forgotten when made" absent_names_are_remembered_rightly
trap_claim "attributes of hard links agree" attributes_of_hard_links_agree
trap_claim "times move with writes, in nanoseconds" times_move_with_writes
trap_claim "names of 256 bytes are refused everywhere" long_names
trap_claim "the umask is applied once" umask_is_applied_once
trap_claim "a default ACL is inherited" default_acl_is_inherited
trap_claim "names of extended attributes arrive whole" attribute_names_arrive_whole
trap_claim "ioctls: file flags, and ENOTTY for others" ioctls
trap_claim "O_TMPFILE is refused cleanly" nameless_files_are_refused_cleanly

# ---- forgetting, directories, locks --------------------------------------------------------------
trap_claim "an unlinked file lives while it is open, its space comes back at once" \
    unlinked_file_lives_until_it_is_closed
trap_claim "deleted space is there for the next write" deleted_space_is_there_for_the_next_write
trap_claim "forgets are exact" forgets_are_exact
trap_claim "directory positions are stable" directory_positions_are_stable
trap_claim "names there all along are listed" names_there_all_along_are_listed
trap_claim "file handles outlive the cache" handles_outlive_the_cache
trap_claim "locks are the kernel's, waiting ones cost nothing" locks_are_the_kernels
trap_claim "signals make no write fail" signals_do_not_disturb_writes

# ---- privileges ----------------------------------------------------------------------------------
if is_root; then
    chmod 755 "$work" "$work/disks"
    trap_claim "suid and sgid go with somebody else's write" suid_goes_when_somebody_else_writes
    trap_claim "capabilities go with any write" capabilities_go_with_a_write
    trap_claim "an ACL set by a stranger to the group drops sgid" acl_of_a_stranger_drops_sgid
    trap_claim "a setgid directory gives its group" group_of_a_setgid_directory
    trap_claim "permissions are checked" permissions_are_checked
    trap_claim "trusted attributes are for root alone, their names too" trusted_attributes_are_for_root
    trap_claim "an ACL of 235 entries, and no more" access_lists_of_many_users
    trap_claim "control is for owner and root" control_is_for_owner_and_root
fi

# ---- the end of a mount --------------------------------------------------------------------------
pid=$(daemon_pid)
claim "unmount waits for the daemon's end" unmount_array
claim "the daemon has ended" gone "$pid"
claim_exit "a second unmount is told so" 3 "$R5FS" unmount "$mnt"
claim "check after unmount" check_array --parity

claim "mount again at once" mount_array
pid=$(daemon_pid)
echo term >"$mnt/term"
kill -TERM "$pid"
claim "SIGTERM ends the daemon" wait_gone "$pid" 20
claim "SIGTERM unmounts" eval '! is_mounted'
claim "mount after SIGTERM" mount_array
claim "contents after SIGTERM" grep -q term "$mnt/term"
claim "nothing had to be recovered" eval \
    '"$R5FS" status "$mnt" --json | grep -q "\"recovered\":{\"units\":null"'

pid=$(daemon_pid)
exec 9<"$mnt/term"
claim_exit "unmount of a mount in use" 4 "$R5FS" unmount "$mnt"
kill -TERM "$pid"
claim "SIGTERM ends the daemon though a file is open" wait_gone "$pid" 20
claim "the open file is cut off" eval '! cat <&9 2>/dev/null'
exec 9<&-
claim "mount after that" mount_array

pid=$(daemon_pid)
echo external >"$mnt/external"
fusermount3 -u "$mnt"
claim "mount waits for the daemon of an unmount from outside" mount_array
claim "contents after it" grep -q external "$mnt/external"
wait_gone "$pid" 1

kill -HUP "$(daemon_pid)"
claim "SIGHUP is ignored" cat "$mnt/external"
claim "unmount" unmount_array

if is_root; then
    claim "mount, and another filesystem over it" mount_array
    echo covered >"$mnt/covered"
    pid=$(daemon_pid)
    mount -t tmpfs covers "$mnt"
    touch "$mnt/upper"
    claim_exit "unmount leaves what is mounted over it" 4 unmount_array
    said=$(cat "$work/.out")
    claim "and says so" eval '[[ $said == *"mounted over it"* ]]'
    claim_exit "status says so too" 4 "$R5FS" status "$mnt"
    claim "the upper one is there" [ -e "$mnt/upper" ]
    kill -TERM "$pid"
    claim "SIGTERM ends the daemon though another filesystem is over it" wait_gone "$pid" 20
    claim "and leaves that one" [ -e "$mnt/upper" ]
    umount "$mnt"
    claim_exit "below it the mount is a dead one" 6 unmount_array
    claim "mount after that" mount_array
    claim "contents after that" grep -q covered "$mnt/covered"
    claim "nothing had to be recovered" eval \
        '"$R5FS" status "$mnt" --json | grep -q "\"recovered\":{\"units\":null"'
    claim "unmount" unmount_array

    over=$work/over
    mkdir -p "$over/mnt"
    claim "mount below a directory that is then mounted over" "$R5FS" mount "$work/disks" "$over/mnt"
    pid=$("$R5FS" status "$over/mnt" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')
    mount -t tmpfs covers "$over"
    claim_exit "unmount does not find it" 4 "$R5FS" unmount "$over/mnt"
    mkdir "$over/mnt"
    mount -t tmpfs another "$over/mnt"
    touch "$over/mnt/another"
    claim_exit "unmount leaves another one at that path" 4 "$R5FS" unmount "$over/mnt"
    kill -TERM "$pid"
    claim "SIGTERM ends the daemon of a mount out of sight" wait_gone "$pid" 20
    claim "SIGTERM leaves another one at that path" [ -e "$over/mnt/another" ]
    umount "$over/mnt"
    umount "$over"
    umount "$over/mnt"
    claim "all three are gone" eval '! grep -q " $over" /proc/mounts'
fi

# ---- durability ----------------------------------------------------------------------------------
claim "mount with commit=1" mount_array -o commit=1
pid=$(daemon_pid)
echo timer >"$mnt/timer"
sleep 2.5
kill_and_clear "$pid"
claim "mount after kill -9" mount_array
claim "the commit timer made it durable" grep -q timer "$mnt/timer"
pid=$(daemon_pid)
python3 "$lib_dir/fuse_traps.py" write_direct_dsync "$mnt" "$pid" >/dev/null
kill_and_clear "$pid" 2>/dev/null
claim "mount after kill -9 in the middle of writes" mount_array
trap_claim "O_SYNC and O_DIRECT|O_DSYNC writes are durable" check_direct_dsync
pid=$(daemon_pid)
kill -9 "$pid"
wait_gone "$pid" 20
claim "a dead daemon's mount says ENOTCONN" eval 'touch "$mnt/x" 2>&1 | grep -q "not connected\|connection abort"'
claim_exit "unmount says that the daemon died" 6 "$R5FS" unmount "$mnt"
claim "and has unmounted" eval '! is_mounted'

# ---- options -------------------------------------------------------------------------------------
claim_exit "an unknown option is refused" 2 mount_array -o degradde
claim_exit "norecovery needs ro" 2 mount_array -o norecovery
claim "options of fstab are swallowed" mount_array -o defaults,nofail,_netdev,x-systemd.automount,noexec
claim "flags reach the kernel" eval 'grep " $mnt " /proc/mounts | grep -q noexec'
claim "unmount" unmount_array
if is_root; then
    claim "nosuid wins over an earlier suid" mount_array -o suid,dev,nosuid
    claim "nosuid" eval 'grep " $mnt " /proc/mounts | grep -q nosuid'
    claim "and dev" eval '! grep " $mnt " /proc/mounts | grep -q nodev'
    claim "unmount" unmount_array
fi
claim "read-only" mount_array -o ro
claim "reads" grep -q timer "$mnt/timer"
claim "refuses to write" eval '! touch "$mnt/x" 2>/dev/null'
claim "status says so" eval '"$R5FS" status "$mnt" --json | grep -q "\"ro\":true"'
claim "unmount" unmount_array

for backend in uring threads; do
    claim "backend=$backend" mount_array -o backend=$backend,threads=2,io_units=2,memory=48M
    trap_claim "appends with backend=$backend" unaligned_appends
    claim "unmount" unmount_array
done
claim "journal_mode=write-through" mount_array -o journal_mode=write-through
claim "status knows the mode" eval \
    '"$R5FS" status "$mnt" --json | grep -q "\"effective_mode\":\"write-through\""'
echo through >"$mnt/through" && sync "$mnt/through"
claim "unmount" unmount_array

mkdir -p "$work/cwd"
claim "relative paths" eval 'cd "$work" && "$R5FS" mount disks mnt'
claim "unmount by a relative path" eval 'cd "$work" && "$R5FS" unmount ./mnt/'
out=$(timeout 60 "$R5FS" mount "$work/disks" "$mnt" 2>&1)
claim "mount lets go of its caller's output" [ $? -eq 0 ]
claim "and says nothing" [ -z "$out" ]
claim "unmount" unmount_array

# ---- a table of inodes that is too small ----------------------------------------------------------
claim "mount with little memory" mount_array -o memory=48M,threads=4
trap_claim "more files than the table of known inodes holds" more_files_than_the_table_holds 60000
claim "unmount" unmount_array
claim "check" check_array

# ---- as a user -----------------------------------------------------------------------------------
as_nobody() {
    if is_root; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi
}
if is_root; then chown -R 65534:65534 "$work/disks" "$mnt"; fi
user_files=("${members[@]}" "$journal")
claim_exit "allow_other of a user without user_allow_other" 5 \
    as_nobody "$R5FS" mount "${user_files[@]}" "$mnt" -o allow_other
claim "a user mounts" as_nobody "$R5FS" mount "${user_files[@]}" "$mnt"
claim "it is the user's" eval 'grep " $mnt " /proc/mounts | grep "fuse.r5fs" | grep -q "nosuid.*nodev.*user_id="'
pid=$(as_nobody "$R5FS" status "$mnt" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])')
if is_root; then
    claim "not even root may look in" eval '! ls "$mnt" >/dev/null 2>&1'
    claim "but root may ask" "$R5FS" status "$mnt"
    claim "and unmount" "$R5FS" unmount "$mnt"
    claim "the user's daemon has ended" gone "$pid"
    claim "the user mounts again" as_nobody "$R5FS" mount "${user_files[@]}" "$mnt"
fi
claim "the user unmounts" as_nobody "$R5FS" unmount "$mnt"
finish
