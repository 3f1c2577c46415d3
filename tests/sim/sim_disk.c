/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks in memory behind io_backend_ops, with the honesty of real ones: what was written is seen at
 * once and is safe only after a flush.
 *
 *   submit -> in flight -- due --> writes: seen, on the volatile list -- flush --> stable
 *                '----------- power cut: each is kept, lost or torn at a sector ------^
 *
 * Invariants:
 *   SD1  `seen` is `stable` with the volatile list laid over it, in the order of completion.
 *   SD2  a flush makes stable what had completed when it was submitted, and nothing else for sure.
 *   SD3  a cut decides for each disk and each write on its own, also for writes in flight.
 *   SD4  what is lent to a write must not change until it is done: it is compared.
 *
 * Happy path: submit, block until something of the queue is due, run `done`. Failure modes: as
 * planned by sim_disk_kill and the like; a changed buffer is a failure of the seed.
 * Thread: the one there is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "member_backend.h"
#include "r5fs/base/units.h"
#include "sim_internal.h"

#define PATH_BYTES  32
#define FLIGHT_MAX  4096u
#define HURRY_NS    50000u
#define SLOW_ONE_IN 64u
#define SLOW_FACTOR 20u
#define PPM         1000000u

/* A write that a power cut may still undo. */
struct volatile_write {
    struct volatile_write *newer;
    uint64_t done_order;
    uint64_t offset;
    size_t bytes;
    uint8_t data[];
};

struct disk {
    uint64_t bytes;
    uint8_t **stable; /* pages, NULL: zeros */
    uint8_t **seen;   /* SD1; the same pages where nothing differs */
    struct volatile_write *oldest;
    struct volatile_write *newest;
    uint64_t stall_ns;
    uint32_t reads_ppm;
    uint32_t writes_ppm;
    uint32_t slowness; /* by the seed: 1 or more */
    bool made;
    bool open; /* somebody holds its lock */
    bool dead;
    bool absent;
    bool full;
    char path[PATH_BYTES];
};

struct flight {
    struct io_request *request;
    struct sim_queue *queue;
    struct disk *disk;
    uint64_t due_ns;
    uint64_t order; /* of submission */
    struct volatile_write *write;
};

struct sim_queue {
    struct io_queue queue;
    struct list_node finished;
};

static struct disk disks[SIM_DISKS_MAX];
static struct flight flights[FLIGHT_MAX];
static unsigned flight_count;
static uint64_t next_due_ns;
static uint64_t order_now;
static uint64_t transfers;
static uint64_t delay_ns_max; /* 0: at once */
static bool finish_one;       /* io_wait runs one `done`, though more may be due */
static struct sim_random disk_random;

void sim_disk_begin(uint64_t seed)
{
    static const uint64_t delays_ns[] = {1, 2000, 50000, 1000000, 10000000};

    disk_random.state = seed;
    delay_ns_max = delays_ns[sim_below(&disk_random, sizeof(delays_ns) / sizeof(delays_ns[0]))];
    finish_one = sim_one_in(&disk_random, 2);
    for (unsigned i = 0; i < SIM_DISKS_MAX; i++) {
        disks[i].slowness = sim_one_in(&disk_random, 3) ? 1 + sim_below(&disk_random, 100) : 1;
    }
    flight_count = 0;
    next_due_ns = SIM_NEVER;
    transfers = 0;
}

/* ---- pages ---------------------------------------------------------------------------------- */

