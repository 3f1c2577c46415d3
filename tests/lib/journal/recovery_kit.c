/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See recovery_kit.h. */
#include "recovery_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log_ring.h"
#include "meta_block.h"
#include "r5fs/base/endian.h"
#include "r5fs/base/env.h"
#include "recovery_replay.h"

#define COMMAND_BYTES     1024
#define JOURNAL_OFFSET    (UINT64_C(1) << 20) /* data_offset of journals we create */
#define SUPER_OFFSET      4096u
#define SUPER_BYTES       512u
#define SUPER_DATA_OFFSET 128u
#define SUPER_DATA_SIZE   136u
#define RING_BLOCKS_LEAST 256u /* that array_create allows */
#define SUPER_TAIL        152u
#define SUPER_CHECKSUM    216u
#define READ_STEP_BLOCKS  256u
#define NUMBERS_PER_BLOCK (BLOCK_BYTES / sizeof(uint64_t))

/* ---- files --------------------------------------------------------------------------------- */

static void shell(const char *format, ...) R5_PRINTF(1, 2);

static void shell(const char *format, ...)
{
    char command[COMMAND_BYTES];
    va_list args;

    va_start(args, format);
    int length = vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    ck_assert(length > 0 && length < (int)sizeof(command));
    ck_assert_msg(system(command) == 0, "failed: %s", command);
}

static void kit_begin(struct recovery_kit *kit, uint32_t members, bool journal)
{
    memset(kit, 0, sizeof(*kit));
    kit->members = members;
    kit->journal = journal;
    ck_assert_int_gt(snprintf(kit->dir, sizeof(kit->dir), "%s/recovery.XXXXXX", R5_TEST_TMP), 0);
    ck_assert_ptr_nonnull(mkdtemp(kit->dir));
    for (uint32_t i = 0; i < members + 1; i++) {
        int length = i < members
                         ? snprintf(kit->paths[i], KIT_PATH_BYTES, "%.200s/m%u.img", kit->dir, i)
                         : snprintf(kit->paths[i], KIT_PATH_BYTES, "%.200s/journal.img", kit->dir);
        ck_assert(length > 0 && length < KIT_PATH_BYTES);
    }
    arena_init_growing(&kit->arena);
    ck_assert_int_eq(io_queue_open(&kit->queue, &kit->arena, 64), 0);
}

static int open_file(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);

    ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
    return fd;
}

static void file_make(const char *path, uint64_t bytes)
{
    int fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);

    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    ck_assert_int_eq(close(fd), 0);
}

static void file_read(const char *path, uint64_t offset, void *out, size_t count)
{
    int fd = open_file(path, O_RDONLY);

    ck_assert_int_eq(pread(fd, out, count, (off_t)offset), (ssize_t)count);
    ck_assert_int_eq(close(fd), 0);
}

static void file_write(const char *path, uint64_t offset, const void *bytes, size_t count)
{
    int fd = open_file(path, O_WRONLY);

    ck_assert_int_eq(pwrite(fd, bytes, count, (off_t)offset), (ssize_t)count);
    ck_assert_int_eq(close(fd), 0);
}

static void learn_offsets(struct recovery_kit *kit)
{
    for (uint32_t i = 0; i < kit->members + (kit->journal ? 1 : 0); i++) {
        le64 sectors;
        if (access(kit->paths[i], F_OK) == 0) {
            file_read(kit->paths[i], SUPER_OFFSET + SUPER_DATA_OFFSET, &sectors, sizeof(sectors));
            kit->data_offset[i] = le64_get(sectors) * SECTOR_BYTES;
        }
    }
}

uint32_t kit_journal(const struct recovery_kit *kit)
{
    return kit->members;
}

/* Changes one 64-bit field of the journal's superblock, checksum and all. */
static void super_edit(struct recovery_kit *kit, uint32_t offset, uint64_t value)
{
    uint8_t super[SUPER_BYTES];
    le64 field = le64_make(value);
    le32 sum = le32_make(0);
    uint64_t total = 0;
    const char *path = kit->paths[kit_journal(kit)];

    file_read(path, SUPER_OFFSET, super, sizeof(super));
    memcpy(super + offset, &field, sizeof(field));
    memcpy(super + SUPER_CHECKSUM, &sum, sizeof(sum));
    for (size_t i = 0; i < sizeof(super); i += sizeof(le32)) {
        le32 word;
        memcpy(&word, super + i, sizeof(word));
        total += le32_get(word);
    }
    sum = le32_make((uint32_t)((total & UINT32_MAX) + (total >> 32)));
    memcpy(super + SUPER_CHECKSUM, &sum, sizeof(sum));
    file_write(path, SUPER_OFFSET, super, sizeof(super));
}

