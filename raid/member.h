/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One device of an array, member or journal: its file, its superblock, its counters.
 */
#ifndef R5FS_RAID_MEMBER_H
#define R5FS_RAID_MEMBER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "md_superblock.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/member_io.h"

#define MEMBER_CAUSE_BYTES sizeof(((struct member_info *)NULL)->cause)

/* Stays open until array_close, also when it has failed: I/O in flight keeps its file. */
struct md_device {
    struct io_file file;        /* [fixed] valid when `open` */
    bool open;                  /* [fixed] */
    const char *path;           /* [fixed] "" when never seen */
    uint64_t data_offset_bytes; /* [fixed] */
    struct md_superblock super; /* as on the device, or about to be [super lock] */
    uint8_t *block;             /* I/O buffer of the superblock, block-aligned [super lock] */
    struct io_request request;  /* [super lock] */
};

struct member {
    struct md_device device;
    enum member_state state; /* [array lock] moved by member_move alone */
    bool loss_recorded;      /* every remaining device knows it lost [array lock] */
    uint64_t since_ns;       /* [array lock] */
    char cause[96];          /* [array lock] */
    atomic_uint_fast64_t read_errors;
    atomic_uint_fast64_t write_errors;
};

_Static_assert(sizeof(((struct member *)NULL)->cause) == MEMBER_CAUSE_BYTES, "copied as a whole");

/* The only mover; CHECKs the table, says it in one message. The array lock is held (or nobody else
 * knows the array yet). */
void member_move(struct member *member, uint32_t slot, enum member_state to, const char *cause);

/* Whether the file is shorter now than its `data_bytes` of data need: somebody cut it under us. A
 * write would make it grow again, with holes for what was lost, and nobody would ever know. */
bool md_device_is_cut(const struct md_device *device, uint64_t data_bytes);

/* Prepares the write of `device->super` as it now stands; submits nothing. */
void md_device_prepare_write(struct md_device *device);
/* Reads and decodes the superblock; waits. md_super_decode's errors, or the read's. */
R5_MUST_CHECK int
md_device_read_super(struct md_device *device, struct io_queue *queue, char why[MD_WHY_BYTES]);

#endif
