/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door: opening and closing a filesystem, and what concerns it as a whole.
 *
 *   fs_mount: read the super (or its clean copy) -> buffers, locks -> look at the root inode
 *             -> super.journal_generation + 1, FS_SUPER_MOUNTED, durable -> finish orphans
 *   fs_unmount: finish orphans -> FS_SUPER_MOUNTED off, in super and copy, durable -> idle client
 *
 * A write mount goes on from the copy only when that carries no FS_SUPER_MOUNTED (fs_super.c says
 * why); a read-only one takes any copy that is valid, with a message.
 * Everything is taken from the caller's arena at mount, at most options.buffer_bytes and the
 * struct.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs_internal.h"
#include "r5fs/base/msg.h"

#define FS_THREADS_PLANNED 64u
#define FS_BUFFERS_MIN \
    (JOURNAL_TXN_BLOCKS_MAX + TXN_PINS_MAX + FS_THREADS_PLANNED * FS_READER_HELD_MAX)

void fs_note_damage(struct fs *fs, uint64_t ino, struct fs_block block, const char *what)
{
    atomic_store(&fs->damaged, true);
    msg_warn("fs",
             "damage block=%llu inode=%llu: %s (hint: r5fs check)",
             (unsigned long long)block.nr,
             (unsigned long long)ino,
             what);
}

static bool how_writes(enum fs_open_how how)
{
    return how == FS_OPEN_WRITE || how == FS_OPEN_CHECK_WRITE;
}

static bool how_judges_for_writing(enum fs_open_how how)
{
    return how_writes(how) || how == FS_OPEN_LOOK;
}

static bool how_checks(enum fs_open_how how)
{
    return how == FS_OPEN_CHECK_READ || how == FS_OPEN_CHECK_WRITE;
}

/* The copy in the last block of the array's volume. */
static int open_copy(struct fs *fs,
                     struct fs_thread *thread,
                     uint64_t volume_blocks,
                     enum fs_open_how how,
                     char *out_why)
{
    char why[FS_WHY_BYTES];
    struct fs_super copy;
    struct fs_block address = fs_block(volume_blocks - 1);
    int error = journal_read(fs->journal, thread->queue, address, 1, thread->scratch);
    if (error == 0) {
        error = fs_super_decode(&copy, thread->scratch, address, volume_blocks, why);
    }
    if (error != 0) {
        return error;
    }
    if ((how == FS_OPEN_WRITE || how == FS_OPEN_LOOK) && (copy.flags & FS_SUPER_MOUNTED) != 0) {
        return -EUCLEAN; /* out_why keeps what is wrong with the super */
    }
    msg_warn(
        "fs", "%s: going on with its copy in block=%llu", out_why, (unsigned long long)address.nr);
    fs->super = copy;
    atomic_store(&fs->damaged, true);
    return 0;
}

static int open_super(struct fs *fs,
                      struct array *array,
                      enum fs_open_how how,
                      struct fs_thread *thread,
                      char *out_why)
{
    uint64_t volume_blocks = array_geometry(array)->volume_blocks;
    int error = journal_read(fs->journal, thread->queue, fs_block(0), 1, thread->scratch);
    if (error != 0) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "cannot read the fs super: %s",
                       strerror(-error)); /* cut short at worst */
    } else {
        error = fs_super_decode(&fs->super, thread->scratch, fs_block(0), volume_blocks, out_why);
    }
    if (error != 0 && error != -EOPNOTSUPP) {
        int copy_error = open_copy(fs, thread, volume_blocks, how, out_why);
        if (copy_error != 0 && copy_error != -EMEDIUMTYPE && error == -EMEDIUMTYPE) {
            error = -EUCLEAN; /* there was a filesystem */
        }
        error = copy_error == 0 ? 0 : error;
        if (error == -EUCLEAN) {
            size_t length = strlen(out_why);
            (void)snprintf(out_why + length,
                           FS_WHY_BYTES - length,
                           " (hint: r5fs check -y)"); /* cut short at worst */
        }
    }
    if (error == 0 && how_judges_for_writing(how) && fs->super.features_ro != 0) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "made by a newer r5fs, writing is not safe (features 0x%llx; hint: -o ro)",
                       (unsigned long long)fs->super.features_ro); /* cut short at worst */
        error = -EROFS;
    }
    const struct uuid uuid = array_uuid(array);
    if (error == 0 && !uuid_equal(&uuid, &fs->super.array_uuid)) {
        msg_warn("fs", "the filesystem was made on an array with another uuid");
    }
    return error;
}

