/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * r5fs dump: prints structures, or copies the volume out. Opens everything read-only.
 *
 * `dump volume` is the rescue way: the array's contents as recovery would make them, the log laid
 * over the members in memory, one member may be missing, any md RAID5 (with or without journal,
 * with or without an r5fs filesystem in it).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "cli_offline.h"
#include "cli_superblock.h"
#include "r5fs/fs/fs_dump.h"
#include "r5fs/journal/log_dump.h"

#define COPY_BLOCKS       256u
#define LAYOUT_ROWS_MAX   64u
#define DUMP_BUFFER_BYTES (32ull << 20)

enum { OPTION_OUT, OPTION_RANGE, OPTION_ACCEPT, OPTION_INODE, OPTION_SPARSE };

const struct cli_option cli_dump_options[] = {
    {"output", 'o', "FILE", "volume: where to write (- is standard output)"},
    {"range", 0, "OFF:LEN", "volume: only these bytes"},
    {"accept-damaged-log", 0, NULL, "go on although the log was damaged or is an older copy"},
    {"inode", 'i', "NUMBER", "inode, dir: which one (default: the root directory)"},
    {"sparse", 0, NULL, "volume: leave holes where blocks are zero"},
    {NULL, 0, NULL, NULL},
};

static int usage(const char *what)
{
    return cli_usage_error(cli_find_command("dump"), "%s", what);
}

static void print_line(void *context, const char *line)
{
    (void)context; /* nothing to carry */
    (void)puts(line);
}

/* ---- volume --------------------------------------------------------------------------------- */

struct volume_copy {
    struct cli_array *opened;
    int fd;
    bool sparse;
    uint64_t first_byte;
    uint64_t bytes;
    uint8_t *buffer;
};

static int write_all(int fd, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int put_piece(const struct volume_copy *copy, const uint8_t *data, size_t bytes)
{
    if (copy->sparse && data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0) {
        return lseek(copy->fd, (off_t)bytes, SEEK_CUR) < 0 ? -errno : 0;
    }
    return write_all(copy->fd, data, bytes);
}

static int copy_volume(struct volume_copy *copy)
{
    uint64_t at = copy->first_byte;
    uint64_t end = at + copy->bytes;
    while (at < end) {
        uint64_t block = at / BLOCK_BYTES;
        uint64_t last = div_round_up(end, BLOCK_BYTES);
        uint32_t count = (uint32_t)min_u64(COPY_BLOCKS, last - block);
        int rc = journal_read(copy->opened->journal,
                              copy->opened->thread.queue,
                              fs_block(block),
                              count,
                              copy->buffer);
        if (rc != 0) {
            cli_error("volume: block %" PRIu64 " and on: cannot be read: %s", block, strerror(-rc));
            return rc;
        }
        uint64_t skip = at - block * BLOCK_BYTES;
        uint64_t bytes = min_u64((uint64_t)count * BLOCK_BYTES - skip, end - at);
        rc = put_piece(copy, copy->buffer + skip, bytes);
        if (rc != 0) {
            cli_error("output: %s", strerror(-rc));
            return rc;
        }
        at += bytes;
    }
    return 0;
}

/* "OFF:LEN", each with a unit if wanted; within the volume. */
static int parse_range(const char *text, struct volume_copy *copy, uint64_t volume_bytes)
{
    char first[64];
    const char *colon = strchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof(first)) {
        return usage("--range takes OFF:LEN");
    }
    memcpy(first, text, (size_t)(colon - text));
    first[colon - text] = '\0';
    if (cli_parse_size(first, &copy->first_byte) != 0 ||
        cli_parse_size(colon + 1, &copy->bytes) != 0) {
        return usage("--range takes OFF:LEN");
    }
    if (copy->first_byte > volume_bytes || copy->bytes > volume_bytes - copy->first_byte) {
        return usage("--range reaches beyond the volume");
    }
    return EXIT_OK;
}

/* A hole shows what was there before, unless the file was cut to nothing. */
static bool can_have_holes(const char *path)
{
    struct stat out;

    return strcmp(path, "-") != 0 && (stat(path, &out) != 0 || S_ISREG(out.st_mode));
}

