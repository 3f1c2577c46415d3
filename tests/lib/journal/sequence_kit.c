/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See sequence_kit.h. */
#include "sequence_kit.h"

#include <string.h>

#define CHUNK_SECTORS  8u
#define MEMBER_BYTES   (6u << 20)
#define NUMBERS_A_PAGE (BLOCK_BYTES / sizeof(uint64_t))

const struct journal_options sequence_by_hand = {.images_max = 512, .commit_interval_ms = NO_TIMER};

void sequence_create(struct model *m, uint32_t members, uint64_t ring_blocks)
{
    struct kit_shape shape = {members, CHUNK_SECTORS, MEMBER_BYTES, ring_blocks};

    kit_seed("sequences");
    model_create(m, &shape);
}

void sequence_open(struct model *m, uint32_t missing)
{
    int error = model_open(m, &sequence_by_hand, missing);

    ck_assert_msg(error == 0, "%d: %s", error, m->files.why);
}

void sequence_put(struct model *m, uint64_t block, uint64_t number)
{
    struct journal_reservation reservation = {0};
    uint64_t page[NUMBERS_A_PAGE];

    for (size_t i = 0; i < NUMBERS_A_PAGE; i++) {
        page[i] = number;
    }
    ck_assert_int_eq(journal_reserve(m->j, &reservation, 1, 0), 0);
    journal_write(m->j, &reservation, fs_block(block), (const uint8_t *)page);
    journal_release(m->j, &reservation);
}

void sequence_sync(struct model *m)
{
    ck_assert_int_eq(journal_commit(m->j, m->files.queue, journal_running_txn(m->j)), 0);
}

uint64_t sequence_get(struct model *m, struct io_queue *queue, uint64_t block)
{
    _Alignas(BLOCK_BYTES) uint8_t page[BLOCK_BYTES];
    uint64_t number = 0;

    ck_assert_int_eq(journal_read(m->j, queue, fs_block(block), 1, page), 0);
    ck_assert_int_eq(memcmp(page, page + sizeof(number), BLOCK_BYTES - sizeof(number)), 0);
    memcpy(&number, page, sizeof(number));
    return number;
}

void sequence_drain(struct model *m)
{
    int error = journal_drain(m->j, m->files.queue);

    ck_assert(error == 0 || model_is_cut());
}

static void
expect_without(struct model *m, uint32_t missing, const uint64_t *numbers, uint32_t count)
{
    sequence_open(m, missing);
    for (unsigned drained = 0; drained < 2; drained++) {
        for (uint32_t block = 0; block < count; block++) {
            uint64_t number = sequence_get(m, m->files.queue, block);

            ck_assert_msg(number == numbers[block],
                          "block %u holds %llu, not %llu; slot %u missing, %s",
                          block,
                          (unsigned long long)number,
                          (unsigned long long)numbers[block],
                          missing,
                          drained != 0 ? "drained" : "not drained");
        }
        if (drained == 0) {
            ck_assert_int_eq(journal_drain(m->j, m->files.queue), 0);
        }
    }
    if (missing == KIT_NO_SLOT && array_state(m->files.array) == ARRAY_CLEAN) {
        ck_assert_uint_eq(kit_bad_rows(&m->files), 0);
    }
    model_forget(m);
}

void sequence_expect(struct model *m, const uint64_t *numbers, uint32_t count)
{
    uint32_t members = m->files.members;

    for (uint32_t missing = 0; missing <= members; missing++) {
        struct kit_images before;

        kit_save(&m->files, &before);
        expect_without(m, missing < members ? missing : KIT_NO_SLOT, numbers, count);
        kit_restore(&m->files, &before);
        kit_free(&before);
    }
}

/* Of a file: whether the request is within its data. A flush has no place. */
static bool is_of(const struct model *m, const struct io_request *request, uint32_t file)
{
    return strcmp(request->file->path, m->files.paths[file]) == 0 &&
           (request->op == IO_FLUSH || request->offset_bytes >= m->files.data_offset[file]);
}

bool sequence_is_member(const struct model *m, const struct io_request *request, enum io_op op)
{
    bool found = false;

    for (uint32_t slot = 0; slot < m->files.members; slot++) {
        found = found || is_of(m, request, slot);
    }
    return found && request->op == op;
}

bool sequence_is_ring(const struct model *m, const struct io_request *request, enum io_op op)
{
    return request->op == op && is_of(m, request, kit_journal(&m->files));
}

struct act {
    void (*act)(void);
};

static void act_main(void *context)
{
    const struct act *act = context;

    act->act();
}

/* Not by env_thread_start and env_thread_join: they check who may wait, and it is the kit that
 * waits here, not the code that was interrupted. */
void sequence_act_as_another(void (*act)(void))
{
    struct act what = {.act = act};
    struct env_thread *thread = NULL;

    ck_assert_int_eq(env_posix.thread_start(&thread, "another", act_main, &what), 0);
    env_posix.thread_join(thread);
}

bool sequence_try_sync(struct model *m)
{
    env_mutex_lock(&m->j->lock);
    bool is_free = m->j->log.role_next == m->j->log.role_serving && !m->j->commit.leading;
    env_mutex_unlock(&m->j->lock);
    if (is_free) {
        sequence_sync(m);
    }
    return is_free;
}
