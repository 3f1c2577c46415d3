/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fs_check: the rounds, the super, what is said.
 *
 *     +-> super -> tree -> items -> names -> space
 *     |              |                         |
 *     |      broken: new internal nodes        | something to repair
 *     |              |                         v
 *     +--------------+------- items <- bitmaps, counts, super          (only with `repair`)
 *     |                         |
 *     +-------------------------+     until a round finds nothing that it can repair
 *
 *   C1  nothing that was read is trusted before it was checked; nothing recurses; each structure is
 *       walked at most once in a round, because a block is walked only when it was not in use
 *       before
 *   C2  without `repair`, on a read-only journal, and when metadata gave an I/O error, nothing is
 *       written
 *   C3  while a repair is under way super and copy carry FS_SUPER_MOUNTED, so that the copy is not
 *       taken for as good as the super; the last write takes it away
 *
 * A problem counts as repaired when a round noted a repair for it and another round followed; what
 * that round still finds counts again. Failure: an errno when memory, the journal or reading fails
 * in a way that leaves nothing to go on with. Caller's thread, nobody has the filesystem mounted.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "fsck.h"
#include "name.h"

#define ROUNDS_MAX      10u
#define VEC_ITEMS_FIRST 64u

/* ---- memory ---------------------------------------------------------------------------------- */

void *fsck_push(struct fsck *ck, struct fsck_vec *vec, size_t item_bytes)
{
    R5_CHECK(item_bytes <= sizeof(ck->nowhere));
    if (vec->count == vec->capacity) {
        size_t capacity = vec->capacity == 0 ? VEC_ITEMS_FIRST : vec->capacity * 2;
        uint8_t *data = arena_try_take(ck->options->arena, capacity * item_bytes, 16);
        if (data == NULL) {
            ck->out_of_memory = true;
            memset(ck->nowhere, 0, sizeof(ck->nowhere));
            return ck->nowhere;
        }
        if (vec->count > 0) {
            memcpy(data, vec->data, vec->count * item_bytes);
        }
        vec->data = data;
        vec->capacity = capacity;
    }
    void *item = vec->data + vec->count * item_bytes;
    memset(item, 0, item_bytes);
    vec->count++;
    return item;
}

/* ---- saying ---------------------------------------------------------------------------------- */

static const char *const kind_names[FSCK_KINDS] = {
    [FSCK_SUPER] = "the fs super",
    [FSCK_NODE] = "tree nodes",
    [FSCK_ITEM] = "items",
    [FSCK_INODE] = "inodes",
    [FSCK_LINK] = "links",
    [FSCK_ENTRY] = "directory entries",
    [FSCK_EXTENT] = "extents",
    [FSCK_XATTR] = "extended attributes",
    [FSCK_SPACE] = "free space",
};

/* Whether a round before said exactly this; remembers it. */
static bool line_is_known(struct fsck *ck, const char *line)
{
    struct fsck_vec *lines = &ck->report.lines;
    const uint64_t *said = (const uint64_t *)(const void *)lines->data;
    uint64_t hash = XXH64(line, strlen(line), 0);
    for (size_t i = 0; i < lines->count; i++) {
        if (said[i] == hash) {
            return true;
        }
    }
    *(uint64_t *)fsck_push(ck, lines, sizeof(hash)) = hash;
    return false;
}

void fsck_say(struct fsck *ck, enum fsck_kind kind, bool repairable, const char *format, ...)
{
    struct fsck_report *report = &ck->report;
    char line[FSCK_LINE_BYTES];
    va_list arguments;
    report->found++;
    report->repairable += repairable ? 1 : 0;
    if (report->said[kind] >= FSCK_LINES_MAX) {
        report->quiet[kind]++;
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments); /* cut short at worst */
    va_end(arguments);
    if (!line_is_known(ck, line)) {
        report->said[kind]++;
        ck->options->report(ck->options->context, line);
    }
}

void fsck_note(struct fsck *ck, const char *format, ...)
{
    char line[FSCK_LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments); /* cut short at worst */
    va_end(arguments);
    if (!line_is_known(ck, line)) {
        ck->options->report(ck->options->context, line);
    }
}

static void say_quiet_ones(struct fsck *ck)
{
    for (uint32_t i = 0; i < FSCK_KINDS; i++) {
        if (ck->report.quiet_most[i] > 0) {
            fsck_note(ck,
                      "%s: %llu more problems",
                      kind_names[i],
                      (unsigned long long)ck->report.quiet_most[i]);
        }
    }
}

