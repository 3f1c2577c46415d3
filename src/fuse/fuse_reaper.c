/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Eviction and shrinking.
 *
 *   FORGET -> fuse_nodes: count 0, gone -> evict list -> reaper: fs_evict -> node back to the pool
 *   table above 3/4 -> reaper: pick a directory, ask the kernel to forget its names -> FORGETs
 *
 * The kernel must not be asked while a request is being handled, because it may want a lock that
 * the request's task holds: hence a thread of its own, which holds nothing when it asks.
 *
 * Asking to forget a name takes the name out of the kernel's cache even while the file is open.
 * That is harmless for a file; a directory that is some task's working directory loses its path
 * until it is looked up again, so directories are asked for only when lookups are parked already. A
 * name on which something is mounted must never be asked for: the kernel would unmount it.
 *
 * Failure modes: fs_evict fails (full journal, I/O error): the orphan item stays, the next mount
 * finishes it. Nothing can be forgotten: tried again once a second while the table is tight.
 * Thread: the reaper's; fuse_reaper_help and fuse_reaper_evict on workers.
 */
#include "fuse_reaper.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse_ops.h"
#include "fuse_worker.h"
#include "mount_table.h"
#include "r5fs/base/msg.h"

#define HELP_ABOVE 64u
#define RETRY_NS   UINT64_C(1000000000)
#define BARREN_MAX 32u

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

struct shrinking {
    struct fuse_server *server;
    const struct mount_names *mounts; /* names that must not be asked for */
    uint64_t parent;
    bool directories;
    uint64_t asked;
};

/* The filesystem holds no lock during emit. */
static bool ask_to_forget(void *context, const struct fs_dirent *entry)
{
    struct shrinking *shrinking = context;
    struct fuse_server *server = shrinking->server;
    char name[FS_NAME_BYTES_MAX + 1];

    if (atomic_load(&server->stopping)) {
        return false;
    }
    bool dots = entry->name.length <= 2 && entry->name.bytes[0] == '.' &&
                (entry->name.length == 1 || entry->name.bytes[1] == '.');
    if (dots || entry->name.length > FS_NAME_BYTES_MAX ||
        (entry->type == S_IFDIR && !shrinking->directories) ||
        mount_names_has(shrinking->mounts, entry->name.bytes, entry->name.length) ||
        fuse_nodes_count(&server->nodes, entry->ino) == 0) {
        return true;
    }
    (void)memcpy(name, entry->name.bytes, entry->name.length);
    name[entry->name.length] = '\0';
    int err = fuse_lowlevel_notify_inval_entry(
        server->session, shrinking->parent, name, entry->name.length);
    shrinking->asked += err == 0 ? 1 : 0;
    return !fuse_nodes_is_relaxed(&server->nodes);
}

/* One directory; whether anything was asked for. */
static bool shrink_one(struct fuse_worker *worker, const struct mount_names *mounts)
{
    struct fuse_server *server = worker->server;
    struct shrinking shrinking = {
        .server = server, .mounts = mounts, .directories = fuse_nodes_is_parked(&server->nodes)};

    if (!fuse_nodes_pick_directory(&server->nodes, &shrinking.parent)) {
        return false;
    }
    int err = fs_readdir(
        server->fs, &worker->thread, shrinking.parent, 0, false, ask_to_forget, &shrinking);
    return err == 0 && shrinking.asked > 0;
}

/* Until there is room again. False: too many directories had nothing to give. */
static bool shrink(struct fuse_worker *worker)
{
    struct fuse_server *server = worker->server;
    struct mount_names mounts;
    unsigned barren = 0;

    mount_names_load(&mounts, server->mountpoint);
    while (barren < BARREN_MAX && !fuse_nodes_is_relaxed(&server->nodes) &&
           !atomic_load(&server->stopping)) {
        barren = shrink_one(worker, &mounts) ? 0 : barren + 1;
    }
    return barren < BARREN_MAX;
}

static void run(struct fuse_worker *worker)
{
    struct fuse_server *server = worker->server;
    struct fuse_nodes *nodes = &server->nodes;
    uint64_t shrink_at_ns = 0;

    while (fuse_nodes_wait_work(nodes, env_now_ns() >= shrink_at_ns, env_now_ns() + RETRY_NS)) {
        while (!atomic_load(&server->stopping) && evict_one(worker)) {
        }
        if (fuse_nodes_is_tight(nodes) && env_now_ns() >= shrink_at_ns && !shrink(worker)) {
            shrink_at_ns = env_now_ns() + RETRY_NS;
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
