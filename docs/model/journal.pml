/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal's waiting, as a model for spin: who waits for whom, and who wakes him.
 * What is modelled, what is not, the claims and their figures: README.md. Run by scripts/model.
 *
 * Each inline bears the name of the function of journal/ that it mirrors. What the code does under
 * j->lock without waiting is one d_step or atomic here; everything between two of those may be
 * interleaved: there I/O is under way, or a thread just lost the processor.
 *
 * Positions count from the durable tail, so the ring's wrap does not show: head == log_used. In
 * one log the order of positions is the order of seqs; a position stands for both.
 */

/* ---- size ----------------------------------------------------------------------------------- */

#ifndef USERS
#define USERS 2
#endif
#define LOG_THREAD USERS /* its number among the threads */
#define THREADS (USERS + 1)

#define ROWS 3
#define BLOCKS 4  /* 0, 1: data of row 0; 2: data of row 1; 3: metadata, in row 2 */
#define META 3

#ifndef UNITS
#define UNITS 2
#endif
#define PAYLOADS 2 /* LOG_UNIT_PAYLOADS_MAX; MEMBERS_MAX blocks of a row fit */
#define UNIT_BLOCKS (PAYLOADS + 1)
#define FIXED (1 + UNIT_BLOCKS)
#ifndef RING
#define RING (4 * 2 + 1 + FIXED) /* journal_least_blocks: one data, one metadata block */
#endif
#ifndef IMAGES
#define IMAGES 3
#endif
#define TXN_MAX 1
#define HEADS 2 /* rows that the encode buffers suffice for */
#define EXTRA_ROUNDS 1
#define NONE 255
#define EIO 1
#define ENOBUFS 2
#define LISTED 3 /* the log thread stands on the no-space list already */

/* Failures the environment may still cause; each may come at any place where it can. */
#ifndef MEMBERS_LOST
#define MEMBERS_LOST 2 /* write errors: the first degrades the array, the second fails it */
#endif
#ifndef ROWS_LOST
#define ROWS_LOST 1 /* rows that cannot be filled */
#endif
#ifndef HOST_FULL
#define HOST_FULL 2 /* times that a write-out finds a host full */
#endif
#ifndef FLUSH_FAILS
#define FLUSH_FAILS 1 /* of the members */
#endif
#ifndef JOURNAL_FAILS
#define JOURNAL_FAILS 1
#endif
#ifndef PROMISES_REFUSED
#define PROMISES_REFUSED 1 /* of an io unit or of encode buffers; somebody else has them a while */
#endif
#ifndef LOCKED_READER
#define LOCKED_READER 1 /* one comes with the client's lock and stands behind a parked row */
#endif
#define READER THREADS /* its number with the client's lock */

/* ---- state ---------------------------------------------------------------------------------- */

/* States of images: a set for each block. The chain's order is that of the numbers. */
#define DIRTY 1
#define PLACED 2
#define LOGGED 4
#define FROZEN 8
byte image[BLOCKS];

byte first[ROWS] = NONE;   /* open.first_position and first_seq */
byte closing[ROWS] = NONE; /* the closing generation's */
byte frozen;        /* sets of rows, a bit each */
byte parity_placed;
byte stripe_failed; /* unfillable */

/* log */
byte head = 1;
byte durable_position;
byte batch_count; /* units composed, not yet durable */
byte batch_fill;  /* payloads of the last one */
byte last_position;
byte role_line;          /* threads that hold a ticket of the writer role, its holder first */
byte role_place[THREADS]; /* how many are before */
bit unit_promised;       /* to the role's holder */

/* log_space */
byte outstanding;
byte txn_used;
byte txn_outstanding;
byte dirty;
byte unplaced;
byte images_used;
#define NO_IMAGE 1 /* in the order in which they are tried */
#define NO_LOG 2
#define NO_TXN_ROOM 3
#define NO_UNIT 4
#define NO_BUFFER 5
byte wanted; /* a bit for each cause: what the first of a class of users wants */
byte wanted_log;
#define WRITE_OUT_CLASS 0
#define TXN_CLASS 1
#define DATA_CLASS 2
byte waiting[THREADS]; /* parked, in order of arrival: all classes */
byte parked;
byte write_out_class;  /* threads that stand there in this class */
bit lacks_buffers;     /* the log thread, there; else a unit */
bit no_unit;           /* somebody else has them all */
bit no_buffer;
bit kept_unit;         /* UNIT_BEFORE_ROLE */
#define GRANTED 1
#define REFUSED 2
byte answer[USERS];
byte data_blocks[USERS]; /* wanted, then granted, then left */
byte meta_blocks[USERS];

/* commit */
bit leading;
bit undurable;          /* running_txn - 1 - durable_txn */
byte behind[THREADS];   /* running_txn - the transaction that is waited for */
bit oldest_dirty;       /* oldest_dirty_ns != 0 */

/* reclaim */
byte heads;      /* set of rows: the batch */
byte pin = NONE; /* pin_position */
bit stuck;
byte failed_rows;
bit reclaim_error;
bit in_batch;     /* batch_seq != 0 */
bit parked_rows;  /* the batch waits for a reader under its cells */
bit cell_granted; /* it left */
bit cells_held;   /* nobody comes between any more */
bit reader;

/* log thread, failure */
bit failing;
bit fail_started;
bit fail_done;
bit fail_resync;

/* Condition variables: who sleeps on them. Signal and broadcast clear bits; one that finds nobody
 * is lost. */
byte granted;
byte ended;
byte role_moved;
byte written;
bit wake; /* the log thread alone sleeps there */

/* the client's lock: 0, or 1 + its holder */
byte op_lock;
byte op_waits; /* who stands before it */

byte at_work; /* users whose request is not answered yet */

/* environment */
bit degraded;
bit array_failed;
byte members_lost = MEMBERS_LOST;
byte rows_lost = ROWS_LOST;
byte host_full = HOST_FULL;
byte flush_fails = FLUSH_FAILS;
byte journal_fails = JOURNAL_FAILS;
byte promises_refused = PROMISES_REFUSED;

/* What chance chose, until the end of the step. */
byte choice, choice_too;
bit late_commit, late_idle, late_tail, late_retry, late_refill;
/* Within one d_step only: no part of the state. */
hidden byte i_, k_, b_, r_, u_, want_, n_, more_, r6_;
hidden byte c_, set_, kept_, wanted_, wanted_log_, dead_, again_;

/* ---- words ---------------------------------------------------------------------------------- */

