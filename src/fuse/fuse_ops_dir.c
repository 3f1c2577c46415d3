/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests about directories: readdir, readdirplus, fsyncdir.
 *
 * readdirplus answers with attributes and counts one lookup for each entry but "." and "..". When
 * the lookup table is getting full it goes on without: an entry with inode 0 tells the kernel the
 * name and the type only.
 *
 * opendir is answered, though nothing is kept for an open directory (the cookies of the filesystem
 * are stable): answered ENOSYS, the kernel would keep listings, and a listing kept by one reader
 * while another has begun lacks names made in between, for the other too.
 *
 * Thread: any worker.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse_ops.h"
#include "fuse_reaper.h"

/* Enough for every name; larger requests are answered short, as the protocol allows. */
#define LISTING_BYTES_MAX ((size_t)256 * 1024)
/* struct fuse_direntplus: an entry of this size, beginning with the inode; then inode, cookie, name
 * length and type of the name itself, then the name. */
#define PLUS_ENTRY_BYTES   128u
#define PLUS_LENGTH_OFFSET (PLUS_ENTRY_BYTES + 16u)
#define PLUS_NAME_OFFSET   (PLUS_ENTRY_BYTES + 24u)
#define PLUS_ALIGN         8u

struct listing {
    fuse_req_t req;
    struct fuse_worker *worker;
    uint64_t directory;
    char *buffer;
    size_t size;
    size_t used;
    bool plus;
};

static bool is_dots(const struct fs_name *name)
{
    return (name->length == 1 && name->bytes[0] == '.') ||
           (name->length == 2 && name->bytes[0] == '.' && name->bytes[1] == '.');
}

/* Raises the count of what will be told; the entry's inode stays 0 when there is no room for it. */
static void fill_plus(struct listing *listing,
                      const struct fs_dirent *entry,
                      struct fuse_entry_param *out_param)
{
    if (entry->attr == NULL || is_dots(&entry->name)) {
        return;
    }
    if (fuse_nodes_try_hold(&listing->worker->server->nodes, entry->ino, listing->directory)) {
        fuse_ops_fill_entry(entry->attr, out_param);
    }
}

static bool emit(void *context, const struct fs_dirent *entry)
{
    struct listing *listing = context;
    struct fuse_entry_param param = {0};
    char name[FS_NAME_BYTES_MAX + 1];
    char *to = listing->buffer + listing->used;
    size_t left = listing->size - listing->used;
    off_t next = (off_t)entry->cookie;
    size_t need = 0;

    R5_CHECK(entry->name.length <= FS_NAME_BYTES_MAX);
    (void)memcpy(name, entry->name.bytes, entry->name.length);
    name[entry->name.length] = '\0';
    need = listing->plus ? fuse_add_direntry_plus(listing->req, NULL, 0, name, NULL, 0)
                         : fuse_add_direntry(listing->req, NULL, 0, name, NULL, 0);
    if (need > left) {
        return false;
    }
    param.attr.st_ino = entry->ino;
    param.attr.st_mode = entry->type;
    if (listing->plus) {
        fill_plus(listing, entry, &param);
        listing->used += fuse_add_direntry_plus(listing->req, to, left, name, &param, next);
    } else {
        listing->used += fuse_add_direntry(listing->req, to, left, name, &param.attr, next);
    }
    return true;
}

/* The kernel did not get the listing: what was counted for it is taken back. */
static void take_back_all(const struct listing *listing)
{
    size_t at = 0;

    while (at < listing->used) {
        uint64_t ino = 0;
        uint32_t length = 0;
        (void)memcpy(&ino, listing->buffer + at, sizeof(ino));
        (void)memcpy(&length, listing->buffer + at + PLUS_LENGTH_OFFSET, sizeof(length));
        if (ino != 0) {
            fuse_nodes_forget(&listing->worker->server->nodes, ino, 1);
        }
        at += round_up((uint64_t)PLUS_NAME_OFFSET + length, PLUS_ALIGN);
    }
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
    struct fuse_worker *worker = fuse_worker_current();
    struct listing listing = {
        .req = req,
        .worker = worker,
        .directory = ino,
        .buffer = (char *)worker->payload,
        .size = size < LISTING_BYTES_MAX ? size : LISTING_BYTES_MAX,
        .plus = plus,
    };
    int err = fs_readdir(
        worker->server->fs, &worker->thread, ino, (uint64_t)offset, plus, emit, &listing);

    /* What was listed before an error is told; the error comes again with the next request. */
    if (err != 0 && listing.used == 0) {
        fuse_ops_fail(req, err);
        return;
    }
    if (fuse_reply_buf(req, listing.buffer, listing.used) != 0 && plus) {
        take_back_all(&listing);
    }
}

void fuse_ops_readdir(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
    (void)info; /* nothing is kept for an open directory */
    list(req, ino, size, offset, false);
}

void fuse_ops_readdirplus(
    fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
    (void)info; /* nothing is kept for an open directory */
    list(req, ino, size, offset, true);
}

void fuse_ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    (void)ino;
    (void)fuse_reply_open(req, info); /* nothing is kept for it */
}

void fuse_ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *info)
{
    struct fuse_worker *worker = fuse_worker_current();

    (void)info; /* nothing is kept for an open directory */
    fuse_ops_done(req, fs_fsync(worker->server->fs, &worker->thread, ino, datasync != 0));
}
