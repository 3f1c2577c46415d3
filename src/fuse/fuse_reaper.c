/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Eviction and the care for the table of known inodes.
 *
 *   FORGET -> fuse_nodes: count 0, gone -> evict list -> reaper: fs_evict -> node back to the pool
 *   table above 3/4, or a lookup parked -> reaper: fuse_shrink.c asks the kernel to forget
 *
 * What was asked for takes a moment to be forgotten; the reaper asks again after that, or after a
 * longer pause when there was nothing to ask for.
 *
 * Failure modes: fs_evict fails (full journal, I/O error): the orphan item stays, the next mount
 * finishes it.
 * Thread: the reaper's; fuse_reaper_help and fuse_reaper_evict on workers.
 */
#include "fuse_reaper.h"

#include "fuse_shrink.h"
#include "fuse_worker.h"
#include "r5fs/base/msg.h"

#define HELP_ABOVE 64u
#define RETRY_NS   UINT64_C(1000000000)
#define FORGETS_NS UINT64_C(5000000)

void fuse_reaper_evict(struct fuse_worker *worker, uint64_t ino)
{
    int err = fs_evict(worker->server->fs, &worker->thread, ino);

    if (err != 0) {
        msg_warn("fuse",
                 "evict of a deleted inode failed, left to the next mount ino=%llu err=%d",
                 (unsigned long long)ino,
                 err);
    }
}

static bool evict_one(struct fuse_worker *worker)
{
    struct fuse_nodes *nodes = &worker->server->nodes;
    struct fuse_node *node = fuse_nodes_next_evict(nodes);

    if (node == NULL) {
        return false;
    }
    fuse_reaper_evict(worker, node->node.key);
    fuse_nodes_evicted(nodes, node);
    return true;
}

void fuse_reaper_help(struct fuse_worker *worker)
{
    if (fuse_nodes_evict_count(&worker->server->nodes) > HELP_ABOVE) {
        (void)evict_one(worker); /* false: others were faster */
    }
}

static void run(struct fuse_worker *worker)
{
    struct fuse_server *server = worker->server;
    struct fuse_nodes *nodes = &server->nodes;
    struct fuse_shrink shrink = {0};
    uint64_t shrink_at_ns = 0;

    for (;;) {
        uint64_t now = env_now_ns();
        uint64_t until = now < shrink_at_ns ? shrink_at_ns : now + RETRY_NS;
        if (!fuse_nodes_wait_work(nodes, now >= shrink_at_ns, until)) {
            return;
        }
        while (!atomic_load(&server->stopping) && evict_one(worker)) {
        }
        if (fuse_nodes_is_tight(nodes) && env_now_ns() >= shrink_at_ns) {
            bool asked = fuse_shrink_ask(&shrink, worker);
            shrink_at_ns = env_now_ns() + (asked ? FORGETS_NS : RETRY_NS);
        }
    }
}

void fuse_reaper_run(void *context)
{
    struct fuse_worker_start *start = context;
    struct fuse_worker *worker = start->worker;

    if (fuse_worker_enter(worker, start->arena)) {
        run(worker);
    }
    fuse_worker_leave(worker);
}
