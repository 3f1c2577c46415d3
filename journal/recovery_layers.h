/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two layers per row that a scan builds up: see recovery_layers.c. */
#ifndef R5FS_JOURNAL_RECOVERY_LAYERS_H
#define R5FS_JOURNAL_RECOVERY_LAYERS_H

#include "recovery_scan.h"

/* All take memory from the scan's arena: -ENOMEM. `page` is copied. */

R5_MUST_CHECK int recovery_layers_init(struct recovery_scan *scan);
/* A data payload: the newest page of its slot in the open layer. */
R5_MUST_CHECK int recovery_layers_add_data(struct recovery_scan *scan,
                                           struct member_block row,
                                           const struct recovered_page *page);
/* A parity payload: the open layer becomes part of the closed one. */
R5_MUST_CHECK int recovery_layers_add_parity(struct recovery_scan *scan,
                                             struct member_block row,
                                             const struct recovered_page *page);
/* A flush payload of the kernel's: all of the row so far is on the members. */
void recovery_layers_forget(struct recovery_scan *scan, struct member_block row);
/* The row is named by a unit that is lost. */
R5_MUST_CHECK int recovery_layers_mark_lost(struct recovery_scan *scan, struct member_block row);
/* After the scan: there is nothing to replay any more. */
void recovery_layers_drop(struct recovery_scan *scan);
/* After the scan: fills scan->closed and scan->open. */
R5_MUST_CHECK int recovery_layers_collect(struct recovery_scan *scan);

#endif
