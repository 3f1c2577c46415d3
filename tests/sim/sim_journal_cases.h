/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scenarios on a journalled volume, for the table in sim_scenarios.c. */
#ifndef R5FS_TESTS_SIM_JOURNAL_CASES_H
#define R5FS_TESTS_SIM_JOURNAL_CASES_H

#include <stdint.h>

void journal_prepare_least(void);
void journal_prepare_four(void);
void journal_prepare_wide(void);

void journal_run_plain(uint64_t seed);
void journal_run_cut(uint64_t seed);
void journal_run_member(uint64_t seed);
void journal_run_cut_member(uint64_t seed);
void journal_run_no_journal(uint64_t seed);
void journal_run_room(uint64_t seed);
void journal_run_beyond(uint64_t seed);
void journal_run_dry(uint64_t seed);
void journal_run_dry_member(uint64_t seed);
void journal_run_dry_cut(uint64_t seed);

#endif
