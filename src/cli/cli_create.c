/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * r5fs create: looks at all files first (nothing is touched when one is refused), makes them,
 * writes superblocks, the empty log and an empty filesystem. On failure the files it made are
 * removed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "cli_offline.h"
#include "create_files.h"

#define JOURNAL_DEFAULT_BYTES  (1024ull << 20)
#define JOURNAL_SMALLEST_BYTES (4ull << 20)
#define JOURNAL_LARGEST_BYTES  (64ull << 30)
#define CHUNK_DEFAULT_BYTES    (64u << 10)
#define CREATE_FILES_MAX       (MEMBERS_MAX + 1u)

enum {
    OPTION_DRY_RUN,
    OPTION_CHUNK,
    OPTION_LAYOUT,
    OPTION_JOURNAL,
    OPTION_JOURNAL_SIZE,
    OPTION_JOURNAL_MODE,
    OPTION_SIZE,
    OPTION_SPARSE,
    OPTION_LABEL,
    OPTION_UUID,
    OPTION_FORCE,
    OPTION_YES,
};

const struct cli_option cli_create_options[] = {
    {"dry-run", 0, NULL, "say what would be made, change nothing"},
    {"chunk", 0, "SIZE", "chunk, a power of two from 4K to 64M (default 64K)"},
    {"layout",
     0,
     "NAME",
     "left-symmetric (default), left-asymmetric, right-symmetric, right-asymmetric"},
    {"journal", 0, "FILE", "journal file or device (default: FIRST-MEMBER.journal)"},
    {"journal-size",
     0,
     "SIZE",
     "size of a journal file that is made, 4M to 64G (default: 1G or an eighth of a member)"},
    {"journal-mode", 0, "MODE", "write-back (default) or write-through"},
    {"size", 0, "SIZE", "size of member files that are made"},
    {"sparse", 0, NULL, "do not reserve the space of member files"},
    {"label", 0, "LABEL", "name of the filesystem and the array, 32 bytes at most"},
    {"uuid", 0, "UUID", "uuid of the array (default: random)"},
    {"force", 0, NULL, "overwrite files that hold something"},
    {"yes", 'y', NULL, "ask nothing"},
    {NULL, 0, NULL, NULL},
};

struct create {
    struct create_file files[CREATE_FILES_MAX]; /* members, then the journal */
    const char *member_paths[MEMBERS_MAX];
    uint64_t member_sizes[MEMBERS_MAX];
    unsigned member_count;
    struct create_file *journal;
    int held_fds[CREATE_FILES_MAX]; /* of `files`, once all are made */
    char journal_path[4096];
    struct array_create array;
    struct fs_format_options format;
    bool force;
    bool sparse;
    bool dry_run;
};

static int usage(const char *what, const char *value, const char *why)
{
    return cli_usage_error(cli_find_command("create"), "%s '%s': %s", what, value, why);
}

/* 0 when the option was not given. */
static int size_option(const struct cli_args *args, int option, uint64_t *out)
{
    const char *text = args->values[option];
    if (text == NULL) {
        return EXIT_OK;
    }
    if (cli_parse_size(text, out) != 0 || *out == 0) {
        return usage("size", text, "not a size (64K, 10G)");
    }
    return EXIT_OK;
}

static int parse_shape(const struct cli_args *args, struct create *create)
{
    uint64_t chunk = CHUNK_DEFAULT_BYTES;
    int code = size_option(args, OPTION_CHUNK, &chunk);
    if (code != EXIT_OK) {
        return code;
    }
    if (chunk < BLOCK_BYTES || (chunk & (chunk - 1)) != 0 || chunk > ARRAY_CHUNK_MAX) {
        return usage("chunk", args->values[OPTION_CHUNK], "must be a power of two from 4K to 64M");
    }
    create->array.chunk_sectors = (uint32_t)(chunk / SECTOR_BYTES);
    create->array.layout = LAYOUT_LEFT_SYMMETRIC;
    const char *layout = args->values[OPTION_LAYOUT];
    if (layout != NULL && layout_parse(layout, &create->array.layout) != 0) {
        return usage("layout", layout, "unknown");
    }
    const char *mode = args->values[OPTION_JOURNAL_MODE];
    if (mode != NULL && strcmp(mode, "write-back") != 0 && strcmp(mode, "write-through") != 0) {
        return usage("journal mode", mode, "write-back or write-through");
    }
    create->format.write_through = mode != NULL && strcmp(mode, "write-through") == 0;
    return EXIT_OK;
}