#define ME(t) (1 << (t))
#define FIRST_BLOCK(r) ((r) == 0 -> 0 : (r) + 1)
#define LAST_BLOCK(r) ((r) + 1)
#define ROW_OF(b) ((b) < 2 -> 0 : (b) - 1)
#define HAS(r, states) (((r) == 0 -> (image[0] | image[1]) : image[(r) + 1]) & (states))
#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define OLDEST MIN(MIN(first[0], first[1]), first[2])
#define LIVE ((first[0] != NONE) + (first[1] != NONE) + (first[2] != NONE))
#define LOG_USED head
#define LOG_USED_BY_LIVE (head - (OLDEST > durable_position -> durable_position : OLDEST))
#define TAIL_GAIN (LOG_USED - LOG_USED_BY_LIVE)
#define TAIL_CANDIDATE \
    ((pin != NONE && pin < OLDEST) -> pin \
                                   : (OLDEST > durable_position -> durable_position : OLDEST))
#ifdef SEQ15 /* nothing set aside for parity */
#define PER_BLOCK 2
#define RESERVED (PER_BLOCK * outstanding + 2 * dirty)
#else
#define PER_BLOCK 4
#define RESERVED (PER_BLOCK * outstanding + 2 * dirty + 2 * unplaced)
#endif
#ifdef BLOCKING_ALLOC /* metadata images are not reserved */
#define IMAGES_TAKEN (images_used + outstanding - txn_used - txn_outstanding)
#define IMAGES_WANTED(u) data_blocks[u]
#else
#define IMAGES_TAKEN (images_used + outstanding)
#define IMAGES_WANTED(u) want_
#endif
#define COMMIT_NEEDED (dirty > 0 || txn_used > 0)
#define WANTS_ROOM ((wanted & (ME(NO_IMAGE) | ME(NO_LOG))) != 0)
#define ROWS_TO_WRITE (LIVE > failed_rows)
#define REFUSAL (failing || reclaim_error)
#define UNITS_OUT (no_unit -> UNITS : batch_count + unit_promised + kept_unit)
#define LACKS ((write_out_class & ME(LOG_THREAD)) != 0) /* j->thread.lacks */

/* ---- what the code does not do --------------------------------------------------------------- */

/* Each of these is a design that locks up; scripts/model sees that spin finds how. NAIVE is what is
 * waited for in it, in the wrong place. */
#if defined(BLOCKING_ALLOC) || defined(SEQ16)
#define NAIVE (IMAGES_TAKEN < IMAGES)
#elif defined(SHARED_POOL) || defined(SEQ19)
#define NAIVE (units_held < UNITS)
byte units_held; /* by requests: each takes one first */
#elif defined(SEQ14)
#define NAIVE (parked == 0)
#elif defined(SEQ15)
#define NAIVE (LOG_USED + RESERVED + 2 * HEADS + UNIT_BLOCKS <= RING)
#elif defined(SEQ17)
#define NAIVE (!inode_lock)
bit inode_lock;
#elif defined(SEQ18)
#define NAIVE (!row_cell)
bit row_cell; /* of row 0 */
#else
#define NAIVE true
#endif

byte naive; /* threads that wait so */

/* Within an atomic. */
inline naive_wait(t)
{
    if
    :: NAIVE
    :: else -> naive = naive | ME(t); NAIVE; naive = naive & ~ME(t)
    fi
}

/* ---- the client's lock ---------------------------------------------------------------------- */

/* Within an atomic: who must wait gives the others their turn. */
inline op_lock_take(t)
{
    if
    :: op_lock == 0
    :: else -> op_waits = op_waits | ME(t); op_lock == 0; op_waits = op_waits & ~ME(t)
    fi;
    op_lock = 1 + t
}

/* ---- invariants ----------------------------------------------------------------------------- */

/* JR and the sums: log_space_verify, logged_stripe_verify. */
inline journal_verify()
{
    /* What a failed batch took is not given back: nothing will be logged any more. */
    assert(failing || LOG_USED + RESERVED + UNIT_BLOCKS <= RING);
    assert(IMAGES_TAKEN <= IMAGES);
    assert(txn_used + txn_outstanding <= TXN_MAX);
    assert(txn_used + txn_outstanding <= outstanding);
    n_ = 0;
    k_ = 0;
    for (b_ : 0 .. BLOCKS - 1) {
        n_ = n_ + (image[b_] & 1) + (image[b_] >> 1 & 1) + (image[b_] >> 2 & 1) + (image[b_] >> 3);
        k_ = k_ + (image[b_] & 1);
    }
    assert(n_ == images_used && k_ == dirty);
    n_ = 0;
    for (r_ : 0 .. ROWS - 1) {
        n_ = n_ + (HAS(r_, PLACED | LOGGED) != 0) + (HAS(r_, DIRTY) != 0) +
             ((frozen & ME(r_)) != 0 && (parity_placed & ME(r_)) == 0);
        assert((HAS(r_, PLACED | LOGGED) != 0) == (first[r_] != NONE)); /* L3 */
        assert((frozen & ME(r_)) || !HAS(r_, FROZEN));                  /* L4 */
    }
    assert(n_ == unplaced);
}

/* ---- log_space.c ---------------------------------------------------------------------------- */

#define CLASS(u) \
    ((write_out_class & ME(u)) -> WRITE_OUT_CLASS : (meta_blocks[u] > 0 -> TXN_CLASS : DATA_CLASS))
#define USERS_WANT (ME(NO_IMAGE) | ME(NO_LOG))
#define WANTS(u) \
    (CLASS(u) == WRITE_OUT_CLASS -> ME(NO_UNIT) | ME(NO_BUFFER) \
                                 : USERS_WANT | (meta_blocks[u] > 0 -> ME(NO_TXN_ROOM) : 0))

/* reservation_try: what there is not enough of, a set. */
inline lacks_of(u)
{
    if
    :: CLASS(u) == WRITE_OUT_CLASS ->
        set_ = ((u) == LOG_THREAD && lacks_buffers -> no_buffer << NO_BUFFER
                                                   : (UNITS_OUT >= UNITS) << NO_UNIT)
    :: else ->
        want_ = data_blocks[u] + meta_blocks[u];
        set_ = (IMAGES_TAKEN + IMAGES_WANTED(u) > IMAGES) << NO_IMAGE |
               (LOG_USED + RESERVED + PER_BLOCK * want_ + FIXED > RING) << NO_LOG |
               (txn_used + txn_outstanding + meta_blocks[u] > TXN_MAX) << NO_TXN_ROOM
    fi
}

/* waiting[at] leaves the no-space list. */
inline collector_remove(at)
{
    k_ = at;
    do
    :: k_ + 1 < parked -> waiting[k_] = waiting[k_ + 1]; k_++
    :: else -> break
    od;
    parked--;
    waiting[parked] = 0
}

