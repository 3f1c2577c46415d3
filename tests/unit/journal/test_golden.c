/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arrays that a real kernel made (tests/golden): our recovery gives the volume that their manifests
 * name, through the read-only view and by real replay, whole and with any one member missing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "r5fs/journal/log_dump.h"
#include "recovery_kit.h"
#include "recovery_view.h"

struct golden {
    const char *name;
    uint32_t members;
    bool journal;
    uint32_t missing; /* a slot whose file is not there at all */
    uint64_t units;   /* of its log, by the manifest */
    uint64_t closed_rows;
    uint64_t open_rows;
    const char *sha256;
};

static struct golden goldens[] = {
    {.name = "f2", .members = 4, .journal = true, .missing = KIT_NO_SLOT},
    {.name = "f3", .members = 4, .journal = true, .missing = KIT_NO_SLOT},
    {.name = "f7", .members = 4, .journal = true, .missing = 2},
    {.name = "f12", .members = 4, .journal = true, .missing = KIT_NO_SLOT},
    {.name = "f1", .members = 3, .missing = KIT_NO_SLOT},
    {.name = "f5", .members = 5, .missing = 2},
};

#define GOLDENS      ((int)(sizeof(goldens) / sizeof(goldens[0])))
#define WITH_JOURNAL 4 /* the first ones */

static struct recovery_kit kit;

/* ---- manifests ------------------------------------------------------------------------------- */

static const char *manifest_value(const char *text, const char *key)
{
    char quoted[64];

    ck_assert_int_gt(snprintf(quoted, sizeof(quoted), "\"%s\": ", key), 0);
    const char *at = strstr(text, quoted);
    return at == NULL ? NULL : at + strlen(quoted);
}

static uint64_t manifest_number(const char *text, const char *key)
{
    const char *at = manifest_value(text, key);

    return at == NULL ? 0 : strtoull(at, NULL, 10);
}

static void read_manifest(struct golden *golden)
{
    char path[512];
    char text[8192];

    ck_assert_int_gt(
        snprintf(path, sizeof(path), "%s/golden/%s/manifest.json", R5_TEST_DIR, golden->name), 0);
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s", path);
    size_t got = fread(text, 1, sizeof(text) - 1, file);
    ck_assert_int_eq(fclose(file), 0);
    text[got] = '\0';
    golden->units = manifest_number(text, "units");
    golden->closed_rows = manifest_number(text, "closed_rows");
    golden->open_rows = manifest_number(text, "open_rows");
    golden->sha256 = strndup(manifest_value(text, "volume_sha256") + 1, 64);
}

/* ---- reading ------------------------------------------------------------------------------ */

static int read_view(
    struct recovery_kit *of, void *view, struct fs_block first, uint32_t count, uint8_t *buffer)
{
    return recovery_view_read_blocks(view, of->queue, first, count, buffer);
}

static int read_array(
    struct recovery_kit *of, void *context, struct fs_block first, uint32_t count, uint8_t *buffer)
{
    (void)context; /* nothing lies over the members */
    return array_read(of->array, of->queue, first, count, buffer);
}

/* `replayed`: the tail has passed what was closed. */
static void expect_view(const struct golden *golden, uint32_t missing, bool replayed)
{
    struct recovery_view view;
    char hex[65];

    kit_assemble(&kit, true, missing);
    if (!golden->journal) {
        kit_volume_sha256(&kit, read_array, NULL, hex);
        ck_assert_str_eq(hex, golden->sha256);
        return;
    }
    ck_assert_int_eq(recovery_view_init(&view, kit.array, kit.queue, false, kit.why), 0);
    ck_assert(replayed || view.scan.units == golden->units);
    ck_assert(replayed || view.scan.closed_count == golden->closed_rows);
    ck_assert_uint_eq(view.scan.open_count, golden->open_rows);
    kit_volume_sha256(&kit, read_view, &view, hex);
    ck_assert_str_eq(hex, golden->sha256);
    recovery_view_fini(&view);
}

START_TEST(the_view_shows_the_volume_of_the_manifest_and_writes_nothing)
{
    struct golden *golden = &goldens[_i];
    struct kit_images before;

    read_manifest(golden);
    kit_unpack(&kit, golden->name, golden->members, golden->journal);
    kit_save(&kit, &before);
    expect_view(golden, KIT_NO_SLOT, false);
    kit_close(&kit);
    ck_assert(kit_equals(&kit, &before));
    kit_free(&before);
    kit_remove(&kit);
}
END_TEST