/* Takes all memory; how many buffers fit follows from what was allowed. */
static int open_memory(struct fs *fs, const struct fs_options *options, char *out_why)
{
    uint64_t fixed = freespace_memory_need() + inode_locks_need() + buffer_pool_need(0);
    uint64_t each = (buffer_pool_need(1024) - buffer_pool_need(0)) / 1024 + 16;
    uint64_t least = fixed + FS_BUFFERS_MIN * each;
    if (options->buffer_bytes < least ||
        (!options->arena->growing && arena_left(options->arena) < options->buffer_bytes)) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "too little memory for metadata: %llu KiB given, at least %llu needed "
                       "(hint: memory=)",
                       (unsigned long long)options->buffer_bytes / 1024,
                       (unsigned long long)least / 1024 + 1); /* cut short at worst */
        return -ENOMEM;
    }
    uint64_t count = (options->buffer_bytes - fixed) / each;
    uint32_t buffers = (uint32_t)min_u64(count, UINT32_MAX / 4);
    while (buffer_pool_need(buffers) + freespace_memory_need() + inode_locks_need() >
           options->buffer_bytes) {
        buffers -= buffers / 16; /* the index is rounded up to a power of two */
    }
    buffer_pool_init(&fs->buffers, options->arena, buffers, fs->journal);
    freespace_init(fs, options->arena);
    inode_locks_init(&fs->inode_locks, options->arena);
    env_mutex_init(&fs->op_lock);
    env_rwlock_init(&fs->tree_lock);
    return 0;
}

/* The super's buffer: made, not read, since fs->super holds what is valid. */
static int open_super_buffer(struct fs *fs)
{
    fs->buffers.fs_uuid = fs->super.fs_uuid;
    return buffer_make(&fs->buffers, fs_block(0), BUFFER_SUPER, fs->super.txn, &fs->super_buffer);
}

/* Whether there is a root directory: what a mount must be able to read. */
static int root_inode_check(struct fs *fs, struct fs_thread *thread, char *out_why)
{
    struct fs_reader reader;
    struct fs_inode inode = {.ino = FS_ROOT_INO};
    int error = 0;
    fs_reader_init(&reader, fs, thread);
    do {
        fs_reader_lock(&reader);
        error = inode_read(&reader, FS_ROOT_INO, &inode);
    } while (fs_reader_again(&reader, &error));
    if (error == -ENOENT || (error == 0 && !S_ISDIR(inode.mode))) {
        error = fs_damage(fs, FS_ROOT_INO, fs->super.tree_root, "no root directory");
    }
    if (error != 0) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "the root directory cannot be read: %s (tree root in block %llu; hint: "
                       "r5fs check)",
                       strerror(-error),
                       (unsigned long long)fs->super.tree_root.nr); /* cut short at worst */
    }
    return error;
}

int fs_open(struct fs **out_fs,
            const struct fs_opening *opening,
            struct fs_thread *thread,
            char *out_why)
{
    struct arena *arena = opening->options->arena;
    struct fs *fs = arena_try_take(arena, sizeof(*fs), _Alignof(struct fs));
    if (fs == NULL) {
        (void)snprintf(out_why, FS_WHY_BYTES, "no memory"); /* cut short at worst */
        return -ENOMEM;
    }
    fs->journal = opening->journal;
    fs->geometry = array_geometry(opening->array);
    fs->limits = journal_limits(fs->journal);
    fs->read_only = !how_writes(opening->how);
    atomic_init(&fs->stopped, false);
    atomic_init(&fs->damaged, false);
    out_why[0] = '\0';
    int error = open_super(fs, opening->array, opening->how, thread, out_why);
    if (error == 0) {
        error = open_memory(fs, opening->options, out_why);
    }
    if (error != 0) {
        return error;
    }
    txn_running_init(fs);
    fs->space.cursor = fs_group_start(&fs->super, fs->super.meta_group);
    error = open_super_buffer(fs);
    if (error == 0 && !how_checks(opening->how)) {
        error = root_inode_check(fs, thread, out_why);
    }
    if (!fs->read_only) {
        txn_register(fs);
    }
    if (error != 0) {
        fs_close(fs);
        return error;
    }
    *out_fs = fs;
    return 0;
}

void fs_close(struct fs *fs)
{
    if (!fs->read_only) {
        txn_unregister(fs);
    }
    env_rwlock_fini(&fs->tree_lock);
    env_mutex_fini(&fs->op_lock);
    inode_locks_fini(&fs->inode_locks);
    freespace_fini(fs);
    buffer_pool_fini(&fs->buffers);
}

