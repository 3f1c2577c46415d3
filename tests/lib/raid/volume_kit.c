/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See volume_kit.h. */
#include "volume_kit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "r5fs/base/env.h"
#include "r5fs/raid/parity.h"

#define MEMBER_BYTES   (6u << 20)
#define READ_STEPS_MAX 300u

static uint64_t state;

void volume_kit_seed(const char *test)
{
    const char *given = getenv(VOLUME_KIT_SEED_TEXT);
    state = given != NULL ? strtoull(given, NULL, 0) : env_random_u64();
    printf("%s: seed=%llu\n", test, (unsigned long long)state);
    (void)fflush(stdout); /* the line is a help, not a result */
}

uint64_t volume_kit_random(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = state;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

uint32_t volume_kit_below(uint32_t limit)
{
    return (uint32_t)(volume_kit_random() % limit);
}

void volume_kit_fill(uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i += sizeof(uint64_t)) {
        uint64_t word = volume_kit_random();
        memcpy(bytes + i, &word, sizeof(word));
    }
}

uint8_t *volume_kit_take(struct volume_kit *kit, size_t blocks)
{
    return arena_take(&kit->files.arena, blocks * BLOCK_BYTES, BLOCK_BYTES);
}

uint8_t *volume_kit_block(const struct volume_kit *kit, struct fs_block block)
{
    return kit->model + block.nr * BLOCK_BYTES;
}

static void xor_into(uint8_t *inout, const uint8_t *source)
{
    uint64_t *out = (uint64_t *)(void *)inout;
    const uint64_t *in = (const uint64_t *)(const void *)source;
    for (uint32_t i = 0; i < BLOCK_BYTES / sizeof(uint64_t); i++) {
        out[i] ^= in[i];
    }
}

/* The member as it should be: data of the model, parity made plainly. */
static void write_member(struct volume_kit *kit, uint32_t slot, uint64_t offset, uint8_t *scratch)
{
    const struct geometry *geometry = &kit->geometry;
    for (uint64_t row = 0; row < geometry->rows; row++) {
        uint8_t *out = scratch + row * BLOCK_BYTES;
        struct member_block at = member_block(row);
        if (geometry_parity_slot(geometry, at) != slot) {
            memcpy(out, volume_kit_block(kit, geometry_block_at(geometry, at, slot)), BLOCK_BYTES);
            continue;
        }
        memset(out, 0, BLOCK_BYTES);
        for (uint32_t other = 0; other < geometry->slots; other++) {
            if (other != slot) {
                xor_into(out, volume_kit_block(kit, geometry_block_at(geometry, at, other)));
            }
        }
    }
    array_kit_write(kit->files.paths[slot], offset, scratch, geometry->rows * BLOCK_BYTES);
}

void volume_kit_open(struct volume_kit *kit, uint32_t members, uint32_t chunk_sectors, bool hooked)
{
    struct array_kit_shape shape = {members, MEMBER_BYTES, 0, chunk_sectors, LAYOUT_LEFT_SYMMETRIC};
    memset(kit, 0, sizeof(*kit));
    kit->hooked = hooked;
    if (hooked) {
        hook_io_use();
        hook_io_set(NULL, NULL);
    } else {
        ck_assert_int_eq(io_backend_choose(IO_BACKEND_AUTO), 0);
    }
    array_kit_create(&kit->files, &shape);
    kit->queue = kit->files.queue;
    int error = array_kit_assemble(&kit->files, (struct array_assemble){0}, &kit->array);
    ck_assert_msg(error == 0, "%s", kit->files.why);
    kit->geometry = *array_geometry(kit->array);
    kit->model = volume_kit_take(kit, kit->geometry.volume_blocks);
    volume_kit_fill(kit->model, kit->geometry.volume_blocks * BLOCK_BYTES);
    uint8_t *scratch = volume_kit_take(kit, kit->geometry.rows);
    for (uint32_t slot = 0; slot < members; slot++) {
        uint64_t offset = array_slot_offset_bytes(kit->array, slot, member_block(0));
        write_member(kit, slot, offset, scratch);
    }
    ck_assert_int_eq(array_start_writing(kit->array, kit->queue), 0);
}

void volume_kit_close(struct volume_kit *kit)
{
    if (kit->hooked) {
        hook_io_set(NULL, NULL);
    }
    int stopped = array_stop_writing(kit->array, kit->queue);
    ck_assert(stopped == 0 || array_state(kit->array) == ARRAY_FAILED);
    array_close(kit->array);
    array_kit_close(&kit->files);
}

void volume_kit_on_member(const struct volume_kit *kit,
                          uint32_t slot,
                          struct member_block row,
                          uint8_t *out_block)
{
    array_kit_read(kit->files.paths[slot],
                   array_slot_offset_bytes(kit->array, slot, row),
                   out_block,
                   BLOCK_BYTES);
}

void volume_kit_expect_on_members(struct volume_kit *kit)
{
    const struct geometry *geometry = &kit->geometry;
    size_t member_bytes = geometry->rows * BLOCK_BYTES;
    uint8_t *sum = aligned_alloc(BLOCK_BYTES, member_bytes);
    uint8_t *member = malloc(member_bytes);
    ck_assert_ptr_nonnull(sum);
    ck_assert_ptr_nonnull(member);
    memset(sum, 0, member_bytes);
    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        uint64_t offset = array_slot_offset_bytes(kit->array, slot, member_block(0));
        array_kit_read(kit->files.paths[slot], offset, member, member_bytes);
        for (uint64_t row = 0; row < geometry->rows; row++) {
            const uint8_t *block = member + row * BLOCK_BYTES;
            xor_into(sum + row * BLOCK_BYTES, block);
            if (geometry_parity_slot(geometry, member_block(row)) != slot) {
                struct fs_block at = geometry_block_at(geometry, member_block(row), slot);
                ck_assert_msg(memcmp(block, volume_kit_block(kit, at), BLOCK_BYTES) == 0,
                              "block %llu is wrong",
                              (unsigned long long)at.nr);
            }
        }
    }
    for (uint64_t row = 0; row < geometry->rows; row++) {
        ck_assert_msg(block_is_zero(sum + row * BLOCK_BYTES),
                      "row %llu: parity is wrong",
                      (unsigned long long)row);
    }
    free(sum);
    free(member);
}

void volume_kit_expect_readable(struct volume_kit *kit)
{
    void *memory = NULL;
    ck_assert_int_eq(posix_memalign(&memory, BLOCK_BYTES, (size_t)READ_STEPS_MAX * BLOCK_BYTES), 0);
    uint8_t *buffer = memory;
    for (uint64_t at = 0; at < kit->geometry.volume_blocks;) {
        uint64_t left = kit->geometry.volume_blocks - at;
        uint32_t count = (uint32_t)min_u64(left, 1 + volume_kit_below(READ_STEPS_MAX));
        ck_assert_int_eq(array_read(kit->array, kit->queue, fs_block(at), count, buffer), 0);
        ck_assert_msg(
            memcmp(buffer, volume_kit_block(kit, fs_block(at)), (size_t)count * BLOCK_BYTES) == 0,
            "%u blocks from %llu are wrong",
            count,
            (unsigned long long)at);
        at += count;
    }
    free(memory);
}

void volume_kit_lose(struct volume_kit *kit, uint32_t slot)
{
    ck_assert_int_eq(array_member_fault(kit->array, kit->queue, slot, "test"), 0);
}
