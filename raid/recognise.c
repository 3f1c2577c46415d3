/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is on a file, so that nothing of value is overwritten by mistake.
 *
 *   md superblocks -> the table of magic numbers -> partition table -> any byte that is not zero
 *
 * Only the first and the last 1 MiB are read: what lies between is data of something whose ends
 * would show it, or cannot be told apart from free space anyway.
 * Happy path: all zero, an empty answer. Failure modes: errors of open and read. Thread: any.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "md_superblock.h"
#include "r5fs/base/arena.h"
#include "r5fs/base/uuid.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/member_io.h"

#define WINDOW_BYTES    1048576u
#define MAGIC_BYTES_MAX 16u
#define MD_V0_ALIGN     65536u
#define MD_V1_0_BACK    8192u /* version 1.0 lies 8 to 12 KiB before the end */
#define MBR_TYPES_FIRST 446u
#define MBR_ENTRY_BYTES 16u

/* What was read of the file; the tail window ends at the file's end and may overlap the head. */
struct ends {
    uint8_t *head;
    size_t head_bytes;
    uint8_t *tail;
    size_t tail_bytes;
    uint64_t size_bytes;
};

struct magic {
    uint32_t offset; /* from the start of the file */
    uint32_t bytes;
    const char *magic;
    const char *what;
};

/* Longer and more telling ones first: the first that fits is the answer. */
static const struct magic magics[] = {
    {0, 6, "LUKS\xba\xbe", "LUKS encrypted volume"},
    {0, 4, "XFSB", "XFS filesystem"},
    {65600, 8, "_BHRfS_M", "btrfs filesystem"},
    {4096 + 24,
     16,
     "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
     "bcachefs or bcache device"},
    {1024 + 56, 2, "\x53\xef", "ext2/3/4 filesystem"},
    {4086, 10, "SWAPSPACE2", "swap space"},
    {4086, 10, "SWAP-SPACE", "swap space"},
    {512, 8, "LABELONE", "LVM physical volume"},
    {1024, 4, "\x10\x20\xf5\xf2", "f2fs filesystem"},
    {32769, 5, "CD001", "ISO 9660 filesystem"},
    {65588, 8, "ReIsEr2F", "reiserfs filesystem"},
    {65588, 8, "ReIsErFs", "reiserfs filesystem"},
    {3, 8, "NTFS    ", "NTFS filesystem"},
    {3, 8, "EXFAT   ", "exFAT filesystem"},
    {82, 5, "FAT32", "FAT filesystem"},
    {54, 5, "FAT16", "FAT filesystem"},
    {54, 5, "FAT12", "FAT filesystem"},
    {0, 4, "hsqs", "squashfs filesystem"},
    {0, 4, "QFI\xfb", "qcow2 disk image"},
    {257, 5, "ustar", "tar archive"},
    {0, 16, "SQLite format 3\0", "SQLite database"},
    {0,
     6,
     "\xfd"
     "7zXZ\0",
     "xz archive"},
    {0, 6, "7z\xbc\xaf\x27\x1c", "7z archive"},
    {0, 4, "PK\x03\x04", "zip archive"},
    {0, 4, "\x28\xb5\x2f\xfd", "zstd archive"},
    {0, 3, "\x1f\x8b\x08", "gzip archive"},
    {0, 3, "BZh", "bzip2 archive"},
    {0,
     4,
     "\x7f"
     "ELF",
     "ELF program"},
    {0, 5, "%PDF-", "PDF document"},
    {512, 8, "EFI PART", "GPT partition table"},
};