/* Of the class write-out: unit_is_there, lack_is_over; taken with the role, nothing is kept. */
inline grant(at)
{
    u_ = waiting[at];
    printf("granted: thread %d\n", u_);
    if
    :: CLASS(u_) != WRITE_OUT_CLASS ->
        answer[u_] = GRANTED;
        outstanding = outstanding + data_blocks[u_] + meta_blocks[u_];
        txn_outstanding = txn_outstanding + meta_blocks[u_];
        granted = 0 /* broadcast */
    :: CLASS(u_) == WRITE_OUT_CLASS && u_ != LOG_THREAD -> granted = 0 /* broadcast */
    :: else ->
#ifdef UNIT_BEFORE_ROLE
        kept_unit = !lacks_buffers;
#endif
        lacks_buffers = 0;
        wake = 0 /* signal */
    fi;
    write_out_class = write_out_class & ~ME(u_);
    collector_remove(at)
}

inline refuse(at)
{
    u_ = waiting[at];
    answer[u_] = REFUSED;
    printf("refused: user %d\n", u_);
    data_blocks[u_] = 0;
    meta_blocks[u_] = 0;
    collector_remove(at);
    granted = 0 /* broadcast */
}

#define IS_HOPELESS (failed_rows > 0 && LIVE <= failed_rows && !in_batch && TAIL_GAIN == 0)
#define DEAD_END \
    (!COMMIT_NEEDED && !leading && outstanding == 0 && (stuck || IS_HOPELESS))

/* The first of a class: granted, or its lack is noted for note_wanted and refuse_at_dead_end. */
inline serve_at(at)
{
    if
    :: set_ == 0 -> grant(at); more_ = 1
    :: else ->
        if
        :: CLASS(waiting[at]) == WRITE_OUT_CLASS
        :: else ->
            if
            :: set_ & ME(NO_IMAGE) -> set_ = ME(NO_IMAGE)
            :: else ->
                if
                :: set_ & ME(NO_LOG) -> set_ = ME(NO_LOG)
                :: else
                fi
            fi;
            wanted_ = wanted_ | set_;
            if
            :: (set_ & ME(NO_LOG)) && PER_BLOCK * want_ > wanted_log_ ->
                wanted_log_ = PER_BLOCK * want_
            :: else
            fi;
            if
            :: set_ != ME(NO_TXN_ROOM) && at < dead_ -> dead_ = at
            :: else
            fi
        fi
    fi
}

/* The oldest of all collects: nobody is granted what it lacks (RV3). Else the first of the first
 * class that can be served. */
inline serve_one()
{
    wanted_ = 0;
    wanted_log_ = 0;
    dead_ = NONE;
    more_ = 0;
    kept_ = 0;
    if
    :: parked > 0 ->
        lacks_of(waiting[0]);
        kept_ = set_;
        serve_at(0);
        for (c_ : WRITE_OUT_CLASS .. DATA_CLASS) {
            i_ = 1;
            do
            :: kept_ != 0 && i_ < parked && CLASS(waiting[i_]) != c_ -> i_++
            :: else -> break
            od;
            if
            :: kept_ != 0 && !more_ && i_ < parked && CLASS(waiting[0]) != c_ ->
                lacks_of(waiting[i_]);
                set_ = ((kept_ & WANTS(waiting[i_])) -> kept_ & WANTS(waiting[i_]) : set_);
                serve_at(i_)
            :: else
            fi
        }
    :: else
    fi
}

inline collector_serve()
{
    more_ = 1;
    do
    :: more_ -> serve_one()
    :: else -> break
    od
}

/* All but those of the class write-out. */
inline fail_waiters()
{
    i_ = 0;
    do
    :: i_ < parked && CLASS(waiting[i_]) != WRITE_OUT_CLASS -> refuse(i_)
    :: i_ < parked && CLASS(waiting[i_]) == WRITE_OUT_CLASS -> i_++
    :: else -> break
    od
}

inline log_space_serve()
{
    if
    :: REFUSAL -> fail_waiters()
    :: else
    fi;
    again_ = 1;
    do
    :: again_ ->
        collector_serve();
        again_ = dead_ != NONE && DEAD_END;
        if
        :: again_ -> refuse(dead_) /* refuse_at_dead_end */
        :: else
        fi
    :: else -> break
    od;
    wanted = wanted_; /* note_wanted */
    wanted_log = wanted_log_;
    if
    :: wanted != 0 -> wake = 0 /* signal */
    :: else
    fi
}

/* Of the class write-out. */
inline collector_reserve_or_park(t)
{
    waiting[parked] = t;
    parked++;
    write_out_class = write_out_class | ME(t);
    collector_serve()
}

inline note_dirty()
{
    if
    :: !oldest_dirty || parked > 0 -> wake = 0 /* signal */
    :: else
    fi;
    oldest_dirty = 1
}

inline journal_txn_join(t)
{
    printf("user %d joins the transaction\n", t);
    meta_blocks[t]--;
    txn_outstanding--;
    txn_used++;
    note_dirty()
}

inline journal_release(t)
{
    d_step {
        if
        :: data_blocks[t] + meta_blocks[t] > 0 ->
            outstanding = outstanding - data_blocks[t] - meta_blocks[t];
            txn_outstanding = txn_outstanding - meta_blocks[t];
            printf("user %d gives back %d + %d\n", t, data_blocks[t], meta_blocks[t]);
            data_blocks[t] = 0;
            meta_blocks[t] = 0;
            log_space_serve();
            journal_verify()
        :: else
        fi
    }
}

/* ---- logged_stripe.c ------------------------------------------------------------------------ */

inline dirty_row_ended(r)
{
    if
    :: !HAS(r, DIRTY) -> unplaced--
    :: else
    fi
}

inline generation_start(r, position)
{
    first[r] = position;
    unplaced++
}

inline generation_end(r)
{
    first[r] = NONE;
    unplaced--
}

/* journal_write of a granted block. */
inline logged_stripe_write(t, b)
{
    if
    :: image[b] & DIRTY
    :: else ->
        if
        :: !HAS(ROW_OF(b), DIRTY) -> unplaced++
        :: else
        fi;
        image[b] = image[b] | DIRTY;
        printf("user %d dirties block %d\n", t, b);
        images_used++;
        dirty++;
        data_blocks[t]--;
        outstanding--
    fi
}

inline place(b)
{
    assert(!(frozen & ME(ROW_OF(b))) || (parity_placed & ME(ROW_OF(b)))); /* W8 */
    if
    :: first[ROW_OF(b)] == NONE -> generation_start(ROW_OF(b), last_position)
    :: else
    fi;
    assert(first[ROW_OF(b)] <= last_position)
}

inline logged_stripe_place(b)
{
    assert(!(image[b] & PLACED));
    image[b] = image[b] ^ (DIRTY | PLACED);
    dirty--;
    dirty_row_ended(ROW_OF(b));
    place(b)
}

/* A block of the closing transaction: its image comes out of the reservation. */
inline logged_stripe_place_new(b)
{
    assert(!(image[b] & (DIRTY | PLACED)));
    image[b] = image[b] | PLACED;
    images_used++;
    place(b)
}

