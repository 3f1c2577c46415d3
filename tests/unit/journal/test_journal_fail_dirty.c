/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal fails on an array whose parity was in doubt before. */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "crash_io.h"
#include "journal_internal.h"
#include "model_kit.h"

static _Atomic bool journal_is_dead;

static bool journal_writes_fail(const struct io_request *request, int *out_result)
{
    const char *slash = strrchr(request->file->path, '/');

    if (!journal_is_dead || request->op != IO_WRITE || slash == NULL ||
        strcmp(slash + 1, "journal.img") != 0) {
        return false;
    }
    *out_result = -EIO;
    return true;
}

/* Whoever marked it dirty knows why; retiring the journal makes no parity right. */
START_TEST(a_resync_mark_from_before_outlasts_the_journal)
{
    const struct kit_shape shape = {4, 64, 8u << 20, 900};
    const struct journal_options options = {.images_max = 200, .io_units = 4};
    struct model m;

    model_crash_io_use();
    model_create(&m, &shape);
    ck_assert_int_eq(model_open(&m, &options, KIT_NO_SLOT), 0);
    ck_assert_int_eq(model_write_data(&m, 0, 32), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), 0);
    ck_assert_int_eq(array_set_resync_offset(m.files.array, m.files.queue, 0), 0);
    crash_io_hook = journal_writes_fail;
    journal_is_dead = true;
    ck_assert_int_eq(model_write_data(&m, 64, 8), 0);
    ck_assert_int_eq(model_commit(&m, m.files.queue), -EIO);
    ck_assert_int_eq(journal_close(m.j, m.files.queue), -EIO); /* waits for the retirement */
    ck_assert_uint_eq(array_resync_offset(m.files.array), 0);
    journal_is_dead = false;
    model_after_failed_close(&m);
    model_remove(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal_fail_dirty");
    TCase *tcase = tcase_create("retire");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_resync_mark_from_before_outlasts_the_journal);
    suite_add_tcase(suite, tcase);
    return kit_run(suite);
}
