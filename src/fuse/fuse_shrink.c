/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asking the kernel to forget.
 *
 *   table above 3/4 -> ask -> the kernel drops what it does not use -> FORGETs -> table below 5/8
 *
 * Three ways, by what the kernel knows and how urgent it is:
 *   1. NOTIFY_PRUNE, a list of inode numbers: drops exactly what is unused, needs no lock of a
 *      directory. Kernels from 6.18 on.
 *   2. NOTIFY_INVAL_ENTRY for each known name of a directory. Needs that directory's lock, which a
 *      task waiting for an answer in that directory holds. Takes a name out of the cache even while
 *      the file is open, which harms no file.
 *   3. The same for the directory's own name in its parent, which drops all that is unused below it
 *      at once and does not need the directory's own lock: when lookups are parked already. A task
 *      that has it as its working directory does not know its path until somebody looks it up
 * again. A name on which something is mounted is never asked for: the kernel would unmount it.
 *
 * The kernel must not be asked while a request is being handled, because it may want a lock that
 * the request's task holds: hence the reaper's thread, which holds nothing. The filesystem holds no
 * lock during a listing's callback.
 *
 * Failure modes: nothing can be forgotten (all is in use): the reaper tries again after a pause.
 * Thread: the reaper's.
 */
#include "fuse_shrink.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "fuse_ops.h"
#include "mount_table.h"
#include "r5fs/base/msg.h"

#define PRUNE_BATCH     512u
#define DIRECTORIES_MAX 32u
#define NOTIFY_PRUNE    9 /* not in the headers of Debian 12 */

struct notify_prune {
    struct fuse_out_header header;
    uint32_t count;
    uint32_t padding;
    uint64_t spare;
};

_Static_assert(sizeof(struct notify_prune) == 32, "as the kernel reads it");

/* ---- by number ------------------------------------------------------------------------------- */

/* -EINVAL from a kernel that does not know it. */
static int prune_batch(const struct fuse_server *server, uint64_t *inos, uint32_t count)
{
    struct notify_prune head = {
        .header = {.len = (uint32_t)(sizeof(head) + count * sizeof(*inos)), .error = NOTIFY_PRUNE},
        .count = count,
    };
    struct iovec iov[2] = {
        {.iov_base = &head, .iov_len = sizeof(head)},
        {.iov_base = inos, .iov_len = count * sizeof(*inos)},
    };

    return writev(server->fd, iov, 2) < 0 ? -errno : 0;
}

static bool prune(struct fuse_shrink *shrink, struct fuse_worker *reaper, uint64_t wanted)
{
    struct fuse_server *server = reaper->server;
    uint64_t inos[PRUNE_BATCH];
    uint64_t asked = 0;

    while (asked < wanted && !atomic_load(&server->stopping)) {
        uint32_t most = (uint32_t)min_u64(wanted - asked, PRUNE_BATCH);
        uint32_t count = fuse_nodes_pick(&server->nodes, inos, most);
        int err = count == 0 ? 0 : prune_batch(server, inos, count);
        if (err != 0) {
            shrink->no_prune = true;
            msg_debug("fuse", "the kernel takes no list of inodes to forget err=%d", err);
            return false;
        }
        if (count == 0) {
            break;
        }
        asked += count;
    }
    return asked > 0;
}

/* ---- by name --------------------------------------------------------------------------------- */

struct asking {
    struct fuse_server *server;
    const struct mount_names *mounts; /* names that must not be asked for */
    uint64_t directory;
    uint64_t only;   /* this inode's name alone, 0 = all but directories */
    uint64_t wanted; /* still */
    uint64_t asked;
};

static bool is_dots(const struct fs_name *name)
{
    return name->length <= 2 && name->bytes[0] == '.' &&
           (name->length == 1 || name->bytes[1] == '.');
}

static bool is_wanted(const struct asking *asking, const struct fs_dirent *entry)
{
    bool right = asking->only != 0 ? entry->ino == asking->only : entry->type != S_IFDIR;

    return right && !is_dots(&entry->name) && entry->name.length <= FS_NAME_BYTES_MAX &&
           !mount_names_has(asking->mounts, entry->name.bytes, entry->name.length) &&
           fuse_nodes_count(&asking->server->nodes, entry->ino) > 0;
}

static bool ask_for_name(void *context, const struct fs_dirent *entry)
{
    struct asking *asking = context;
    char name[FS_NAME_BYTES_MAX + 1];

    if (!is_wanted(asking, entry)) {
        return !atomic_load(&asking->server->stopping);
    }
    (void)memcpy(name, entry->name.bytes, entry->name.length);
    name[entry->name.length] = '\0';
    int err = fuse_lowlevel_notify_inval_entry(
        asking->server->session, asking->directory, name, entry->name.length);
    asking->asked += err == 0 ? 1 : 0;
    return asking->only == 0 && asking->asked < asking->wanted &&
           !fuse_nodes_is_parked(&asking->server->nodes) && !atomic_load(&asking->server->stopping);
}

/* Lists asking->directory, asking for names. An error only ends it early. */
static void list_and_ask(struct fuse_worker *reaper, struct asking *asking)
{
    int err = fs_readdir(
        reaper->server->fs, &reaper->thread, asking->directory, 0, false, ask_for_name, asking);

    if (err != 0) {
        msg_debug("fuse",
                  "listing to shrink ended ino=%llu err=%d",
                  (unsigned long long)asking->directory,
                  err);
    }
}

/* Way 3. The root has no name to ask for. */
static void ask_for_directory(struct fuse_worker *reaper, struct asking *asking)
{
    struct fs_attr parent;
    uint64_t directory = asking->directory;

    if (directory == FS_ROOT_INO ||
        fs_lookup(
            reaper->server->fs, &reaper->thread, directory, (struct fs_name){"..", 2}, &parent) !=
            0) {
        return;
    }
    asking->only = directory;
    asking->directory = parent.ino;
    list_and_ask(reaper, asking);
}

static bool ask_by_names(struct fuse_worker *reaper, uint64_t wanted)
{
    struct fuse_server *server = reaper->server;
    struct mount_names mounts;
    uint64_t asked = 0;

    mount_names_load(&mounts, server->mountpoint);
    for (unsigned i = 0; i < DIRECTORIES_MAX && asked < wanted; i++) {
        struct asking asking = {.server = server, .mounts = &mounts, .wanted = wanted - asked};
        if (atomic_load(&server->stopping) ||
            !fuse_nodes_pick_directory(&server->nodes, &asking.directory)) {
            break;
        }
        if (fuse_nodes_is_parked(&server->nodes)) {
            ask_for_directory(reaper, &asking);
        } else {
            list_and_ask(reaper, &asking);
        }
        asked += asking.asked;
    }
    return asked > 0;
}

bool fuse_shrink_ask(struct fuse_shrink *shrink, struct fuse_worker *reaper)
{
    uint64_t wanted = fuse_nodes_excess(&reaper->server->nodes);

    if (!shrink->no_prune && prune(shrink, reaper, wanted)) {
        return true;
    }
    return shrink->no_prune && ask_by_names(reaper, wanted);
}