void kit_set_tail(struct recovery_kit *kit, struct log_block tail)
{
    super_edit(kit, SUPER_TAIL, tail.nr * BLOCK_SECTORS);
}

void kit_create(struct recovery_kit *kit, const struct kit_shape *shape)
{
    const char *members[KIT_FILES_MAX];

    kit_begin(kit, shape->members, true);
    for (uint32_t i = 0; i < shape->members; i++) {
        file_make(kit->paths[i], shape->member_bytes);
        members[i] = kit->paths[i];
    }
    file_make(kit->paths[shape->members],
              JOURNAL_OFFSET + max_u64(shape->ring_blocks, RING_BLOCKS_LEAST) * BLOCK_BYTES);
    struct array_create create = {
        .member_paths = members,
        .member_count = shape->members,
        .journal_path = kit->paths[shape->members],
        .chunk_sectors = shape->chunk_sectors,
        .layout = LAYOUT_LEFT_SYMMETRIC,
        .name = "test",
        .uuid = uuid_make_random(),
    };
    int error = array_create(&create, kit->why);
    ck_assert_msg(error == 0, "%s", kit->why);
    learn_offsets(kit);
    super_edit(kit, SUPER_DATA_SIZE, shape->ring_blocks * BLOCK_SECTORS);
    kit_assemble(kit, false, KIT_NO_SLOT);
    ck_assert_uint_eq(kit->ring_blocks, shape->ring_blocks);
    ck_assert_int_eq(journal_format(kit->array, kit->queue), 0);
    kit_close(kit);
    uint8_t meta[BLOCK_BYTES];
    kit_peek(kit, kit_journal(kit), 0, meta);
    kit->head = log_block(1);
    kit->seq = meta_block_seq(meta) + 1;
}

void kit_unpack(struct recovery_kit *kit, const char *name, uint32_t members, bool journal)
{
    kit_begin(kit, members, journal);
    shell("zstd -qdc '%s/golden/%s/images.tar.zst' | tar -C '%s' -xSf -",
          R5_TEST_DIR,
          name,
          kit->dir);
    learn_offsets(kit);
}

void kit_remove(struct recovery_kit *kit)
{
    kit_close(kit);
    io_queue_close(kit->queue);
    arena_fini(&kit->arena);
    shell("rm -rf '%s'", kit->dir);
}

void kit_assemble(struct recovery_kit *kit, bool read_only, uint32_t missing)
{
    const char *paths[KIT_FILES_MAX];
    struct array_assemble how = {
        .paths = paths,
        .read_only = read_only,
        .allow_degraded = true,
        .allow_no_journal = false,
        .arena = &kit->array_arena,
    };

    kit_close(kit);
    for (uint32_t i = 0; i < kit->members + (kit->journal ? 1 : 0); i++) {
        if (i != missing && access(kit->paths[i], F_OK) == 0) {
            paths[how.path_count++] = kit->paths[i];
        }
    }
    arena_init_growing(&kit->array_arena);
    int error = array_assemble(&how, kit->queue, &kit->array, kit->why);
    ck_assert_msg(error == 0, "%d: %s", error, kit->why);
    if (!read_only) {
        ck_assert_int_eq(array_start_writing(kit->array, kit->queue), 0);
    }
    kit->geometry = *array_geometry(kit->array);
    kit->uuid = array_uuid(kit->array);
    kit->seed = meta_block_seed(&kit->uuid);
    kit->ring_blocks = kit->journal ? array_journal_blocks(kit->array) : 0;
}

void kit_close(struct recovery_kit *kit)
{
    if (kit->array != NULL) {
        array_close(kit->array);
        arena_fini(&kit->array_arena);
        kit->array = NULL;
    }
}

/* ---- blocks -------------------------------------------------------------------------------- */

void kit_poke(struct recovery_kit *kit,
              uint32_t file,
              uint64_t block,
              uint32_t offset,
              const void *bytes,
              size_t count)
{
    file_write(
        kit->paths[file], kit->data_offset[file] + block * BLOCK_BYTES + offset, bytes, count);
}

