#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Real files: trees with symlinks and hard links, a git history, SQLite with both journals, a tar of it
# all. Every byte is compared after a remount; check and parity are clean; mdadm accepts every file.
#   R5FS_MEMBERS=4 R5FS_CHUNK=64K R5FS_FULL=1 tests/e2e/test_e2e_real_input.sh
# R5FS_FULL=1 copies all of /usr/include and /usr/lib instead of a part.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

real_input() { # MEMBERS CHUNK SIZE SOURCES...
    local count=$1 chunk=$2 size=$3 label="$1 members, chunk $2"
    shift 3
    claim "create ($label)" make_array "$count" "$size" 64M --chunk "$chunk" --sparse || return
    claim "mount ($label)" mount_array || return
    local source
    for source in "$@"; do
        claim "copy $source ($label)" cp -a "$source" "$mnt/" || return
    done
    claim "hard links ($label)" bash -c "mkdir '$mnt/links' && echo one > '$mnt/links/a' &&
        ln '$mnt/links/a' '$mnt/links/b' && ln -s a '$mnt/links/c' && [ \$(stat -c %h '$mnt/links/a') = 2 ]"
    if command -v git >/dev/null; then
        claim "git history and fsck ($label)" bash -c "cd '$mnt' && git init -q repo && cd repo &&
            git config user.email t@example.com && git config user.name t &&
            for i in 1 2 3 4 5; do cp -r /usr/include/linux v\$i; git add -A; git commit -qm v\$i; done &&
            git gc -q && cd .. && git clone -q repo clone && git -C clone fsck --full"
    fi
    if command -v sqlite3 >/dev/null; then
        for mode in wal delete; do
            claim "SQLite, journal_mode=$mode ($label)" bash -c "
                { echo 'PRAGMA journal_mode=$mode; PRAGMA synchronous=FULL; CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB);'
                  for i in \$(seq 100); do echo 'INSERT INTO t(b) VALUES(randomblob(3000));'; done
                  echo 'PRAGMA integrity_check;'; } | sqlite3 '$mnt/$mode.db' | tail -1 | grep -qx ok"
        done
    fi
    claim "tar of it all ($label)" bash -c "tar -C '$mnt' -cf '$work/all.tar' . && cp '$work/all.tar' '$mnt/all.tar'"
    claim "unmount ($label)" unmount_array || return
    claim "check and parity ($label)" check_array --parity
    if command -v mdadm >/dev/null; then
        local file
        for file in "${members[@]}" "$journal"; do
            claim "mdadm --examine $(basename "$file") ($label)" mdadm --examine "$file"
        done
    fi
    claim "mount again ($label)" mount_array || return
    for source in "$@"; do
        claim "$source is equal after remount ($label)" \
            diff -r --no-dereference "$source" "$mnt/$(basename "$source")"
    done
    claim "tar is equal after remount ($label)" cmp "$work/all.tar" "$mnt/all.tar"
    claim "everything equals the tar after remount ($label)" \
        bash -c "tar -C '$mnt' -df '$work/all.tar' --exclude=./all.tar"
    rm -f "$work/all.tar"
    claim "unmount again ($label)" unmount_array
    claim "an unmounted array has an empty log ($label)" bash -c \
        "'$R5FS' dump journal ${members[*]} $journal | grep -cE '^ +(data|parity) ' | grep -qx 0"
}

if [ -n "${R5FS_FULL:-}" ]; then
    real_input "${R5FS_MEMBERS:-4}" "${R5FS_CHUNK:-64K}" 6G /usr/include /usr/lib
elif [ -n "${R5FS_MEMBERS:-}" ]; then
    real_input "$R5FS_MEMBERS" "${R5FS_CHUNK:-64K}" 1G /usr/include
else
    real_input 4 64K 1G /usr/include /usr/lib/python3
    real_input 3 4K 512M /usr/include/linux
    real_input 5 512K 512M /usr/include/linux
    real_input 8 64K 256M /usr/include/linux
fi
finish
