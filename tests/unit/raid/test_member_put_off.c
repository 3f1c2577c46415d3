/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file that answers "not now" is asked again, but not for ever. */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "array_kit.h"
#include "member_backend.h"
#include "r5fs/base/units.h"

/* From now on one system call of this thread, and of those it starts, answers an error. */
static void answer_call(uint32_t number, uint32_t error)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(rules) / sizeof(rules[0]), .filter = rules};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

START_TEST(a_file_that_puts_off_its_writes_for_ever_fails_them)
{
    static const uint32_t answers[] = {EAGAIN, EINTR};
    struct io_open_options options = {.lock = true};
    char path[] = R5_TEST_TMP "/r5fs-put-off.XXXXXX";
    struct io_file file;
    struct arena own;
    struct io_queue *lane = NULL;
    int holder = 0;

    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)2 * BLOCK_BYTES), 0);
    ck_assert_int_eq(close(fd), 0);
    arena_init_growing(&own);
    uint8_t *block = arena_take(&own, BLOCK_BYTES, BLOCK_BYTES);
    ck_assert_int_eq(io_file_open(&file, path, &options, &holder), 0);
    ck_assert_int_eq(io_backend_choose(IO_BACKEND_THREADS), 0);
    answer_call(SYS_pwritev, answers[_i]); /* before the workers are there */
    ck_assert_int_eq(io_queue_open(&lane, &own, 8), 0);
    ck_assert_int_eq(io_write(lane, &file, BLOCK_BYTES, block, BLOCK_BYTES), -EIO);
    ck_assert_int_eq(io_read(lane, &file, BLOCK_BYTES, block, BLOCK_BYTES), 0);
    io_queue_close(lane);
    io_file_close(&file);
    ck_assert_int_eq(unlink(path), 0);
    arena_fini(&own);
}
END_TEST

START_TEST(a_step_that_goes_on_may_be_put_off_again)
{
    uint8_t *bytes = NULL;
    struct arena own;
    struct io_file file = {.direct = true};
    struct io_request request;

    arena_init_growing(&own);
    bytes = arena_take(&own, (size_t)3 * BLOCK_BYTES, BLOCK_BYTES);
    io_prepare(&request, &file, IO_READ, 0, bytes, (size_t)3 * BLOCK_BYTES);
    io_request_begin(&request);
    for (unsigned step = 0; step < 3; step++) {
        for (unsigned i = 0; i < IO_TRIES_MAX; i++) {
            ck_assert_int_ne(io_request_absorb(&request, i % 2 == 0 ? -EAGAIN : -EINTR),
                             IO_STEP_DONE);
        }
        ck_assert_int_eq(io_request_absorb(&request, BLOCK_BYTES),
                         step < 2 ? IO_STEP_TRANSFER : IO_STEP_DONE);
    }
    ck_assert_int_eq(request.result, 0);
    arena_fini(&own);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("member_put_off");
    TCase *files = tcase_create("files");

    tcase_set_timeout(files, 120);
    tcase_add_loop_test(files, a_file_that_puts_off_its_writes_for_ever_fails_them, 0, 2);
    tcase_add_test(files, a_step_that_goes_on_may_be_put_off_again);
    suite_add_tcase(suite, files);
    return array_kit_run(suite);
}
