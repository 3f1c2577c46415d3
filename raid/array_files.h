/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An assembly under way: what array_files.c finds and array_assemble.c makes of it. */
#ifndef R5FS_RAID_ARRAY_FILES_H
#define R5FS_RAID_ARRAY_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "member.h"
#include "r5fs/raid/array.h"

struct candidate {
    struct md_device device;
    bool decoded; /* it has a superblock that makes sense */
    bool placed;  /* the array has taken the device over */
    bool has_identity;
    struct stat identity;
    char why[MD_WHY_BYTES]; /* it is of no use, "" = it is */
};

struct assembly {
    const struct array_assemble *how;
    struct io_queue *queue;
    struct array *array;
    struct candidate *candidates;
    uint32_t count;             /* opened, or tried to */
    struct candidate *freshest; /* after assembly_identify() */
    bool journal_stale;
    char *out_why; /* ARRAY_WHY_BYTES */
};

/* Says the one line of a refusal; returns `error`. */
int assembly_refuse(struct assembly *assembly, int error, const char *format, ...) R5_PRINTF(3, 4);
void candidate_set_problem(struct candidate *candidate, const char *format, ...) R5_PRINTF(2, 3);

R5_MUST_CHECK int assembly_open_files(struct assembly *assembly);
R5_MUST_CHECK int assembly_identify(struct assembly *assembly);
void assembly_close_unplaced(struct assembly *assembly);
/* Further behind the freshest than a torn round explains. */
bool candidate_is_stale(const struct assembly *assembly, const struct candidate *candidate);

#endif