void kit_peek(struct recovery_kit *kit, uint32_t file, uint64_t block, uint8_t *out)
{
    file_read(kit->paths[file], kit->data_offset[file] + block * BLOCK_BYTES, out, BLOCK_BYTES);
}

static void fill_page(uint8_t *page, uint64_t number)
{
    for (size_t i = 0; i < NUMBERS_PER_BLOCK; i++) {
        memcpy(page + i * sizeof(number), &number, sizeof(number));
    }
}

static uint64_t page_number(const uint8_t *page)
{
    uint64_t number = 0;

    memcpy(&number, page, sizeof(number));
    ck_assert_msg(memcmp(page, page + sizeof(number), BLOCK_BYTES - sizeof(number)) == 0,
                  "a page that is not one number");
    return number;
}

uint64_t kit_read_number(struct recovery_kit *kit, uint32_t file, uint64_t block)
{
    uint8_t page[BLOCK_BYTES];

    kit_peek(kit, file, block, page);
    return page_number(page);
}

void kit_write_number(struct recovery_kit *kit, uint32_t file, uint64_t block, uint64_t number)
{
    uint8_t page[BLOCK_BYTES];

    fill_page(page, number);
    kit_poke(kit, file, block, 0, page, sizeof(page));
}

struct log_block kit_unit(struct recovery_kit *kit,
                          const struct kit_payload *payloads,
                          uint32_t count,
                          uint32_t undurable)
{
    struct log_ring ring = {.blocks = kit->ring_blocks};
    struct log_block at = kit->head;
    uint8_t meta[BLOCK_BYTES];
    uint8_t page[BLOCK_BYTES];

    meta_block_start(meta, kit->seq, at);
    for (uint32_t i = 0; i < count; i++) {
        fill_page(page, payloads[i].number);
        uint32_t checksum = meta_block_page_checksum(kit->seed, page);
        if (payloads[i].type == LOG_PAYLOAD_DATA) {
            meta_block_add_data(meta, fs_block(payloads[i].at), checksum);
        } else {
            meta_block_add_parity(meta, member_block(payloads[i].at), checksum);
        }
        kit_poke(kit,
                 kit_journal(kit),
                 log_ring_advance(&ring, at, (uint64_t)i + 1).nr,
                 0,
                 page,
                 sizeof(page));
    }
    meta_block_finish(meta, kit->seed, undurable);
    kit_poke(kit, kit_journal(kit), at.nr, 0, meta, sizeof(meta));
    kit->head = log_ring_advance(&ring, at, (uint64_t)count + 1);
    kit->seq++;
    return at;
}

/* ---- all files ------------------------------------------------------------------------------- */

void kit_save(struct recovery_kit *kit, struct kit_images *out_images)
{
    memset(out_images, 0, sizeof(*out_images));
    for (uint32_t i = 0; i < kit->members + (kit->journal ? 1 : 0); i++) {
        struct stat status;
        if (stat(kit->paths[i], &status) != 0) {
            continue;
        }
        out_images->sizes[i] = (uint64_t)status.st_size;
        out_images->bytes[i] = malloc(out_images->sizes[i]);
        ck_assert_ptr_nonnull(out_images->bytes[i]);
        file_read(kit->paths[i], 0, out_images->bytes[i], out_images->sizes[i]);
    }
}

/* Writes only what differs: most of it does not, and disks are slow. */
static void file_restore(const char *path, const uint8_t *bytes, uint64_t size)
{
    uint8_t block[BLOCK_BYTES];
    int fd = open_file(path, O_RDWR);

    for (uint64_t at = 0; at < size; at += sizeof(block)) {
        size_t count = (size_t)min_u64(sizeof(block), size - at);
        ck_assert_int_eq(pread(fd, block, count, (off_t)at), (ssize_t)count);
        if (memcmp(block, bytes + at, count) != 0) {
            ck_assert_int_eq(pwrite(fd, bytes + at, count, (off_t)at), (ssize_t)count);
        }
    }
    ck_assert_int_eq(close(fd), 0);
}

