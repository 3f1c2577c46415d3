/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lives of a mounted filesystem: each worker has a directory of its own whose history it knows
 * (sim_tree.h), and all meet in a shared file and a shared directory.
 */
#ifndef R5FS_TESTS_SIM_FS_H
#define R5FS_TESTS_SIM_FS_H

#include <stdint.h>

void fs_prepare_small(void);
void fs_prepare_wide(void);
void fs_prepare_least(void);
void fs_run_plain(uint64_t seed);
void fs_run_cut(uint64_t seed);
void fs_run_cut_member(uint64_t seed);
void fs_run_dry(uint64_t seed);
void fs_run_dry_member(uint64_t seed);

#endif