inline reclaim_try_row(r)
{
    if
    :: stripe_failed & ME(r) -> stripe_failed = stripe_failed & ~ME(r); failed_rows--
    :: else
    fi
}

inline reclaim_try_unfillable()
{
    stripe_failed = 0;
    failed_rows = 0
}

inline logged_stripe_unit_durable(b)
{
    if
    :: image[b] & PLACED ->
        image[b] = image[b] & ~PLACED;
        if
        :: image[b] & LOGGED -> images_used-- /* superseded */
        :: else -> image[b] = image[b] | LOGGED
        fi;
        reclaim_try_row(ROW_OF(b))
    :: else
    fi
}

inline logged_stripe_freeze(r)
{
    assert(!HAS(r, FROZEN));
    for (b_ : FIRST_BLOCK(r) .. LAST_BLOCK(r)) {
        if
        :: image[b_] & LOGGED -> image[b_] = image[b_] ^ (LOGGED | FROZEN)
        :: else
        fi
    }
    closing[r] = first[r];
    first[r] = NONE;
    frozen = frozen | ME(r);
    parity_placed = parity_placed & ~ME(r)
}

inline logged_stripe_parity_placed(r)
{
    parity_placed = parity_placed | ME(r);
    unplaced--
}

inline logged_stripe_finish(r)
{
    for (b_ : FIRST_BLOCK(r) .. LAST_BLOCK(r)) {
        if
        :: image[b_] & FROZEN -> image[b_] = image[b_] & ~FROZEN; images_used--
        :: else
        fi
    }
    if
    :: !(parity_placed & ME(r)) -> logged_stripe_parity_placed(r)
    :: else
    fi;
    frozen = frozen & ~ME(r);
    parity_placed = parity_placed & ~ME(r);
    closing[r] = NONE
}

inline logged_stripe_unfreeze(r)
{
    assert((frozen & ME(r)) && !(parity_placed & ME(r)));
    for (b_ : FIRST_BLOCK(r) .. LAST_BLOCK(r)) {
        if
        :: (image[b_] & FROZEN) && (image[b_] & LOGGED) ->
            image[b_] = image[b_] & ~FROZEN;
            images_used--
        :: (image[b_] & FROZEN) && !(image[b_] & LOGGED) ->
            image[b_] = image[b_] ^ (LOGGED | FROZEN)
        :: else
        fi
    }
    if
    :: first[r] != NONE -> generation_end(r)
    :: else
    fi;
    frozen = frozen & ~ME(r);
    unplaced--;
    generation_start(r, closing[r]);
    closing[r] = NONE
}

inline logged_stripe_unplace_all()
{
    for (r_ : 0 .. ROWS - 1) {
        if
        :: HAS(r_, PLACED) ->
            more_ = HAS(r_, DIRTY) != 0;
            for (b_ : FIRST_BLOCK(r_) .. LAST_BLOCK(r_)) {
                if
                :: (image[b_] & PLACED) && (image[b_] & DIRTY) ->
                    image[b_] = image[b_] & ~PLACED;
                    images_used--
                :: (image[b_] & PLACED) && !(image[b_] & DIRTY) ->
                    image[b_] = image[b_] ^ (DIRTY | PLACED);
                    dirty++
                :: else
                fi
            };
            if
            :: !more_ -> unplaced++
            :: else
            fi;
            if
            :: !HAS(r_, LOGGED) -> generation_end(r_)
            :: else
            fi
        :: else
        fi
    }
}

/* ---- log.c ---------------------------------------------------------------------------------- */

/* Within an atomic, as op_lock_take. */
inline log_role_take_wait(t)
{
    role_place[t] = role_line;
    role_line++;
    do
    :: role_place[t] == 0 -> break
    :: else ->
        role_moved = role_moved | ME(t); /* wait */
        !(role_moved & ME(t))
    od
}

inline log_role_give()
{
    d_step {
        assert(batch_count == 0);
        role_line--;
        for (i_ : 0 .. THREADS - 1) {
            if
            :: role_place[i_] > 0 -> role_place[i_]--
            :: else
            fi
        }
        if
        :: unit_promised ->
            unit_promised = 0;
#ifndef SILENT_ROLE /* as it once was */
            log_space_serve()
#endif
        :: else
        fi;
        role_moved = 0 /* broadcast */
    }
}

/* Within an atomic: the role, and one unit for its time; neither, when that is refused. */
inline log_writer_begin(t, err)
{
    log_role_take_wait(t);
    kept_unit = kept_unit && t != LOG_THREAD; /* it becomes the promised one */
    if
    :: UNITS_OUT < UNITS -> unit_promised = 1
    :: UNITS_OUT < UNITS && promises_refused > 0 -> promises_refused--; no_unit = 1
    :: UNITS_OUT >= UNITS
    fi;
    err = (unit_promised -> 0 : ENOBUFS);
    if
    :: err -> log_role_give(); printf("thread %d gets no unit\n", t)
    :: else
    fi
}

inline log_head_advance()
{
    assert(LOG_USED + 1 < RING);
    head++
}

/* more_: whether there is a unit with room for `payloads`, a new one if need be. */
inline log_unit_with_room(payloads)
{
    more_ = 1;
    if
    :: batch_count > 0 && batch_fill + payloads <= PAYLOADS
    :: else ->
        if
        :: !unit_promised && UNITS_OUT >= UNITS -> more_ = 0
        :: else ->
            unit_promised = 0;
            batch_count++;
            batch_fill = 0;
            last_position = head;
            log_head_advance()
        fi
    fi
}

inline add_payload()
{
    batch_fill++;
    log_head_advance()
}

/* Until units or images run out; row by row. */
inline log_place_dirty()
{
    more_ = 1;
    for (r_ : 0 .. ROWS - 1) {
        if
        :: more_ && HAS(r_, DIRTY) ->
            k_ = (r_ == 0 -> (image[0] & 1) + (image[1] & 1) : 1);
            log_unit_with_room(k_);
            if
            :: more_ ->
                for (b_ : FIRST_BLOCK(r_) .. LAST_BLOCK(r_)) {
                    if
                    :: image[b_] & DIRTY -> logged_stripe_place(b_); add_payload()
                    :: else
                    fi
                }
            :: else
            fi
        :: else
        fi
    }
}

inline journal_fail_begin()
{
    if
    :: !failing ->
        failing = 1;
        wake = 0; /* journal_mode_move: signal */
        log_space_serve();
        ended = 0;  /* broadcast */
        written = 0 /* broadcast */
    :: else
    fi
}

inline unit_durable()
{
    for (b_ : 0 .. BLOCKS - 1) {
        logged_stripe_unit_durable(b_)
    }
    durable_position = last_position
}

inline batch_end()
{
    unit_promised = 1; /* again */
    batch_count = 0;
    batch_fill = 0;
    last_position = 0
}

