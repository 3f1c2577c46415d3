/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A new array on files that exist: what sizes it gets, and its superblocks.
 *
 *   member    | 4K | superblock | .. bad-block list .. | 1 MiB: checksums .. | data_offset: data |
 *   journal   | 4K | superblock | .. bad-block list .. | 1 MiB: ring                             |
 *
 * The data offset follows mdadm's rule (headroom in proportion to the device) and leaves room for a
 * checksum region besides: 1/1024 of the device in whole MiB, and one more.
 * Invariants: C1 device numbers are slots, the journal's is the number of members. C2 ctime, size,
 * shape, events and roles are equal on all devices. C3 the members are durable before the journal
 * is written, so a journal that decodes has all its members.
 * Failure modes: one line in `out_why`;
 * files may then hold superblocks of an array that never was, which a second create overwrites.
 * Thread: the caller's; the array is in use by nobody.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "member.h"
#include "r5fs/base/env.h"
#include "r5fs/base/line.h"
#include "r5fs/raid/array.h"

#define MIB_BYTES            UINT64_C(1048576)
#define MIB_SECTORS          (MIB_BYTES / SECTOR_BYTES)
#define HEADROOM_SECTORS_MAX (128 * MIB_SECTORS)
#define HEADROOM_SHARE_SHIFT 10 /* of the device: 1/1024 */
#define HEADROOM_CHUNKS_MIN  4u
#define SUPER_AREA_SECTORS   24u /* what mdadm counts before the headroom */
#define CHECKSUM_SHARE       1024u
#define JOURNAL_OFFSET_BYTES MIB_BYTES
#define JOURNAL_RING_MIN     MIB_BYTES /* what a log needs to run is the journal's to say */
#define FRONT_BYTES          65536u /* written by create: boot block, superblock, bad-block list */
#define FIRST_EVENTS         0u

static int refuse(char *out_why, int error, const char *format, ...) R5_PRINTF(3, 4);

static int refuse(char *out_why, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line_format_list(out_why, ARRAY_WHY_BYTES, format, args);
    va_end(args);
    return error;
}

static int check_shape(const struct array_create *create, char *out_why)
{
    if (create->member_count < MEMBERS_MIN || create->member_count > MEMBERS_MAX) {
        return refuse(out_why,
                      -EINVAL,
                      "%" PRIu32 " members: RAID5 needs %u to %u (hint: name one file for each)",
                      create->member_count,
                      MEMBERS_MIN,
                      MEMBERS_MAX);
    }
    uint32_t chunk = create->chunk_sectors;
    if (chunk < BLOCK_SECTORS || chunk > ARRAY_CHUNK_MAX / SECTOR_BYTES ||
        (chunk & (chunk - 1)) != 0) {
        return refuse(out_why,
                      -EINVAL,
                      "chunk of %" PRIu64
                      " bytes: not a power of two from 4 KiB to 64 MiB (hint: --chunk 64K)",
                      (uint64_t)chunk * SECTOR_BYTES);
    }
    if (strlen(create->name) > MD_NAME_BYTES) {
        return refuse(out_why,
                      -EINVAL,
                      "name %s: longer than %u bytes (hint: a shorter --label)",
                      create->name,
                      MD_NAME_BYTES);
    }
    return 0;
}

static uint64_t mdadm_offset_sectors(uint64_t device_sectors, uint32_t chunk_sectors)
{
    uint64_t headroom = HEADROOM_SECTORS_MAX;
    while (headroom << HEADROOM_SHARE_SHIFT > device_sectors &&
           headroom >= (uint64_t)HEADROOM_CHUNKS_MIN * chunk_sectors) {
        headroom /= 2;
    }
    return round_up(SUPER_AREA_SECTORS + headroom, MIB_SECTORS);
}

static uint64_t data_offset_bytes(uint64_t device_bytes, uint32_t chunk_sectors)
{
    uint64_t with_checksums =
        MIB_BYTES + round_up(device_bytes / CHECKSUM_SHARE, MIB_BYTES) + MIB_BYTES;
    uint64_t mdadm =
        mdadm_offset_sectors(device_bytes / SECTOR_BYTES, chunk_sectors) * SECTOR_BYTES;
    return max_u64(with_checksums, mdadm);
}