/* Sets or takes away FS_SUPER_MOUNTED, in super and copy, durable. */
static int super_mark(struct fs *fs, struct fs_thread *thread, bool mounted)
{
    const struct txn_need need = {.updates = 1}; /* the copy; the super is always counted */
    struct fs_txn txn;
    struct fs_block address = fs_super_copy_address(&fs->super);
    struct buffer *copy = NULL;
    int error = txn_begin(&txn, fs, thread, &need);
    if (error != 0) {
        return error;
    }
    error = txn_lock(&txn);
    if (error == 0) {
        error = buffer_make(&fs->buffers, address, BUFFER_SUPER, fs->running.txn, &copy);
        if (error == -EEXIST) {
            error = buffer_get(
                &fs->buffers, thread->queue, address, BUFFER_SUPER, BUFFER_CACHED, &copy);
        }
    }
    if (error == 0) {
        fs->super.flags &= ~FS_SUPER_MOUNTED;
        fs->super.flags |= mounted ? FS_SUPER_MOUNTED : 0;
        fs->super.journal_generation += mounted ? 1 : 0;
        txn_dirty_super(&txn);
        txn_dirty(&txn, copy);
        buffer_put(&fs->buffers, copy);
    }
    txn_end(&txn);
    return error == 0 ? fs_sync(fs, thread) : error;
}

int fs_mount(struct fs **out_fs,
             struct journal *journal,
             struct array *array,
             const struct fs_options *options,
             struct fs_thread *thread,
             char *out_why)
{
    const struct fs_opening opening = {
        .journal = journal,
        .array = array,
        .options = options,
        .how = options->read_only ? FS_OPEN_READ : FS_OPEN_WRITE,
    };
    struct fs *fs = NULL;
    int error = fs_open(&fs, &opening, thread, out_why);
    if (error != 0) {
        return error;
    }
    if (!fs->read_only) {
        error = super_mark(fs, thread, true);
        if (error == 0) {
            error = orphan_finish_all(fs, thread);
        }
    }
    if (error != 0) {
        (void)snprintf(out_why,
                       FS_WHY_BYTES,
                       "cannot start writing: %s",
                       strerror(-error)); /* cut short at worst */
        fs_close(fs);
        return error;
    }
    *out_fs = fs;
    return 0;
}

int fs_unmount(struct fs *fs, struct fs_thread *thread)
{
    int error = 0;
    if (!fs->read_only) {
        error = fs->stopped ? -EIO : orphan_finish_all(fs, thread);
        int mark_error = fs->stopped ? -EIO : super_mark(fs, thread, false);
        error = error == 0 ? mark_error : error;
        if (error != 0) {
            /* So that no commit is under way when the client goes; a stopped one seals nothing
             * (X3). */
            int drain_error =
                journal_commit(fs->journal, thread->queue, journal_running_txn(fs->journal));
            error = error == 0 ? drain_error : error;
        }
    }
    fs_close(fs);
    return error;
}

void fs_get_info(struct fs *fs, struct fs_info *out_info)
{
    *out_info = (struct fs_info){
        .uuid = fs->super.fs_uuid,
        .write_through = (fs->super.flags & FS_SUPER_WRITE_THROUGH) != 0,
        .read_only = fs->read_only || fs->stopped,
        .damaged = fs->damaged,
    };
    memcpy(out_info->label, fs->super.label, sizeof(out_info->label));
}

int fs_statfs(struct fs *fs, struct fs_thread *thread, struct fs_statfs *out)
{
    (void)thread; /* all counts are in memory */
    struct fs_super empty;
    int error = fs_super_plan(&empty, fs->geometry);
    if (error != 0) {
        return error;
    }
    uint64_t free_blocks = freespace_available(fs);
    env_mutex_lock(&fs->op_lock);
    uint64_t inodes = fs->super.inode_count;
    env_mutex_unlock(&fs->op_lock);
    /* An inode with its name takes some 300 bytes of tree; a quarter of that is room in half-full
     * leaves: eight to a block. */
    uint64_t free_inodes = free_blocks * 8;
    *out = (struct fs_statfs){
        .blocks = empty.free_blocks - 1 - fs->super.reserve_blocks,
        .free_blocks = free_blocks,
        .inodes = inodes + free_inodes,
        .free_inodes = free_inodes,
    };
    return 0;
}

int fs_sync(struct fs *fs, struct fs_thread *thread)
{
    if (fs->read_only) {
        return 0;
    }
    if (fs->stopped) {
        return -EIO;
    }
    int error = journal_commit(fs->journal, thread->queue, journal_running_txn(fs->journal));
    return error == 0 && fs->stopped ? -EIO : error;
}
