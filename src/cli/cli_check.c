/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * r5fs check: verifies an unmounted filesystem, and with --parity every row of the array. Exit
 * codes are fsck(8)'s: 0 clean, 1 all repaired, 4 problems left, 8 could not go on, 16 usage.
 *
 * Without -y nothing is written: a log that a crash left is laid over the members in memory. Rows
 * that replay would write are then not compared with their parity, which only replay makes good.
 * With -y the array is written like by a mount: a member that is missing now would be stale for
 * good. So that is refused unless the array was degraded before, or --degraded asks for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli.h"
#include "cli_offline.h"
#include "r5fs/raid/parity.h"

#define FSCK_CLEAN     0
#define FSCK_REPAIRED  1
#define FSCK_LEFT      4
#define FSCK_OPERATION 8

#define PARITY_BATCH_BLOCKS 64u
#define PARITY_LINES_MAX    20u

enum {
    OPTION_NO,
    OPTION_YES,
    OPTION_PARITY,
    OPTION_ACCEPT,
    OPTION_DEGRADED,
    OPTION_AUTO,
    OPTION_FORCE
};

const struct cli_option cli_check_options[] = {
    {"no", 'n', NULL, "change nothing (the default)"},
    {"yes", 'y', NULL, "repair what can be repaired"},
    {"parity", 0, NULL, "also compare every row's parity with its data"},
    {"accept-damaged-log", 0, NULL, "go on although the log was damaged or is an older copy"},
    {"degraded", 0, NULL, "repair although a member is missing: it can never join again"},
    {"auto", 'a', NULL, "as fsck(8) calls it at boot: same as -y"},
    {"force", 'f', NULL, "accepted for fsck(8); the check is always full"},
    {NULL, 0, NULL, NULL},
};

static void print_line(void *context, const char *line)
{
    (void)context; /* nothing to carry */
    (void)puts(line);
}

struct parity_scan {
    struct cli_array *opened;
    uint32_t slots;
    uint8_t *buffers[MEMBERS_MAX];
    uint64_t mismatches;
};

static void compare_rows(struct parity_scan *scan, uint64_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *sources[MEMBERS_MAX];
        for (uint32_t slot = 1; slot < scan->slots; slot++) {
            sources[slot - 1] = scan->buffers[slot] + (size_t)i * BLOCK_BYTES;
        }
        static _Alignas(BLOCK_BYTES) uint8_t sum[BLOCK_BYTES];
        parity_xor(sum, sources, scan->slots - 1);
        if (memcmp(sum, scan->buffers[0] + (size_t)i * BLOCK_BYTES, BLOCK_BYTES) != 0) {
            if (scan->mismatches++ < PARITY_LINES_MAX) {
                (void)printf("parity: row %" PRIu64 " does not match its data\n", first + i);
            }
        }
    }
}

