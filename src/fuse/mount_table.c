/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading /proc/self/mountinfo.
 *
 *   36 35 0:52 / /mnt/demo rw,nosuid - fuse.r5fs /srv/a:/srv/b rw,user_id=0,group_id=0,...
 *           |     |        |              |         |           super options
 *         device  |     mount options    type     source
 *              mount point, with \040 for a space
 *
 * A mount point is never asked anything here: stat(2) of a path whose daemon hangs would hang too.
 * So paths are resolved by their parent directory, and readlink(2) tells a symlink without a
 * request. What lies on top of a path the list does not say (it also names what is covered by a
 * mount further up); statx(2) that wants nothing does: the kernel answers it with the device alone,
 * also to users whom FUSE lets in nowhere.
 *
 * Thread: any; memory is on the stack.
 */
#include "mount_table.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define LINE_BYTES 16384
#define MOUNT_TYPE "fuse.r5fs"

static unsigned octal_value(const char *digits)
{
    unsigned value = 0;

    for (int i = 0; i < 3; i++) {
        if (digits[i] < '0' || digits[i] > '7') {
            return 0;
        }
        value = value * 8 + (unsigned)(digits[i] - '0');
    }
    return value;
}

/* \ooo becomes the byte, in place. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0';) {
        unsigned value = from[0] == '\\' ? octal_value(from + 1) : 0;
        if (value != 0) {
            *to++ = (char)(unsigned char)value;
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

static char *next_field(char **rest)
{
    return strsep(rest, " \n");
}

bool mount_line_parse(char *line, struct mount_line *out_line)
{
    char *rest = line;
    char *fields[6];
    char *field = NULL;

    for (unsigned i = 0; i < 6; i++) {
        fields[i] = next_field(&rest);
        if (fields[i] == NULL) {
            return false;
        }
    }
    do {
        field = next_field(&rest);
    } while (field != NULL && strcmp(field, "-") != 0);
    struct mount_line parsed = {.mountpoint = fields[4], .mount_options = fields[5]};
    const char *minor = strchr(fields[2], ':');
    parsed.type = next_field(&rest);
    parsed.source = next_field(&rest);
    parsed.super_options = next_field(&rest);
    if (minor == NULL || parsed.super_options == NULL) {
        return false;
    }
    parsed.device_minor = (uint32_t)strtoul(minor + 1, NULL, 10);
    unescape(parsed.mountpoint);
    unescape(parsed.source);
    *out_line = parsed;
    return true;
}

/* user_id=N and the like, from a comma-joined list. */
static uint32_t option_number(const char *options, const char *name)
{
    const char *found = strstr(options, name);

    return found == NULL ? 0 : (uint32_t)strtoul(found + strlen(name), NULL, 10);
}

static bool option_is_set(const char *options, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = options; at != NULL;) {
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0')) {
            return true;
        }
        at = strchr(at, ',');
        at = at == NULL ? NULL : at + 1;
    }
    return false;
}

static bool fill_entry(const struct mount_line *line, struct mount_entry *out_entry)
{
    if (strlen(line->mountpoint) >= sizeof(out_entry->mountpoint)) {
        return false;
    }
    (void)snprintf(out_entry->mountpoint,
                   sizeof(out_entry->mountpoint),
                   "%s",
                   line->mountpoint); /* fits, see above */
    (void)snprintf(out_entry->source,
                   sizeof(out_entry->source),
                   "%s",
                   line->source); /* cut when longer: it is for show */
    out_entry->user_id = option_number(line->super_options, "user_id=");
    out_entry->group_id = option_number(line->super_options, "group_id=");
    out_entry->read_only = option_is_set(line->mount_options, "ro");
    out_entry->device_minor = line->device_minor;
    return true;
}

static bool read_line(FILE *file, char line[LINE_BYTES])
{
    while (fgets(line, LINE_BYTES, file) != NULL) {
        if (strchr(line, '\n') != NULL) {
            return true;
        }
        int byte = 0; /* an absurdly long line: skipped to its end */
        while (byte != '\n' && byte != EOF) {
            byte = fgetc(file);
        }
    }
    return false;
}

