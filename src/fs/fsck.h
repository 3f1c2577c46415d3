/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the check share. One check is a sequence of rounds; a round looks at everything
 * anew and notes what it would change:
 *
 *   super -> tree (every node) -> items (every inode by itself) -> names (entries, links) -> space
 *
 * A round that may repair then writes: the super, or a new set of internal nodes (fsck_rebuild.c),
 * as raw blocks, and begins again; or bitmaps and counts as raw blocks, and after that, on a tree
 * and a free space that can be trusted, single items through transactions (fsck_repair.c). The
 * check ends with a round that found nothing to repair.
 */
#ifndef R5FS_FS_FSCK_H
#define R5FS_FS_FSCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs_internal.h"
#include "fs_super.h"
#include "r5fs/base/arena.h"
#include "r5fs/base/check.h"
#include "r5fs/base/env.h"
#include "r5fs/base/units.h"
#include "r5fs/fs/fs.h"
#include "r5fs/journal/journal.h"

#define FSCK_WINDOW_BLOCKS 16u
#define FSCK_LINE_BYTES    256
#define FSCK_LINES_MAX     50u /* of one kind of problem, over all rounds */
#define FSCK_INO_MAX       ((UINT64_C(1) << 62) - 2)

/* ---- memory ---------------------------------------------------------------------------------- */

/* Grows by doubling; what was outgrown stays in the arena until the check ends. */
struct fsck_vec {
    uint8_t *data;
    size_t count;
    size_t capacity;
};

/* ---- what was found -------------------------------------------------------------------------- */

enum fsck_kind {
    FSCK_SUPER,
    FSCK_NODE,
    FSCK_ITEM,
    FSCK_INODE,
    FSCK_LINK,
    FSCK_ENTRY,
    FSCK_EXTENT,
    FSCK_XATTR,
    FSCK_SPACE,
    FSCK_KINDS,
};

struct fsck_report {
    uint64_t found;             /* in this round */
    uint64_t repairable;        /* of them */
    uint64_t quiet[FSCK_KINDS]; /* beyond FSCK_LINES_MAX, in this round */
    uint64_t quiet_most[FSCK_KINDS];
    uint32_t said[FSCK_KINDS];
    struct fsck_vec lines; /* uint64_t: hashes of the lines said, so that a round repeats none */
};

/* A leaf that can be read. */
struct fsck_leaf {
    struct fs_block block;
    uint64_t generation;
    struct fs_key first;
    struct fs_key last;
    uint32_t count;
    bool has_entries; /* directory entries */
    bool found;       /* by searching the volume (fsck_rebuild.c) */
};

#define FSCK_INODE_REMADE 0x1u /* its record is made anew, as a directory */
#define FSCK_INODE_DELETE 0x2u /* the orphan list says that it is to be deleted */

/* An inode that has a record, or will get one; ascending numbers. */
struct fsck_inode {
    uint64_t ino;
    uint64_t size;         /* stored */
    uint64_t parent;       /* stored */
    uint64_t found_parent; /* the directory that names it (directories) */
    uint64_t entry_offset; /* of that entry */
    uint64_t entries;      /* of a directory, good ones */
    uint32_t nlink;        /* stored */
    uint32_t links;        /* entries that name it */
    uint32_t subdirs;
    uint32_t mode;
    uint32_t flags;
    uint32_t mark; /* of the search for loops */
};

struct fsck_orphan {
    uint64_t ino;
    uint64_t size;
    uint32_t what;
    uint32_t value_id;
    bool matched; /* the inode exists */
};

enum fsck_field {
    FSCK_FIELD_SIZE,
    FSCK_FIELD_BLOCKS,
    FSCK_FIELD_PARENT,
    FSCK_FIELD_NLINK,
    FSCK_FIELD_PRESENCE,
    FSCK_FIELD_XATTR_NEXT,
    FSCK_FIELD_MODE,
    FSCK_FIELD_PLAIN, /* times and record padding as inode_encode writes them */
};

/* Single items to change; in the order in which they are applied. */
enum fsck_fix_kind {
    FSCK_FIX_REMOVE,     /* the item `key` */
    FSCK_FIX_REMAKE,     /* inode key.ino: a directory with a new record */
    FSCK_FIX_CLONE,      /* the extent gets blocks of its own */
    FSCK_FIX_UNWRITTEN,  /* from file block `value` on the extent is unwritten */
    FSCK_FIX_ENTRY_TYPE, /* the entry's type is `value` (S_IFMT bits) */
    FSCK_FIX_ENTRY_MOVE, /* the entry goes where its name's hash says */
    FSCK_FIX_ORPHAN,     /* the record's bits are `value` */
    FSCK_FIX_FIELD,      /* `field` of inode key.ino is `value` */
    FSCK_FIX_ADOPT,      /* inode key.ino gets a name in lost+found */
    FSCK_FIX_KINDS,
};