START_TEST(the_view_needs_no_particular_member)
{
    struct golden *golden = &goldens[_i];

    read_manifest(golden);
    kit_unpack(&kit, golden->name, golden->members, golden->journal);
    for (uint32_t missing = 0; missing < golden->members && golden->missing == KIT_NO_SLOT;
         missing++) {
        expect_view(golden, missing, false);
    }
    kit_remove(&kit);
}
END_TEST

static void expect_replay(const struct golden *golden, uint32_t missing)
{
    struct recovery_scan scan;
    char hex[65];

    kit_assemble(&kit, false, missing);
    if (golden->journal) {
        int error = kit_replay(&kit, false, &scan);
        ck_assert_msg(error == 0, "%d: %s", error, kit.why);
        ck_assert_uint_eq(scan.closed_count, golden->closed_rows);
        ck_assert_uint_eq(scan.open_count, golden->open_rows);
    }
    kit_volume_sha256(&kit, read_array, NULL, hex);
    ck_assert_str_eq(hex, golden->sha256);
    if (missing == KIT_NO_SLOT && golden->missing == KIT_NO_SLOT) {
        ck_assert_uint_eq(kit_bad_rows(&kit), 0);
    }
    kit_close(&kit);
}

START_TEST(replay_brings_the_volume_to_the_members_and_parity_with_it)
{
    struct golden *golden = &goldens[_i];
    struct kit_images before;

    read_manifest(golden);
    kit_unpack(&kit, golden->name, golden->members, golden->journal);
    kit_save(&kit, &before);
    expect_replay(golden, KIT_NO_SLOT);
    for (uint32_t missing = 0; missing < golden->members && golden->missing == KIT_NO_SLOT;
         missing++) {
        kit_restore(&kit, &before);
        expect_replay(golden, missing);
    }
    kit_free(&before);
    kit_remove(&kit);
}
END_TEST

START_TEST(the_closed_part_of_replay_can_be_repeated)
{
    struct golden *golden = &goldens[_i];
    struct kit_images once;

    read_manifest(golden);
    kit_unpack(&kit, golden->name, golden->members, golden->journal);
    kit_assemble(&kit, false, KIT_NO_SLOT);
    ck_assert_int_eq(kit_replay_closed(&kit, false, NULL), 0);
    kit_save(&kit, &once);
    ck_assert_int_eq(kit_replay_closed(&kit, false, NULL), 0);
    ck_assert(kit_equals(&kit, &once));
    kit_close(&kit);
    expect_view(golden, KIT_NO_SLOT, true);
    kit_free(&once);
    kit_remove(&kit);
}
END_TEST

/* ---- the whole journal -------------------------------------------------------------------- */

static int read_journal(
    struct recovery_kit *of, void *journal, struct fs_block first, uint32_t count, uint8_t *buffer)
{
    return journal_read(journal, of->queue, first, count, buffer);
}

static struct journal *open_journal(uint32_t images)
{
    struct journal *journal = NULL;
    struct journal_options options = {
        .arena = &kit.array_arena,
        .memory_bytes = 64u << 20,
        .images_max = images,
    };
    int error = journal_open(&journal, kit.array, &options, kit.queue, kit.why);

    ck_assert_msg(error == 0, "%d: %s", error, kit.why);
    return journal;
}

/* Opened, perhaps killed, opened again, closed; each time the volume is the manifest's. `images`:
 * how many blocks the cache holds, 0 for enough (sequence 25: fewer than there are open rows). */