int mount_path_resolve(const char *path, char *out)
{
    char parent[PATH_MAX];
    char last[NAME_MAX + 1];
    size_t length = strlen(path);

    while (length > 1 && path[length - 1] == '/') {
        length--;
    }
    if (length == 0 || length >= sizeof(parent)) {
        return length == 0 ? -ENOENT : -ENAMETOOLONG;
    }
    (void)memcpy(parent, path, length);
    parent[length] = '\0';
    char *slash = strrchr(parent, '/');
    const char *name = slash == NULL ? parent : slash + 1;
    char target[1];
    bool plain = name[0] != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
                 strlen(name) <= NAME_MAX;
    if (!plain || readlink(parent, target, sizeof(target)) >= 0) {
        return realpath(path, out) == NULL ? -errno : 0;
    }
    (void)memcpy(last, name, strlen(name) + 1); /* at most NAME_MAX, see above */
    if (slash == NULL) {
        (void)snprintf(parent, sizeof(parent), ".");
    } else {
        slash[slash == parent ? 1 : 0] = '\0';
    }
    char resolved[PATH_MAX];
    if (realpath(parent, resolved) == NULL) {
        return -errno;
    }
    int wrote = snprintf(
        out, FUSE_SERVE_MNT_BYTES, "%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved, last);
    return wrote < 0 || wrote >= FUSE_SERVE_MNT_BYTES ? -ENAMETOOLONG : 0;
}

dev_t mount_device_at(const char *path)
{
    struct statx found;

    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &found) != 0) {
        return 0;
    }
    return makedev(found.stx_dev_major, found.stx_dev_minor);
}

/* Walks ours; stops after the `index`th, or keeps the last of the given mount point. */
static int search(const char *mountpoint, unsigned index, struct mount_entry *out_entry)
{
    char line[LINE_BYTES];
    struct mount_line parsed;
    int result = -ENOENT;

    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL) {
        return -errno;
    }
    while (read_line(file, line)) {
        if (!mount_line_parse(line, &parsed)) {
            continue;
        }
        bool ours = strcmp(parsed.type, MOUNT_TYPE) == 0;
        if (mountpoint != NULL && strcmp(parsed.mountpoint, mountpoint) == 0) {
            /* What is mounted later lies on top. */
            result = ours && fill_entry(&parsed, out_entry) ? 0 : result;
        } else if (mountpoint == NULL && ours && index-- == 0) {
            result = fill_entry(&parsed, out_entry) ? 0 : -ENAMETOOLONG;
            break;
        }
    }
    (void)fclose(file); /* only read */
    return result;
}

int mount_table_find(const char *path, struct mount_entry *out_entry)
{
    char resolved[FUSE_SERVE_MNT_BYTES];
    int err = mount_path_resolve(path, resolved);

    err = err != 0 ? err : search(resolved, 0, out_entry);
    if (err == 0 && mount_device_at(resolved) != makedev(0, out_entry->device_minor)) {
        return -EBUSY;
    }
    return err;
}

int mount_table_get(unsigned index, struct mount_entry *out_entry)
{
    return search(NULL, index, out_entry);
}

/* ---- names ----------------------------------------------------------------------------------- */

static uint64_t name_hash(const char *name, size_t bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static void add_name(struct mount_names *names, const char *mountpoint)
{
    const char *slash = strrchr(mountpoint, '/');
    const char *name = slash == NULL ? mountpoint : slash + 1;

    if (names->count == MOUNT_NAMES_MAX) {
        names->all = true;
        return;
    }
    names->hashes[names->count++] = name_hash(name, strlen(name));
}

void mount_names_load(struct mount_names *names, const char *mountpoint)
{
    char line[LINE_BYTES];
    struct mount_line parsed;
    size_t length = strlen(mountpoint);

    *names = (struct mount_names){0};
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL) {
        names->all = true;
        return;
    }
    while (read_line(file, line)) {
        if (mount_line_parse(line, &parsed) &&
            strncmp(parsed.mountpoint, mountpoint, length) == 0 &&
            parsed.mountpoint[length] == '/') {
            add_name(names, parsed.mountpoint);
        }
    }
    (void)fclose(file); /* only read */
}

bool mount_names_has(const struct mount_names *names, const char *name, size_t bytes)
{
    uint64_t hash = name_hash(name, bytes);

    for (uint32_t i = 0; i < names->count; i++) {
        if (names->hashes[i] == hash) {
            return true;
        }
    }
    return names->all;
}
