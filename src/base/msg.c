/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages: one line each, to stderr or syslog, to the observer, and always to the ring.
 *
 *   msg_* -> line --+--> ring                      every level, last RING_LINES
 *                   +--> observer                  up to the set level
 *                   +--> rate limit -> stderr | /dev/log
 *
 * Invariants:
 *   M1  nothing here waits for another process: /dev/log is written without blocking. A log daemon
 *       that waits for a file on our own mount must not stop the thread that would serve it; so
 *       this is a datagram of our own instead of syslog(3), and what it refuses goes to stderr.
 *   M2  the line handed out is one line: control characters (names come from users) become '?'.
 *   M3  the lock covers copying only, and is never held while something is written or called.
 *   M4  errno is left as it was.
 *
 * Happy path: format, remember, count, write.
 * Failure modes: a line too long ends in "..."; a line that cannot be written stays in the ring.
 * More modules than RATES_MAX share the last limit.
 * Thread: any, also before anything was initialized; hence a spin lock instead of an env_mutex.
 */
#include "r5fs/base/msg.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "r5fs/base/env.h"

#define LINE_BYTES      512
#define RING_LINES      512
#define RING_LINE_BYTES 256
#define RATES_MAX       64
#define RATE_NAME_BYTES 24
#define RATE_LINES_MAX  20
#define NS_PER_SECOND   UINT64_C(1000000000)
#define SPINS_MAX       100
#define POLL_NS         20000
#define LINE_TRIES      100
#define LINE_PAUSE_NS   UINT64_C(1000000)
#define SYSLOG_PATH     "/dev/log"

struct ring_line {
    uint64_t time_ns;
    enum msg_level level;
    char text[RING_LINE_BYTES];
};

/* How much of a module's second is used. */
struct rate {
    char module[RATE_NAME_BYTES];
    uint64_t since_ns;
    uint32_t printed;
    uint32_t dropped;
};

struct observer {
    void (*call)(void *context, enum msg_level level, const char *line);
    void *context;
};

static atomic_flag state_lock = ATOMIC_FLAG_INIT;
static struct ring_line ring[RING_LINES];  /* [state_lock] */
static uint64_t ring_count;                /* [state_lock] lines ever written */
static struct rate rates[RATES_MAX];       /* [state_lock] */
static unsigned rates_used;                /* [state_lock] */
static struct observer current_observer;   /* [state_lock] */
static unsigned observer_calls;            /* [state_lock] calls under way */
static _Thread_local bool inside_observer; /* its own messages do not come back to it */
static _Atomic int level_max = MSG_WARN;
static _Atomic int syslog_fd = -1;

static void state_acquire(void)
{
    unsigned spins = 0;

    while (atomic_flag_test_and_set_explicit(&state_lock, memory_order_acquire)) {
        if (++spins >= SPINS_MAX) {
            /* The holder lost its processor. */
            env_sleep_ns(POLL_NS);
        }
    }
}

static void state_release(void)
{
    atomic_flag_clear_explicit(&state_lock, memory_order_release);
}

static const char *level_name(enum msg_level level)
{
    switch (level) {
    case MSG_ERR: return "err";
    case MSG_WARN: return "warn";
    case MSG_INFO: return "info";
    case MSG_DEBUG: return "debug";
    }
    return "?";
}

static int syslog_priority(enum msg_level level)
{
    switch (level) {
    case MSG_ERR: return LOG_DAEMON | LOG_ERR;
    case MSG_WARN: return LOG_DAEMON | LOG_WARNING;
    case MSG_INFO: return LOG_DAEMON | LOG_INFO;
    case MSG_DEBUG: return LOG_DAEMON | LOG_DEBUG;
    }
    return LOG_DAEMON | LOG_ERR;
}

static void write_stderr(const char *line)
{
    char text[LINE_BYTES + 1];
    size_t bytes = strnlen(line, LINE_BYTES - 1);

    memcpy(text, line, bytes);
    text[bytes] = '\n';
    /* One write, so that lines of several threads do not mix; a closed stderr is nobody's fault. */
    ssize_t written = write(STDERR_FILENO, text, bytes + 1);
    (void)written;
}

static bool syslog_connect(int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SYSLOG_PATH};

    return connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) == 0;
}