struct fsck_fix {
    struct fs_key key;
    uint64_t value;
    enum fsck_fix_kind kind;
    enum fsck_field field;
};

/* What is known to be in use of one group; bits as in its bitmap. Taken when first needed. */
struct fsck_group {
    uint8_t *used;
    uint8_t *nodes; /* of them tree nodes; NULL: none */
    bool wrong;     /* bitmap or summary */
};

/* ---- raw blocks ------------------------------------------------------------------------------ */

struct fsck_raw {
    struct env_mutex lock;      /* the journal may commit at any time */
    struct fs_block *addresses; /* [lock] */
    uint8_t *blocks;            /* [lock] */
    uint32_t count;             /* [lock] */
    uint32_t limit;             /* [fixed] of one transaction */
    bool joined;                /* [lock] they are part of the running transaction */
};

struct fsck_now;

/* ---- the check ------------------------------------------------------------------------------- */

struct fsck {
    struct journal *journal;
    struct array *array;
    struct fs_thread *thread;
    const struct fs_check_options *options;
    struct fs_check_result result;
    bool repair; /* writing is wanted and possible */
    bool wrote;  /* something was written */
    bool
        unreadable; /* some metadata gave an I/O error: nothing may be concluded from its absence */
    bool out_of_memory;
    struct fs *shell; /* only its super: for what asks for names' hashes and plausible runs */
    struct fs_super super;
    bool root_unknown; /* the super was lost, and its copy does not say where the tree is */
    bool super_wrong;  /* has to be written */
    bool tree_broken;  /* nodes are missing or hang wrongly */
    bool space_wrong;  /* bitmaps or summaries have to be written */
    struct fsck_report report;
    struct fsck_group *groups;
    uint32_t groups_size;
    struct fsck_vec leaves;  /* struct fsck_leaf, in key order */
    struct fsck_vec inodes;  /* struct fsck_inode */
    struct fsck_vec orphans; /* struct fsck_orphan, ascending */
    struct fsck_vec fixes;   /* struct fsck_fix */
    struct fsck_vec values;  /* struct fsck_value: chunked ones of one inode */
    struct fsck_vec names;   /* struct fsck_name: of one hash */
    struct fsck_vec shared;  /* struct fsck_shared: extents whose blocks were in use already */
    struct fsck_vec parents; /* struct fsck_child (fsck_rebuild.c) */
    uint64_t ino_max;        /* highest number seen */
    uint64_t records;        /* inode records, good or bad */
    struct fsck_raw raw;
    uint8_t *window; /* FSCK_WINDOW_BLOCKS, read ahead */
    struct fs_block window_first;
    uint32_t window_count;
    uint8_t *levels; /* FS_TREE_LEVELS_MAX blocks for walking */
    uint8_t *block;  /* one more */
    struct fsck_now *now;
    uint8_t *bits;                     /* one bitmap as it should be */
    _Alignas(16) uint8_t nowhere[272]; /* what fsck_push answers without memory */
};

/* An attribute's value that is kept in chunks. */
struct fsck_value {
    uint64_t offset; /* of the attribute's item */
    uint32_t id;
    uint32_t bytes;
    uint32_t found; /* bytes in good chunks, the first ones */
    uint32_t chunks;
};

/* A name seen among those of equal hash. */
struct fsck_name {
    uint32_t bytes;
    char name[FS_NAME_BYTES_MAX];
};

struct fsck_shared {
    struct fs_block start;
    uint64_t ino;
    uint64_t file_block;
    uint32_t count;
};

/* fsck.c */

/* Appends a zeroed element. Never NULL: without memory ck->out_of_memory is set and the element is
 * not kept. */
void *fsck_push(struct fsck *ck, struct fsck_vec *vec, size_t item_bytes);
/* One line about one problem; counted. `repairable`: a repair was noted, or would be. */
void fsck_say(struct fsck *ck, enum fsck_kind kind, bool repairable, const char *format, ...)
    R5_PRINTF(4, 5);
/* A line that is no problem by itself. */
void fsck_note(struct fsck *ck, const char *format, ...) R5_PRINTF(2, 3);
void fsck_add_fix(struct fsck *ck, enum fsck_fix_kind kind, struct fs_key key, uint64_t value);
void fsck_set_field(struct fsck *ck, uint64_t ino, enum fsck_field field, uint64_t value);
/* NULL: no such inode. */
struct fsck_inode *fsck_find_inode(struct fsck *ck, uint64_t ino);
const char *fsck_item_name(uint8_t type);
/* The name in quotes, what does not print as \xHH, cut short with "...". Returns `out`. */
#define FSCK_QUOTED_BYTES 96
const char *fsck_quote(struct fs_name name, char out[FSCK_QUOTED_BYTES]);
/* Whether the name was given since fsck_forget_names; remembers it. */
bool fsck_name_is_known(struct fsck *ck, struct fs_name name);
void fsck_forget_names(struct fsck *ck);