/* What was composed was on its way since the last step; here it has arrived and was flushed, or
 * not. When the journal failed meanwhile it may have been dropped before it was sent, or have
 * succeeded all the same. */
inline log_batch_write(err)
{
    if
    :: batch_count == 0 -> err = failing
    :: batch_count > 0 && (journal_fails > 0 || failing) ->
        d_step {
            journal_fails = 0;
            printf("the journal fails\n");
            batch_end();
            journal_fail_begin();
            err = 1;
            journal_verify()
        }
    :: batch_count > 0 ->
        d_step {
            printf("durable: %d units, head %d\n", batch_count, head);
            unit_durable();
            batch_end();
            log_space_serve();
            err = 0;
            journal_verify()
        }
    fi
}

/* The superblock was written, or not. */
inline log_tail_move(err, to)
{
    if
    :: journal_fails > 0 -> d_step { journal_fails = 0; journal_fail_begin(); err = 1 }
    :: d_step {
           printf("tail moves by %d\n", to);
           head = head - to;
           durable_position = durable_position - to;
           if
           :: batch_count > 0 -> last_position = last_position - to
           :: else
           fi;
           for (r_ : 0 .. ROWS - 1) {
               if
               :: first[r_] != NONE -> first[r_] = first[r_] - to
               :: else
               fi
           }
           if
           :: pin != NONE -> pin = pin - to
           :: else
           fi;
           log_space_serve();
           journal_verify()
       }
    fi
}

/* ---- commit.c ------------------------------------------------------------------------------- */

/* Composes what fits; `left` when a batch must be written before the transaction can close. */
inline place_rest_of_data(left)
{
    d_step {
        log_place_dirty();
        left = dirty > 0;
        if
        :: !left && txn_used > 0 -> log_unit_with_room(txn_used); left = !more_
        :: else
        fi;
        journal_verify()
    }
}

inline close_txn()
{
    d_step {
        if
        :: txn_used > 0 -> logged_stripe_place_new(META); add_payload()
        :: else
        fi;
        /* log_space_close_txn */
        outstanding = outstanding - txn_used;
        printf("transaction closed: %d blocks\n", txn_used);
        txn_used = 0;
        oldest_dirty = 0;
        undurable = 1; /* running_txn++ */
        for (i_ : 0 .. THREADS - 1) {
            if
            :: behind[i_] == 1 -> behind[i_] = 2
            :: else
            fi
        }
        log_space_serve();
        journal_verify()
    }
}

#define ROUNDS (dirty == 0 -> 0 : EXTRA_ROUNDS + dirty / PAYLOADS / UNITS)

inline place_round(rounds)
{
    if
    :: rounds > 0 -> d_step { log_place_dirty(); journal_verify() }
    :: else
    fi
}

inline commit_lead(t, err, rounds)
{
    atomic {
        log_writer_begin(t, err);
#ifdef SEQ19
        naive_wait(t);
#endif
        err = (err -> err : failing);
        rounds = (err -> 0 : ROUNDS);
        place_round(rounds)
    };
    do /* write_data_rounds: the client goes on writing */
    :: atomic {
           rounds > 0 ->
           log_batch_write(err);
           rounds = (dirty == 0 || err -> 0 : rounds - 1);
           place_round(rounds)
       }
    :: atomic { rounds == 0 && !err -> op_lock_take(t); place_rest_of_data(rounds); break }
    :: atomic { rounds == 0 && err -> break }
    od;
    do
    :: atomic { err == EIO -> log_role_give(); break }
    :: atomic { err == ENOBUFS -> break }
    :: atomic {
           !err && rounds > 0 ->
           log_batch_write(err);
           if
           :: !err -> place_rest_of_data(rounds)
           :: else -> rounds = 0; op_lock = 0
           fi
       }
    :: atomic {
           !err && rounds == 0 && op_lock == 1 + t ->
#ifdef BLOCKING_ALLOC
           if
           :: txn_used > 0 -> naive_wait(t)
           :: else
           fi;
#endif
           close_txn();
           op_lock = 0
       }
    :: atomic {
           !err && rounds == 0 && op_lock != 1 + t ->
           log_batch_write(err);
           log_role_give();
           undurable = (err -> undurable : 0);
           break
       }
    od
}

/* Within an atomic: until there is a unit. Neither lead nor role is held. */
inline unit_wait(t)
{
    d_step {
        collector_reserve_or_park(t);
        if
        :: write_out_class & ME(t) -> wake = 0 /* signal */
        :: else
        fi
    };
    do
    :: !(write_out_class & ME(t)) -> break
    :: else ->
        granted = granted | ME(t); /* wait */
        !(granted & ME(t))
    od
}

/* behind[t]: 1 is the running transaction; it grows as others close. durable_txn >= txn is
 * behind > 1 + undurable. */
inline commit_wait(t, err, rounds)
{
    do
    :: atomic { err || behind[t] > 1 + undurable -> behind[t] = 0; break }
    :: atomic { !err && behind[t] <= 1 + undurable && failing -> err = 1 }
    :: atomic {
           !err && behind[t] <= 1 + undurable && !failing && leading ->
           ended = ended | ME(t); /* wait */
           !(ended & ME(t))
       }
    :: atomic {
           !err && behind[t] == 1 && !failing && !leading && !COMMIT_NEEDED ->
           behind[t] = 0;
           break
       }
    :: atomic {
           !err && behind[t] <= 1 + undurable && !failing && !leading &&
               (behind[t] != 1 || COMMIT_NEEDED) ->
           leading = 1;
           printf("thread %d leads a commit\n", t)
       };
       commit_lead(t, err, rounds);
       atomic {
           leading = 0;
           ended = 0; /* broadcast */
           wake = 0;  /* signal */
           if
           :: err == ENOBUFS -> unit_wait(t); err = 0
           :: else
           fi
       }
    od
}

/* log_thread.c: within an atomic; for encode buffers or a unit. Granted at once: told already. */
inline log_thread_park(buffers)
{
    d_step {
        printf("the log thread stands on the list\n");
        lacks_buffers = buffers;
        collector_reserve_or_park(LOG_THREAD);
        journal_verify()
    }
}

/* The log thread waits for nobody else's commit. */
inline commit_try(t, err, rounds)
{
    if
    :: atomic { leading || failing || !COMMIT_NEEDED -> skip }
    :: atomic {
           !leading && !failing && COMMIT_NEEDED ->
           leading = 1;
           printf("the log thread leads a commit\n")
       };
       commit_lead(t, err, rounds);
       atomic {
           leading = 0;
           ended = 0; /* broadcast */
           wake = 0;  /* signal */
           if
           :: err == ENOBUFS -> log_thread_park(0)
           :: else
           fi
       }
    fi
}