static bool write_syslog(int fd, enum msg_level level, const char *line)
{
    char packet[LINE_BYTES + 64];
    int bytes = snprintf(
        packet, sizeof(packet), "<%d>r5fs[%ld]: %s", syslog_priority(level), (long)getpid(), line);

    if (bytes < 0) {
        return false;
    }
    size_t length = (size_t)bytes < sizeof(packet) ? (size_t)bytes : sizeof(packet) - 1;
    if (send(fd, packet, length, MSG_NOSIGNAL) >= 0) {
        return true;
    }
    /* The log daemon was restarted, or was not there at first. */
    return errno != EAGAIN && syslog_connect(fd) && send(fd, packet, length, MSG_NOSIGNAL) >= 0;
}

static void write_line(enum msg_level level, const char *line)
{
    int fd = atomic_load(&syslog_fd);

    if (fd < 0 || !write_syslog(fd, level, line)) {
        write_stderr(line);
    }
}

/* M2, and the mark of a line that was cut; `wanted` is what snprintf answered. */
static void line_tidy(char *line, int wanted)
{
    static const char cut[] = "...";

    for (char *at = line; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f) {
            *at = '?';
        }
    }
    if (wanted >= LINE_BYTES) {
        memcpy(line + LINE_BYTES - sizeof(cut), cut, sizeof(cut));
    }
}

static void __attribute__((format(printf, 3, 0)))
line_format(char line[LINE_BYTES], const char *module, const char *format, va_list arguments)
{
    int prefix = snprintf(line, LINE_BYTES, "r5fs: %s: ", module);
    int wanted = prefix;

    if (prefix >= 0 && prefix < LINE_BYTES) {
        int text = vsnprintf(line + prefix, (size_t)(LINE_BYTES - prefix), format, arguments);
        wanted = text < 0 ? prefix : prefix + text;
    }
    line_tidy(line, wanted);
}

/* [state_lock] */
static void ring_add(enum msg_level level, const char *line, uint64_t now_ns)
{
    struct ring_line *slot = &ring[ring_count % RING_LINES];
    size_t bytes = strnlen(line, RING_LINE_BYTES - 1);

    slot->time_ns = now_ns;
    slot->level = level;
    memcpy(slot->text, line, bytes);
    slot->text[bytes] = '\0';
    ring_count++;
}

/* [state_lock] */
static struct rate *rate_of(const char *module)
{
    for (unsigned i = 0; i < rates_used; i++) {
        if (strncmp(rates[i].module, module, RATE_NAME_BYTES - 1) == 0) {
            return &rates[i];
        }
    }
    if (rates_used == RATES_MAX) {
        return &rates[RATES_MAX - 1];
    }
    struct rate *made = &rates[rates_used++];
    size_t bytes = strnlen(module, RATE_NAME_BYTES - 1);
    memcpy(made->module, module, bytes);
    made->module[bytes] = '\0';
    return made;
}

/* [state_lock] A new second: its predecessor's dropped lines are handed to the caller. */
static uint32_t rate_roll(struct rate *rate, uint64_t now_ns)
{
    uint32_t dropped = rate->dropped;

    /* Another thread may have read its clock later and got here first. */
    if (now_ns < rate->since_ns || now_ns - rate->since_ns < NS_PER_SECOND) {
        return 0;
    }
    rate->since_ns = now_ns;
    rate->printed = 0;
    rate->dropped = 0;
    return dropped;
}

/* [state_lock] */
static bool rate_allows(const char *module, uint64_t now_ns)
{
    struct rate *rate = rate_of(module);

    if (rate->printed == 0) {
        rate->since_ns = now_ns;
    }
    if (rate->printed >= RATE_LINES_MAX) {
        rate->dropped++;
        return false;
    }
    rate->printed++;
    return true;
}

/* Whatever modules have dropped in a second that is over is said now, so that a module that fell
 * silent after a flood is not forgotten as long as anyone speaks. */
static void report_dropped(uint64_t now_ns)
{
    for (unsigned i = 0; i < RATES_MAX; i++) {
        char module[RATE_NAME_BYTES] = "";
        uint32_t dropped = 0;

        state_acquire();
        bool last = i >= rates_used;
        if (!last) {
            dropped = rate_roll(&rates[i], now_ns);
            memcpy(module, rates[i].module, sizeof(module));
        }
        state_release();
        if (last) {
            return;
        }
        if (dropped > 0) {
            char line[LINE_BYTES];
            (void)snprintf(line, sizeof(line), "r5fs: %s: lines_dropped count=%u", module, dropped);
            write_line(MSG_WARN, line);
        }
    }
}

