/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of announced memory, and the account of what backends registered of it.
 *
 *   announce:  place free -> being filled -> serial N       find:  serial, fields, serial again
 *   withdraw:  serial N -> free
 *
 * Invariants:
 *   MR1  a serial is given once. A reader that sees the same serial before and after the fields has
 *        seen the fields of that announcement (all accesses are sequentially consistent).
 *   MR2  bytes counted in are counted out by the same queue, at the latest when it is closed.
 *
 * Happy path: a few ranges announced while starting up, found by every request.
 * Failure modes: the table is full: the range stays unannounced, its transfers are as ever.
 * Thread: any.
 */
#include "member_buffers.h"

#include <stdatomic.h>
#include <string.h>

#include "r5fs/base/msg.h"
#include "r5fs/base/units.h"

#define MODULE        "member_io"
#define SERIAL_FREE   UINT64_C(0)
#define SERIAL_FILLED UINT64_MAX /* being filled */

struct range {
    _Atomic uint64_t serial;
    _Atomic uintptr_t base;
    _Atomic size_t piece_bytes;
    _Atomic size_t bytes;
};

static struct range ranges[IO_BUFFERS_RANGES];
static _Atomic uint64_t last_serial;

static _Atomic uint64_t registered_bytes;
static _Atomic uint64_t refused_pieces;
static _Atomic uint64_t transfers;

void io_buffers_announce(void *address, size_t piece_bytes, uint32_t pieces)
{
    R5_CHECK(piece_bytes > 0 && pieces > 0);
    for (uint32_t i = 0; i < IO_BUFFERS_RANGES; i++) {
        struct range *range = &ranges[i];
        uint64_t expected = SERIAL_FREE;
        if (atomic_compare_exchange_strong(&range->serial, &expected, SERIAL_FILLED)) {
            size_t joined = (pieces - 1) / IO_BUFFERS_PIECES + 1;
            atomic_store(&range->base, (uintptr_t)address);
            atomic_store(&range->piece_bytes, piece_bytes * joined);
            atomic_store(&range->bytes, piece_bytes * pieces);
            atomic_store(&range->serial, atomic_fetch_add(&last_serial, 1) + 1); /* MR1 */
            return;
        }
    }
    msg_debug(MODULE, "not_announced cause=no place bytes=%zu", piece_bytes * pieces);
}

void io_buffers_withdraw(const void *address)
{
    for (uint32_t i = 0; i < IO_BUFFERS_RANGES; i++) {
        struct range *range = &ranges[i];
        uint64_t serial = atomic_load(&range->serial);
        if (serial != SERIAL_FREE && serial != SERIAL_FILLED &&
            atomic_load(&range->base) == (uintptr_t)address) {
            atomic_store(&range->serial, SERIAL_FREE);
            return;
        }
    }
}

static bool find_in(uint32_t index, uintptr_t address, size_t bytes, struct io_piece *out_piece)
{
    struct range *range = &ranges[index];
    uint64_t serial = atomic_load(&range->serial);

    if (serial == SERIAL_FREE || serial == SERIAL_FILLED) {
        return false;
    }
    uintptr_t base = atomic_load(&range->base);
    size_t piece_bytes = atomic_load(&range->piece_bytes);
    size_t whole = atomic_load(&range->bytes);
    if (atomic_load(&range->serial) != serial) { /* MR1 */
        return false;
    }
    if (address < base || address - base >= whole || bytes > whole - (address - base)) {
        return false;
    }
    size_t piece = (address - base) / piece_bytes;
    size_t start = piece * piece_bytes;
    if (address - base - start + bytes > piece_bytes) {
        return false;
    }
    *out_piece = (struct io_piece){
        .range = index,
        .piece = (uint32_t)piece,
        .serial = serial,
        .memory = {.iov_base = (void *)(base + start),
                   .iov_len = (size_t)min_u64(piece_bytes, whole - start)},
    };
    return true;
}

bool io_buffers_find(const void *address, size_t bytes, struct io_piece *out_piece)
{
    for (uint32_t i = 0; i < IO_BUFFERS_RANGES; i++) {
        if (find_in(i, (uintptr_t)address, bytes, out_piece)) {
            return true;
        }
    }
    return false;
}

/* ---- what is registered -------------------------------------------------------------------- */

void io_registered_add(uint64_t bytes)
{
    atomic_fetch_add_explicit(&registered_bytes, bytes, memory_order_relaxed);
}

void io_registered_remove(uint64_t bytes)
{
    uint64_t before = atomic_fetch_sub_explicit(&registered_bytes, bytes, memory_order_relaxed);
    R5_CHECK(before >= bytes); /* MR2 */
}

void io_registered_refused(int error)
{
    if (atomic_fetch_add_explicit(&refused_pieces, 1, memory_order_relaxed) == 0) {
        /* Said once: every queue meets the same limit. */
        msg_debug(MODULE,
                  "buffers unregistered cause=%s (hint: raise RLIMIT_MEMLOCK)",
                  strerrordesc_np(-error));
    }
}

void io_registered_used(void)
{
    atomic_fetch_add_explicit(&transfers, 1, memory_order_relaxed);
}

void io_registered_get(struct io_registered *out_registered)
{
    *out_registered = (struct io_registered){
        .bytes = atomic_load_explicit(&registered_bytes, memory_order_relaxed),
        .refused = atomic_load_explicit(&refused_pieces, memory_order_relaxed),
        .transfers = atomic_load_explicit(&transfers, memory_order_relaxed),
    };
}
