/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mount options: what each word does, what is swallowed, what is refused by name. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "r5fs/fuse/fuse.h"

static struct mount_options options;
static char why[FUSE_SERVE_WHY_BYTES];

static int parse_as_root(const char *text)
{
    mount_options_init(&options, true);
    why[0] = '\0';
    return mount_options_parse(&options, text, why);
}

static void refuse_naming(const char *text, const char *named)
{
    ck_assert_int_eq(parse_as_root(text), -EINVAL);
    ck_assert_msg(strstr(why, named) != NULL, "'%s' is not named in: %s", named, why);
}

START_TEST(defaults_are_the_documented_ones)
{
    ck_assert_int_eq(parse_as_root(""), 0);
    ck_assert_uint_eq(options.memory_bytes, MOUNT_MEMORY_BYTES_DEFAULT);
    ck_assert_uint_eq(options.io_units, 8);
    ck_assert_uint_eq(options.commit_interval_ms, 5000);
    ck_assert_uint_eq(options.watchdog_s, 30);
    ck_assert(!options.read_only && !options.degraded && !options.norecovery);
    ck_assert(!options.kernel_safe);
    ck_assert_int_eq(options.backend, IO_BACKEND_AUTO);
    ck_assert_int_eq(options.journal_mode, MOUNT_JOURNAL_AS_KEPT);
}
END_TEST

START_TEST(each_option_sets_what_it_says)
{
    ck_assert_int_eq(parse_as_root("ro,degraded,norecovery,memory=1G,io_units=4,stripes=1000,"
                                   "commit=7,watchdog=0,threads=3,backend=threads,"
                                   "journal_mode=write-through,fsname=pool,kernel_safe"),
                     0);
    ck_assert(options.read_only && options.degraded && options.norecovery);
    ck_assert(options.kernel_safe);
    ck_assert_uint_eq(options.memory_bytes, 1ull << 30);
    ck_assert_uint_eq(options.io_units, 4);
    ck_assert_uint_eq(options.stripes, 1000);
    ck_assert_uint_eq(options.commit_interval_ms, 7000);
    ck_assert_uint_eq(options.watchdog_s, 0);
    ck_assert_uint_eq(options.threads, 3);
    ck_assert_int_eq(options.backend, IO_BACKEND_THREADS);
    ck_assert_int_eq(options.journal_mode, MOUNT_JOURNAL_WRITE_THROUGH);
    ck_assert_str_eq(options.fsname, "pool");
}
END_TEST

START_TEST(what_fstab_and_mount_want_is_swallowed)
{
    ck_assert_int_eq(parse_as_root("defaults,nofail,noauto,auto,_netdev,user,users,user=joe,owner,"
                                   "x-systemd.automount,x-gvfs-show,comment=a\\,b,relatime,"
                                   "nodiratime,lazytime,rw,default_permissions"),
                     0);
    ck_assert(!options.read_only);
}
END_TEST

START_TEST(an_unknown_option_is_refused_by_name)
{
    refuse_naming("ro,degradde", "degradde");
    refuse_naming("comit=5", "comit");
    refuse_naming("remount,ro", "remount");
    refuse_naming("noexecc", "noexecc");
}
END_TEST

START_TEST(a_value_too_few_or_too_many_is_refused_as_such)
{
    refuse_naming("ro,io_units", "a number from");
    refuse_naming("memory", "a size");
    refuse_naming("fsname=", "a name is wanted");
    refuse_naming("kernel_safe=1", "takes no value");
    refuse_naming("ro=1,degraded", "takes no value");
}
END_TEST

START_TEST(a_wrong_value_is_refused_by_name)
{
    refuse_naming("threads=0", "threads");
    refuse_naming("threads=many", "threads");
    refuse_naming("threads=4x", "threads");
    refuse_naming("commit=-1", "commit");
    refuse_naming("commit=", "commit");
    refuse_naming("watchdog=-1", "watchdog");
    refuse_naming("watchdog=100000", "watchdog");
    refuse_naming("io_units=0", "io_units");
    refuse_naming("io_units=65", "io_units");
    refuse_naming("stripes=127", "128");
    refuse_naming("memory=1M", "at least 48M");
    refuse_naming("memory=16777215T", "too large");
    refuse_naming("memory=lots", "memory");
    refuse_naming("memory=256MX", "memory");
    refuse_naming("memory=18446744073709551615G", "memory");
    refuse_naming("backend=magic", "backend");
    refuse_naming("journal_mode=none", "journal_mode");
}
END_TEST

START_TEST(the_least_values_are_taken)
{
    ck_assert_int_eq(parse_as_root("stripes=128,memory=48M"), 0);
    ck_assert_uint_eq(options.stripes, 128);
}
END_TEST