/* ---- reclaim.c ------------------------------------------------------------------------------ */

/* pick_row for the oldest, until `all` or one. */
inline pick(all)
{
    assert(heads == 0);
    n_ = 0;
    more_ = 1;
    do
    :: more_ && n_ < HEADS && (all || n_ == 0) ->
        k_ = NONE;
        r6_ = pin == NONE; /* R6: the row of the volume's first block goes along */
        for (r_ : 0 .. ROWS - 1) {
            if
            :: first[r_] < k_ && !(r6_ && k_ != NONE) && !(frozen & ME(r_)) &&
               !(stripe_failed & ME(r_)) && HAS(r_, LOGGED) && !HAS(r_, PLACED) ->
                k_ = first[r_];
                i_ = r_
            :: else
            fi
        }
        if
        :: k_ == NONE -> more_ = 0
        :: else ->
            printf("freeze row %d\n", i_);
            logged_stripe_freeze(i_);
            pin = MIN(pin, closing[i_]);
            heads = heads | ME(i_);
            in_batch = 1;
            n_++
        fi
    :: else -> break
    od
}

#define PARITY_MISSING(r) (degraded && (r) == 1) /* the member lost has this row's parity */

inline place_parity()
{
    for (r_ : 0 .. ROWS - 1) {
        if
        :: heads & ME(r_) ->
            if
            :: !PARITY_MISSING(r_) ->
                log_unit_with_room(1);
                assert(more_);
                add_payload()
            :: else
            fi;
            logged_stripe_parity_placed(r_)
        :: else
        fi
    }
}

/* A row of the batch may be past filling; of a failed array each is. What remains is encoded, and
 * its parity placed unless the journal failed. */
inline stripes_fill()
{
    atomic {
        if
        :: array_failed -> choice = heads
        :: !array_failed && rows_lost > 0 && (heads & 1) -> rows_lost--; choice = 1
        :: !array_failed && rows_lost > 0 && (heads & 2) -> rows_lost--; choice = 2
        :: !array_failed && rows_lost > 0 && (heads & 4) -> rows_lost--; choice = 4
        :: !array_failed
        fi;
        d_step { /* drop_failed */
            for (r_ : 0 .. ROWS - 1) {
                if
                :: choice & ME(r_) ->
                    logged_stripe_unfreeze(r_);
                    stripe_failed = stripe_failed | ME(r_);
                    failed_rows++;
                    heads = heads & ~ME(r_)
                :: else
                fi
            }
            choice = 0;
            if
            :: !fail_started -> place_parity()
            :: else
            fi;
            journal_verify()
        }
    }
}

/* Within an atomic, all or none; on the list when there are none. */
inline promise_buffers(err)
{
    if
    :: !no_buffer -> err = 0
    :: !no_buffer && promises_refused > 0 -> promises_refused--; no_buffer = 1
    :: no_buffer
    fi;
    if
    :: no_buffer -> err = LISTED; log_thread_park(1)
    :: else
    fi
}

/* The first half, with the role. */
inline prepare(all, err)
{
#if defined(SEQ14) || defined(SEQ15) || defined(SEQ16) || defined(SEQ19) || defined(SHARED_POOL)
    naive_wait(LOG_THREAD);
#endif
    err = failing;
    if
    :: !err -> d_step { pick(all); journal_verify() }
    :: else
    fi;
    if
    :: heads == 0 -> log_role_give() /* end */
    :: else
    fi
}

/* Writes the batch; batch_settle. An empty one too is settled. The cells come first: a reader under
 * one parks the batch (all of it, here), and tells when it leaves. */
inline write_out()
{
    if
    :: atomic { heads != 0 && !cells_held && !array_failed -> cell_granted = 0; reader = 1; parked_rows = 0 };
        d_step {
            parked_rows = 1;
            stuck = 0;
            printf("parked behind a reader\n");
            log_space_serve();
            written = 0 /* broadcast */
        }
    :: atomic {
           cell_granted = 0;
           parked_rows = 0;
           if /* stripes_write_out: `choice` are the rows that meet a full host */
           :: heads == 0 || array_failed
           :: heads != 0 && !array_failed && members_lost > 0 ->
               array_failed = degraded;
               degraded = 1;
               members_lost--
           :: heads != 0 && !array_failed && host_full > 0 -> host_full--; choice = heads
           :: !array_failed && host_full > 0 && (heads & (heads - 1)) ->
               host_full--;
               choice = heads & (heads - 1) /* all but one */
           :: heads != 0 && !array_failed
           fi;
           d_step {
               for (r_ : 0 .. ROWS - 1) {
                   if
                   :: !array_failed && (heads & ~choice & ME(r_)) -> logged_stripe_finish(r_)
                   :: else /* STRIPE_FAILED: frozen for ever */
                   fi
               }
               reclaim_error = reclaim_error || (array_failed && heads != 0);
               heads = choice;
               choice = 0;
               cells_held = heads != 0; /* torn */
               in_batch = heads != 0 || reclaim_error;
               stuck = heads != 0;
               printf("written out, left %d, array failed %d\n", heads, array_failed);
               log_space_serve();
               written = 0; /* broadcast */
               journal_verify()
           }
       }
    fi
}

inline reclaim_batch(all, err)
{
    if
    :: atomic { heads != 0 -> skip } /* R3: the stuck or parked one again */
    :: atomic {
           heads == 0 -> /* begin */
           promise_buffers(err);
           if
           :: !err ->
               log_writer_begin(LOG_THREAD, err);
               if
               :: !err -> prepare(all, err)
               :: else
               fi
           :: else
           fi
       };
       if
       :: atomic { err == ENOBUFS -> log_thread_park(0) }
       :: err != ENOBUFS && heads == 0
       :: heads != 0 ->
           stripes_fill(); /* and stripes_encode, place_parity */
           atomic { log_batch_write(err); log_role_give() } /* end */
       fi
    fi;
    if
    :: !err ->
#ifdef SEQ18
        atomic {
            if
            :: heads & 1 -> naive_wait(LOG_THREAD)
            :: else
            fi
        };
#endif
        write_out()
    :: err
    fi
}

inline reclaim_batch_unlogged(err)
{
    if
    :: atomic {
           heads == 0 ->
           promise_buffers(err);
           if
           :: !err -> d_step { pick(1); journal_verify() }
           :: else
           fi
       };
       if
       :: heads != 0 -> stripes_fill()
       :: heads == 0
       fi
    :: heads != 0
    fi;
    if
    :: !err -> write_out()
    :: err
    fi
}

inline reclaim_set_stuck()
{
    d_step {
        stuck = 1;
        printf("a host is full\n");
        log_space_serve();
        written = 0 /* broadcast */
    }
}