static void observer_run(struct observer who, enum msg_level level, const char *line)
{
    inside_observer = true;
    who.call(who.context, level, line);
    inside_observer = false;
    state_acquire();
    observer_calls--;
    state_release();
}

static void __attribute__((format(printf, 3, 0)))
emit(enum msg_level level, const char *module, const char *format, va_list arguments)
{
    int saved_errno = errno; /* M4 */
    char line[LINE_BYTES];
    uint64_t now_ns = env_now_ns();
    bool wanted = (int)level <= atomic_load(&level_max);
    bool allowed = false;
    struct observer who = {NULL, NULL};

    line_format(line, module, format, arguments);
    if (wanted) {
        report_dropped(now_ns);
    }
    state_acquire();
    ring_add(level, line, now_ns);
    if (wanted) {
        allowed = rate_allows(module, now_ns);
        if (current_observer.call != NULL && !inside_observer) {
            who = current_observer;
            observer_calls++;
        }
    }
    state_release();
    if (allowed) {
        write_line(level, line);
    }
    if (who.call != NULL) {
        observer_run(who, level, line);
    }
    errno = saved_errno;
}

void msg_err(const char *module, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    emit(MSG_ERR, module, format, arguments);
    va_end(arguments);
}

void msg_warn(const char *module, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    emit(MSG_WARN, module, format, arguments);
    va_end(arguments);
}

void msg_info(const char *module, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    emit(MSG_INFO, module, format, arguments);
    va_end(arguments);
}

void msg_debug(const char *module, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    emit(MSG_DEBUG, module, format, arguments);
    va_end(arguments);
}

void msg_line(const char *line)
{
    int saved_errno = errno; /* M4 */
    int fd = atomic_load(&syslog_fd);
    bool written = fd >= 0 && write_syslog(fd, MSG_WARN, line);

    for (unsigned i = 0; fd >= 0 && !written && errno == EAGAIN && i < LINE_TRIES; i++) {
        env_sleep_ns(LINE_PAUSE_NS);
        written = write_syslog(fd, MSG_WARN, line);
    }
    if (!written) {
        write_stderr(line);
    }
    errno = saved_errno;
}

void msg_set_level(enum msg_level level)
{
    atomic_store(&level_max, (int)level);
}

void msg_to_syslog(bool on)
{
    int fd = -1;

    if (on) {
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && !syslog_connect(fd)) {
            /* Not there yet: the first line tries again. */
            errno = 0;
        }
    }
    int before = atomic_exchange(&syslog_fd, fd);
    if (before >= 0) {
        /* Nothing was written through it that a failing close could lose. */
        (void)close(before);
    }
}

void msg_set_observer(void (*observer)(void *context, enum msg_level level, const char *line),
                      void *context)
{
    bool busy = true;

    state_acquire();
    current_observer = (struct observer){observer, context};
    state_release();
    /* The one taken away may be about to go out of existence: see its last call through. */
    while (busy && !inside_observer) {
        state_acquire();
        busy = observer_calls > 0;
        state_release();
        if (busy) {
            env_sleep_ns(POLL_NS);
        }
    }
}

void msg_dump_ring(void)
{
    state_acquire();
    uint64_t end = ring_count;
    state_release();
    uint64_t first = end > RING_LINES ? end - RING_LINES : 0;

    write_stderr("r5fs: msg: ring_begin");
    for (uint64_t i = first; i < end; i++) {
        char line[LINE_BYTES];
        state_acquire();
        const struct ring_line *from = &ring[i % RING_LINES];
        (void)snprintf(line,
                       sizeof(line),
                       "[%llu.%06llu] %s %s",
                       (unsigned long long)(from->time_ns / NS_PER_SECOND),
                       (unsigned long long)(from->time_ns % NS_PER_SECOND / 1000),
                       level_name(from->level),
                       from->text);
        state_release();
        write_stderr(line);
    }
    write_stderr("r5fs: msg: ring_end");
}