static uint8_t *page_new(void)
{
    uint8_t *page = malloc(BLOCK_BYTES);

    R5_CHECK(page != NULL);
    return page;
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

/* A page of `own` that no other table shares. */
static uint8_t *page_of_own(uint8_t **own, uint8_t *const *other, uint64_t page)
{
    static const uint8_t zeros[BLOCK_BYTES];

    if (own[page] != NULL && own[page] != other[page]) {
        return own[page];
    }
    uint8_t *fresh = page_new();
    memcpy(fresh, own[page] != NULL ? own[page] : zeros, BLOCK_BYTES);
    own[page] = fresh;
    return fresh;
}

static void
lay_over(uint8_t **own, uint8_t *const *other, uint64_t offset, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        uint64_t page = offset / BLOCK_BYTES;
        size_t skip = offset % BLOCK_BYTES;
        size_t piece = BLOCK_BYTES - skip < bytes ? BLOCK_BYTES - skip : bytes;

        if (own[page] != NULL || other[page] != NULL || !is_zero(data, piece)) {
            memcpy(page_of_own(own, other, page) + skip, data, piece);
        }
        offset += piece;
        data += piece;
        bytes -= piece;
    }
}

static void look(uint8_t *const *pages, uint64_t offset, uint8_t *out, size_t bytes)
{
    while (bytes > 0) {
        const uint8_t *page = pages[offset / BLOCK_BYTES];
        size_t skip = offset % BLOCK_BYTES;
        size_t piece = BLOCK_BYTES - skip < bytes ? BLOCK_BYTES - skip : bytes;

        if (page != NULL) {
            memcpy(out, page + skip, piece);
        } else {
            memset(out, 0, piece);
        }
        offset += piece;
        out += piece;
        bytes -= piece;
    }
}

/* ---- the volatile list ---------------------------------------------------------------------- */

static void write_complete(struct disk *disk, struct volatile_write *write)
{
    lay_over(disk->seen, disk->stable, write->offset, write->data, write->bytes);
    write->done_order = ++order_now;
    write->newer = NULL;
    if (disk->newest != NULL) {
        disk->newest->newer = write;
    } else {
        disk->oldest = write;
    }
    disk->newest = write;
}

static void make_stable(struct disk *disk, const struct volatile_write *write)
{
    lay_over(disk->stable, disk->seen, write->offset, write->data, write->bytes);
}

static void drop_oldest(struct disk *disk)
{
    struct volatile_write *write = disk->oldest;

    disk->oldest = write->newer;
    if (disk->oldest == NULL) {
        disk->newest = NULL;
    }
    free(write);
}

static void flush_complete(struct disk *disk, uint64_t submitted)
{
    while (disk->oldest != NULL && disk->oldest->done_order < submitted) { /* SD2 */
        make_stable(disk, disk->oldest);
        drop_oldest(disk);
    }
}

/* ---- power cut ------------------------------------------------------------------------------ */

/* What a disk does with what it holds when the power goes. */
enum cut_manner {
    CUT_LOSES_ALL,
    CUT_KEEPS_ALL,
    CUT_ANY,
    CUT_MANNERS,
};

static void tear(struct disk *disk, const struct volatile_write *write)
{
    unsigned sectors = (unsigned)(write->bytes / SECTOR_BYTES);
    unsigned kind = sim_below(&disk_random, 3);
    unsigned edge = sim_below(&disk_random, sectors + 1);

    for (unsigned i = 0; i < sectors; i++) {
        bool kept = kind == 0 ? i < edge : kind == 1 ? i >= edge : sim_one_in(&disk_random, 2);
        size_t at = (size_t)i * SECTOR_BYTES;
        if (kept) {
            lay_over(disk->stable, disk->seen, write->offset + at, write->data + at, SECTOR_BYTES);
        }
    }
}

static void cut_write(struct disk *disk, const struct volatile_write *write, enum cut_manner manner)
{
    unsigned fate = sim_below(&disk_random, 3);

    if (manner == CUT_KEEPS_ALL || (manner == CUT_ANY && fate == 0)) {
        make_stable(disk, write);
    } else if (manner == CUT_ANY && fate == 1) {
        tear(disk, write);
    }
}

static void cut_flights(struct disk *disk, enum cut_manner manner)
{
    for (unsigned i = 0; i < flight_count; i++) {
        if (flights[i].disk == disk && flights[i].write != NULL) {
            cut_write(disk, flights[i].write, manner);
        }
    }
}

