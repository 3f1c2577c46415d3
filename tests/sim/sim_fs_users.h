/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Users of a simulated filesystem: what they do, and what they know of their own files. Between
 * sim_fs.c, which makes the lives, and sim_fs_users.c.
 */
#ifndef R5FS_TESTS_SIM_FS_USERS_H
#define R5FS_TESTS_SIM_FS_USERS_H

#include "r5fs/fs/fs.h"
#include "sim.h"
#include "sim_tree.h"

#define FS_USERS        4u
#define FS_SHARED_BYTES 16384u
#define FS_NAME_ROOM    16u
#define FS_READ_BYTES   (FS_IO_BYTES_MAX + 2 * BLOCK_BYTES)

/* How much there is of everything; one for all seeds of a scenario. */
struct fs_scale {
    uint32_t file_bytes; /* at most TREE_BYTES */
    uint32_t write_bytes;
    uint32_t sync_one_in;  /* so many chances to sync are taken */
    uint32_t other_one_in; /* so many chances to do something else than write are taken */
    uint32_t operations;   /* of each user, about */
    uint32_t cut_steps;    /* the power goes within so many */
    uint32_t images;
    uint32_t io_units;
    uint32_t commit_interval_ms; /* 0: the usual */
    uint64_t member_bytes;
    uint64_t journal_bytes;
};

struct fs_life {
    struct sim_random random;
    uint32_t operations;
    bool recovers;
    bool stops; /* the power goes after the last operation */
    bool faulty;
    struct array *array;
    struct journal *journal;
    struct fs *fs;
    struct io_queue *queue;
    struct fs_thread thread;
    struct arena arena;
};

struct fs_user {
    struct fs_life *life;
    struct sim_random random;
    struct fs_thread thread;
    struct env_thread *fiber;
    uint64_t dir;
    uint8_t *buffer;
    unsigned number;
    char name[FS_NAME_ROOM];
    struct tree tree;
};

extern struct fs_scale fs_scale;
extern struct fs_user fs_users[FS_USERS];
extern uint64_t fs_shared_file;
extern uint64_t fs_shared_dir;
extern const struct fs_caller fs_user_caller;

struct fs_name fs_user_name(const char *text);
/* An error that nothing explains. */
void fs_must(int error, const char *what);

/* A user's thread. */
void fs_user_main(void *context);
/* All it has is what its history says. */
void fs_user_compare(struct fs_user *user);
void fs_user_list(struct fs_user *user);
/* What its directory holds. */
void fs_user_find_state(struct fs_user *user, struct tree_state *out_found);

#endif