static int parse_identity(const struct cli_args *args, struct create *create)
{
    const char *label = args->values[OPTION_LABEL];
    label = label != NULL ? label : "r5fs";
    if (strlen(label) >= FS_LABEL_BYTES || strpbrk(label, "/\n") != NULL) {
        return usage("label", label, "32 bytes at most, no slash or line break");
    }
    (void)snprintf(create->format.label, sizeof(create->format.label), "%s", label);
    create->array.name = create->format.label;
    create->array.uuid = uuid_make_random();
    const char *uuid = args->values[OPTION_UUID];
    if (uuid != NULL && uuid_parse(uuid, &create->array.uuid) != 0) {
        return usage("uuid", uuid, "not a uuid");
    }
    if (uuid_equal(&create->array.uuid, &(struct uuid){{0}})) {
        return usage("uuid", uuid, "all zeros is no array's uuid");
    }
    create->format.uuid = uuid_make_random();
    create->format.root_uid = (uint32_t)getuid();
    create->format.root_gid = (uint32_t)getgid();
    create->format.root_mode = 0755;
    create->force = args->values[OPTION_FORCE] != NULL;
    create->sparse = args->values[OPTION_SPARSE] != NULL;
    create->dry_run = args->values[OPTION_DRY_RUN] != NULL;
    return EXIT_OK;
}

/* Sizes of what is to be made, from the options; the journal's default follows the members'. */
static int look_at_files(const struct cli_args *args, struct create *create)
{
    uint64_t size = 0;
    uint64_t journal_size = 0;
    int code = size_option(args, OPTION_SIZE, &size);
    if (code == EXIT_OK) {
        code = size_option(args, OPTION_JOURNAL_SIZE, &journal_size);
    }
    for (unsigned i = 0; code == EXIT_OK && i < create->member_count; i++) {
        create->files[i].wanted_bytes = size;
        code = create_file_look(&create->files[i], create->force);
        create->member_sizes[i] = create->files[i].size_bytes;
        if (code == EXIT_OK && create->member_sizes[i] == 0) {
            cli_error("%s: %s and no --size was given (hint: --size 10G makes it)",
                      create->member_paths[i],
                      create->files[i].exists ? "is empty" : "is not there");
            code = EXIT_USAGE;
        }
    }
    if (code != EXIT_OK) {
        return code;
    }
    if (args->values[OPTION_JOURNAL_SIZE] != NULL &&
        (journal_size < JOURNAL_SMALLEST_BYTES || journal_size > JOURNAL_LARGEST_BYTES)) {
        return usage("journal size", args->values[OPTION_JOURNAL_SIZE], "must be 4M to 64G");
    }
    create->journal->wanted_bytes = journal_size;
    code = create_file_look(create->journal, create->force);
    if (code == EXIT_OK && create->journal->size_bytes == 0) {
        uint64_t eighth = round_down(create->member_sizes[0] / 8, 1u << 20);
        create->journal->size_bytes =
            max_u64(min_u64(JOURNAL_DEFAULT_BYTES, eighth), 2 * JOURNAL_SMALLEST_BYTES);
    }
    return code;
}