static void settle_pages(struct disk *disk)
{
    for (uint64_t page = 0; page < disk->bytes / BLOCK_BYTES; page++) {
        if (disk->seen[page] != disk->stable[page]) {
            free(disk->seen[page]);
            disk->seen[page] = disk->stable[page];
        }
    }
}

void sim_disk_settle(void)
{
    for (unsigned i = 0; i < SIM_DISKS_MAX; i++) {
        struct disk *disk = &disks[i];
        if (!disk->made) {
            continue;
        }
        enum cut_manner manner = (enum cut_manner)sim_below(&disk_random, CUT_MANNERS); /* SD3 */
        for (const struct volatile_write *w = disk->oldest; w != NULL; w = w->newer) {
            cut_write(disk, w, manner);
        }
        cut_flights(disk, manner);
        while (disk->oldest != NULL) {
            drop_oldest(disk);
        }
        settle_pages(disk);
        disk->open = false;
    }
    flight_count = 0;
    next_due_ns = SIM_NEVER;
}

/* ---- transfers ------------------------------------------------------------------------------ */

static void gather(const struct io_request *request, uint8_t *out)
{
    for (uint32_t i = 0; i < request->iovec_count; i++) {
        memcpy(out, request->iovecs[i].iov_base, request->iovecs[i].iov_len);
        out += request->iovecs[i].iov_len;
    }
}

static void scatter(const struct disk *disk, const struct io_request *request)
{
    uint64_t offset = request->offset_bytes;

    for (uint32_t i = 0; i < request->iovec_count; i++) {
        look(disk->seen, offset, request->iovecs[i].iov_base, request->iovecs[i].iov_len);
        offset += request->iovecs[i].iov_len;
    }
}

/* SD4 */
static void check_unchanged(const struct flight *flight)
{
    const uint8_t *copy = flight->write->data;

    for (uint32_t i = 0; i < flight->request->iovec_count; i++) {
        const struct iovec *piece = &flight->request->iovecs[i];
        SIM_EXPECT(memcmp(copy, piece->iov_base, piece->iov_len) == 0,
                   "a buffer changed during a write of %zu bytes at %llu of %s",
                   flight->write->bytes,
                   (unsigned long long)flight->write->offset,
                   flight->disk->path);
        copy += piece->iov_len;
    }
}

static bool is_unlucky(uint32_t ppm)
{
    return ppm != 0 && sim_below(&disk_random, PPM) < ppm;
}

static int judge(struct disk *disk, enum io_op op)
{
    bool reads = op == IO_READ;

    if (disk->dead || is_unlucky(reads ? disk->reads_ppm : disk->writes_ppm)) {
        return -EIO;
    }
    return disk->full && op == IO_WRITE ? -ENOSPC : 0;
}

static void carry_out(const struct flight *flight)
{
    struct io_request *request = flight->request;

    int result = judge(flight->disk, request->op);

    /* The owner sees the result when `done` runs, not earlier. */
    request->backend.transferred_bytes = (uint64_t)-result;
    if (request->op == IO_WRITE) {
        check_unchanged(flight);
    }
    if (result != 0) {
        free(flight->write);
        return;
    }
    switch (request->op) {
    case IO_READ: scatter(flight->disk, request); break;
    case IO_WRITE: write_complete(flight->disk, flight->write); break;
    case IO_FLUSH: flush_complete(flight->disk, flight->order); break;
    }
}

static void find_next_due(void)
{
    next_due_ns = SIM_NEVER;
    for (unsigned i = 0; i < flight_count; i++) {
        next_due_ns = flights[i].due_ns < next_due_ns ? flights[i].due_ns : next_due_ns;
    }
}

uint64_t sim_disk_due_ns(void)
{
    return next_due_ns;
}