/* fsck_io.c */

void fsck_io_init(struct fsck *ck);
void fsck_io_fini(struct fsck *ck);
/* Copies one block; says so when it cannot be read. */
R5_MUST_CHECK int fsck_read(struct fsck *ck, struct fs_block block, uint8_t *out);
/* As fsck_read, of the same block read lately or ahead; *out is valid until the next read. */
R5_MUST_CHECK int fsck_peek(struct fsck *ck, struct fs_block block, const uint8_t **out);
/* Forgets what was read ahead. */
void fsck_forget_window(struct fsck *ck);
/* A block to fill in: zeroed but for the header. Written with fsck_raw_commit, or earlier when
 * there are too many for one transaction: in the order of the calls, each whole, several at once.
 * */
R5_MUST_CHECK int
fsck_raw_add(struct fsck *ck, uint32_t magic, struct fs_block block, uint8_t **out_data);
R5_MUST_CHECK int fsck_raw_commit(struct fsck *ck);
/* Adds the super and its copy. */
R5_MUST_CHECK int fsck_raw_super(struct fsck *ck);

/* Use of blocks. The run is plausible (fs_run_is_plausible). */
bool fsck_is_used(struct fsck *ck, struct fs_block start, uint32_t count);
bool fsck_is_node(struct fsck *ck, struct fs_block start, uint32_t count);
/* False: some of it was in use already; all of it is now. */
bool fsck_use(struct fsck *ck, struct fs_block start, uint32_t count);
bool fsck_use_node(struct fsck *ck, struct fs_block block);
void fsck_unuse_node(struct fsck *ck, struct fs_block block);
/* Nothing is in use but what is fixed. */
R5_MUST_CHECK int fsck_clear_use(struct fsck *ck);

/* fsck_tree.c */

R5_MUST_CHECK int fsck_walk_tree(struct fsck *ck);
/* A leaf that verified. */
void fsck_add_leaf(struct fsck *ck, struct fs_block block, const uint8_t *node, bool found);
struct fsck_item {
    struct fs_key key;
    const uint8_t *data;
    uint32_t bytes;
    struct fs_block leaf;
};
/* Every item of the good leaves in ascending order; `entries`: only of leaves with directory
 * entries. */
R5_MUST_CHECK int fsck_each_item(struct fsck *ck,
                                 bool entries,
                                 int (*item)(struct fsck *ck, const struct fsck_item *item));

/* fsck_rebuild.c */
R5_MUST_CHECK int fsck_rebuild_tree(struct fsck *ck);

/* fsck_inodes.c */

/* The inode whose items are being looked at. */
struct fsck_now {
    bool started;
    bool recorded; /* it has a good record; what belongs to no inode is removed */
    bool remade;   /* it will get one, as a directory */
    struct fs_inode inode;
    struct fsck_orphan *orphan; /* NULL: none */
    uint32_t presence;          /* as it should be */
    uint32_t value_id_max;
    uint32_t chunks; /* of the symlink's target */
    uint64_t target_bytes;
    bool target_wrong;
    uint64_t file_end; /* file blocks below are mapped or passed over */
    uint64_t blocks;
    size_t value_next; /* in ck->values: the first whose pieces may still come */
    bool values_sorted;
    uint64_t name_base; /* place of the hash whose names are in ck->names */
};

R5_MUST_CHECK int fsck_check_items(struct fsck *ck);
/* The inode in ck->now is on its way out: its items go in steps, so some may be gone already. */
bool fsck_is_deleting(const struct fsck *ck);
/* The item does not belong where it is. */
void fsck_drop_item(struct fsck *ck,
                    const struct fsck_item *item,
                    enum fsck_kind kind,
                    const char *what);

/* fsck_xattrs.c: of the inode in ck->now */
void fsck_xattr_begin(struct fsck *ck);
void fsck_xattr_item(struct fsck *ck, const struct fsck_item *item);
void fsck_xattr_chunk(struct fsck *ck, const struct fsck_item *item);
void fsck_xattr_finish(struct fsck *ck);

/* fsck_names.c */
R5_MUST_CHECK int fsck_check_names(struct fsck *ck);

/* fsck_space.c: also what the super counts. */
R5_MUST_CHECK int fsck_check_space(struct fsck *ck);
R5_MUST_CHECK int fsck_repair_space(struct fsck *ck);

/* fsck_repair.c: applies ck->fixes. *out_done: how many. */
R5_MUST_CHECK int fsck_repair_items(struct fsck *ck, uint64_t *out_done);

/* fsck_lost.c: a name in lost+found. *out_done false without an error: it is gone. */
R5_MUST_CHECK int fsck_adopt(struct fsck *ck, struct fs *fs, uint64_t ino, bool *out_done);

#endif
