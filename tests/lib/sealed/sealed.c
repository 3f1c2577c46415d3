/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The allocator of the test build r5fs_sealed: from the moment the mount answers, whoever allocates
 * is looked at.
 *
 *   malloc and its kin -- before the seal ----------------------------------> glibc's
 *                      -- after it: the first caller that is not libc's
 *                             libfuse's -> counted; served, or NULL, as the mode says
 *                             anybody else's, ours above all -> "abort": stack to the report, abort
 *                                                               "fail":  counted, NULL
 *
 * The caller is told by its address, never by the size it asks for: what libfuse allocates when we
 * call it is libfuse's, what libc allocates for us (fopen, localtime_r) is ours. Threads and
 * mappings made after the seal are refused the same way (--wrap).
 *
 * The seal is the return of serve_start (--wrap), not arena_seal: libfuse mounts between the two.
 *
 * Environment: R5FS_SEALED_PAGE, a file of 4096 bytes that the test maps too (struct seal_page);
 * R5FS_SEALED_REPORT, where the stack of an abort is written.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "serve.h"

#define STACK_FRAMES_MAX 64
#define PAGE_BYTES       4096u
#define RANGES_MAX       16
#define FAIL_EVERY       3u
#define SCATTER          UINT64_C(0x9e3779b97f4a7c15)

enum seal_mode {
    SEAL_ABORT,     /* ours abort; libfuse is served */
    SEAL_FAIL,      /* every allocation of everybody fails */
    SEAL_FAIL_SOME, /* ours abort; a third of libfuse's fails */
};

/* Shared with the test: tests/e2e/test_e2e_sealed.sh reads and writes it by offset. */
struct seal_page {
    _Atomic uint32_t mode;
    _Atomic uint32_t sealed;
    _Atomic uint64_t libfuse; /* allocations of libfuse after the seal */
    _Atomic uint64_t failed;  /* of everybody, answered NULL */
    _Atomic uint64_t ours;    /* of ours */
};

struct range {
    uintptr_t first;
    uintptr_t last;
    bool is_libc; /* says nothing about who wanted it */
    bool is_libfuse;
};

static struct seal_page own_page;
static struct seal_page *page = &own_page;
static struct range ranges[RANGES_MAX];
static unsigned range_count;
static const char *report_path;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): glibc's and the linker's
 * names */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
int __real_serve_start(struct serve *serve);
int __wrap_serve_start(struct serve *serve);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_pthread_create(pthread_t *out,
                          const pthread_attr_t *attributes,
                          void *(*run)(void *),
                          void *context);
int __wrap_pthread_create(pthread_t *out,
                          const pthread_attr_t *attributes,
                          void *(*run)(void *),
                          void *context);
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
void *memalign(size_t align, size_t bytes);
void *valloc(size_t bytes);

static int note_object(struct dl_phdr_info *object, size_t bytes, void *context)
{
    (void)bytes;
    (void)context;
    for (unsigned i = 0; i < object->dlpi_phnum && range_count < RANGES_MAX; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];

        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0) {
            uintptr_t first = object->dlpi_addr + part->p_vaddr;

            ranges[range_count++] = (struct range){
                .first = first,
                .last = first + part->p_memsz,
                .is_libc = strstr(object->dlpi_name, "libc.so") != NULL ||
                           strstr(object->dlpi_name, "ld-linux") != NULL,
                .is_libfuse = strstr(object->dlpi_name, "libfuse3.so") != NULL,
            };
        }
    }
    return 0;
}

__attribute__((constructor)) static void seal_prepare(void)
{
    void *stack[4];
    const char *path = getenv("R5FS_SEALED_PAGE");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);

    report_path = getenv("R5FS_SEALED_REPORT");
    if (fd >= 0) {
        void *shared = __real_mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        page = shared == MAP_FAILED ? &own_page : shared;
        (void)close(fd); /* mapped */
    }
    (void)dl_iterate_phdr(note_object, NULL); /* note_object never ends it early */
    (void)backtrace(stack, 4);                /* loads the unwinder, which allocates once */
}

static const struct range *range_of(const void *address)
{
    for (unsigned i = 0; i < range_count; i++) {
        if ((uintptr_t)address >= ranges[i].first && (uintptr_t)address < ranges[i].last) {
            return &ranges[i];
        }
    }
    return NULL;
}

/* Whether libfuse wanted it: the first on the stack, from `caller` on, that is not libc. */
static bool is_of_libfuse(void *const *stack, int frames, const void *caller)
{
    int at = 0;

    while (at < frames && stack[at] != caller) {
        at++;
    }
    while (at < frames) {
        const struct range *range = range_of(stack[at]);

        if (range == NULL || !range->is_libc) {
            return range != NULL && range->is_libfuse;
        }
        at++;
    }
    return false;
}

static _Noreturn void report_and_abort(void *const *stack, int frames)
{
    static const char text[] = "allocation after the seal:\n";
    int fd = report_path == NULL
                 ? STDERR_FILENO
                 : open(report_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (write(fd, text, sizeof(text) - 1) > 0) {
        backtrace_symbols_fd(stack, frames, fd);
    }
    abort();
}

/* One of three, but not each third: a request of three would for ever fail at the same one. */
static bool is_its_turn(uint64_t number)
{
    return (number * SCATTER >> 32) % FAIL_EVERY == 0;
}

/* Whether the allocation is refused. */
static bool refuse(const void *caller)
{
    void *stack[STACK_FRAMES_MAX];

    if (atomic_load(&page->sealed) != (uint32_t)getpid()) {
        return false; /* a command's, or a child's: fork inherits the page */
    }
    int frames = backtrace(stack, STACK_FRAMES_MAX);
    uint32_t mode = atomic_load(&page->mode);
    bool refused = mode == SEAL_FAIL;
    if (is_of_libfuse(stack, frames, caller)) {
        uint64_t number = atomic_fetch_add(&page->libfuse, 1);
        refused = refused || (mode == SEAL_FAIL_SOME && is_its_turn(number));
    } else {
        atomic_fetch_add(&page->ours, 1);
        if (mode != SEAL_FAIL) {
            report_and_abort(stack, frames);
        }
    }
    if (refused) {
        atomic_fetch_add(&page->failed, 1);
        errno = ENOMEM;
    }
    return refused;
}

#define REFUSED() refuse(__builtin_extract_return_addr(__builtin_return_address(0)))

void *malloc(size_t bytes)
{
    return REFUSED() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return REFUSED() ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return REFUSED() ? NULL : __libc_realloc(old, bytes);
}

void *memalign(size_t align, size_t bytes)
{
    return REFUSED() ? NULL : __libc_memalign(align, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    return REFUSED() ? NULL : __libc_memalign(align, bytes);
}

void *valloc(size_t bytes)
{
    return REFUSED() ? NULL : __libc_memalign(PAGE_BYTES, bytes);
}

int posix_memalign(void **out, size_t align, size_t bytes)
{
    if (REFUSED()) {
        return ENOMEM;
    }
    *out = __libc_memalign(align, bytes);
    return *out == NULL ? ENOMEM : 0;
}

int __wrap_serve_start(struct serve *serve)
{
    int err = __real_serve_start(serve);

    if (err == 0) {
        atomic_store(&page->sealed, (uint32_t)getpid());
    }
    return err;
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return REFUSED() ? MAP_FAILED : __real_mmap(at, bytes, protection, flags, fd, offset);
}

int __wrap_pthread_create(pthread_t *out,
                          const pthread_attr_t *attributes,
                          void *(*run)(void *),
                          void *context)
{
    return REFUSED() ? EAGAIN : __real_pthread_create(out, attributes, run, context);
}