/* The earliest first; among equals the one submitted first. */
static unsigned pick_due(void)
{
    unsigned first = 0;

    for (unsigned i = 1; i < flight_count; i++) {
        bool earlier =
            flights[i].due_ns < flights[first].due_ns ||
            (flights[i].due_ns == flights[first].due_ns && flights[i].order < flights[first].order);
        first = earlier ? i : first;
    }
    return first;
}

void sim_disk_hurry(void)
{
    delay_ns_max = delay_ns_max < HURRY_NS ? delay_ns_max : HURRY_NS;
}

void sim_disk_complete(uint64_t now_ns)
{
    while (next_due_ns <= now_ns) {
        unsigned at = pick_due();
        struct flight flight = flights[at];

        flights[at] = flights[--flight_count];
        find_next_due();
        order_now++;
        carry_out(&flight);
        list_add_tail(&flight.queue->finished, &flight.request->node);
        (void)sim_wake_all(flight.queue);
    }
}

/* ---- the backend ---------------------------------------------------------------------------- */

static int queue_open(struct io_queue **out_queue, struct arena *arena, uint32_t depth)
{
    struct sim_queue *queue = arena_take_array(arena, struct sim_queue, 1);

    (void)depth; /* a disk takes whatever comes */
    list_init(&queue->finished);
    *out_queue = &queue->queue;
    return 0;
}

static void queue_close(struct io_queue *queue)
{
    (void)queue; /* its memory is the arena's */
}

static struct volatile_write *copy_write(const struct disk *disk, const struct io_request *request)
{
    size_t bytes = (size_t)io_request_bytes(request);
    struct volatile_write *write = malloc(sizeof(*write) + bytes);

    R5_CHECK(write != NULL);
    *write = (struct volatile_write){.offset = request->offset_bytes, .bytes = bytes};
    SIM_EXPECT(bytes <= disk->bytes && request->offset_bytes <= disk->bytes - bytes,
               "a write of %zu bytes at %llu is beyond %s",
               bytes,
               (unsigned long long)request->offset_bytes,
               disk->path);
    gather(request, write->data);
    return write;
}

static uint64_t draw_delay(const struct disk *disk)
{
    uint64_t delay = (1 + sim_random(&disk_random) % delay_ns_max) * disk->slowness;

    return disk->stall_ns + (sim_one_in(&disk_random, SLOW_ONE_IN) ? delay * SLOW_FACTOR : delay);
}

static void submit(struct io_queue *queue, struct io_request *request)
{
    struct disk *disk = request->file->backend_data;

    SIM_EXPECT(request->op == IO_READ || !request->file->read_only,
               "a write to %s, opened for reading",
               disk->path);
    SIM_EXPECT(flight_count < FLIGHT_MAX, "more than %u transfers at once", FLIGHT_MAX);
    io_request_begin(request);
    struct flight *flight = &flights[flight_count++];
    *flight = (struct flight){
        .request = request,
        .queue = container_of(queue, struct sim_queue, queue),
        .disk = disk,
        .due_ns = sim_state.now_ns + draw_delay(disk),
        .order = ++order_now,
        .write = request->op == IO_WRITE ? copy_write(disk, request) : NULL,
    };
    next_due_ns = flight->due_ns < next_due_ns ? flight->due_ns : next_due_ns;
    transfers++;
    sim_figures->transfers++;
    sim_point(request->op == IO_READ    ? "submit read"
              : request->op == IO_WRITE ? "submit write"
                                        : "submit flush",
              disk->path);
}

static unsigned wait_done(struct io_queue *queue)
{
    struct sim_queue *own = container_of(queue, struct sim_queue, queue);
    unsigned done = 0;

    sim_point("io_wait", own);
    while (list_is_empty(&own->finished)) {
        (void)sim_block("io_wait", own, SIM_NEVER);
    }
    do {
        struct list_node *node = list_pop(&own->finished);
        R5_CHECK(node != NULL);
        struct io_request *request = container_of(node, struct io_request, node);
        request->result = -(int)request->backend.transferred_bytes;
        io_request_finish(queue, request);
        done++;
    } while (!list_is_empty(&own->finished) && !finish_one);
    return done;
}

