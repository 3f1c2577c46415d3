/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal as a whole: real arrays over temporary files, against the model of model_kit. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "model_kit.h"
#include "r5fs/base/msg.h"

#define RING_SMALLEST 654u
#define RING_USUAL    4096u
#define MEMBER_BYTES  (6u << 20)
#define THREADS       4u

static const struct journal_options usual = {0};

static struct kit_shape shape_of(uint32_t members, uint64_t ring_blocks)
{
    return (struct kit_shape){members, members == 5 ? 8 : 64, MEMBER_BYTES, ring_blocks};
}

START_TEST(what_was_written_is_read_before_and_after_every_commit)
{
    const uint32_t members = 3 + (uint32_t)_i;
    struct kit_shape shape = shape_of(members, RING_USUAL);
    struct model m;

    kit_seed("read_back");
    uint64_t random = kit_random();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &usual, KIT_NO_SLOT), 0);
    for (unsigned round = 0; round < 12; round++) {
        model_run(&m, m.files.queue, 20, &random);
        journal_verify(m.j);
        model_expect_newest(&m);
        ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
        model_expect_newest(&m);
    }
    ck_assert_int_eq(journal_drain(m.j, m.files.queue), 0);
    journal_verify(m.j);
    model_expect_newest(&m);
    model_close(&m);
    model_expect_on_members(&m);
    model_remove(&m);
}
END_TEST

static TCase *reading(void)
{
    TCase *tcase = tcase_create("reading");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, what_was_written_is_read_before_and_after_every_commit, 0, 3);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("journal");

    if (getenv("R5_VERBOSE") != NULL) {
        msg_set_level(MSG_INFO);
    }
    suite_add_tcase(suite, reading());
    return kit_run(suite);
}