void kit_restore(struct recovery_kit *kit, const struct kit_images *images)
{
    for (uint32_t i = 0; i < KIT_FILES_MAX; i++) {
        if (images->bytes[i] != NULL) {
            file_restore(kit->paths[i], images->bytes[i], images->sizes[i]);
        }
    }
}

bool kit_equals(struct recovery_kit *kit, const struct kit_images *images)
{
    struct kit_images now;
    bool equal = true;

    kit_save(kit, &now);
    for (uint32_t i = 0; i < KIT_FILES_MAX; i++) {
        equal = equal && now.sizes[i] == images->sizes[i] &&
                (now.sizes[i] == 0 || memcmp(now.bytes[i], images->bytes[i], now.sizes[i]) == 0);
    }
    kit_free(&now);
    return equal;
}

void kit_free(struct kit_images *images)
{
    for (uint32_t i = 0; i < KIT_FILES_MAX; i++) {
        free(images->bytes[i]);
        images->bytes[i] = NULL;
    }
}

/* ---- replay -------------------------------------------------------------------------------- */

struct stripe_cache *kit_cache(struct recovery_kit *kit, uint32_t images)
{
    struct stripe_cache *cache = arena_take_array(&kit->array_arena, struct stripe_cache, 1);

    stripe_cache_init(cache, kit->array, &kit->array_arena, images, 4 * kit->geometry.slots);
    return cache;
}

/* What the running journal does with open rows, without its log. */
struct kit_sink {
    struct recovery_kit *kit;
    struct stripe_cache *cache;
    struct stripe_head *heads[64];
    uint32_t count;
};

static uint32_t sink_room(void *context)
{
    struct kit_sink *sink = context;
    uint64_t images = pool_free_count(&sink->cache->images);

    /* As many heads as the array above, at most. */
    return (uint32_t)min_u64(images, 64 - sink->count);
}

static int sink_add(void *context,
                    struct fs_block block,
                    const struct recovered_page *page,
                    const uint8_t *data)
{
    struct kit_sink *sink = context;
    struct placement at = geometry_locate(&sink->kit->geometry, block);
    struct stripe_head *head = stripe_get(sink->cache, at.row);
    struct stripe_image *image = pool_try_get(&sink->cache->images);

    ck_assert_ptr_nonnull(image);
    if (!head->frozen) {
        ck_assert_uint_lt(sink->count, 64);
        head->frozen = true;
        sink->heads[sink->count++] = head;
    }
    memcpy(image->data, data, BLOCK_BYTES);
    image->seq = page->seq;
    stripe_push_image(head, at.slot, image);
    head->slots[at.slot].target = image;
    return 0;
}

static int write_out_row(struct kit_sink *sink, struct stripe_head *head, struct io_queue *queue)
{
    int error = stripes_fill(sink->cache, queue, &head, 1);

    stripes_encode(sink->cache, &head, 1);
    if (error == 0) {
        error = stripes_write_out(sink->cache, queue, &head, 1);
    }
    for (uint32_t slot = 0; slot < sink->kit->geometry.slots; slot++) {
        if (head->slots[slot].newest != NULL) {
            stripe_drop_image(sink->cache, head->slots[slot].newest);
        }
    }
    head->frozen = false;
    stripe_release_if_empty(sink->cache, head);
    return error;
}

static int sink_write_out(void *context, struct io_queue *queue)
{
    struct kit_sink *sink = context;
    int error = 0;

    for (uint32_t i = 0; i < sink->count; i++) {
        int one = write_out_row(sink, sink->heads[i], queue);
        error = error != 0 ? error : one;
    }
    sink->count = 0;
    return error;
}

static int replay(struct recovery_kit *kit, bool accept, bool open, struct recovery_scan *scan_out)
{
    struct kit_sink sink = {.kit = kit};
    const struct recovery_sink doors = {sink_room, sink_add, sink_write_out, &sink};
    struct recovery_scan scan;
    struct recovery_replay job;
    struct arena arena;

    arena_init_growing(&arena);
    memset(kit->why, 0, sizeof(kit->why));
    int error = recovery_scan_run(&scan, kit->array, kit->queue, &arena, accept, kit->why);
    if (scan_out != NULL) {
        *scan_out = scan;
    }
    if (error == 0) {
        sink.cache = kit_cache(kit, 24);
        recovery_replay_init(&job, &scan, kit->array, sink.cache, kit->queue, kit->why);
        error = recovery_replay_closed(&job);
        if (error == 0) {
            error = recovery_replay_clean(&job);
        }
        if (error == 0) {
            error = recovery_replay_tail(&job);
        }
        if (error == 0 && open) {
            error = recovery_replay_open(&job, &doors);
            int rest = sink_write_out(&sink, kit->queue);
            error = error != 0 ? error : rest;
        }
        stripe_cache_verify(sink.cache);
        stripe_cache_fini(sink.cache);
    }
    arena_fini(&arena);
    return error;
}