static struct disk *disk_by_path(const char *path)
{
    for (unsigned i = 0; i < SIM_DISKS_MAX; i++) {
        if (disks[i].made && strcmp(disks[i].path, path) == 0) {
            return &disks[i];
        }
    }
    return NULL;
}

static int file_open(struct io_file *file,
                     const char *path,
                     const struct io_open_options *options,
                     int *out_holder_pid)
{
    struct disk *disk = disk_by_path(path);

    *out_holder_pid = 0;
    if (disk == NULL || disk->absent) {
        return -ENOENT;
    }
    if (disk->open && options->lock) {
        return -EBUSY;
    }
    disk->open = disk->open || options->lock;
    *file = (struct io_file){
        .fd = -1,
        .direct = true,
        .read_only = options->read_only,
        .size_bytes = disk->bytes,
        .path = path,
        .backend_data = disk,
    };
    return 0;
}

static void file_close(struct io_file *file)
{
    struct disk *disk = file->backend_data;

    for (unsigned i = 0; i < flight_count; i++) {
        SIM_EXPECT(flights[i].disk != disk, "%s is closed with transfers under way", disk->path);
    }
    disk->open = false;
}

const struct io_backend_ops sim_disk_ops = {
    .name = "simulator",
    .queue_open = queue_open,
    .queue_close = queue_close,
    .submit = submit,
    .wait = wait_done,
    .file_open = file_open,
    .file_close = file_close,
};

/* ---- plans ---------------------------------------------------------------------------------- */

const char *sim_disk_make(unsigned number, uint64_t bytes)
{
    struct disk *disk = &disks[number];
    uint64_t pages = bytes / BLOCK_BYTES;

    R5_CHECK(number < SIM_DISKS_MAX && !disk->made);
    *disk = (struct disk){.made = true, .slowness = 1, .bytes = pages * BLOCK_BYTES};
    (void)snprintf(disk->path, PATH_BYTES, "/simulated/disk%u", number); /* always fits */
    disk->stable = calloc(pages, sizeof(*disk->stable));
    disk->seen = calloc(pages, sizeof(*disk->seen));
    R5_CHECK(disk->stable != NULL && disk->seen != NULL);
    return disk->path;
}

const char *sim_disk_path(unsigned disk)
{
    return disks[disk].path;
}

void sim_disk_kill(unsigned disk)
{
    disks[disk].dead = true;
}

void sim_disk_revive(unsigned disk)
{
    disks[disk].dead = false;
    disks[disk].absent = false;
}

void sim_disk_set_absent(unsigned disk, bool absent)
{
    disks[disk].absent = absent;
}

void sim_disk_set_full(unsigned disk, bool full)
{
    disks[disk].full = full;
}

void sim_disk_set_error_rate(unsigned disk, uint32_t reads_ppm, uint32_t writes_ppm)
{
    disks[disk].reads_ppm = reads_ppm;
    disks[disk].writes_ppm = writes_ppm;
}

void sim_disk_set_stall(unsigned disk, uint64_t ns)
{
    disks[disk].stall_ns = ns;
}

void sim_disk_peek(unsigned disk, uint64_t offset, void *out, size_t bytes)
{
    look(disks[disk].seen, offset, out, bytes);
}

uint64_t sim_disk_transfers(void)
{
    return transfers;
}

static const char *op_name(enum io_op op)
{
    return op == IO_READ ? "read" : op == IO_WRITE ? "write" : "flush";
}

void sim_disk_print(void)
{
    for (unsigned i = 0; i < flight_count; i++) {
        const struct io_request *request = flights[i].request;
        (void)printf("  transfer %s %s at %llu due in %lld ns\n",
                     flights[i].disk->path,
                     op_name(request->op),
                     (unsigned long long)request->offset_bytes,
                     (long long)(flights[i].due_ns - sim_state.now_ns));
    }
}
