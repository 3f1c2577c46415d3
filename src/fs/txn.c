/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transactions: what an operation holds, and the filesystem's side of a commit.
 *
 *   operation                          committer (a leader or the log thread)
 *   ---------                          -----------------------------------
 *   txn_begin   space, journal room
 *   txn_lock    op lock                lock     op lock: no operation is under way
 *   txn_dirty   -> running.dirty       seal     super encoded, generation and crc of each block set
 *   txn_end                            block    addresses and bytes, copied into the io unit
 *                                      closed   all clean, the next transaction runs
 *                                      unlock
 *                                      durable  what was freed may be given out again (W6)
 *
 *   X1  a dirty buffer is on running.dirty, in memory, and paid with one metadata block of the
 *       journal
 *   X2  between txn_lock and txn_end one thread changes metadata, and no commit closes (W5, W10)
 *   X3  when an operation broke off half-way (txn_broken) nothing is sealed any more: the disk
 *       keeps the last whole transaction
 *   X4  the super is in every transaction: whatever was written out, the members can tell a log
 *       that ends before it (fs_judge.c)
 *
 * Failure: before txn_change an operation gives up freely; what btree_prepare split stays split.
 */
#include "txn.h"

#include <errno.h>
#include <string.h>

#include "fs_internal.h"
#include "r5fs/base/msg.h"
#include "r5fs/base/wait_check.h"

static struct buffer *buffer_from_dirty(struct list_node *node)
{
    return container_of(node, struct buffer, dirty_link);
}

static bool need_changes_tree(const struct txn_need *need)
{
    return need->inserts > 0 || need->removes > 0;
}

uint32_t txn_credits(const struct txn_need *need)
{
    uint32_t credits = TXN_CREDITS_SUPER;
    if (need_changes_tree(need)) {
        credits += TXN_CREDITS_STRUCTURE;
    }
    credits += need->inserts * TXN_CREDITS_INSERT;
    credits += need->removes * TXN_CREDITS_REMOVE;
    credits += need->updates * TXN_CREDITS_UPDATE;
    credits += need->alloc_runs * TXN_CREDITS_ALLOC_RUN;
    credits += need->free_runs * TXN_CREDITS_FREE_RUN;
    return credits;
}

uint32_t
txn_steps_max(const struct fs *fs, const struct txn_need *fixed, const struct txn_need *each)
{
    uint32_t steps = 0;
    struct txn_need sum = *fixed;
    for (;;) {
        sum.inserts += each->inserts;
        sum.removes += each->removes;
        sum.updates += each->updates;
        sum.alloc_runs += each->alloc_runs;
        sum.free_runs += each->free_runs;
        if (txn_credits(&sum) > fs->limits.meta_step || sum.inserts > TXN_INSERTS_MAX ||
            steps >= TXN_INSERTS_MAX) {
            return steps;
        }
        steps++;
    }
}

uint32_t txn_data_blocks_max(const struct fs *fs)
{
    return fs->limits.data_step;
}

/* Tree nodes that may be made: a leaf per insert, the splits of btree_prepare, a new root. */
static uint32_t need_nodes(const struct txn_need *need)
{
    return need->inserts > 0 ? need->inserts + TXN_SPLITS_MAX + 1 : 0;
}

/* Reserves space, after a forced commit if that can help. */
static int txn_reserve_space(struct fs *fs, struct fs_thread *thread, const struct txn_need *need)
{
    uint64_t blocks = (uint64_t)need->allocate + need_nodes(need);
    int error = freespace_reserve(fs, blocks, need->deep);
    if (error != -ENOSPC || !freespace_has_shadowed(fs)) {
        return error;
    }
    error = journal_commit(fs->journal, thread->queue, journal_running_txn(fs->journal));
    return error == 0 ? freespace_reserve(fs, blocks, need->deep) : error;
}

int txn_begin(struct fs_txn *txn,
              struct fs *fs,
              struct fs_thread *thread,
              const struct txn_need *need)
{
    memset(txn, 0, sizeof(*txn));
    R5_CHECK(need->inserts <= TXN_INSERTS_MAX);
    if (fs->read_only) {
        return -EROFS;
    }
    if (fs->stopped) {
        return -EIO;
    }
    int error = txn_reserve_space(fs, thread, need);
    if (error != 0) {
        return error;
    }
    error =
        journal_reserve(fs->journal, &thread->reservation, need->data_blocks, txn_credits(need));
    if (error != 0) {
        freespace_unreserve(fs, (uint64_t)need->allocate + need_nodes(need));
        return error;
    }
    txn->fs = fs;
    txn->thread = thread;
    txn->need = *need;
    txn->allocate_left = need->allocate;
    txn->nodes_left = need_nodes(need);
    txn->splits_left = need_changes_tree(need) ? TXN_SPLITS_MAX : 0;
    fs_reader_init(&txn->reader, fs, thread);
    txn->reader.may_load = true;
    return 0;
}

