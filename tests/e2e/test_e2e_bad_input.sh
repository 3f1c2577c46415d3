#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Missing, truncated, swapped, duplicated, foreign, read-only, busy, stale and damaged files, wrong
# options: one clear line and the documented exit code, or a degraded mount; nothing is damaged.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

make_array 4 96M 16M --label bad >/dev/null || { echo "not ok create"; exit 1; }
mount_array && cp -r /usr/include/linux "$mnt/" && unmount_array || { echo "not ok prepare"; exit 1; }
cp -r --sparse=always "$work/disks" "$work/good"
tree_sum() { (cd "$mnt" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum); }
mount_array && sum=$(tree_sum) && unmount_array || { echo "not ok prepare"; exit 1; }

reset_disks() {
    rm -rf "$work/disks"
    cp -r --sparse=always "$work/good" "$work/disks"
}
mount_dir() { "$R5FS" mount "$work/disks" "$mnt" "$@"; }
still_good() { # NAME: the untouched files mount and hold the same bytes
    claim "$1: the array is intact afterwards" bash -c "
        '$R5FS' mount '$work/disks' '$mnt' -o degraded || exit 1
        now=\$(cd '$mnt' && find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
        '$R5FS' unmount '$mnt' || exit 1
        [ \"\$now\" = '$sum' ]"
}

# --- members
reset_disks
rm "$work/disks/d1"
claim_exit "a missing member is refused without -o degraded" 5 mount_dir
still_good "a missing member"

# check -y writes as a mount does: who is missing then is stale for good, which nobody may do unasked.
reset_disks
rm "$work/disks/d1"
before=$(sha256sum "$work"/disks/*)
claim_exit "check -y refuses a missing member" 8 "$R5FS" check "$work/disks" -y
cp "$work/.out" "$work/said"
claim "and says which and how to go on" grep -q "slot 1 is missing.*--degraded" "$work/said"
claim_exit "fsck at boot refuses it, too" 8 "$R5FS" check "$work/disks" -a
claim "nothing was changed by refusing" [ "$(sha256sum "$work"/disks/*)" = "$before" ]
claim "check without -y goes on" "$R5FS" check "$work/disks" -n
cp "$work/.out" "$work/said"
claim "and says which is missing" grep -q "slot 1 is missing" "$work/said"
cp --sparse=always "$work/good/d1" "$work/disks/d1"
claim "the member is used when it is back" mount_dir
claim "the array is whole then" "$R5FS" status --check "$mnt"
claim "unmount with all members" unmount_array
rm "$work/disks/d1"
claim "check -y --degraded repairs without it" "$R5FS" check "$work/disks" -y --degraded
claim "and needs no option afterwards" "$R5FS" check "$work/disks" -y

reset_disks
truncate -s 50M "$work/disks/d2"
claim_exit "a truncated member is not used" 5 mount_dir
still_good "a truncated member"

reset_disks
rm "$work/disks/d1" "$work/disks/d2"
claim_exit "two missing members cannot be mounted" 3 mount_dir -o degraded

reset_disks
mv "$work/disks/d0" "$work/disks/x" && mv "$work/disks/d1" "$work/disks/d0" && mv "$work/disks/x" "$work/disks/d1"
claim "swapped names do not matter" mount_dir
claim "unmount after swapped names" unmount_array

reset_disks
cp --sparse=always "$work/disks/d0" "$work/disks/d0copy"
claim_exit "a member given twice (a copy) is refused" 1 mount_dir
rm "$work/disks/d0copy"
still_good "a duplicated member"

reset_disks
claim_exit "the same path twice is refused" 1 "$R5FS" mount "$work"/disks/d0 "$work"/disks/* "$mnt"

mkdir -p "$work/foreign"
"$R5FS" create --size 96M --journal "$work/foreign/j" --journal-size 16M "$work"/foreign/{a,b,c,d} >/dev/null
reset_disks
cp --sparse=always "$work/foreign/b" "$work/disks/d1"
claim_exit "a member of another array is refused" 1 mount_dir
reset_disks
cp --sparse=always "$work/foreign/j" "$work/disks/journal"
claim_exit "the journal of another array is refused" 1 mount_dir
reset_disks

if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    chmod -R a+rX "$work"
    claim_exit "files that may not be written are refused for a read-write mount" 1 \
        setpriv --reuid 65534 --regid 65534 --clear-groups "$R5FS" mount "$work/disks" "$mnt"
fi
still_good "read-only files"

claim "mount for the busy test" mount_dir
claim_exit "a second mount says who holds the files" 4 "$R5FS" mount "$work/disks" "$work"
claim_exit "create refuses members in use" 4 "$R5FS" create --force "$work"/disks/d{0,1,2,3} --journal "$work/disks/journal"
claim "unmount after the busy test" unmount_array

reset_disks
rm "$work/disks/d3"
claim "mount degraded, so that d3 gets stale" mount_dir -o degraded
claim "a file written while degraded" bash -c "echo new > '$mnt/new' && sync '$mnt/new'"
claim "unmount degraded" unmount_array
cp --sparse=always "$work/good/d3" "$work/disks/d3"
claim "a stale member is left out, the array stays degraded" mount_dir
claim "the newer file is there" grep -qx new "$mnt/new"
claim "status says degraded" bash -c "'$R5FS' status --check '$mnt'; [ \$? -eq 10 ]"
claim "unmount with the stale member" unmount_array

# --- a member's file cut short under the mount: what it held must not come back as zeros
reset_disks
claim "mount for the cut member" mount_dir
truncate -s 0 "$work/disks/d1"
claim "writing goes on" dd if=/dev/zero of="$mnt/later" bs=64k count=400 conv=fsync status=none
claim "unmount with the cut member" unmount_array
claim "everything reads back without it" bash -c "
    '$R5FS' mount '$work/disks' '$mnt' -o degraded && rm '$mnt/later'"
claim "the cut member is not used" bash -c "'$R5FS' status --check '$mnt'; [ \$? -eq 10 ]"
claim "the bytes are the same" [ "$(tree_sum)" = "$sum" ]
claim "unmount without the cut member" unmount_array

# --- somebody else's array: made by a kernel, its log not empty, no r5fs filesystem on it
mkdir "$work/others"
zstd -dqc "$lib_dir/../../golden/f2/images.tar.zst" | tar -C "$work/others" -xSf -
before=$(sha256sum "$work"/others/*)
claim_exit "an array without r5fs is not mounted" 3 "$R5FS" mount "$work/others" "$mnt"
claim_exit "nor repaired" 8 "$R5FS" check "$work/others" -y
claim "nothing was replayed into it" [ "$(sha256sum "$work"/others/*)" = "$before" ]
rm "$work/others/m1.img"
claim_exit "nor is it mounted degraded" 3 "$R5FS" mount "$work/others" "$mnt" -o degraded
claim "no member of it was given up" [ "$(sha256sum "$work"/others/*)" = "$(grep -v m1.img <<<"$before")" ]
rm -rf "$work/others"

reset_disks
data_offset=$("$R5FS" examine --json "$work/disks/d0" | python3 -c 'import json,sys; print(json.load(sys.stdin)["files"][0]["data_offset"])')
dd if=/dev/zero of="$work/disks/d0" bs=4096 seek=$((data_offset / 4096)) count=1 conv=notrunc status=none
claim_exit "one whose first super is gone is known by its copy" 1 "$R5FS" check "$work/disks" -y
still_good "a lost super"

# --- a filesystem that cannot be mounted: refusing it changes nothing
damage_blocks() { # MAGIC [ADDRESS]: inverts a byte in each such block on the members, prints these
    python3 - "$@" "$work"/disks/d? <<'END'
import struct, sys
magic, wanted = sys.argv[1].encode(), sys.argv[2]
for path in sys.argv[3:]:
    with open(path, "r+b") as member:
        at = 0
        while block := member.read(4096):
            if block[:4] == magic and wanted in ("any", str(struct.unpack_from("<Q", block, 8)[0])):
                member.seek(at + 200)
                member.write(bytes([block[200] ^ 255]))
                member.seek(at + 4096)
                print(path.rsplit("/", 1)[1])
            at += 4096
END
}
refused_unchanged() { # NAME DAMAGED: neither a plain mount nor a degraded one changes a byte
    local before spare
    before=$(sha256sum "$work"/disks/*)
    spare=$(printf '%s\n' d0 d1 d2 d3 | grep -vxF "$2" | head -1) # without it the damage is still met
    claim "$1: there is something damaged" [ -n "$2" ]
    claim_exit "$1: not mounted" 6 mount_dir
    claim "$1: nothing was changed by refusing" [ "$(sha256sum "$work"/disks/*)" = "$before" ]
    mv "$work/disks/$spare" "$work/away"
    claim_exit "$1: not mounted degraded" 6 mount_dir -o degraded
    mv "$work/away" "$work/disks/$spare"
    claim "$1: no member was given up" [ "$(sha256sum "$work"/disks/*)" = "$before" ]
}
reset_disks
root=$("$R5FS" dump tree "$work/disks" | sed -n '1s/^node: block \([0-9]*\) .*/\1/p')
refused_unchanged "a damaged tree root" "$(damage_blocks R5FN "$root")"
reset_disks
refused_unchanged "a damaged super and copy" "$(damage_blocks R5FS any)"

# --- damage
flip() { # FILE OFFSET: inverts one byte
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\$(printf %03o $((255 - byte)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
reset_disks
flip "$work/disks/d0" $((4096 + 100))
claim_exit "a flipped superblock makes the member unusable" 5 mount_dir
still_good "a flipped superblock"
reset_disks
dd if=/dev/zero of="$work/disks/d0" bs=4096 seek=1 count=1 conv=notrunc status=none
claim_exit "a zeroed superblock makes the member unusable" 5 "$R5FS" mount "$work"/disks/{d0,d1,d2,d3,journal} "$mnt"

reset_disks
rm "$work/disks/journal"
claim "a missing journal: read-only" bash -c "'$R5FS' mount '$work/disks' '$mnt' -o ro && '$R5FS' unmount '$mnt'"
reset_disks
tail_sector=$("$R5FS" examine --json "$work/disks/journal" | python3 -c 'import json,sys; f=json.load(sys.stdin)["files"][0]; print(f["data_offset"]+f["log"]["tail"])')
dd if=/dev/zero of="$work/disks/journal" bs=4096 seek=$((tail_sector / 4096)) count=1 conv=notrunc status=none
claim_exit "a zeroed journal head is refused" 6 mount_dir

# --- options
reset_disks
claim_exit "an unknown mount option" 2 mount_dir -o nonsense
claim_exit "a wrong value" 2 mount_dir -o memory=lots
claim_exit "too little memory" 2 mount_dir -o memory=1M
claim_exit "an unknown command" 2 "$R5FS" frobnicate
claim_exit "an unknown option" 2 "$R5FS" create --frobnicate
claim_exit "two members are too few" 2 "$R5FS" create --size 64M "$work/n1" "$work/n2"
claim_exit "a chunk that is no power of two" 2 "$R5FS" create --chunk 5K --size 64M "$work"/n{1,2,3}
claim_exit "a chunk above 64M" 2 "$R5FS" create --chunk 128M --size 2G --sparse "$work"/n{1,2,3}
cp "$work/.out" "$work/said"
claim "what is said of it and the help name the same limit" bash -c "
    grep -q 'from 4K to 64M' '$work/said' && '$R5FS' create --help | grep -q 'from 4K to 64M'"
claim "a chunk of 64M is possible" "$R5FS" create --dry-run --chunk 64M --size 2G "$work"/n{1,2,3}
claim_exit "a uuid of zeros" 2 "$R5FS" create --uuid 00000000-0000-0000-0000-000000000000 --size 64M "$work"/n{1,2,3}
said_in_one_line() { # NAME TEXT: what was said last is one line, and this is in it
    cp "$work/.out" "$work/said"
    claim "$1: one line" [ "$(wc -l <"$work/said")" -eq 1 ]
    claim "$1: with the reason" grep -qF -- "$2" "$work/said"
}
long=$(printf '%03000d' 0)
claim_exit "a label of 3000 bytes" 2 "$R5FS" create --label "$long" --size 64M --journal "$work/nj" "$work"/n{1,2,3}
said_in_one_line "the long label" "32 bytes at most, no slash or line break (hint: "
claim_exit "a label of several lines" 2 "$R5FS" create --label $'a\nb\tc' --size 64M --journal "$work/nj" "$work"/n{1,2,3}
said_in_one_line "the label of several lines" "label 'a\x0ab\x09c': 32 bytes at most"
claim_exit "a mount option of 3000 bytes" 2 mount_dir -o "memory=$long"
said_in_one_line "the long option" "too long"
deep=$work/deep
for _ in {1..12}; do deep=$deep/${long:0:100}; done
mkdir -p "$deep"
truncate -s 1M "$deep"/{a,b,c}
claim_exit "small members deep in directories" 2 "$R5FS" create --journal "$work/nj" --journal-size 8M "$deep"/{a,b,c}
said_in_one_line "the small members" "(hint: --size)"
rm -rf "$deep"
claim_exit "a journal below the least size" 2 "$R5FS" create --size 64M --journal-size 1M "$work"/n{1,2,3}
claim_exit "create over data is refused" 5 "$R5FS" create "$work"/disks/d{0,1,2,3}
claim_exit "unmount of what is not mounted" 3 "$R5FS" unmount "$work/disks"
claim_exit "mount point missing" 3 "$R5FS" mount "$work/disks" "$work/nowhere"
claim_exit "status of nothing" 3 "$R5FS" status "$work/nowhere"
claim_exit "a later command says not yet" 1 "$R5FS" scrub start "$mnt"
claim "nothing was made by refused creates" bash -c "! ls '$work'/n1 '$work'/n2 '$work'/n3 2>/dev/null | grep -q ."
still_good "wrong options"
finish