/* flush_members, if rows were written; then the tail. */
inline reclaim_move_tail(err, to)
{
    atomic {
        if
        :: pin == NONE -> stuck = 0
        :: pin != NONE -> pin = NONE; stuck = 0
        :: pin != NONE && host_full > 0 -> host_full--; reclaim_set_stuck(); err = 1
        :: pin != NONE && flush_fails > 0 ->
            d_step {
                flush_fails--;
                stuck = 0;
                reclaim_error = 1;
                log_space_serve();
                written = 0; /* broadcast */
                err = 1
            }
        fi;
        to = TAIL_CANDIDATE
    };
    if
    :: atomic { !err && !failing && to != 0 -> log_tail_move(err, to); to = 0; written = 0 }
    :: atomic { err || failing || to == 0 -> to = 0; written = 0 }
    fi
}

inline reclaim_make_empty(err, to)
{
    atomic {
        log_writer_begin(LOG_THREAD, err);
        if
        :: !err && LIVE == 0 && LOG_USED > 1 -> d_step { /* log_append_empty */
               assert(batch_count == 0 && unit_promised);
               unit_promised = 0;
               batch_count = 1;
               last_position = head;
               log_head_advance()
           }
        :: else
        fi
    };
    if
    :: atomic { err == ENOBUFS -> log_thread_park(0) }
    :: atomic {
           !err ->
           if
           :: batch_count > 0 -> log_batch_write(err)
           :: else
           fi;
           log_role_give()
       }
    fi;
    if
    :: !err -> reclaim_move_tail(err, to)
    :: err
    fi
}

/* ---- journal_fail.c ------------------------------------------------------------------------- */

inline journal_fail_finish(err)
{
    if /* fail_start */
    :: atomic {
           !fail_started ->
           log_role_take_wait(LOG_THREAD);
           fail_started = 1;
           d_step { logged_stripe_unplace_all(); reclaim_try_unfillable(); journal_verify() };
           log_role_give()
       }
    :: fail_started
    fi;
    atomic {
        if /* array_set_resync_offset */
        :: fail_resync || degraded
        :: !fail_resync && !degraded -> fail_resync = 1
        :: !fail_resync && !degraded && host_full > 0 -> host_full--; reclaim_set_stuck(); err = 1
        :: !fail_resync && !degraded -> /* give_up */
            reclaim_error = 1;
            fail_done = 1;
            written = 0; /* broadcast */
            err = 1
        fi
    };
    do
    :: atomic { err -> break }
    :: !err && !reclaim_error && (heads != 0 || ROWS_TO_WRITE) -> /* write_out_unlogged */
        reclaim_batch_unlogged(err);
        err = (err -> err : !reclaim_error && (stuck || parked_rows))
    :: atomic {
           !err && (reclaim_error || (heads == 0 && !ROWS_TO_WRITE)) ->
           if /* retire_journal */
           :: !reclaim_error && failed_rows == 0 && host_full > 0 ->
               host_full--;
               reclaim_set_stuck()
           :: stuck = 0; fail_done = 1; written = 0 /* broadcast */
           fi;
           break
       }
    od
}

/* ---- log_thread.c --------------------------------------------------------------------------- */

mtype = { WAIT, FAIL, COMMIT, WRITE_OUT, TAIL, EMPTY };

#define COMMIT_IS_DUE \
    (COMMIT_NEEDED && !leading && \
     (late_commit || !oldest_dirty || ((wanted & ME(NO_TXN_ROOM)) && txn_used > 0) || \
      (WANTS_ROOM && (stuck || LIVE <= failed_rows || dirty * 2 > images_used))))
#ifdef TAIL_WHEN_IDLE /* as it once was: who waits for images is refused when nobody reads */
#define TAIL_HELPS (wanted & ME(NO_LOG))
#else
#define TAIL_HELPS WANTS_ROOM
#endif
#define TAIL_IS_DUE \
    (TAIL_GAIN > 0 && \
     ((TAIL_HELPS && !ROWS_TO_WRITE) || \
      ((wanted & ME(NO_LOG)) && LOG_USED_BY_LIVE + RESERVED + wanted_log + FIXED <= RING) || \
      late_tail || (!ROWS_TO_WRITE && late_idle)))
#define EMPTY_IS_DUE (LIVE == 0 && LOG_USED > 1 && (wanted & ME(NO_LOG)) && !COMMIT_NEEDED)
#define WRITE_OUT_IS_DUE (ROWS_TO_WRITE && (WANTS_ROOM || late_idle))

#ifdef REFILL_SPINS /* as it once was */
#define REFILL_TIMER (failed_rows > 0)
#else
#define REFILL_TIMER (failed_rows > 0 && !stuck && !reclaim_error)
#endif

inline choose_reclaim(work)
{
    if
    :: reclaim_error || (stuck && !late_retry) -> work = WAIT
    :: !reclaim_error && stuck && late_retry -> work = (in_batch -> WRITE_OUT : TAIL)
    :: else ->
        if
        :: late_refill -> reclaim_try_unfillable()
        :: else
        fi;
        work = (TAIL_IS_DUE -> TAIL
                : (WRITE_OUT_IS_DUE -> WRITE_OUT : (EMPTY_IS_DUE -> EMPTY : WAIT)))
    fi
}

inline log_thread_choose(work, deadline)
{
    deadline = 0;
    if
#ifdef PARKED_TAKES_ROLE
    :: parked_rows ->
        work = (cell_granted -> WRITE_OUT : (COMMIT_IS_DUE && !failing && !LACKS -> COMMIT : WAIT))
#else
    :: parked_rows -> work = (cell_granted -> WRITE_OUT : WAIT) /* R3 */
#endif
    :: !parked_rows && LACKS -> work = (TAIL_IS_DUE && !failing -> TAIL : WAIT)
    :: !parked_rows && !LACKS && failing ->
        work = ((fail_done || (stuck && !late_retry)) -> WAIT : FAIL);
        deadline = !fail_done
    :: else ->
        if
        :: WANTS_ROOM -> log_space_serve()
        :: else
        fi;
        if
        :: COMMIT_IS_DUE -> work = COMMIT
        :: else ->
            choose_reclaim(work);
            deadline = /* next_deadline */
                (COMMIT_NEEDED && !leading) || stuck || REFILL_TIMER ||
                (!reclaim_error && (ROWS_TO_WRITE || TAIL_GAIN > 0))
        fi
    fi;
    deadline = (work == WAIT -> deadline : 0);
    late_commit = 0;
    late_idle = 0;
    late_tail = 0;
    late_retry = 0;
    late_refill = 0;
    wake = work == WAIT;
    printf("log thread: %e, deadline %d\n", work, deadline)
}

/* ---- threads -------------------------------------------------------------------------------- */

