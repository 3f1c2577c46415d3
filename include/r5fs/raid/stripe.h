/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stripe cache: rows that hold images newer than the members, and the work of bringing a row to
 * the members. Raid does not decide when: the journal freezes a row, has it filled and encoded,
 * logs the parity, and only then has it written out.
 *
 *                 stripes_fill        stripes_encode      stripes_write_out
 *      IDLE ----------> FILLED ----------> ENCODED ----------> IDLE
 *        \__________________\__ any step may end in FAILED: more lost than parity can cover
 *
 * A row's blocks are images, newest first. The owner of the policy (journal) moves an image's
 * state; raid reads only `target[]`, the images chosen for this write-out.
 *
 * Lock: everything marked [cache] is protected by the caller's one lock (the journal's order lock);
 * what is marked [writer] belongs to the one thread that writes rows out, from freeze to finish.
 */
#ifndef R5FS_RAID_STRIPE_H
#define R5FS_RAID_STRIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "r5fs/base/index.h"
#include "r5fs/base/list.h"
#include "r5fs/base/pool.h"
#include "r5fs/base/units.h"
#include "r5fs/raid/array.h"
#include "r5fs/raid/row_cell.h"

struct member_batch;

enum stripe_state {
    STRIPE_IDLE,    /* no write-out under way */
    STRIPE_FILLED,  /* targets fixed; old contents that parity needs are in memory */
    STRIPE_ENCODED, /* `parity` agrees with the targets; members are older */
    STRIPE_FAILED,  /* more members lost than parity can cover; the images stay */
};

/* One 4 KiB image of one data block. Taken from the cache's pool; `data` is fixed for ever. */
struct stripe_image {
    struct list_node link;      /* the policy's: e.g. the list of dirty images [cache] */
    struct stripe_image *older; /* [cache] */
    struct stripe_head *head;   /* [cache] */
    uint8_t *data;              /* block-aligned [fixed] */
    uint64_t seq;               /* policy: the unit that carries it, 0 = none [cache] */
    uint32_t slot;              /* [cache] */
    uint8_t state;              /* policy: see journal/logged_stripe.h [cache] */
};

struct stripe_slot {
    struct stripe_image *newest; /* [cache] */
    struct stripe_image *target; /* what this write-out brings to the member, or NULL [writer] */
    uint8_t *old;                /* member content before, an encode buffer, or NULL [writer] */
};

/* What the policy keeps for one generation of a row (journal/logged_stripe.c). */
struct stripe_generation {
    struct list_node live; /* in order of first_seq, when first_seq != 0 [cache] */
    uint64_t first_seq;    /* oldest unit with a payload of it, 0 = nothing logged [cache] */
    struct log_block first_position; /* of that unit's meta block [cache] */
    uint64_t first_ns;               /* when that was [cache] */
};

struct stripe_head {
    struct index_node node;        /* by row [cache] */
    struct list_node batch;        /* [writer] */
    struct member_block row;       /* [fixed while held] */
    enum stripe_state state;       /* [writer] */
    uint32_t image_count;          /* of all slots [cache] */
    bool frozen;                   /* from freeze to finish [cache] */
    bool unfillable;               /* policy: fill failed, not to be tried for now [cache] */
    bool parity_placed;            /* frozen, and its parity payload is in a unit [cache] */
    bool reconstruct;              /* fill chose reconstruct-write [writer] */
    bool parity_missing;           /* the row's parity member is lost: no parity at all [writer] */
    bool torn;                     /* a write-out met a full device half way; cell held [writer] */
    bool parked;                   /* ENCODED: its cell waits for readers of the row [writer] */
    bool restart;                  /* fill: a read failed, plan anew [writer] */
    uint32_t unreadable;           /* fill: slots that cannot be read, one bit each [writer] */
    struct stripe_generation open; /* what is logged and not frozen [cache] */
    struct stripe_generation closing; /* what is being written out [cache] */
    uint8_t *parity;                  /* encode buffer: new parity [writer] */
    struct row_cell cell;             /* [writer] */
    struct stripe_slot slots[];       /* geometry.slots of them */
};