static int check_parity(struct cli_array *opened, uint64_t *out_mismatches)
{
    const struct geometry *geometry = array_geometry(opened->array);
    struct parity_scan scan = {.opened = opened, .slots = geometry->slots};
    R5_CHECK(scan.slots >= MEMBERS_MIN);
    if (array_state(opened->array) != ARRAY_CLEAN) {
        (void)puts("parity: a member is missing, so there is nothing to compare");
        return 0;
    }
    for (uint32_t slot = 0; slot < scan.slots; slot++) {
        scan.buffers[slot] =
            arena_take(&opened->arena, (size_t)PARITY_BATCH_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
    }
    for (uint64_t row = 0; row < geometry->rows; row += PARITY_BATCH_BLOCKS) {
        uint32_t count = (uint32_t)min_u64(PARITY_BATCH_BLOCKS, geometry->rows - row);
        for (uint32_t slot = 0; slot < scan.slots; slot++) {
            int rc = array_read_raw(opened->array,
                                    opened->thread.queue,
                                    slot,
                                    member_block(row),
                                    count,
                                    scan.buffers[slot]);
            if (rc != 0) {
                cli_error("member %u: row %" PRIu64 ": %s", slot, row, strerror(-rc));
                return rc;
            }
        }
        compare_rows(&scan, row, count);
    }
    (void)printf("parity: %" PRIu64 " rows compared, %" PRIu64 " do not match\n",
                 geometry->rows,
                 scan.mismatches);
    *out_mismatches = scan.mismatches;
    return 0;
}

/* Without it the members are only what they were at some write-out: good or bad, that is not the
 * array. Returns problems. */
static uint64_t check_journal(struct cli_array *opened)
{
    enum journal_state state = array_journal_state(opened->array);
    if (state == JOURNAL_DEVICE_NONE || state == JOURNAL_DEVICE_OK) {
        return 0;
    }
    (void)printf("journal: %s; the members were judged alone, as of their last write-out\n",
                 state == JOURNAL_DEVICE_FAULTY ? "failed" : "missing");
    return 1;
}

static int check_opened(struct cli_array *opened, const struct cli_args *args, bool repair)
{
    struct fs_check_options options = {
        .repair = repair,
        .arena = &opened->arena,
        .report = print_line,
    };
    struct fs_check_result result = {0};
    int rc = fs_check(opened->journal, opened->array, &opened->thread, &options, &result);
    if (rc == -EMEDIUMTYPE) {
        cli_error("the array holds no r5fs filesystem (hint: r5fs dump volume copies it out)");
        return FSCK_OPERATION;
    }
    if (rc != 0) {
        cli_error("check: %s", strerror(-rc));
        return FSCK_OPERATION;
    }
    uint64_t mismatches = 0;
    if (array_state(opened->array) != ARRAY_CLEAN) {
        (void)printf("member: slot %" PRIu32 " is missing; its blocks were read through parity\n",
                     array_missing_slot(opened->array));
    }
    uint64_t others = check_journal(opened);
    if (args->values[OPTION_PARITY] != NULL) {
        struct journal_status status;
        journal_get_status(opened->journal, &status);
        if (repair && journal_drain(opened->journal, opened->thread.queue) != 0) {
            return FSCK_OPERATION;
        }
        if (!repair && status.recovered.closed_rows > 0) {
            (void)puts("parity: not compared, the journal holds rows that replay will write "
                       "(mount once, or check -y)");
        } else if (check_parity(opened, &mismatches) != 0) {
            return FSCK_OPERATION;
        }
    }
    others += mismatches;
    (void)printf("%" PRIu64 " files, %" PRIu64 " directories, %" PRIu64 " blocks used; %" PRIu64
                 " problems, %" PRIu64 " repaired\n",
                 result.files,
                 result.directories,
                 result.used_blocks,
                 result.problems + others,
                 result.repaired);
    if (result.problems + others == 0) {
        return FSCK_CLEAN;
    }
    return result.problems == result.repaired && others == 0 ? FSCK_REPAIRED : FSCK_LEFT;
}

/* Opening the journal for a repair changes the array. */
static bool may_begin(struct cli_array *opened, const struct cli_open *how)
{
    char why[FS_WHY_BYTES];
    if (!how->write || how->accept_damaged_log ||
        fs_look(opened->array, &opened->thread, why) == 0) {
        return true;
    }
    cli_error("%s", why);
    return false;
}

int cli_run_check(const struct cli_args *args)
{
    bool repair = args->values[OPTION_YES] != NULL || args->values[OPTION_AUTO] != NULL;
    if (args->word_count == 0 || (repair && args->values[OPTION_NO] != NULL)) {
        return cli_usage_error(cli_find_command("check"),
                               "%s",
                               args->word_count == 0 ? "no files were given"
                                                     : "-n and -y exclude each other");
    }
    struct cli_open how = {
        .write = repair,
        .accept_damaged_log = args->values[OPTION_ACCEPT] != NULL,
        .degraded = args->values[OPTION_DEGRADED] != NULL,
        .wait_for_lock = true,
    };
    struct cli_array opened;
    if (cli_array_open(args->words, args->word_count, &how, &opened) != EXIT_OK) {
        return FSCK_OPERATION;
    }
    int code = FSCK_OPERATION;
    if (may_begin(&opened, &how) && cli_array_open_journal(&opened, &how) == EXIT_OK) {
        code = check_opened(&opened, args, repair);
    }
    if (cli_array_close(&opened) != EXIT_OK) {
        code = FSCK_OPERATION;
    }
    return code;
}