int kit_replay(struct recovery_kit *kit, bool accept, struct recovery_scan *scan_out)
{
    return replay(kit, accept, true, scan_out);
}

int kit_replay_closed(struct recovery_kit *kit, bool accept, struct recovery_scan *scan_out)
{
    return replay(kit, accept, false, scan_out);
}

/* ---- the volume ------------------------------------------------------------------------------ */

void kit_volume_sha256(struct recovery_kit *kit,
                       int (*read)(struct recovery_kit *kit,
                                   void *context,
                                   struct fs_block first,
                                   uint32_t count,
                                   uint8_t *buffer),
                       void *context,
                       char out_hex[65])
{
    char command[COMMAND_BYTES];
    char path[KIT_PATH_BYTES + 16];
    uint8_t *buffer =
        arena_take(&kit->array_arena, (size_t)READ_STEP_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);

    ck_assert_int_gt(snprintf(path, sizeof(path), "%s/volume", kit->dir), 0);
    int fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
    for (uint64_t at = 0; at < kit->geometry.volume_blocks; at += READ_STEP_BLOCKS) {
        uint32_t count = (uint32_t)min_u64(READ_STEP_BLOCKS, kit->geometry.volume_blocks - at);
        ck_assert_int_eq(read(kit, context, fs_block(at), count, buffer), 0);
        ck_assert_int_eq(write(fd, buffer, (size_t)count * BLOCK_BYTES),
                         (ssize_t)count * (ssize_t)BLOCK_BYTES);
    }
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_gt(snprintf(command, sizeof(command), "sha256sum '%s'", path), 0);
    FILE *pipe = popen(command, "r");
    ck_assert_ptr_nonnull(pipe);
    ck_assert_uint_eq(fread(out_hex, 1, 64, pipe), 64);
    out_hex[64] = '\0';
    ck_assert_int_eq(pclose(pipe), 0);
}

uint64_t kit_bad_rows(struct recovery_kit *kit)
{
    uint64_t bad = 0;
    int fds[KIT_FILES_MAX];

    for (uint32_t slot = 0; slot < kit->members; slot++) {
        fds[slot] = open_file(kit->paths[slot], O_RDONLY);
    }
    for (uint64_t row = 0; row < kit->geometry.rows; row++) {
        uint64_t sum[NUMBERS_PER_BLOCK] = {0};
        uint64_t any = 0;
        for (uint32_t slot = 0; slot < kit->members; slot++) {
            uint64_t numbers[NUMBERS_PER_BLOCK];
            off_t offset = (off_t)(kit->data_offset[slot] + row * BLOCK_BYTES);
            ck_assert_int_eq(pread(fds[slot], numbers, BLOCK_BYTES, offset), (ssize_t)BLOCK_BYTES);
            for (size_t i = 0; i < NUMBERS_PER_BLOCK; i++) {
                sum[i] ^= numbers[i];
            }
        }
        for (size_t i = 0; i < NUMBERS_PER_BLOCK; i++) {
            any |= sum[i];
        }
        bad += any != 0;
    }
    for (uint32_t slot = 0; slot < kit->members; slot++) {
        ck_assert_int_eq(close(fds[slot]), 0);
    }
    return bad;
}

/* ---- seeds ----------------------------------------------------------------------------------- */

static uint64_t random_state;

void kit_seed(const char *test)
{
    const char *given = getenv("R5_SEED");

    random_state = given != NULL ? strtoull(given, NULL, 0) : env_random_u64();
    (void)printf("%s: R5_SEED=0x%llx\n", test, (unsigned long long)random_state);
    (void)fflush(stdout);
}

uint64_t kit_random(void)
{
    /* splitmix64 */
    random_state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = random_state;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

uint32_t kit_below(uint32_t limit)
{
    return (uint32_t)(kit_random() % limit);
}

int kit_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);

    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