/* Before they are opened: the second of two would only meet the lock of the first. */
static int refuse_duplicates(struct create *create)
{
    unsigned count = create->member_count + 1;
    for (unsigned i = 0; i < count; i++) {
        bool journal = &create->files[i] == create->journal;
        create->files[i].path = journal ? create->array.journal_path : create->member_paths[i];
        create_file_identify(&create->files[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        for (unsigned k = 0; k < i; k++) {
            const struct create_file *a = &create->files[i];
            const struct create_file *b = &create->files[k];
            bool same = a->exists && b->exists && a->device == b->device && a->inode == b->inode;
            if (same || strcmp(a->path, b->path) == 0) {
                cli_error("%s and %s: are the same file", b->path, a->path);
                return EXIT_USAGE;
            }
        }
    }
    return EXIT_OK;
}

static void print_plan(const struct create *create, const struct array_plan *plan)
{
    char volume[CLI_SIZE_TEXT_BYTES];
    char member[CLI_SIZE_TEXT_BYTES];
    char ring[CLI_SIZE_TEXT_BYTES];
    char chunk[CLI_SIZE_TEXT_BYTES];
    char uuid[UUID_TEXT_BYTES];
    uuid_print(&create->array.uuid, uuid);
    (void)printf("array     %s  raid5, %u members, %s chunk, %s, uuid %s\n",
                 create->array.name,
                 create->member_count,
                 cli_size_text((uint64_t)create->array.chunk_sectors * SECTOR_BYTES, chunk),
                 layout_name(create->array.layout),
                 uuid);
    (void)printf("usable    %s (%s of each member)\n",
                 cli_size_text(plan->volume_bytes, volume),
                 cli_size_text(plan->member_data_bytes, member));
    (void)printf("journal   %s, %s log, %s\n",
                 create->array.journal_path,
                 cli_size_text(plan->journal_bytes, ring),
                 create->format.write_through ? "write-through" : "write-back");
}

static int plan_and_print(struct create *create)
{
    struct array_plan plan;
    char why[ARRAY_WHY_BYTES];
    int rc =
        array_plan(&create->array, create->member_sizes, create->journal->size_bytes, &plan, why);
    if (rc != 0) {
        cli_error("%s", why);
        return rc == -EINVAL ? EXIT_USAGE : cli_exit_for(rc);
    }
    struct geometry geometry;
    rc = geometry_init(&geometry,
                       create->member_count,
                       create->array.chunk_sectors,
                       create->array.layout,
                       plan.member_data_bytes / SECTOR_BYTES);
    if (rc != 0) {
        cli_error("create: this shape of array is not possible: %s", strerror(-rc));
        return EXIT_USAGE;
    }
    uint64_t least = journal_least_blocks(&geometry) * BLOCK_BYTES;
    if (plan.journal_bytes < least) {
        char text[CLI_SIZE_TEXT_BYTES];
        cli_error("%s: too small for a journal of this array (hint: --journal-size %s)",
                  create->array.journal_path,
                  cli_size_text(least + plan.journal_offset_bytes, text));
        return EXIT_USAGE;
    }
    print_plan(create, &plan);
    return EXIT_OK;
}

/* The array is there: the empty log and the empty filesystem. */
static int format_volume(struct create *create)
{
    const char *words[CREATE_FILES_MAX];
    unsigned count = 0;
    for (; count < create->member_count + 1; count++) {
        words[count] = create->files[count].path;
    }
    struct cli_open how = {.write = true, .held_fds = create->held_fds};
    struct cli_array opened;
    int code = cli_array_open(words, count, &how, &opened);
    if (code != EXIT_OK) {
        return code;
    }
    int rc = journal_format(opened.array, opened.thread.queue);
    if (rc != 0) {
        cli_error("%s: the log cannot be written: %s", create->array.journal_path, strerror(-rc));
        code = cli_exit_for(rc);
    } else {
        code = cli_array_open_journal(&opened, &how);
    }
    if (code == EXIT_OK) {
        char why[FS_WHY_BYTES];
        rc = fs_format(opened.journal, opened.array, &opened.thread, &create->format, why);
        if (rc != 0) {
            cli_error("%s", why);
            code = cli_exit_for(rc);
        }
    }
    int closed = cli_array_close(&opened);
    return code != EXIT_OK ? code : closed;
}

static int make_array(struct create *create)
{
    int code = EXIT_OK;
    for (unsigned i = 0; code == EXIT_OK && i <= create->member_count; i++) {
        bool journal = &create->files[i] == create->journal;
        code = create_file_make(&create->files[i], create->sparse && !journal);
        create->held_fds[i] = create->files[i].fd;
    }
    if (code == EXIT_OK) {
        create->array.held_fds = create->held_fds;
        char why[ARRAY_WHY_BYTES];
        int rc = array_create(&create->array, why);
        if (rc != 0) {
            cli_error("%s", why);
            code = cli_exit_for(rc);
        }
    }
    if (code == EXIT_OK) {
        code = format_volume(create);
    }
    if (code != EXIT_OK) {
        for (unsigned i = 0; i <= create->member_count; i++) {
            create_file_undo(&create->files[i]);
        }
    }
    return code;
}

/* The options are good. */
static int create_checked(const struct cli_args *args, struct create *create)
{
    int code = refuse_duplicates(create);
    if (code != EXIT_OK) {
        return code;
    }
    code = look_at_files(args, create);
    if (code == EXIT_OK) {
        code = plan_and_print(create);
    }
    if (code == EXIT_OK && !create->dry_run) {
        code = make_array(create);
    }
    for (unsigned i = 0; i <= create->member_count; i++) {
        create_file_close(&create->files[i]);
    }
    return code;
}

int cli_run_create(const struct cli_args *args)
{
    static struct create create;
    if (args->word_count < MEMBERS_MIN || args->word_count > MEMBERS_MAX) {
        return cli_usage_error(cli_find_command("create"),
                               "%u members were given, it takes %u to %u",
                               args->word_count,
                               MEMBERS_MIN,
                               MEMBERS_MAX);
    }
    create.member_count = args->word_count;
    memcpy(create.member_paths, args->words, args->word_count * sizeof(args->words[0]));
    create.journal = &create.files[create.member_count];
    create.array.member_paths = create.member_paths;
    create.array.member_count = create.member_count;
    create.array.journal_path = args->values[OPTION_JOURNAL];
    if (create.array.journal_path == NULL) {
        int n = snprintf(
            create.journal_path, sizeof(create.journal_path), "%s.journal", create.member_paths[0]);
        if (n < 0 || (size_t)n >= sizeof(create.journal_path)) {
            return usage("member", create.member_paths[0], "the path is too long");
        }
        create.array.journal_path = create.journal_path;
        (void)printf("no --journal was given: it goes to %s\n", create.journal_path);
    }
    int code = parse_shape(args, &create);
    if (code == EXIT_OK) {
        code = parse_identity(args, &create);
    }
    return code == EXIT_OK ? create_checked(args, &create) : code;
}