START_TEST(sizes_are_iec)
{
    ck_assert_int_eq(parse_as_root("memory=64M"), 0);
    ck_assert_uint_eq(options.memory_bytes, 64ull << 20);
    ck_assert_int_eq(parse_as_root("memory=64MiB"), 0);
    ck_assert_uint_eq(options.memory_bytes, 64ull << 20);
    ck_assert_int_eq(parse_as_root("memory=100000k"), 0);
    ck_assert_uint_eq(options.memory_bytes, 100000ull << 10);
    ck_assert_int_eq(parse_as_root("memory=104857600"), 0);
    ck_assert_uint_eq(options.memory_bytes, 100ull << 20);
}
END_TEST

START_TEST(the_last_word_wins)
{
    ck_assert_int_eq(parse_as_root("suid,dev,nosuid,nodev"), 0);
    ck_assert_uint_eq(options.kernel_flags & (MS_NOSUID | MS_NODEV), MS_NOSUID | MS_NODEV);
    ck_assert_int_eq(parse_as_root("nosuid,nodev,suid,dev"), 0);
    ck_assert_uint_eq(options.kernel_flags & (MS_NOSUID | MS_NODEV), 0);
    ck_assert_int_eq(parse_as_root("ro,rw"), 0);
    ck_assert(!options.read_only);
    ck_assert_int_eq(parse_as_root("noatime,atime,noexec"), 0);
    ck_assert_uint_eq(options.kernel_flags, MS_NOEXEC);
}
END_TEST

START_TEST(several_arguments_add_up)
{
    ck_assert_int_eq(parse_as_root("ro,nosuid"), 0);
    ck_assert_int_eq(mount_options_parse(&options, "noexec,threads=5", why), 0);
    ck_assert(options.read_only);
    ck_assert_uint_eq(options.kernel_flags, MS_NOSUID | MS_NOEXEC);
    ck_assert_uint_eq(options.threads, 5);
}
END_TEST

START_TEST(root_may_have_suid_and_dev_a_user_never)
{
    mount_options_init(&options, true);
    ck_assert_uint_eq(options.kernel_flags, 0);
    ck_assert(options.allow_other);

    mount_options_init(&options, false);
    ck_assert(!options.allow_other);
    ck_assert_int_eq(mount_options_parse(&options, "suid,dev", why), 0);
    ck_assert_uint_eq(options.kernel_flags, MS_NOSUID | MS_NODEV);
}
END_TEST

START_TEST(sync_and_dirsync_make_names_durable)
{
    ck_assert_int_eq(parse_as_root("sync"), 0);
    ck_assert(options.dirsync);
    ck_assert_int_eq(parse_as_root("dirsync"), 0);
    ck_assert(options.dirsync);
    ck_assert_int_eq(parse_as_root("sync,async"), 0);
    ck_assert(!options.dirsync);
}
END_TEST

START_TEST(commas_may_be_escaped_or_quoted)
{
    ck_assert_int_eq(parse_as_root("fsname=a\\,b,context=\"x:c0,c1\",ro"), 0);
    ck_assert_str_eq(options.fsname, "a,b");
    ck_assert_str_eq(options.kernel_options, "context=\"x:c0,c1\"");
    ck_assert(options.read_only);
}
END_TEST

START_TEST(an_endless_word_is_refused)
{
    char text[4096];

    (void)memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    ck_assert_int_eq(parse_as_root(text), -EINVAL);
    (void)memcpy(text, "fsname=", 7);
    ck_assert_int_eq(parse_as_root(text), -EINVAL);
}
END_TEST

START_TEST(norecovery_needs_ro)
{
    ck_assert_int_eq(parse_as_root("norecovery"), 0);
    ck_assert_int_eq(mount_options_finish(&options, why), -EINVAL);
    ck_assert_ptr_nonnull(strstr(why, "ro"));
    ck_assert_int_eq(parse_as_root("norecovery,ro"), 0);
    ck_assert_int_eq(mount_options_finish(&options, why), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mount_options");
    TCase *words = tcase_create("words");

    tcase_add_test(words, defaults_are_the_documented_ones);
    tcase_add_test(words, each_option_sets_what_it_says);
    tcase_add_test(words, what_fstab_and_mount_want_is_swallowed);
    tcase_add_test(words, an_unknown_option_is_refused_by_name);
    tcase_add_test(words, a_value_too_few_or_too_many_is_refused_as_such);
    tcase_add_test(words, a_wrong_value_is_refused_by_name);
    tcase_add_test(words, the_least_values_are_taken);
    tcase_add_test(words, sizes_are_iec);
    tcase_add_test(words, the_last_word_wins);
    tcase_add_test(words, several_arguments_add_up);
    tcase_add_test(words, root_may_have_suid_and_dev_a_user_never);
    tcase_add_test(words, sync_and_dirsync_make_names_durable);
    tcase_add_test(words, commas_may_be_escaped_or_quoted);
    tcase_add_test(words, an_endless_word_is_refused);
    tcase_add_test(words, norecovery_needs_ro);
    suite_add_tcase(suite, words);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
