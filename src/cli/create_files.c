/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A new member must read as zeros from end to end, so that parity is consistent from the start: a
 * new file does, an existing one is cut to nothing and grown again, a block device is zeroed.
 * An existing file is only touched when nothing recognisable is on it, or with --force.
 *
 *   identify -> look: open, lock -> make: empty it -> (superblocks, log, filesystem) -> close
 *
 * Invariant: what was looked at is what is written. Each file is opened once, and its lock (of a
 * block device O_EXCL as well) is held from the look to the last byte, so nobody can mount, format
 * or assemble it between; all are looked at, and held, before the first is touched.
 */
#include "create_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "r5fs/base/units.h"
#include "r5fs/raid/array.h"

#define ZERO_PIECE_BYTES (1u << 20)

static int say(const char *path, const char *what, int error)
{
    cli_error("%s: %s: %s", path, what, strerror(error));
    return cli_exit_for(error);
}

/* Whether a regular file holds any byte that is not zero. Holes are skipped, the rest is read. */
static int file_has_data(int fd, uint64_t size_bytes, bool *out_has)
{
    static _Alignas(BLOCK_BYTES) uint8_t piece[ZERO_PIECE_BYTES];
    *out_has = false;
    off_t at = 0;
    while ((uint64_t)at < size_bytes) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) {
            return 0;
        }
        at = data >= 0 ? data : at;
        ssize_t got = pread(fd, piece, sizeof(piece), at);
        if (got < 0) {
            return -errno;
        }
        if (got == 0) {
            return 0;
        }
        if (piece[0] != 0 || memcmp(piece, piece + 1, (size_t)got - 1) != 0) {
            *out_has = true;
            return 0;
        }
        at += got;
    }
    return 0;
}

static int refuse_contents(const struct create_file *file, int fd)
{
    char what[ARRAY_WHY_BYTES];
    int rc = array_recognise(file->path, what);
    if (rc != 0) {
        return say(file->path, "cannot be read", -rc);
    }
    bool has = false;
    if (what[0] == '\0' && !file->block_device) {
        rc = file_has_data(fd, file->size_bytes, &has);
        if (rc != 0) {
            return say(file->path, "cannot be read", -rc);
        }
    }
    if (what[0] != '\0' || has) {
        cli_error("%s: holds %s (hint: --force overwrites it)",
                  file->path,
                  what[0] != '\0' ? what : "data");
        return EXIT_REFUSED;
    }
    return EXIT_OK;
}

static int say_in_use(const char *path)
{
    cli_error(
        "%s: in use by another process, or mounted (hint: r5fs unmount, or fuser %s)", path, path);
    return EXIT_BUSY;
}

static void set_identity(struct create_file *file, const struct stat *st)
{
    file->exists = true;
    file->block_device = S_ISBLK(st->st_mode);
    file->device = file->block_device ? st->st_rdev : st->st_dev;
    file->inode = file->block_device ? 0 : st->st_ino;
}

void create_file_identify(struct create_file *file)
{
    struct stat st;
    file->fd = -1;
    if (stat(file->path, &st) == 0) {
        set_identity(file, &st);
    }
}

/* The rest of looking at a file that is open. */
static int look_open(struct create_file *file, int fd, bool force)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return say(file->path, "cannot be examined", errno);
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        cli_error("%s: neither a file nor a block device", file->path);
        return EXIT_FAILED;
    }
    if (file->block_device != S_ISBLK(st.st_mode)) {
        return say(file->path, "was replaced meanwhile", ESTALE);
    }
    set_identity(file, &st);
    file->size_bytes = (uint64_t)st.st_size;
    if (file->block_device && ioctl(fd, BLKGETSIZE64, &file->size_bytes) != 0) {
        return say(file->path, "its size cannot be asked", errno);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        return say_in_use(file->path);
    }
    int code = force || file->size_bytes == 0 ? EXIT_OK : refuse_contents(file, fd);
    if (code == EXIT_OK && file->wanted_bytes != 0) {
        if (file->block_device && file->wanted_bytes > file->size_bytes) {
            cli_error("%s: is smaller than the size asked for", file->path);
            return EXIT_FAILED;
        }
        file->size_bytes = file->block_device ? file->size_bytes : file->wanted_bytes;
    }
    return code;
}

int create_file_look(struct create_file *file, bool force)
{
    /* O_EXCL without O_CREAT has a meaning for block devices only. */
    int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | (file->block_device ? O_EXCL : 0);
    int fd = open(file->path, flags);
    if (fd < 0 && errno == ENOENT) {
        file->exists = false;
        file->size_bytes = file->wanted_bytes;
        return EXIT_OK;
    }
    if (fd < 0) {
        return errno == EBUSY ? say_in_use(file->path)
                              : say(file->path, "cannot be opened for writing", errno);
    }
    file->fd = fd;
    return look_open(file, fd, force);
}

/* btrfs: a checksummed or copied-on-write member would be slow and could not take O_DIRECT well. */
static void set_nocow_on_btrfs(int fd)
{
    struct statfs sf;
    int flags = 0;
    if (fstatfs(fd, &sf) == 0 && sf.f_type == BTRFS_SUPER_MAGIC &&
        ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        if (ioctl(fd, FS_IOC_SETFLAGS, &flags) != 0) {
            cli_error("warning: copy-on-write could not be switched off: %s", strerror(errno));
        }
    }
}

static int zero_device(const struct create_file *file, int fd)
{
    uint64_t range[2] = {0, file->size_bytes};
    if (ioctl(fd, BLKZEROOUT, range) != 0) {
        return say(file->path, "cannot be zeroed", errno);
    }
    return fsync(fd) == 0 ? EXIT_OK : say(file->path, "cannot be zeroed", errno);
}

static int make_open(struct create_file *file, int fd, bool sparse)
{
    if (file->block_device) {
        return zero_device(file, fd);
    }
    set_nocow_on_btrfs(fd);
    if (ftruncate(fd, 0) != 0 || ftruncate(fd, (off_t)file->size_bytes) != 0) {
        return say(file->path, "cannot be given its size", errno);
    }
    if (!sparse && fallocate(fd, 0, 0, (off_t)file->size_bytes) != 0 && errno != EOPNOTSUPP) {
        return say(file->path, "its space cannot be reserved (hint: --sparse)", errno);
    }
    return fsync(fd) == 0 ? EXIT_OK : say(file->path, "cannot be written", errno);
}

int create_file_make(struct create_file *file, bool sparse)
{
    if (file->fd < 0) {
        file->fd = open(file->path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
        if (file->fd < 0) {
            return say(file->path, "cannot be made", errno);
        }
        file->made_here = true;
        if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
            return say_in_use(file->path);
        }
    }
    return make_open(file, file->fd, sparse);
}

void create_file_undo(struct create_file *file)
{
    if (file->made_here && unlink(file->path) != 0) {
        cli_error(
            "%s: made by this command and cannot be removed: %s", file->path, strerror(errno));
    }
}

void create_file_close(struct create_file *file)
{
    if (file->fd >= 0) {
        (void)close(file->fd); /* what was written was synced where its error could be said */
        file->fd = -1;
    }
}
