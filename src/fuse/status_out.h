/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two forms of a status, and the words that both use. */
#ifndef R5FS_FUSE_STATUS_OUT_H
#define R5FS_FUSE_STATUS_OUT_H

#include "status.h"
#include "text_out.h"

void status_out_json(struct text_out *out, const struct status_facts *facts);
void status_out_text(struct text_out *out, const struct status_facts *facts, bool verbose);

const char *status_word_state(enum status_state state);
const char *status_word_member(enum member_state state);
const char *status_word_journal(enum journal_state state);
const char *status_word_mode(enum journal_mode mode);
/* The line of advice with this number, or false when there are no more. */
bool status_action(const struct status_facts *facts, unsigned index, char *text, size_t size);

#endif
