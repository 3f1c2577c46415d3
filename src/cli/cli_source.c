/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which files SRC... names.
 *
 *   FILE FILE ...        as given
 *   FILE:FILE:...        for fstab; a colon within a path is written \:
 *   DIRECTORY            every file in it that carries an md superblock (they must be one array)
 *   UUID=u, LABEL=l      the same over the directories of R5FS_PATH, only those of that array
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "md_superblock.h"
#include "r5fs/base/uuid.h"

struct wanted {
    bool by_uuid;
    bool by_label;
    struct uuid uuid;
    const char *label;
};

static int add_path(struct cli_sources *sources, const char *path)
{
    char **grown = realloc(sources->paths, (sources->count + 1) * sizeof(*grown));
    if (grown == NULL) {
        return EXIT_FAILED;
    }
    sources->paths = grown;
    sources->paths[sources->count] = strdup(path);
    if (sources->paths[sources->count] == NULL) {
        return EXIT_FAILED;
    }
    sources->count++;
    return EXIT_OK;
}

void cli_sources_free(struct cli_sources *sources)
{
    for (unsigned i = 0; i < sources->count; i++) {
        free(sources->paths[i]);
    }
    free(sources->paths);
    *sources = (struct cli_sources){0};
}

/* A name is "host:label" or "label". */
static bool label_matches(const char *name, const char *label)
{
    const char *colon = strchr(name, ':');
    return strcmp(name, label) == 0 || (colon != NULL && strcmp(colon + 1, label) == 0);
}

/* What md_super_decode says of the file; -ENODATA when there is nothing to decode. */
static int read_superblock(const char *path, struct md_superblock *out)
{
    struct stat st;
    if (stat(path, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))) {
        return -ENODATA;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return -ENODATA;
    }
    uint8_t block[BLOCK_BYTES];
    ssize_t got = pread(fd, block, sizeof(block), MD_SUPER_OFFSET_BYTES);
    (void)close(fd); /* only read */
    if (got != (ssize_t)sizeof(block)) {
        return -ENODATA;
    }
    char why[MD_WHY_BYTES];
    return md_super_decode(block, out, why);
}

bool cli_source_array(const char *path, struct uuid *out_uuid)
{
    struct md_superblock sb;
    bool good = read_superblock(path, &sb) == 0;
    if (good) {
        *out_uuid = sb.set_uuid;
    }
    return good;
}

static bool file_belongs(const char *path, const struct wanted *wanted)
{
    struct md_superblock sb;
    int rc = read_superblock(path, &sb);
    if (!wanted->by_uuid && !wanted->by_label) {
        return rc != -ENODATA; /* damaged ones too: assembly says what is wrong with them */
    }
    if (rc != 0) {
        return false;
    }
    return wanted->by_uuid ? uuid_equal(&sb.set_uuid, &wanted->uuid)
                           : label_matches(sb.name, wanted->label);
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
scan_directory(struct cli_sources *sources, const char *directory, const struct wanted *wanted)
{
    DIR *dir = opendir(directory);
    if (dir == NULL) {
        cli_error("%s: %s", directory, strerror(errno));
        return cli_exit_for(errno);
    }
    int code = EXIT_OK;
    const struct dirent *entry;
    while (code == EXIT_OK && (entry = readdir(dir)) != NULL) {
        char path[4096];
        int n = snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (n > 0 && (size_t)n < sizeof(path) && file_belongs(path, wanted)) {
            code = add_path(sources, path);
        }
    }
    (void)closedir(dir); /* only read */
    if (code == EXIT_OK && sources->count > 0) {
        qsort(sources->paths, sources->count, sizeof(*sources->paths), compare_paths);
    }
    return code;
}

static int search_path(struct cli_sources *sources, const struct wanted *wanted, const char *what)
{
    const char *directories = getenv("R5FS_PATH");
    if (directories == NULL || *directories == '\0') {
        cli_error("%s: R5FS_PATH is not set, so there is nowhere to look "
                  "(hint: R5FS_PATH=/srv:/mnt r5fs ...)",
                  what);
        return EXIT_NOT_FOUND;
    }
    char *copy = strdup(directories);
    if (copy == NULL) {
        return EXIT_FAILED;
    }
    int code = EXIT_OK;
    char *rest = copy;
    for (char *one; code == EXIT_OK && (one = strsep(&rest, ":")) != NULL;) {
        if (*one != '\0' && access(one, R_OK | X_OK) == 0) {
            code = scan_directory(sources, one, wanted);
        }
    }
    free(copy);
    if (code == EXIT_OK && sources->count == 0) {
        cli_error("%s: no file of that array in R5FS_PATH=%s", what, directories);
        code = EXIT_NOT_FOUND;
    }
    return code;
}

/* Splits "a:b\:c" into "a", "b:c". An existing file of that very name wins. */
static int add_joined(struct cli_sources *sources, const char *word)
{
    struct stat st;
    if (stat(word, &st) == 0 || strchr(word, ':') == NULL) {
        return add_path(sources, word);
    }
    char *piece = malloc(strlen(word) + 1);
    if (piece == NULL) {
        return EXIT_FAILED;
    }
    int code = EXIT_OK;
    size_t n = 0;
    for (const char *at = word; code == EXIT_OK; at++) {
        if (at[0] == '\\' && at[1] == ':') {
            piece[n++] = *++at;
        } else if (*at == ':' || *at == '\0') {
            piece[n] = '\0';
            if (n > 0) {
                code = add_path(sources, piece);
            }
            n = 0;
            if (*at == '\0') {
                break;
            }
        } else {
            piece[n++] = *at;
        }
    }
    free(piece);
    return code;
}

static int resolve_one(const char *word, struct cli_sources *out)
{
    struct wanted wanted = {0};
    if (strncmp(word, "UUID=", 5) == 0) {
        wanted.by_uuid = true;
        if (uuid_parse(word + 5, &wanted.uuid) != 0) {
            cli_error("%s: not a uuid", word);
            return EXIT_USAGE;
        }
        return search_path(out, &wanted, word);
    }
    if (strncmp(word, "LABEL=", 6) == 0) {
        wanted.by_label = true;
        wanted.label = word + 6;
        return search_path(out, &wanted, word);
    }
    struct stat st;
    if (stat(word, &st) == 0 && S_ISDIR(st.st_mode)) {
        int code = scan_directory(out, word, &wanted);
        if (code == EXIT_OK && out->count == 0) {
            cli_error("%s: no file with an md superblock in this directory", word);
            code = EXIT_NOT_FOUND;
        }
        return code;
    }
    return add_joined(out, word);
}

int cli_sources_resolve(const char *const *words, unsigned count, struct cli_sources *out)
{
    *out = (struct cli_sources){0};
    int code = EXIT_OK;
    if (count == 0) {
        cli_error("no files were given (hint: all members and the journal, or their directory)");
        return EXIT_USAGE;
    }
    if (count == 1) {
        code = resolve_one(words[0], out);
    } else {
        for (unsigned i = 0; code == EXIT_OK && i < count; i++) {
            code = add_joined(out, words[i]);
        }
    }
    if (code == EXIT_OK && out->count == 0) {
        cli_error("%s: names no file", words[0]);
        code = EXIT_USAGE;
    }
    if (code != EXIT_OK) {
        cli_sources_free(out);
    }
    return code;
}
