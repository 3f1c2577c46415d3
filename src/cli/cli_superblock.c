/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One file's md superblock as text or JSON; for a journal also the meta block that its tail names.
 * Opens read-only and takes no lock, so that it also works on a mounted array.
 */
#include "cli_superblock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "md_superblock.h"
#include "meta_block.h"

struct examined {
    struct md_superblock sb;
    uint64_t file_bytes;
    bool has_log_head;
    uint64_t log_seq; /* of the block at the tail */
    char log_why[MD_WHY_BYTES];
};

static const char *role_text(uint32_t role, char out[16])
{
    if (md_role_is_slot(role)) {
        (void)snprintf(out, 16, "slot %u", role);
        return out;
    }
    return role == MD_ROLE_JOURNAL ? "journal" : role == MD_ROLE_FAULTY ? "faulty" : "spare";
}

static void read_log_head(int fd, struct examined *out)
{
    static _Alignas(BLOCK_BYTES) uint8_t block[BLOCK_BYTES];
    uint64_t at = (out->sb.data_offset_sectors + out->sb.recovery_offset) * SECTOR_BYTES;
    if (pread(fd, block, sizeof(block), (off_t)at) != (ssize_t)sizeof(block)) {
        (void)snprintf(out->log_why, sizeof(out->log_why), "the block at the tail cannot be read");
        return;
    }
    enum meta_verdict verdict =
        meta_block_verify(block,
                          meta_block_seed(&out->sb.set_uuid),
                          log_block(out->sb.recovery_offset / BLOCK_SECTORS));
    if (verdict != META_VALID) {
        (void)snprintf(out->log_why,
                       sizeof(out->log_why),
                       "no valid meta block there: %s",
                       meta_verdict_text(verdict));
        return;
    }
    out->has_log_head = true;
    out->log_seq = meta_block_seq(block);
}

/* 0, or an errno with the reason in `why`. */
static int examine(const char *path, struct examined *out, char why[MD_WHY_BYTES])
{
    *out = (struct examined){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        (void)snprintf(why, MD_WHY_BYTES, "%s", strerror(errno));
        return -errno;
    }
    static _Alignas(BLOCK_BYTES) uint8_t block[BLOCK_BYTES];
    ssize_t got = pread(fd, block, sizeof(block), MD_SUPER_OFFSET_BYTES);
    int rc = 0;
    if (got != (ssize_t)sizeof(block)) {
        (void)snprintf(
            why, MD_WHY_BYTES, "%s", got < 0 ? strerror(errno) : "too short for an md superblock");
        rc = got < 0 ? -errno : -ENODATA;
    } else {
        rc = md_super_decode(block, &out->sb, why);
    }
    off_t end = lseek(fd, 0, SEEK_END);
    out->file_bytes = end > 0 ? (uint64_t)end : 0;
    if (rc == 0 && md_super_role(&out->sb) == MD_ROLE_JOURNAL) {
        read_log_head(fd, out);
    }
    (void)close(fd); /* only read */
    return rc;
}

static int report_failure(const char *path, int rc, const char *why)
{
    cli_error("%s: %s", path, why);
    return rc == -ENODATA ? EXIT_NOT_FOUND : cli_exit_for(rc);
}