static int open_output(const char *path, struct cli_array *opened)
{
    if (strcmp(path, "-") == 0) {
        return dup(STDOUT_FILENO);
    }
    struct stat out;
    struct stat source;
    for (unsigned i = 0; stat(path, &out) == 0 && i < opened->sources.count; i++) {
        if (stat(opened->sources.paths[i], &source) == 0 && source.st_ino == out.st_ino &&
            source.st_dev == out.st_dev) {
            errno = ETXTBSY;
            return -1;
        }
    }
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static int dump_volume(struct cli_array *opened, const struct cli_args *args)
{
    const char *path = args->values[OPTION_OUT];
    const struct geometry *geometry = array_geometry(opened->array);
    struct volume_copy copy = {
        .opened = opened,
        .sparse = args->values[OPTION_SPARSE] != NULL,
        .bytes = geometry->volume_blocks * BLOCK_BYTES,
    };
    if (path == NULL) {
        return usage("volume needs -o FILE");
    }
    if (copy.sparse && !can_have_holes(path)) {
        return usage("--sparse needs a regular file to write to");
    }
    if (args->values[OPTION_RANGE] != NULL) {
        int code = parse_range(args->values[OPTION_RANGE], &copy, copy.bytes);
        if (code != EXIT_OK) {
            return code;
        }
    }
    copy.buffer = arena_take(&opened->arena, (size_t)COPY_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
    copy.fd = open_output(path, opened);
    if (copy.fd < 0) {
        cli_error(
            "%s: %s", path, errno == ETXTBSY ? "is one of the array's own files" : strerror(errno));
        return EXIT_FAILED;
    }
    int rc = copy_volume(&copy);
    if (rc == 0 && copy.sparse && ftruncate(copy.fd, (off_t)copy.bytes) != 0) {
        rc = -errno;
        cli_error("%s: %s", path, strerror(errno));
    }
    if (close(copy.fd) != 0 && rc == 0) {
        rc = -errno;
        cli_error("%s: %s", path, strerror(errno));
    }
    return rc == 0 ? EXIT_OK : EXIT_IO;
}

/* ---- the others ----------------------------------------------------------------------------- */

/* Where the first stripes lie: one line a chunk row, one column a slot. */
static int dump_layout(struct cli_array *opened)
{
    const struct geometry *geometry = array_geometry(opened->array);
    (void)printf("%s, %u slots, chunk %u blocks, %" PRIu64 " rows, volume %" PRIu64 " blocks\n",
                 layout_name(geometry->layout),
                 geometry->slots,
                 geometry->chunk_blocks,
                 geometry->rows,
                 geometry->volume_blocks);
    uint64_t stripes = min_u64(geometry->rows / geometry->chunk_blocks, LAYOUT_ROWS_MAX);
    for (uint64_t stripe = 0; stripe < stripes; stripe++) {
        struct member_block row = member_block(stripe * geometry->chunk_blocks);
        (void)printf("row %-10" PRIu64, row.nr);
        for (uint32_t slot = 0; slot < geometry->slots; slot++) {
            if (slot == geometry_parity_slot(geometry, row)) {
                (void)printf(" %10s", "P");
            } else {
                (void)printf(" %10" PRIu64, geometry_block_at(geometry, row, slot).nr);
            }
        }
        (void)putchar('\n');
    }
    return EXIT_OK;
}

static int dump_fs(struct cli_array *opened, const char *what, const struct cli_args *args)
{
    uint64_t ino = FS_ROOT_INO;
    const char *text = args->values[OPTION_INODE];
    if (text != NULL && cli_parse_number(text, 1, UINT64_MAX, &ino) != 0) {
        return usage("--inode takes a number");
    }
    const struct fs_options options = {
        .arena = &opened->arena,
        .buffer_bytes = DUMP_BUFFER_BYTES,
        .read_only = true,
    };
    const struct fs_print print = {.line = print_line};
    struct fs *fs = NULL;
    char why[FS_WHY_BYTES];
    int rc = fs_mount(&fs, opened->journal, opened->array, &options, &opened->thread, why);
    if (rc != 0) {
        cli_error("%s", why);
        return cli_exit_for(rc);
    }
    if (strcmp(what, "inode") == 0) {
        rc = fs_dump_inode(fs, &opened->thread, ino, &print);
    } else if (strcmp(what, "dir") == 0) {
        rc = fs_dump_dir(fs, &opened->thread, ino, &print);
    } else {
        rc = fs_dump_tree(fs, &opened->thread, &print);
    }
    if (rc != 0) {
        cli_error("dump %s: %s", what, rc == -ENOENT ? "no such inode" : strerror(-rc));
    }
    int closed = fs_unmount(fs, &opened->thread);
    return cli_exit_for(rc != 0 ? rc : closed);
}

static int dump_superblocks(const struct cli_args *args)
{
    struct cli_sources sources;
    int code = cli_sources_resolve(args->words + 1, args->word_count - 1, &sources);
    if (code != EXIT_OK) {
        return code;
    }
    for (unsigned i = 0; i < sources.count; i++) {
        int one = superblock_print(sources.paths[i]);
        code = code == EXIT_OK ? one : code;
    }
    cli_sources_free(&sources);
    return code;
}

static int dump_journal(struct cli_array *opened)
{
    int rc =
        journal_dump_entries(opened->array, opened->thread.queue, &opened->arena, print_line, NULL);
    if (rc != 0) {
        cli_error("dump journal: %s",
                  rc == -ENXIO ? "the array's journal was not given" : strerror(-rc));
    }
    return cli_exit_for(rc);
}

static int
dump_opened(struct cli_array *opened, const struct cli_args *args, const struct cli_open *how)
{
    const char *what = args->words[0];
    if (strcmp(what, "layout") == 0) {
        return dump_layout(opened);
    }
    if (strcmp(what, "journal") == 0) {
        return dump_journal(opened);
    }
    int code = cli_array_open_journal(opened, how);
    if (code != EXIT_OK) {
        return code;
    }
    return strcmp(what, "volume") == 0 ? dump_volume(opened, args) : dump_fs(opened, what, args);
}

int cli_run_dump(const struct cli_args *args)
{
    static const char *const kinds[] = {
        "sb", "journal", "inode", "dir", "tree", "layout", "volume"};
    bool known = false;
    for (size_t i = 0; args->word_count > 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        known = known || strcmp(args->words[0], kinds[i]) == 0;
    }
    if (!known) {
        return usage("say what: sb, journal, inode, dir, tree, layout or volume");
    }
    if (strcmp(args->words[0], "sb") == 0) {
        return dump_superblocks(args);
    }
    struct cli_open how = {
        .accept_damaged_log = args->values[OPTION_ACCEPT] != NULL,
        .wait_for_lock = true,
    };
    struct cli_array opened;
    int code = cli_array_open(args->words + 1, args->word_count - 1, &how, &opened);
    if (code != EXIT_OK) {
        return code;
    }
    code = dump_opened(&opened, args, &how);
    int closed = cli_array_close(&opened);
    return code != EXIT_OK ? code : closed;
}