/* Within an atomic; the answer is in answer[_pid]. */
inline journal_reserve(data, meta)
{
    d_step {
        data_blocks[_pid] = data;
        meta_blocks[_pid] = meta;
        if
        :: REFUSAL -> data_blocks[_pid] = 0; meta_blocks[_pid] = 0; answer[_pid] = REFUSED
        :: else ->
            waiting[parked] = _pid;
            parked++;
            collector_serve(); /* collector_reserve_or_park */
            if
            :: !answer[_pid] -> log_space_serve()
            :: else
            fi;
            journal_verify()
        fi
    };
    do
    :: answer[_pid] -> break
    :: else ->
        granted = granted | ME(_pid); /* park_wait */
        printf("user %d parks for %d + %d, wanted %d\n", _pid, data, meta, wanted);
        !(granted & ME(_pid))
    od
}

inline request_ends()
{
#if defined(SHARED_POOL) || defined(SEQ19)
    units_held--;
#endif
#ifdef SEQ17
    inode_lock = 0;
#endif
#ifdef SEQ18
    row_cell = (_pid == 0 -> 0 : row_cell);
#endif
    at_work = at_work & ~ME(_pid)
}

active [USERS] proctype user()
{
    byte rounds;
    byte err;

end:
progress: /* each request was answered */
    do
    :: atomic {
           at_work = at_work | ME(_pid);
#if defined(SHARED_POOL) || defined(SEQ19)
           naive_wait(_pid);
           units_held++;
#endif
#ifdef SEQ17 /* a truncate between two steps */
           if
           :: _pid == 0 -> naive_wait(_pid); inode_lock = 1
           :: else
           fi;
#endif
#ifdef SEQ18 /* a scrub */
           if
           :: _pid == 0 -> naive_wait(_pid); row_cell = 1
           :: else
           fi;
#endif
#ifdef ABBA /* one after the other, and not both in the same order */
           if
           :: _pid == 0 -> journal_reserve(1, 0)
           :: else -> journal_reserve(0, 1)
           fi
       };
       atomic {
           if
           :: answer[_pid] == GRANTED ->
               answer[_pid] = 0;
               data_blocks[_pid] = 0; /* they stay outstanding */
               meta_blocks[_pid] = 0;
               if
               :: _pid == 0 -> journal_reserve(0, 1)
               :: else -> journal_reserve(1, 0)
               fi;
               if
               :: answer[_pid] == GRANTED -> data_blocks[_pid] = 1; meta_blocks[_pid] = 1
               :: else
               fi
           :: else
           fi
#else
           if
           :: journal_reserve(1, 1)
           :: journal_reserve(1, 0)
           fi
#endif
       };
       if
       :: atomic { answer[_pid] == REFUSED -> answer[_pid] = 0; request_ends() }
       :: atomic {
              answer[_pid] == GRANTED ->
              answer[_pid] = 0;
#ifdef SEQ17
              if
              :: _pid == 1 -> naive_wait(_pid); inode_lock = 1
              :: else
              fi;
#endif
              op_lock_take(_pid) /* txn_lock */
          };
          atomic { /* the operation, then txn_end */
              if /* journal_write */
              :: choice = _pid /* row 0, a block for each user */
              :: _pid == 0 -> choice = 2
              :: _pid == 1 -> choice = NONE /* nothing */
              fi;
              if /* journal_txn_join */
              :: meta_blocks[_pid] > 0 -> choice_too = 1
              :: skip
              fi;
              d_step {
                  if
                  :: choice != NONE -> logged_stripe_write(_pid, choice); note_dirty()
                  :: else
                  fi;
                  if
                  :: choice_too -> journal_txn_join(_pid)
                  :: else
                  fi;
                  op_lock = 0;
                  choice = 0;
                  choice_too = 0;
                  journal_verify()
              }
          };
          atomic { journal_release(_pid); request_ends() }
       fi
    :: atomic { at_work = at_work | ME(_pid); behind[_pid] = 1 }; /* journal_commit */
       commit_wait(_pid, err, rounds);
       atomic { err = 0; at_work = at_work & ~ME(_pid) }
    od
}

active proctype log_thread()
{
    mtype work = WAIT;
    byte to;
    byte rounds;
    bit all;
    byte err;
    bit deadline;

    do
    :: atomic {
           err = 0;
           if
           :: deadline -> /* timed out */
                late_commit = 1;
                late_idle = 1;
                late_retry = 1;
                late_refill = 1
           :: else ->
               if
               :: late_commit = 1
               :: skip
               fi;
               if
               :: late_idle = 1
               :: late_tail = 1
               :: skip
               fi;
               if
               :: late_retry = 1
               :: late_refill = 1
               :: skip
               fi
           fi;
           d_step {
               all = WANTS_ROOM;
               log_thread_choose(work, deadline);
               all = all && work == WRITE_OUT
           }
       };
       if
       :: work == WAIT ->
end_wait:
           if
           :: !wake -> deadline = 0
           :: deadline -> wake = 0 /* timed out */
           fi
       :: work == FAIL -> journal_fail_finish(err)
       :: work == COMMIT ->
           commit_try(LOG_THREAD, err, rounds)
       :: work == WRITE_OUT -> reclaim_batch(all, err)
       :: work == TAIL -> reclaim_move_tail(err, to)
       :: work == EMPTY -> reclaim_make_empty(err, to)
       fi
    od
}

/* Readers under row cells: they wait for I/O only, and end. One that comes when a row of the batch
 * is parked stands behind it, and may have the client's lock. And those who have the units or
 * buffers: look_again, or whoever else has some. */
active proctype others()
{
end:
    do
    :: atomic { reader -> reader = 0; cells_held = 1; cell_granted = 1; wake = 0 } /* cell_granted */
    :: atomic { LOCKED_READER && parked_rows && op_lock == 0 -> op_lock = 1 + READER }
    :: atomic { op_lock == 1 + READER && !parked_rows -> op_lock = 0 }
    :: d_step { no_unit -> no_unit = 0; log_space_serve() } /* freed */
    :: d_step { no_buffer -> no_buffer = 0; log_space_serve() }
    od
}

/* A thread that can go on by itself: it does not sleep, nor stand before the client's lock. Who does
 * I/O can. A timer is nobody. */
#define GOES_ON(t) \
    (!((granted | ended | role_moved | written) & ME(t)) && (!(op_waits & ME(t)) || op_lock == 0) && \
     (!(naive & ME(t)) || NAIVE))
#define SOMEBODY_GOES_ON \
    (reader || no_unit || no_buffer || (op_lock == 1 + READER && !parked_rows) || \
     ((at_work & ME(0)) && GOES_ON(0)) || ((at_work & ME(1)) && GOES_ON(1)) || \
     (!wake && GOES_ON(LOG_THREAD)))

/* Nobody is left waiting for a timer, or for what another request might happen to wake. */
active proctype monitor()
{
end:
    atomic { at_work != 0 && !SOMEBODY_GOES_ON -> assert(false) }
}
