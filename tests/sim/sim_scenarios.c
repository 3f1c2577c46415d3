/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of scenarios. */
#include "sim.h"
#include "sim_fs.h"
#include "sim_journal_cases.h"

const struct sim_scenario sim_scenarios[] = {
    {
        .name = "journal",
        .what = "four writers on the least of everything",
        .prepare = journal_prepare_least,
        .run = journal_run_plain,
    },
    {
        .name = "journal-member",
        .what = "a member fails, is absent, or answers with errors now and then",
        .prepare = journal_prepare_four,
        .run = journal_run_member,
    },
    {
        .name = "journal-lost",
        .what = "the journal device fails",
        .prepare = journal_prepare_least,
        .run = journal_run_no_journal,
    },
    {
        .name = "journal-room",
        .what = "the host of a member is full for a while",
        .prepare = journal_prepare_least,
        .run = journal_run_room,
    },
    {
        .name = "journal-beyond",
        .what = "two devices fail: errors, but no wrong bytes, and everybody is answered",
        .prepare = journal_prepare_four,
        .run = journal_run_beyond,
    },
    {
        .name = "journal-cut",
        .what = "power cuts, also within recovery",
        .prepare = journal_prepare_least,
        .run = journal_run_cut,
    },
    {
        .name = "journal-cut-wide",
        .what = "power cuts, commits of several units",
        .prepare = journal_prepare_wide,
        .run = journal_run_cut,
    },
    {
        .name = "journal-cut-member",
        .what = "power cuts, and a member fails besides",
        .prepare = journal_prepare_four,
        .run = journal_run_cut_member,
    },
    {
        .name = "journal-dry",
        .what = "one io unit, and pools that refuse by the seed",
        .prepare = journal_prepare_least,
        .run = journal_run_dry,
    },
    {
        .name = "journal-dry-member",
        .what = "the same, and a member is absent or fails",
        .prepare = journal_prepare_four,
        .run = journal_run_dry_member,
    },
    {
        .name = "journal-dry-cut",
        .what = "one io unit, held by somebody else now and then, and power cuts",
        .prepare = journal_prepare_least,
        .run = journal_run_dry_cut,
    },
    {
        .name = "fs",
        .what = "four users of a mounted filesystem",
        .prepare = fs_prepare_small,
        .run = fs_run_plain,
    },
    {
        .name = "fs-cut",
        .what = "power cuts under a mounted filesystem",
        .prepare = fs_prepare_small,
        .run = fs_run_cut,
    },
    {
        .name = "fs-cut-wide",
        .what = "power cuts under a mounted filesystem, commits of several units",
        .prepare = fs_prepare_wide,
        .run = fs_run_cut,
    },
    {
        .name = "fs-cut-member",
        .what = "power cuts under a mounted filesystem, and a member is lost besides",
        .prepare = fs_prepare_small,
        .run = fs_run_cut_member,
    },
    {
        .name = "fs-dry",
        .what = "four users on one io unit, and pools that refuse by the seed",
        .prepare = fs_prepare_least,
        .run = fs_run_dry,
    },
    {
        .name = "fs-dry-member",
        .what = "the same, and a member is lost",
        .prepare = fs_prepare_least,
        .run = fs_run_dry_member,
    },
};

const unsigned sim_scenario_count = sizeof(sim_scenarios) / sizeof(sim_scenarios[0]);