static void expect_journal(const struct golden *golden, uint32_t missing, uint32_t images)
{
    char hex[65];

    for (uint32_t round = 0; round < 2; round++) {
        kit_assemble(&kit, false, missing);
        struct journal *journal = open_journal(images);
        kit_volume_sha256(&kit, read_journal, journal, hex);
        ck_assert_str_eq(hex, golden->sha256);
        if (round == 0) {
            journal_abandon(journal);
        } else {
            ck_assert_int_eq(journal_close(journal, kit.queue), 0);
            ck_assert_int_eq(array_stop_writing(kit.array, kit.queue), 0);
        }
        kit_close(&kit);
    }
    kit_assemble(&kit, true, missing);
    kit_volume_sha256(&kit, read_array, NULL, hex);
    ck_assert_str_eq(hex, golden->sha256);
    struct recovery_view view;
    ck_assert_int_eq(recovery_view_init(&view, kit.array, kit.queue, false, kit.why), 0);
    ck_assert_uint_eq(view.scan.units, 1);
    ck_assert_uint_eq(view.scan.open_count + view.scan.closed_count, 0);
    recovery_view_fini(&view);
    kit_close(&kit);
    if (missing == KIT_NO_SLOT && golden->missing == KIT_NO_SLOT) {
        ck_assert_uint_eq(kit_bad_rows(&kit), 0);
    }
}