/* A ZFS label keeps its uberblocks from 128 KiB on, one in each KiB. */
static bool has_zfs_label(const struct ends *ends)
{
    static const uint8_t little[8] = {0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0};
    static const uint8_t big[8] = {0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c};
    for (size_t at = 131072; at + 8 <= ends->head_bytes && at < 262144; at += 1024) {
        if (memcmp(ends->head + at, little, 8) == 0 || memcmp(ends->head + at, big, 8) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_partitions(const struct ends *ends)
{
    if (ends->head_bytes < SECTOR_BYTES || ends->head[510] != 0x55 || ends->head[511] != 0xaa) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *entry = ends->head + MBR_TYPES_FIRST + (size_t)i * MBR_ENTRY_BYTES;
        if ((entry[0] == 0 || entry[0] == 0x80) && entry[4] != 0) {
            return true;
        }
    }
    return false;
}

static void describe_md(const struct md_superblock *super, char out_what[ARRAY_WHY_BYTES])
{
    char uuid[UUID_TEXT_BYTES];
    char name[MD_NAME_BYTES + 1];
    md_super_print_name(super, name);
    uuid_print(&super->set_uuid, uuid);
    uint32_t role = md_super_role(super);
    const char *what = "spare or former member";
    if (role == MD_ROLE_JOURNAL) {
        what = "journal";
    } else if (md_role_is_slot(role)) {
        what = "member";
    }
    int written = snprintf(out_what, ARRAY_WHY_BYTES, "md %s of array %s (%s)", what, uuid, name);
    R5_CHECK(written > 0);
}

static bool has_magic_at(const uint8_t *window, size_t window_bytes, uint64_t at)
{
    static const uint8_t little[4] = {0xfc, 0x4e, 0x2b, 0xa9};
    static const uint8_t big[4] = {0xa9, 0x2b, 0x4e, 0xfc};
    return at + 4 <= window_bytes &&
           (memcmp(window + at, little, 4) == 0 || memcmp(window + at, big, 4) == 0);
}

/* Versions 1.2 (described), 1.1 at the start, 1.0 and 0.90 near the end. */
static bool recognise_md(const struct ends *ends, char out_what[ARRAY_WHY_BYTES])
{
    struct md_superblock super;
    const char *what = NULL;
    if (ends->head_bytes >= MD_SUPER_OFFSET_BYTES + BLOCK_BYTES) {
        char why[MD_WHY_BYTES];
        int error = md_super_decode(ends->head + MD_SUPER_OFFSET_BYTES, &super, why);
        if (error == 0) {
            describe_md(&super, out_what);
            return true;
        }
        what = error == -EUCLEAN ? "md member with a damaged superblock" : NULL;
    }
    uint64_t tail_first = ends->size_bytes - ends->tail_bytes;
    uint64_t v0_at = round_down(ends->size_bytes, MD_V0_ALIGN);
    uint64_t v1_at = round_down(ends->size_bytes, BLOCK_BYTES);
    if (what == NULL && has_magic_at(ends->head, ends->head_bytes, 0)) {
        what = "md member (superblock 1.1)";
    }
    if (what == NULL && v1_at >= tail_first + MD_V1_0_BACK &&
        has_magic_at(ends->tail, ends->tail_bytes, v1_at - MD_V1_0_BACK - tail_first)) {
        what = "md member (superblock 1.0)";
    }
    if (what == NULL && v0_at >= tail_first + MD_V0_ALIGN &&
        has_magic_at(ends->tail, ends->tail_bytes, v0_at - MD_V0_ALIGN - tail_first)) {
        what = "md member (superblock 0.90)";
    }
    if (what == NULL) {
        return false;
    }
    int written = snprintf(out_what, ARRAY_WHY_BYTES, "%s", what);
    R5_CHECK(written > 0);
    return true;
}

static const char *recognise_magic(const struct ends *ends)
{
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
        const struct magic *magic = &magics[i];
        if ((size_t)magic->offset + magic->bytes <= ends->head_bytes &&
            memcmp(ends->head + magic->offset, magic->magic, magic->bytes) == 0) {
            return magic->what;
        }
    }
    if (has_zfs_label(ends)) {
        return "ZFS device";
    }
    return has_partitions(ends) ? "partition table" : NULL;
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

static void recognise_ends(const struct ends *ends, char out_what[ARRAY_WHY_BYTES])
{
    out_what[0] = '\0';
    if (recognise_md(ends, out_what)) {
        return;
    }
    const char *what = recognise_magic(ends);
    if (what == NULL &&
        (!all_zero(ends->head, ends->head_bytes) || !all_zero(ends->tail, ends->tail_bytes))) {
        what = "data (not all zeros)";
    }
    if (what != NULL) {
        int written = snprintf(out_what, ARRAY_WHY_BYTES, "%s", what);
        R5_CHECK(written > 0);
    }
}

static int read_plain(int fd, uint64_t offset_bytes, uint8_t *buffer, size_t bytes)
{
    size_t filled = 0;
    while (filled < bytes) {
        ssize_t got = pread(fd, buffer + filled, bytes - filled, (off_t)(offset_bytes + filled));
        if (got == 0) {
            return -EIO;
        }
        if (got < 0 && errno != EINTR) {
            return -errno;
        }
        filled += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static int read_ends(const struct io_file *file, struct arena *scratch, struct ends *out_ends)
{
    uint64_t size = file->size_bytes;
    size_t window = (size_t)min_u64(size, WINDOW_BYTES);
    struct ends ends = {.size_bytes = size, .head_bytes = window, .tail_bytes = window};
    ends.head = arena_take(scratch, WINDOW_BYTES, BLOCK_BYTES);
    ends.tail = arena_take(scratch, WINDOW_BYTES, BLOCK_BYTES);
    int error = read_plain(file->fd, 0, ends.head, window);
    if (error == 0) {
        error = read_plain(file->fd, size - window, ends.tail, window);
    }
    if (error == 0) {
        *out_ends = ends;
    }
    return error;
}

int array_recognise(const char *path, char out_what[ARRAY_WHY_BYTES])
{
    struct arena scratch;
    struct io_file file;
    struct ends ends;
    int holder_pid = 0;
    /* Neither locked nor O_DIRECT: a look only, to the last byte of a file of any length, which no
     * queue of whole sectors could give. */
    struct io_open_options options = {.read_only = true};
    int error = io_file_open(&file, path, &options, &holder_pid);
    if (error != 0) {
        return error;
    }
    arena_init_growing(&scratch);
    error = read_ends(&file, &scratch, &ends);
    if (error == 0) {
        recognise_ends(&ends, out_what);
    }
    io_file_close(&file);
    arena_fini(&scratch);
    return error;
}