/* Whoever has it waits for I/O alone: the commit that a waiter needs closes under it. */
static void op_lock(struct fs *fs)
{
    env_mutex_lock(&fs->op_lock);
    wait_check_hold(POOL_RANK_FS_LOCK, "op lock");
}

static void op_unlock(struct fs *fs)
{
    wait_check_drop(POOL_RANK_FS_LOCK);
    env_mutex_unlock(&fs->op_lock);
}

int txn_lock(struct fs_txn *txn)
{
    struct fs *fs = txn->fs;
    R5_CHECK(!txn->locked);
    op_lock(fs);
    int error = fs->stopped ? -EIO : 0;
    txn->locked = true;
    if (error == 0 && txn->nodes_left > 0) {
        error = freespace_prepare_nodes(txn, txn->nodes_left);
    }
    if (error != 0) {
        txn->locked = false;
        op_unlock(fs);
    }
    return error;
}

void txn_change(struct fs_txn *txn)
{
    R5_CHECK(txn->locked && !txn->changing);
    env_rwlock_write(&txn->fs->tree_lock);
    txn->changing = true;
}

void txn_change_done(struct fs_txn *txn)
{
    R5_CHECK(txn->changing);
    txn->changing = false;
    env_rwlock_unlock(&txn->fs->tree_lock);
}

void txn_end(struct fs_txn *txn)
{
    struct fs *fs = txn->fs;
    if (fs == NULL) {
        return; /* txn_begin failed */
    }
    if (txn->changing) {
        txn_change_done(txn);
    }
    for (uint32_t i = 0; i < txn->pin_count; i++) {
        buffer_put(&fs->buffers, txn->pins[i]);
    }
    txn->pin_count = 0;
    if (txn->locked) {
        txn->locked = false;
        op_unlock(fs);
    }
    journal_release(fs->journal, &txn->thread->reservation);
    freespace_unreserve(fs, (uint64_t)txn->allocate_left + txn->nodes_left);
    txn->fs = NULL;
}

int txn_broken(struct fs_txn *txn, int error)
{
    if (!atomic_exchange(&txn->fs->stopped, true)) {
        msg_err("fs",
                "an operation broke off half-way (error %d): the filesystem is stopped, what "
                "was not yet synced is lost (hint: unmount, r5fs check)",
                error);
    }
    return error;
}

/* The buffer is one of the running transaction's, if it is not already. */
static void join(struct fs_txn *txn, struct buffer *buffer)
{
    struct fs *fs = txn->fs;

    if (buffer->dirty) {
        return;
    }
    R5_CHECK(fs->running.dirty_count < JOURNAL_TXN_BLOCKS_MAX);
    journal_txn_join(fs->journal, &txn->thread->reservation);
    buffer_set_dirty(&fs->buffers, buffer, true);
    list_add_tail(&fs->running.dirty, &buffer->dirty_link);
    fs->running.dirty_count++;
}

void txn_dirty(struct fs_txn *txn, struct buffer *buffer)
{
    R5_CHECK(txn->locked);
    if (buffer->dirty) {
        return;
    }
    if (txn->fs->running.dirty_count == 0) {
        join(txn, txn->fs->super_buffer); /* X4 */
    }
    join(txn, buffer);
}

void txn_forget(struct fs_txn *txn, struct buffer *buffer)
{
    struct fs *fs = txn->fs;
    R5_CHECK(txn->locked);
    if (buffer->dirty) {
        list_remove(&buffer->dirty_link);
        fs->running.dirty_count--;
        buffer_set_dirty(&fs->buffers, buffer, false);
        journal_txn_leave(fs->journal, &txn->thread->reservation);
    }
    buffer_forget(&fs->buffers, buffer);
}

void txn_pin(struct fs_txn *txn, struct buffer *buffer)
{
    for (uint32_t i = 0; i < txn->pin_count; i++) {
        if (txn->pins[i] == buffer) {
            return;
        }
    }
    if (txn->pin_count < TXN_PINS_MAX) { /* beyond, it only may have to be read again */
        buffer_hold(&txn->fs->buffers, buffer);
        txn->pins[txn->pin_count++] = buffer;
    }
}