int array_plan(const struct array_create *create,
               const uint64_t *member_sizes,
               uint64_t journal_size,
               struct array_plan *out_plan,
               char *out_why)
{
    int error = check_shape(create, out_why);
    if (error != 0) {
        return error;
    }
    uint32_t smallest = 0;
    for (uint32_t i = 1; i < create->member_count; i++) {
        smallest = member_sizes[i] < member_sizes[smallest] ? i : smallest;
    }
    uint64_t chunk_bytes = (uint64_t)create->chunk_sectors * SECTOR_BYTES;
    struct array_plan plan = {
        .data_offset_bytes = data_offset_bytes(member_sizes[smallest], create->chunk_sectors),
    };
    if (member_sizes[smallest] < plan.data_offset_bytes + chunk_bytes) {
        return refuse(out_why,
                      -EINVAL,
                      "%s: %" PRIu64 " bytes are too small for a member, at least %" PRIu64
                      " are needed (hint: --size)",
                      create->member_paths[smallest],
                      member_sizes[smallest],
                      plan.data_offset_bytes + chunk_bytes);
    }
    plan.member_data_bytes =
        round_down(member_sizes[smallest] - plan.data_offset_bytes, chunk_bytes);
    plan.volume_bytes = plan.member_data_bytes * (create->member_count - 1);
    plan.checksum_region_bytes = plan.data_offset_bytes - MIB_BYTES;
    if (create->journal_path != NULL) {
        if (journal_size < JOURNAL_OFFSET_BYTES + JOURNAL_RING_MIN) {
            return refuse(out_why,
                          -EINVAL,
                          "%s: %" PRIu64 " bytes are too small for a journal (hint: "
                          "--journal-size 64M)",
                          create->journal_path,
                          journal_size);
        }
        plan.journal_offset_bytes = JOURNAL_OFFSET_BYTES;
        plan.journal_bytes = round_down(journal_size - JOURNAL_OFFSET_BYTES, BLOCK_BYTES);
    }
    *out_plan = plan;
    return 0;
}

/* ---- write --------------------------------------------------------------------------------- */

struct creation {
    const struct array_create *create;
    struct io_queue *queue;
    struct md_device *devices; /* members by slot, then the journal */
    uint32_t device_count;
    struct array_plan plan;
    uint8_t *front; /* FRONT_BYTES, all zero but the superblock */
    char *out_why;
};

static int open_device(struct creation *creation, uint32_t index)
{
    const struct array_create *create = creation->create;
    struct md_device *device = &creation->devices[index];
    struct io_open_options options = {
        .lock = true,
        .probe_direct = true,
        .held_fd = create->held_fds != NULL ? &create->held_fds[index] : NULL,
    };
    int holder_pid = 0;
    device->path =
        index < create->member_count ? create->member_paths[index] : create->journal_path;
    int error = io_file_open(&device->file, device->path, &options, &holder_pid);
    if (error == -EBUSY) {
        return refuse(creation->out_why,
                      error,
                      "%s: in use, or named twice (hint: fuser %s)",
                      device->path,
                      device->path);
    }
    if (error != 0) {
        return refuse(creation->out_why,
                      error,
                      "%s: %s (hint: check the path, its owner and mode)",
                      device->path,
                      strerror(-error));
    }
    device->open = true;
    return 0;
}

static int open_and_plan(struct creation *creation)
{
    const struct array_create *create = creation->create;
    uint64_t sizes[MEMBERS_MAX] = {0};
    uint64_t journal_size = 0;
    for (uint32_t i = 0; i < creation->device_count; i++) {
        int error = open_device(creation, i);
        if (error != 0) {
            return error;
        }
        uint64_t size = creation->devices[i].file.size_bytes;
        if (i < create->member_count) {
            sizes[i] = size;
        } else {
            journal_size = size;
        }
    }
    return array_plan(create, sizes, journal_size, &creation->plan, creation->out_why);
}