struct stripe_cache {
    struct array *array;      /* [fixed] */
    struct pool heads;        /* as many as images: a head is never what lacks */
    struct pool images;       /* "stripe image" */
    struct pool encode;       /* 4 KiB buffers of write-out alone; at least 2n */
    uint64_t encode_promised; /* of these, to the rows about to be filled [writer] */
    struct index index;       /* row -> head [cache] */
    struct row_cells *cells;  /* the array's */
    /* The writer does not sleep for a cell: it is parked, and this is told when it holds its row
     * (see struct row_cell). From stripe_cache_init on a function that does nothing. [fixed] */
    void (*cell_granted)(void *context);
    void *cell_context;         /* what it is given [fixed] */
    struct member_batch *batch; /* requests of fill and write-out [writer] */
};

size_t stripe_cache_need(uint32_t slots, uint32_t images, uint32_t encode_buffers);
void stripe_cache_init(struct stripe_cache *cache,
                       struct array *array,
                       struct arena *arena,
                       uint32_t images,
                       uint32_t encode_buffers);
void stripe_cache_fini(struct stripe_cache *cache);
/* The cells that array_read uses too. */
struct row_cells *array_row_cells(struct array *array);

/* [cache] all four. find: NULL when the row has no head. get: finds or makes; never NULL while the
 * caller has an image in hand (heads are as many as images). */
struct stripe_head *stripe_find(struct stripe_cache *cache, struct member_block row);
struct stripe_head *stripe_get(struct stripe_cache *cache, struct member_block row);
/* Gives a head without images, generations and write-out back; harmless otherwise. */
void stripe_release_if_empty(struct stripe_cache *cache, struct stripe_head *head);
/* Pushes `image` as newest of its slot / takes the image out of its slot's chain (any place). */
void stripe_push_image(struct stripe_head *head, uint32_t slot, struct stripe_image *image);
void stripe_drop_image(struct stripe_cache *cache, struct stripe_image *image);

/* Encode buffers a row needs at the most: slots - 1 old contents and the parity. */
uint32_t stripe_encode_need(const struct stripe_cache *cache);

/*
 * Write-out, by the one thread that owns it, on its queue. `heads` is an array of `count` frozen
 * heads with their targets set. All three wait for I/O only.
 *
 * fill: takes encode buffers (count * need are promised or at least free), chooses for each
 *   row read-modify or reconstruct, whichever reads less (a lost slot among the targets forces
 *   reconstruct, a lost parity member needs neither), reads. A read error makes the row plan anew
 *   without that block; where that is impossible it fails. Rows end FILLED or FAILED.
 * encode: memory only. FILLED -> ENCODED.
 * write_out: sorts `heads` by row, takes the row cells, writes targets and parity (adjacent rows of
 *   a member in one request), faults members whose write fails, frees the encode buffers, gives
 *   back the cells. Rows end IDLE or FAILED. ENOSPC and EDQUOT are not a member's fault:
 *   returned, the rows they hit stay ENCODED and torn, to be written out again when there is room
 *   (their cells stay held: deriving a block of such a row is -EIO). Rows that somebody reads under
 *   their cells stay ENCODED and parked, to be written out again when `cell_granted` was told. Not
 *   flushed: array_flush_members().
 * Return 0 or the first error; rows' states say which.
 */
R5_MUST_CHECK int stripes_fill(struct stripe_cache *cache,
                               struct io_queue *queue,
                               struct stripe_head **heads,
                               uint32_t count);
void stripes_encode(struct stripe_cache *cache, struct stripe_head **heads, uint32_t count);
R5_MUST_CHECK int stripes_write_out(struct stripe_cache *cache,
                                    struct io_queue *queue,
                                    struct stripe_head **heads,
                                    uint32_t count);
/* Gives back the encode buffers of rows that go no further; they are IDLE again. A torn row stays
 * torn: until a later write-out, or until its head is released, what it lacks is only in the
 * log. */
void stripes_abandon(struct stripe_cache *cache, struct stripe_head **heads, uint32_t count);
/* Recovery: `parity` (an encode buffer, taken first) holds the logged parity: IDLE -> ENCODED. NULL
 * where none was logged because the parity member is missing. */
uint8_t *stripe_take_encode_buffer(struct stripe_cache *cache);
void stripe_set_logged_parity(struct stripe_head *head, uint8_t *parity);

/* Invariants of the whole cache; CHECKs. [cache] */
void stripe_cache_verify(struct stripe_cache *cache);

#endif