void txn_dirty_super(struct fs_txn *txn)
{
    txn_dirty(txn, txn->fs->super_buffer);
}

void txn_write_data(struct fs_txn *txn, struct fs_block block, const uint8_t *data)
{
    R5_CHECK(txn->locked);
    journal_write(txn->fs->journal, &txn->thread->reservation, block, data);
}

/* ---- what the journal calls ------------------------------------------------------------------ */

static void client_lock(void *context)
{
    op_lock(context);
}

static void client_unlock(void *context)
{
    op_unlock(context);
}

static uint32_t client_seal(void *context)
{
    struct fs *fs = context;
    struct txn_running *running = &fs->running;
    running->sealed_count = 0;
    if (fs->stopped) {
        return 0; /* X3 */
    }
    fs->super.txn++; /* goes on over mounts; the journal's number starts anew with each */
    journal_get_mark(fs->journal, &fs->super.log);
    list_for_each (node, &running->dirty) {
        struct buffer *buffer = buffer_from_dirty(node);
        if (buffer->kind == BUFFER_SUPER) {
            fs_super_encode(&fs->super, buffer->block, buffer->data);
        }
        le64 generation = le64_make(fs->super.txn);
        memcpy(buffer->data + offsetof(struct fs_block_header, generation),
               &generation,
               sizeof(generation));
        fs_header_seal(buffer->data);
        running->sealed[running->sealed_count++] = buffer;
    }
    R5_CHECK(running->sealed_count == running->dirty_count);
    return running->sealed_count;
}

static void
client_block(void *context, uint32_t index, struct fs_block *out_address, const uint8_t **out_data)
{
    struct fs *fs = context;
    R5_CHECK(index < fs->running.sealed_count);
    *out_address = fs->running.sealed[index]->block;
    *out_data = fs->running.sealed[index]->data;
}

static void client_closed(void *context, uint64_t txn)
{
    struct fs *fs = context;
    struct txn_running *running = &fs->running;
    for (uint32_t i = 0; i < running->sealed_count; i++) {
        struct buffer *buffer = running->sealed[i];
        list_remove(&buffer->dirty_link);
        buffer_set_dirty(&fs->buffers, buffer, false);
    }
    running->dirty_count -= running->sealed_count;
    running->sealed_count = 0;
    running->txn = txn + 1;
}

static void client_durable(void *context, uint64_t txn, int result)
{
    struct fs *fs = context;
    if (result == 0) {
        freespace_durable(fs, txn);
    } else if (!atomic_exchange(&fs->stopped, true)) {
        msg_err("fs", "a commit failed (error %d): no further changes", result);
    }
}

void txn_running_init(struct fs *fs)
{
    memset(&fs->running, 0, sizeof(fs->running));
    list_init(&fs->running.dirty);
    fs->running.txn = journal_running_txn(fs->journal);
}

void txn_register(struct fs *fs)
{
    const struct journal_client client = {
        .lock = client_lock,
        .seal = client_seal,
        .block = client_block,
        .closed = client_closed,
        .unlock = client_unlock,
        .durable = client_durable,
        .context = fs,
    };
    journal_set_client(fs->journal, &client);
}

/* ---- nobody is mounted
 * ------------------------------------------------------------------------ */

static void idle_lock(void *context)
{
    (void)context; /* nothing to protect */
}

static uint32_t idle_seal(void *context)
{
    (void)context; /* nothing to seal */
    return 0;
}

static void
idle_block(void *context, uint32_t index, struct fs_block *out_address, const uint8_t **out_data)
{
    (void)context; /* never called: idle_seal said 0 */
    (void)index;
    (void)out_address;
    (void)out_data;
    R5_CHECK(false);
}

static void idle_closed(void *context, uint64_t txn)
{
    (void)context; /* nothing was dirty */
    (void)txn;
}

static void idle_durable(void *context, uint64_t txn, int result)
{
    (void)context; /* nobody waits here; journal_commit returns the result */
    (void)txn;
    (void)result;
}

struct journal_client txn_idle_client(void)
{
    return (struct journal_client){
        .lock = idle_lock,
        .seal = idle_seal,
        .block = idle_block,
        .closed = idle_closed,
        .unlock = idle_lock,
        .durable = idle_durable,
        .context = NULL,
    };
}

void txn_unregister(struct fs *fs)
{
    const struct journal_client client = txn_idle_client();
    journal_set_client(fs->journal, &client);
}