static void fill_common(const struct creation *creation, struct md_superblock *super)
{
    const struct array_create *create = creation->create;
    uint32_t members = create->member_count;
    memset(super, 0, sizeof(*super));
    super->features = create->journal_path != NULL ? MD_FEATURE_JOURNAL : 0;
    super->set_uuid = create->uuid;
    memcpy(super->name, create->name, strlen(create->name));
    /* Whole seconds: mdadm compares ctime between the devices. */
    super->ctime = md_time_seconds(md_time_pack(env_realtime_ns()));
    super->utime = super->ctime;
    super->level = MD_LEVEL_RAID5;
    super->layout = (uint32_t)create->layout;
    super->size_sectors = creation->plan.member_data_bytes / SECTOR_BYTES;
    super->chunk_sectors = create->chunk_sectors;
    super->raid_disks = members;
    super->super_sector = MD_SUPER_SECTOR;
    super->bblog_sectors = MD_BAD_BLOCKS_SECTORS;
    super->bblog_offset_sectors = MD_BAD_BLOCKS_OFFSET;
    super->events = FIRST_EVENTS;
    super->resync_offset = MD_CLEAN;
    super->max_dev = MD_ROLES_ONE_SECTOR;
    for (uint32_t dev = 0; dev < MD_ROLES_MAX; dev++) {
        super->roles[dev] = dev < members ? (uint16_t)dev : (uint16_t)MD_ROLE_SPARE;
    }
    if (create->journal_path != NULL) {
        super->roles[members] = MD_ROLE_JOURNAL;
    }
}

static void fill_own(const struct creation *creation, uint32_t index)
{
    struct md_device *device = &creation->devices[index];
    struct md_superblock *super = &device->super;
    bool is_journal = index == creation->create->member_count;
    super->dev_number = index;
    super->device_uuid = uuid_make_random();
    uint64_t offset =
        is_journal ? creation->plan.journal_offset_bytes : creation->plan.data_offset_bytes;
    super->data_offset_sectors = offset / SECTOR_BYTES;
    super->data_size_sectors =
        round_down(device->file.size_bytes - offset, BLOCK_BYTES) / SECTOR_BYTES;
}

static int write_device(struct creation *creation, uint32_t index)
{
    struct md_device *device = &creation->devices[index];
    fill_own(creation, index);
    memset(creation->front, 0, FRONT_BYTES);
    md_super_encode(&device->super, creation->front + MD_SUPER_OFFSET_BYTES);
    int error = io_write(creation->queue, &device->file, 0, creation->front, FRONT_BYTES);
    if (error == 0) {
        error = io_flush(creation->queue, &device->file);
    }
    if (error != 0) {
        return refuse(creation->out_why,
                      error,
                      "%s: superblock not written: %s (hint: see the system log)",
                      device->path,
                      strerror(-error));
    }
    return 0;
}

static int write_all(struct creation *creation)
{
    struct md_superblock *common = &creation->devices[0].super;
    fill_common(creation, common);
    for (uint32_t i = 1; i < creation->device_count; i++) {
        creation->devices[i].super = *common;
    }
    for (uint32_t i = 0; i < creation->device_count; i++) {
        int error = write_device(creation, i); /* the journal is the last (C3) */
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

int array_create(const struct array_create *create, char *out_why)
{
    int error = check_shape(create, out_why);
    if (error != 0) {
        return error;
    }
    struct creation creation = {
        .create = create,
        .device_count = create->member_count + (create->journal_path != NULL),
        .out_why = out_why,
    };
    struct arena scratch;
    arena_init_growing(&scratch);
    error = io_queue_open(&creation.queue, &scratch, 1);
    if (error != 0) {
        arena_fini(&scratch);
        return refuse(
            out_why, error, "I/O queue: %s (hint: try -o backend=threads)", strerror(-error));
    }
    creation.devices = arena_take_array(&scratch, struct md_device, creation.device_count);
    creation.front = arena_take(&scratch, FRONT_BYTES, BLOCK_BYTES);
    error = open_and_plan(&creation);
    if (error == 0) {
        error = write_all(&creation);
    }
    for (uint32_t i = 0; i < creation.device_count; i++) {
        if (creation.devices[i].open) {
            io_file_close(&creation.devices[i].file);
        }
    }
    io_queue_close(creation.queue);
    arena_fini(&scratch);
    return error;
}