static void print_time(const char *name, uint64_t packed)
{
    time_t seconds = (time_t)md_time_seconds(packed);
    struct tm tm;
    char text[32] = "?";
    if (gmtime_r(&seconds, &tm) != NULL) {
        (void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
    }
    (void)printf("  %-14s %s\n", name, text);
}

static void print_roles(const struct md_superblock *sb)
{
    (void)printf("  %-14s", "roles");
    for (uint32_t i = 0; i < sb->raid_disks + 4 && i < sb->max_dev; i++) {
        char text[16];
        (void)printf(" %u:%s", i, role_text(sb->roles[i], text));
    }
    (void)putchar('\n');
}

int superblock_print(const char *path)
{
    struct examined x;
    char why[MD_WHY_BYTES];
    int rc = examine(path, &x, why);
    if (rc != 0) {
        return report_failure(path, rc, why);
    }
    const struct md_superblock *sb = &x.sb;
    char uuid[UUID_TEXT_BYTES];
    char role[16];
    char size[CLI_SIZE_TEXT_BYTES];
    uuid_print(&sb->set_uuid, uuid);
    (void)printf(
        "%s: md 1.2 superblock, %s of array %s\n", path, role_text(md_super_role(sb), role), uuid);
    (void)printf("  %-14s %s\n", "name", sb->name);
    (void)printf("  %-14s raid%d, %u members, chunk %u KiB, layout %s\n",
                 "array",
                 sb->level,
                 sb->raid_disks,
                 sb->chunk_sectors / 2,
                 layout_name((enum layout)sb->layout));
    (void)printf("  %-14s 0x%x%s\n",
                 "features",
                 sb->features,
                 (sb->features & MD_FEATURE_JOURNAL) != 0 ? " (journal)" : "");
    (void)printf("  %-14s %s used of each member\n",
                 "size",
                 cli_size_text(sb->size_sectors * SECTOR_BYTES, size));
    (void)printf("  %-14s offset %" PRIu64 " sectors, %" PRIu64 " sectors\n",
                 "data",
                 sb->data_offset_sectors,
                 sb->data_size_sectors);
    print_time("created", sb->ctime);
    print_time("updated", sb->utime);
    (void)printf("  %-14s %" PRIu64 "\n", "events", sb->events);
    (void)printf("  %-14s %s\n", "state", md_super_is_clean(sb) ? "clean" : "dirty");
    uuid_print(&sb->device_uuid, uuid);
    (void)printf("  %-14s %u, uuid %s\n", "device", sb->dev_number, uuid);
    print_roles(sb);
    if (x.has_log_head) {
        (void)printf("  %-14s sector %" PRIu64 ", seq %" PRIu64 "\n",
                     "log tail",
                     sb->recovery_offset,
                     x.log_seq);
    } else if (x.log_why[0] != '\0') {
        (void)printf(
            "  %-14s sector %" PRIu64 ": %s\n", "log tail", sb->recovery_offset, x.log_why);
    }
    return EXIT_OK;
}

int superblock_print_json(const char *path)
{
    struct examined x;
    char why[MD_WHY_BYTES] = "";
    int rc = examine(path, &x, why);
    const struct md_superblock *sb = &x.sb;
    char uuid[UUID_TEXT_BYTES];
    char device[UUID_TEXT_BYTES];
    char role[16];
    uuid_print(&sb->set_uuid, uuid);
    uuid_print(&sb->device_uuid, device);
    (void)printf("{\"path\":");
    cli_json_string(stdout, path);
    (void)printf(",\"error\":");
    if (rc != 0) {
        cli_json_string(stdout, why);
    } else {
        (void)printf("null");
    }
    (void)printf(",\"array_uuid\":\"%s\",\"name\":", uuid);
    cli_json_string(stdout, sb->name);
    (void)printf(",\"role\":\"%s\",\"level\":%d,\"layout\":%u,\"chunk\":%" PRIu64
                 ",\"slots\":%u,\"member_size\":%" PRIu64 ",\"features\":%u",
                 rc == 0 ? role_text(md_super_role(sb), role) : "",
                 sb->level,
                 sb->layout,
                 (uint64_t)sb->chunk_sectors * SECTOR_BYTES,
                 sb->raid_disks,
                 sb->size_sectors * SECTOR_BYTES,
                 sb->features);
    (void)printf(",\"data_offset\":%" PRIu64 ",\"data_size\":%" PRIu64 ",\"events\":%" PRIu64
                 ",\"clean\":%s,\"created\":%" PRIu64 ",\"updated\":%" PRIu64
                 ",\"device_number\":%u,\"device_uuid\":\"%s\"",
                 sb->data_offset_sectors * SECTOR_BYTES,
                 sb->data_size_sectors * SECTOR_BYTES,
                 sb->events,
                 rc == 0 && md_super_is_clean(sb) ? "true" : "false",
                 md_time_seconds(sb->ctime),
                 md_time_seconds(sb->utime),
                 sb->dev_number,
                 device);
    if (x.has_log_head) {
        (void)printf(",\"log\":{\"tail\":%" PRIu64 ",\"seq\":%" PRIu64 "}}",
                     sb->recovery_offset * SECTOR_BYTES,
                     x.log_seq);
    } else {
        (void)printf(",\"log\":null}");
    }
    return rc == 0 ? EXIT_OK : rc == -ENODATA ? EXIT_NOT_FOUND : cli_exit_for(rc);
}
