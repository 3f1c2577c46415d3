/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See sim_model.h. Invariants: SM1 version numbers of a block only grow, also over lives: what was
 * lost once is never mistaken for what was written later. SM2 least <= top.
 * Happy path: write, close, commit, cut, recover. Failure modes: what does not fit fails the seed.
 * Thread: between two points of any fiber.
 */
#include "sim_model.h"

#include <stdio.h>
#include <string.h>

#include "sim.h"

#define NUMBERS (BLOCK_BYTES / sizeof(uint64_t))

struct fs_block sim_model_data_at(uint32_t index)
{
    return fs_block((uint64_t)index + index / MODEL_META_GAP);
}

struct fs_block sim_model_meta_at(uint32_t index)
{
    return fs_block((uint64_t)index * (MODEL_META_GAP + 1) + MODEL_META_GAP);
}

void sim_model_fill(uint8_t *page, struct fs_block block, uint32_t version)
{
    uint64_t number = version == 0 ? 0 : block.nr << 32 | version;

    for (size_t i = 0; i < NUMBERS; i++) {
        memcpy(page + i * sizeof(number), &number, sizeof(number));
    }
}

uint32_t sim_model_version(const uint8_t *page, struct fs_block block)
{
    uint64_t number = 0;

    memcpy(&number, page, sizeof(number));
    SIM_EXPECT(memcmp(page, page + sizeof(number), BLOCK_BYTES - sizeof(number)) == 0,
               "block %llu is mixed",
               (unsigned long long)block.nr);
    SIM_EXPECT(number == 0 || number >> 32 == block.nr,
               "block %llu holds block %llu",
               (unsigned long long)block.nr,
               (unsigned long long)(number >> 32));
    return (uint32_t)number;
}

void sim_model_init(struct sim_model *model, uint32_t data_count)
{
    memset(model, 0, sizeof(*model));
    model->data_count = data_count;
    for (uint32_t i = 0; i < MODEL_DATA; i++) {
        model->fresh[i] = 1;
    }
    model->closed_count = 1;
}

void sim_model_write(struct sim_model *model, uint32_t index, uint8_t *page)
{
    model->top[index]++; /* SM1 */
    sim_model_fill(page, sim_model_data_at(index), model->top[index]);
}

void sim_model_written(struct sim_model *model, uint32_t index)
{
    model->least[index] = model->top[index];
}

void sim_model_discard(struct sim_model *model, uint32_t index)
{
    model->least[index] = 0;
}

void sim_model_close_txn(struct sim_model *model)
{
    struct sim_closed *closed = &model->closed[model->closed_count];

    SIM_EXPECT(model->closed_count < MODEL_TXNS_MAX, "too many transactions for the model");
    memcpy(closed->data, model->least, sizeof(closed->data));
    memcpy(closed->meta, model->meta_now, sizeof(closed->meta));
    memcpy(model->meta_closed, model->meta_now, sizeof(model->meta_closed));
    memset(model->joined, 0, sizeof(model->joined));
    model->closed_count++;
}

void sim_model_told(struct sim_model *model, uint64_t txn)
{
    model->told = txn > model->told ? txn : model->told;
}

void sim_model_commit(struct sim_model *model, uint64_t closed, uint64_t txn)
{
    txn = txn < model->told ? txn : model->told;
    txn = txn > closed ? txn : closed;
    model->durable = txn > model->durable ? txn : model->durable;
}

static bool version_is_known(const struct sim_model *model, uint32_t index, uint32_t version)
{
    return version <= model->top[index] &&
           (version <= model->base[index] || version >= model->fresh[index]);
}

void sim_model_check_data(const struct sim_model *model,
                          uint32_t index,
                          uint32_t least,
                          uint32_t found)
{
    SIM_EXPECT(found >= least && version_is_known(model, index, found),
               "data %u (block %llu) has version %u: at least %u, written up to %u, this life from "
               "%u, before it %u",
               index,
               (unsigned long long)sim_model_data_at(index).nr,
               found,
               least,
               model->top[index],
               model->fresh[index],
               model->base[index]);
}

/* ---- after a cut ---------------------------------------------------------------------------- */

static bool
fits(const struct sim_model *model, const struct sim_closed *found, const struct sim_closed *closed)
{
    for (uint32_t i = 0; i < model->data_count; i++) {
        if (found->data[i] < closed->data[i] || !version_is_known(model, i, found->data[i])) {
            return false;
        }
    }
    return memcmp(found->meta, closed->meta, sizeof(found->meta)) == 0;
}

static void print_misfit(const struct sim_model *model, const struct sim_closed *found)
{
    const struct sim_closed *closed = &model->closed[model->durable];

    (void)printf("durable transaction %llu, last closed %llu\n",
                 (unsigned long long)model->durable,
                 (unsigned long long)model->closed_count - 1);
    for (uint32_t i = 0; i < model->data_count; i++) {
        if (found->data[i] < closed->data[i] || !version_is_known(model, i, found->data[i])) {
            (void)printf("  data %u (block %llu): %u; durable %u, written up to %u, this life from "
                         "%u, before it %u\n",
                         i,
                         (unsigned long long)sim_model_data_at(i).nr,
                         found->data[i],
                         closed->data[i],
                         model->top[i],
                         model->fresh[i],
                         model->base[i]);
        }
    }
    for (uint32_t i = 0; i < MODEL_META; i++) {
        if (found->meta[i] != closed->meta[i]) {
            (void)printf("  meta %u (block %llu): %u; durable %u, newest %u\n",
                         i,
                         (unsigned long long)sim_model_meta_at(i).nr,
                         found->meta[i],
                         closed->meta[i],
                         model->meta_now[i]);
        }
    }
}

void sim_model_continue(struct sim_model *model, const struct sim_closed *found)
{
    for (uint32_t i = 0; i < model->data_count; i++) {
        model->base[i] = found->data[i];
        model->least[i] = found->data[i];
        model->fresh[i] = model->top[i] + 1;
    }
    memcpy(model->meta_now, found->meta, sizeof(model->meta_now));
    memcpy(model->meta_closed, found->meta, sizeof(model->meta_closed));
    memset(model->joined, 0, sizeof(model->joined));
    model->closed[0] = *found;
    model->closed_count = 1;
    model->durable = 0;
    model->told = 0;
}

void sim_model_recover(struct sim_model *model, const struct sim_closed *found)
{
    bool good = false;

    for (uint64_t txn = model->durable; txn < model->closed_count && !good; txn++) {
        good = fits(model, found, &model->closed[txn]);
    }
    if (!good) {
        print_misfit(model, found);
        sim_fail("no transaction from the last durable one on left this state");
    }
    sim_model_continue(model, found);
}