START_TEST(the_journal_opens_on_a_kernels_log_and_empties_it)
{
    struct golden *golden = &goldens[_i];
    struct kit_images before;

    read_manifest(golden);
    kit_unpack(&kit, golden->name, golden->members, golden->journal);
    kit_save(&kit, &before);
    expect_journal(golden, KIT_NO_SLOT, 0);
    kit_restore(&kit, &before);
    expect_journal(golden, KIT_NO_SLOT, 40);
    if (golden->missing == KIT_NO_SLOT) {
        kit_restore(&kit, &before);
        expect_journal(golden, 1, 40);
    }
    kit_free(&before);
    kit_remove(&kit);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------------- */

/* Flips one byte of the page or meta block `block` of the ring. */
static void flip(uint64_t block)
{
    uint8_t page[BLOCK_BYTES];

    kit_peek(&kit, kit_journal(&kit), block, page);
    page[100] ^= 1;
    kit_poke(&kit, kit_journal(&kit), block, 0, page, sizeof(page));
}

static int scan_log(struct recovery_scan *scan, struct arena *arena, bool accept)
{
    return recovery_scan_run(scan, kit.array, kit.queue, arena, accept, kit.why);
}

/* f3: 1442 units, so that any damage but that of the last is followed by many whole units. */
START_TEST(a_rotten_page_in_the_middle_is_named_and_refused)
{
    struct recovery_scan scan;
    struct arena arena;
    char expected[64];

    kit_unpack(&kit, "f3", 4, true);
    kit_assemble(&kit, true, KIT_NO_SLOT);
    arena_init_growing(&arena);
    ck_assert_int_eq(scan_log(&scan, &arena, false), 0);
    uint64_t seq = 0;
    struct log_block page = log_block(0);
    for (uint64_t i = 0; i < scan.open_count; i++) {
        uint64_t middle = scan.last_seq - scan.units / 2;
        if (scan.open[i]->open->seq <= middle && scan.open[i]->open->seq > seq) {
            seq = scan.open[i]->open->seq;
            page = recovered_page_position(&scan, scan.open[i]->open);
        }
    }
    ck_assert_uint_ne(seq, 0);
    flip(page.nr);
    ck_assert_int_eq(scan_log(&scan, &arena, false), -EBADMSG);
    ck_assert_int_gt(snprintf(expected, sizeof(expected), "seq %llu ", (unsigned long long)seq), 0);
    ck_assert_msg(strstr(kit.why, expected) != NULL, "%s", kit.why);
    ck_assert_msg(strstr(kit.why, "--accept-damaged-log") != NULL, "%s", kit.why);
    ck_assert_msg(kit.why[strlen(kit.why) - 1] == ')', "cut: %s", kit.why);
    ck_assert_uint_gt(scan.loss.units, 64);
    ck_assert_uint_gt(scan.loss.rows, 0);
    ck_assert_int_eq(scan_log(&scan, &arena, true), 0);
    ck_assert_uint_eq(scan.stop_seq, seq);
    ck_assert(scan.damaged);
    arena_fini(&arena);
    kit_remove(&kit);
}
END_TEST

START_TEST(a_torn_last_unit_is_the_end_of_the_log)
{
    struct recovery_scan scan;
    struct arena arena;

    kit_unpack(&kit, "f3", 4, true);
    kit_assemble(&kit, true, KIT_NO_SLOT);
    arena_init_growing(&arena);
    ck_assert_int_eq(scan_log(&scan, &arena, false), 0);
    uint64_t units = scan.units;
    uint64_t last_seq = scan.last_seq;
    flip(scan.last.nr);
    ck_assert_int_eq(scan_log(&scan, &arena, false), 0);
    ck_assert_uint_eq(scan.units, units - 1);
    ck_assert_uint_eq(scan.stop_seq, last_seq);
    ck_assert(!scan.damaged);
    arena_fini(&arena);
    kit_remove(&kit);
}
END_TEST

struct metas {
    uint64_t *blocks;
    uint64_t count;
};

static void collect_unit(void *context, const char *line)
{
    struct metas *metas = context;

    if (strncmp(line, "unit ", 5) == 0) {
        metas->blocks[metas->count++] = strtoull(strstr(line, "block=") + 6, NULL, 10);
    }
}

/* The last 64 of a foreign log may have been in flight; the first is the head; all others are
 * loss. */
START_TEST(each_meta_block_flipped_in_turn_is_judged_by_what_follows)
{
    struct metas metas = {.blocks = calloc(4096, sizeof(uint64_t))};
    struct arena dump_arena;

    ck_assert_ptr_nonnull(metas.blocks);
    kit_unpack(&kit, "f3", 4, true);
    kit_assemble(&kit, true, KIT_NO_SLOT);
    arena_init_growing(&dump_arena);
    ck_assert_int_eq(journal_dump_entries(kit.array, kit.queue, &dump_arena, collect_unit, &metas),
                     0);
    ck_assert_uint_eq(metas.count, 1442);
    for (uint64_t i = 0; i < metas.count; i += (i > 1370 || i < 3 ? 1 : 97)) {
        struct recovery_scan scan;
        struct arena arena;
        uint64_t behind = metas.count - 1 - i;
        arena_init_growing(&arena);
        flip(metas.blocks[i]);
        int error = scan_log(&scan, &arena, false);
        ck_assert_int_eq(error, i == 0 || behind >= LOG_UNITS_IN_FLIGHT_MAX ? -EBADMSG : 0);
        ck_assert(i != 0 || strstr(kit.why, "journal head damaged") != NULL);
        ck_assert(i == 0 || scan.units == i);
        flip(metas.blocks[i]);
        arena_fini(&arena);
    }
    arena_fini(&dump_arena);
    free(metas.blocks);
    kit_remove(&kit);
}
END_TEST

START_TEST(a_kernels_empty_log_after_a_clean_stop_is_no_damage)
{
    struct recovery_scan scan;
    struct arena arena;

    kit_unpack(&kit, "f2", 4, true);
    kit_assemble(&kit, true, KIT_NO_SLOT);
    arena_init_growing(&arena);
    ck_assert_int_eq(scan_log(&scan, &arena, false), 0);
    ck_assert_uint_eq(scan.units, 1);
    ck_assert_uint_eq(scan.closed_count + scan.open_count, 0);
    ck_assert(!scan.damaged);
    arena_fini(&arena);
    kit_remove(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("golden");
    TCase *volume = tcase_create("volume");
    TCase *damage = tcase_create("damage");

    tcase_set_timeout(volume, 240);
    tcase_set_timeout(damage, 240);
    tcase_add_loop_test(
        volume, the_view_shows_the_volume_of_the_manifest_and_writes_nothing, 0, GOLDENS);
    tcase_add_loop_test(volume, the_view_needs_no_particular_member, 0, GOLDENS);
    tcase_add_loop_test(
        volume, replay_brings_the_volume_to_the_members_and_parity_with_it, 0, GOLDENS);
    tcase_add_loop_test(volume, the_closed_part_of_replay_can_be_repeated, 0, WITH_JOURNAL);
    tcase_add_loop_test(volume, the_journal_opens_on_a_kernels_log_and_empties_it, 0, WITH_JOURNAL);
    tcase_add_test(damage, a_rotten_page_in_the_middle_is_named_and_refused);
    tcase_add_test(damage, a_torn_last_unit_is_the_end_of_the_log);
    tcase_add_test(damage, each_meta_block_flipped_in_turn_is_judged_by_what_follows);
    tcase_add_test(damage, a_kernels_empty_log_after_a_clean_stop_is_no_damage);
    suite_add_tcase(suite, volume);
    suite_add_tcase(suite, damage);
    return kit_run(suite);
}