/* ---- small things that all passes use -------------------------------------------------------- */

void fsck_add_fix(struct fsck *ck, enum fsck_fix_kind kind, struct fs_key key, uint64_t value)
{
    struct fsck_fix *fix = fsck_push(ck, &ck->fixes, sizeof(*fix));
    fix->kind = kind;
    fix->key = key;
    fix->value = value;
}

void fsck_set_field(struct fsck *ck, uint64_t ino, enum fsck_field field, uint64_t value)
{
    struct fsck_fix *fix = fsck_push(ck, &ck->fixes, sizeof(*fix));
    fix->kind = FSCK_FIX_FIELD;
    fix->key = fs_key(ino, FS_ITEM_INODE, 0);
    fix->field = field;
    fix->value = value;
}

struct fsck_inode *fsck_find_inode(struct fsck *ck, uint64_t ino)
{
    struct fsck_inode *inodes = (struct fsck_inode *)(void *)ck->inodes.data;
    size_t low = 0;
    size_t high = ck->inodes.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (inodes[middle].ino == ino) {
            return &inodes[middle];
        }
        if (inodes[middle].ino < ino) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const char *fsck_item_name(uint8_t type)
{
    switch (type) {
    case FS_ITEM_INODE: return "inode record";
    case FS_ITEM_XATTR: return "attribute";
    case FS_ITEM_XATTR_CHUNK: return "piece of an attribute";
    case FS_ITEM_SYMLINK: return "symlink target";
    case FS_ITEM_DIRENT: return "directory entry";
    case FS_ITEM_EXTENT: return "extent";
    case FS_ITEM_ORPHAN: return "orphan record";
    default: return "unknown item";
    }
}

const char *fsck_quote(struct fs_name name, char out[FSCK_QUOTED_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    const size_t rest = sizeof("\\xHH...\"");
    size_t at = 0;
    out[at++] = '"';
    for (size_t i = 0; i < name.length; i++) {
        uint8_t byte = (uint8_t)name.bytes[i];
        if (at + rest > FSCK_QUOTED_BYTES) {
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        if (byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\') {
            out[at++] = (char)byte;
        } else {
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = digits[byte >> 4];
            out[at++] = digits[byte & 15];
        }
    }
    out[at++] = '"';
    out[at] = '\0';
    return out;
}

void fsck_forget_names(struct fsck *ck)
{
    ck->names.count = 0;
}

bool fsck_name_is_known(struct fsck *ck, struct fs_name name)
{
    const struct fsck_name *names = (const struct fsck_name *)(const void *)ck->names.data;
    for (size_t i = 0; i < ck->names.count; i++) {
        struct fs_name there = {names[i].name, names[i].bytes};
        if (name_equal(there, name)) {
            return true;
        }
    }
    struct fsck_name *added = fsck_push(ck, &ck->names, sizeof(*added));
    added->bytes = (uint32_t)name.length;
    memcpy(added->name, name.bytes, name.length);
    return false;
}

/* ---- the super ------------------------------------------------------------------------------- */

struct super_read {
    struct fs_super super;
    struct fs_block address;
    int error;
    char why[FS_WHY_BYTES];
};

static void read_super_at(struct fsck *ck, struct fs_block address, struct super_read *out)
{
    uint64_t blocks = array_geometry(ck->array)->volume_blocks;
    out->address = address;
    out->error = fsck_read(ck, address, ck->block);
    if (out->error != 0) {
        (void)snprintf(out->why,
                       sizeof(out->why),
                       "the fs super in block %llu cannot be read",
                       (unsigned long long)address.nr); /* cut short at worst */
        return;
    }
    out->error = fs_super_decode(&out->super, ck->block, address, blocks, out->why);
}

/* What the copy must share with the super: what never changes, and everything once it is clean. */
static bool copy_agrees(const struct fs_super *super, const struct fs_super *copy)
{
    bool same = uuid_equal(&super->fs_uuid, &copy->fs_uuid) &&
                super->volume_blocks == copy->volume_blocks &&
                super->group_blocks == copy->group_blocks && super->flags == copy->flags &&
                super->name_seed == copy->name_seed;
    if (same && (copy->flags & FS_SUPER_MOUNTED) == 0) {
        same = super->tree_root.nr == copy->tree_root.nr &&
               super->tree_levels == copy->tree_levels && super->groups_used == copy->groups_used &&
               super->next_ino == copy->next_ino && super->free_blocks == copy->free_blocks &&
               super->inode_count == copy->inode_count;
    }
    return same;
}

/* Groups that came into use after an old copy was written. */
static int count_groups(struct fsck *ck)
{
    struct fs_super *super = &ck->super;
    while (super->groups_used < super->group_count) {
        struct fs_block block = fs_group_bitmap(super, super->groups_used);
        int error = fsck_read(ck, block, ck->block);
        if (error != 0) {
            return error;
        }
        if (buffer_problem(BUFFER_BITMAP, ck->block, block, &super->fs_uuid) != NULL) {
            break;
        }
        super->groups_used++;
    }
    return 0;
}

static void check_features(struct fsck *ck)
{
    if (ck->super.features_ro != 0 && ck->repair) {
        fsck_note(ck,
                  "nothing is repaired: made by a newer r5fs (features 0x%llx)",
                  (unsigned long long)ck->super.features_ro);
        ck->repair = false;
    }
}

static int take_copy(struct fsck *ck, const struct super_read *lost, const struct super_read *copy)
{
    ck->super = copy->super;
    ck->super_wrong = true;
    ck->root_unknown = (copy->super.flags & FS_SUPER_MOUNTED) != 0;
    fsck_say(ck,
             FSCK_SUPER,
             true,
             "%s: going on with its copy in block %llu",
             lost->why,
             (unsigned long long)copy->address.nr);
    check_features(ck);
    return ck->root_unknown ? count_groups(ck) : 0;
}

static int check_super(struct fsck *ck)
{
    struct super_read super;
    struct super_read copy;
    uint64_t blocks = array_geometry(ck->array)->volume_blocks;
    read_super_at(ck, fs_block(0), &super);
    if (super.error == 0) {
        blocks = super.super.volume_blocks;
    }
    read_super_at(ck, fs_block(blocks - 1), &copy);
    if (super.error == -EOPNOTSUPP || (super.error != 0 && copy.error == -EOPNOTSUPP)) {
        fsck_say(ck, FSCK_SUPER, false, "%s", super.error == -EOPNOTSUPP ? super.why : copy.why);
        return -EOPNOTSUPP;
    }
    if (super.error == 0) {
        ck->super = super.super;
        check_features(ck);
        if (copy.error != 0 || !copy_agrees(&super.super, &copy.super)) {
            ck->super_wrong = true;
            fsck_say(ck,
                     FSCK_SUPER,
                     true,
                     "block %llu: the copy of the fs super %s",
                     (unsigned long long)copy.address.nr,
                     copy.error != 0 ? "is damaged" : "does not agree with it");
        }
        return 0;
    }
    if (copy.error == 0) {
        return take_copy(ck, &super, &copy);
    }
    if (super.error == -EMEDIUMTYPE && copy.error == -EMEDIUMTYPE) {
        return -EMEDIUMTYPE;
    }
    fsck_say(ck, FSCK_SUPER, false, "%s", super.why);
    fsck_say(ck, FSCK_SUPER, false, "%s", copy.why);
    return super.error == -EMEDIUMTYPE ? copy.error : super.error;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void round_begin(struct fsck *ck)
{
    struct fsck_report *report = &ck->report;
    report->found = 0;
    report->repairable = 0;
    memset(report->quiet, 0, sizeof(report->quiet));
    ck->leaves.count = 0;
    ck->inodes.count = 0;
    ck->orphans.count = 0;
    ck->fixes.count = 0;
    ck->shared.count = 0;
    ck->super_wrong = false;
    ck->space_wrong = false;
    ck->root_unknown = false;
    ck->tree_broken = false;
    ck->ino_max = FS_ROOT_INO;
    ck->result = (struct fs_check_result){
        .problems = ck->result.problems,
        .repaired = ck->result.repaired,
    };
    fsck_forget_window(ck);
}

static void round_end(struct fsck *ck)
{
    for (uint32_t i = 0; i < FSCK_KINDS; i++) {
        ck->report.quiet_most[i] = max_u64(ck->report.quiet_most[i], ck->report.quiet[i]);
    }
}

/* Everything that hangs on the tree. */
static int look_at_contents(struct fsck *ck)
{
    int error = fsck_check_items(ck);
    if (error == 0) {
        error = fsck_check_names(ck);
    }
    if (error == 0) {
        error = fsck_check_space(ck);
    }
    return error;
}

static int round_look(struct fsck *ck)
{
    int error = check_super(ck);
    if (error == 0) {
        ck->shell->super = ck->super;
        error = fsck_clear_use(ck);
    }
    if (error == 0 && !ck->root_unknown) {
        error = fsck_walk_tree(ck);
    }
    if (error != 0) {
        return error;
    }
    if (ck->root_unknown) {
        ck->tree_broken = true;
    }
    if (ck->tree_broken && (ck->repair || ck->leaves.count == 0)) {
        if (!ck->repair) {
            fsck_note(ck, "tree: nothing of it can be reached; what it held is not checked");
        }
        return 0; /* its contents are looked at when it hangs together again */
    }
    error = look_at_contents(ck);
    return error == 0 && ck->out_of_memory ? -ENOMEM : error;
}

/* *out_again: something was written, so that another round has to look. */
static int round_repair(struct fsck *ck, bool *out_again)
{
    uint64_t done = 0;
    *out_again = true;
    if (ck->tree_broken) {
        return fsck_rebuild_tree(ck);
    }
    int error = fsck_repair_space(ck);
    if (error == 0 && ck->fixes.count > 0) {
        error = fsck_repair_items(ck, &done);
    }
    *out_again = done > 0 || ck->super_wrong || ck->space_wrong;
    fsck_forget_window(ck);
    return error;
}

static bool round_may_repair(const struct fsck *ck)
{
    return ck->repair && !ck->unreadable && ck->report.repairable > 0;
}

static int run_rounds(struct fsck *ck)
{
    int error = 0;
    for (uint32_t i = 0; i < ROUNDS_MAX; i++) {
        bool again = false;
        round_begin(ck);
        error = round_look(ck);
        if (error == 0 && round_may_repair(ck) && i + 1 < ROUNDS_MAX) {
            error = round_repair(ck, &again);
        }
        round_end(ck);
        if (error != 0 || !again) {
            break;
        }
        ck->result.problems += ck->report.repairable;
        ck->result.repaired += ck->report.repairable;
    }
    ck->result.problems += ck->report.found;
    return error;
}

/* A log that was accepted although it ends before the super would be refused again: the next super
 * goes into it. */
static bool log_is_settled(const struct fsck *ck)
{
    struct journal_mark end;
    journal_get_mark(ck->journal, &end);
    return !ck->repair || ck->super_wrong || !fs_super_is_past(&ck->super, &end);
}

/* Super and copy as at a clean unmount. */
static int finish_repair(struct fsck *ck)
{
    if (!ck->wrote && log_is_settled(ck)) {
        return 0;
    }
    uint64_t blocks = array_geometry(ck->array)->volume_blocks;
    char why[FS_WHY_BYTES];
    fsck_forget_window(ck);
    int error = fsck_read(ck, fs_block(0), ck->block);
    if (error == 0) {
        error = fs_super_decode(&ck->super, ck->block, fs_block(0), blocks, why);
    }
    if (error == 0) {
        ck->super.flags &= ~FS_SUPER_MOUNTED;
        error = fsck_raw_super(ck);
    }
    return error == 0 ? fsck_raw_commit(ck) : error;
}

/* Repair is possible only where the journal gives room. */
static bool may_write(struct fsck *ck)
{
    if (!ck->options->repair) {
        return false;
    }
    int error = journal_reserve(ck->journal, &ck->thread->reservation, 0, 1);
    if (error == 0) {
        journal_release(ck->journal, &ck->thread->reservation);
        return true;
    }
    fsck_note(ck, "nothing is repaired: the journal cannot be written (%s)", strerror(-error));
    return false;
}

int fs_check(struct journal *journal,
             struct array *array,
             struct fs_thread *thread,
             const struct fs_check_options *options,
             struct fs_check_result *out)
{
    struct fsck *ck = arena_try_take(options->arena, sizeof(*ck), _Alignof(struct fsck));
    struct fs *shell = arena_try_take(options->arena, sizeof(*shell), _Alignof(struct fs));
    if (ck == NULL || shell == NULL) {
        return -ENOMEM;
    }
    ck->journal = journal;
    ck->array = array;
    ck->thread = thread;
    ck->options = options;
    ck->shell = shell;
    ck->repair = may_write(ck);
    ck->now = arena_take_array(options->arena, struct fsck_now, 1);
    fsck_io_init(ck);
    int error = run_rounds(ck);
    if (error == 0) {
        error = finish_repair(ck);
    }
    say_quiet_ones(ck);
    if (ck->unreadable && ck->options->repair) {
        fsck_note(ck, "metadata could not be read: nothing (more) was repaired");
    }
    fsck_io_fini(ck);
    *out = ck->result;
    return error;
}
