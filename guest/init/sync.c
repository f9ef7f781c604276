/*
 * What a machine cannot know by itself: what time it is, to better than a second, and random numbers that no other
 * machine has. Both are stale once the machine was restored from a snapshot, and equal in all that were restored from it.
 * And what it may be wrong about: how fast its clock goes.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/timex.h>
#include <time.h>

#define NS_PER_S 1000000000

static uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void set_clock(const unsigned char since_1970[TIME_BYTES], int may_go_back)
{
    uint64_t time = 0;
    for (int i = 0; i < TIME_BYTES; i++)
        time = time << 8 | since_1970[i];
    /* What the host said is of the past by now: a clock that is ahead of it need not be wrong. */
    if (!may_go_back && clock_now() >= time)
        return;
    struct timespec now = {.tv_sec = (time_t)(time / NS_PER_S), .tv_nsec = (long)(time % NS_PER_S)};
    if (clock_settime(CLOCK_REALTIME, &now) < 0)
        note("clock: %s", strerror(errno));
}

static void add_entropy(const unsigned char *entropy)
{
    /* Stays open: a restored machine need not look the name up again. */
    static int device = -1;
    /* As struct rand_pool_info, whose buffer has no size. */
    struct {
        int entropy_count, buf_size;
        unsigned char buf[ENTROPY_BYTES];
    } pool = {.entropy_count = 8 * ENTROPY_BYTES, .buf_size = ENTROPY_BYTES};
    if (device < 0)
        device = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    memcpy(pool.buf, entropy, ENTROPY_BYTES);
    /* A generator that is seeded already takes the entropy in, but uses it at its next turn only: make that now. */
    if (device < 0 || ioctl(device, RNDADDENTROPY, &pool) < 0 || ioctl(device, RNDRESEEDCRNG) < 0)
        note("random numbers: %s", strerror(errno));
    explicit_bzero(&pool, sizeof pool);
}

/* ---- How fast the clock goes ------------------------------------------------------------------------------------- */

/*
 * Without a clock of its hypervisor's the kernel counts ticks of the processor, and finds out at boot how many a second has.
 * On a busy host an emulated machine may be stopped in the middle of that, and its clocks are off by some percent for
 * good: the kernel corrects itself later by up to 1 % only (tsc_refine_calibration_work). The ACPI timer counts true time.
 */
#define PM_TIMER_HZ 3579545
#define PM_TIMER_MASK 0xffffff
#define RATE_MS 50
/* What the kernel will not correct; and what adjtimex can. */
#define MIN_ERROR_PPM 9000
#define MAX_ERROR_PPM 90000

/* The same moment on both clocks; `width_ns` is how sure that is. */
struct moment {
    int64_t clock_ns, width_ns;
    unsigned timer;
};

static int64_t raw_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* The best of some, as each may be interrupted. */
static struct moment look_at_clocks(unsigned short port)
{
    struct moment best = {.width_ns = INT64_MAX};
    for (int i = 0; i < 20; i++) {
        struct moment one = {.clock_ns = raw_clock(), .timer = inl(port)};
        one.width_ns = raw_clock() - one.clock_ns;
        if (one.width_ns < best.width_ns)
            best = one;
    }
    return best;
}

static int counts_ticks(void)
{
    char name[16] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (file == NULL || fgets(name, sizeof name, file) == NULL)
        name[0] = '\0';
    if (file != NULL)
        fclose(file);
    return strncmp(name, "tsc", 3) == 0;
}

/* 0: there is none. */
static unsigned short pm_timer_port(void)
{
    char line[128];
    unsigned port = 0, from;
    FILE *file = fopen("/proc/ioports", "re");
    while (file != NULL && port == 0 && fgets(line, sizeof line, file) != NULL)
        if (strstr(line, "ACPI PM_TMR") != NULL && sscanf(line, " %x-", &from) == 1)
            port = from;
    if (file != NULL)
        fclose(file);
    return (unsigned short)port;
}

void check_clock_rate(void)
{
    unsigned short port = counts_ticks() ? pm_timer_port() : 0;
    if (port == 0 || ioperm(port, 4, 1) < 0)
        return;
    struct moment from = look_at_clocks(port);
    sleep_ms(RATE_MS);
    struct moment to = look_at_clocks(port);
    ioperm(port, 4, 0);

    int64_t true_ns = (int64_t)((to.timer - from.timer) & PM_TIMER_MASK) * NS_PER_S / PM_TIMER_HZ;
    int64_t clock_ns = to.clock_ns - from.clock_ns;
    if (true_ns == 0 || clock_ns <= 0)
        return;
    int64_t unsure_ppm = (from.width_ns + to.width_ns) * 1000000 / true_ns;
    int64_t error_ppm = (clock_ns - true_ns) * 1000000 / true_ns;
    int64_t size_ppm = error_ppm < 0 ? -error_ppm : error_ppm;
    if (size_ppm < MIN_ERROR_PPM || size_ppm > MAX_ERROR_PPM || unsure_ppm > MIN_ERROR_PPM / 2)
        return;
    /* Microseconds for each of the 100 jiffies of a second. */
    struct timex rate = {.modes = ADJ_TICK, .tick = (long)(10000 * true_ns / clock_ns)};
    if (adjtimex(&rate) < 0)
        note("the clock is off by %lld ppm and cannot be corrected: %m", (long long)error_ppm);
    else
        note("the clock is off by %lld ppm: corrected", (long long)error_ppm);
}

/* ---- The time, and random numbers --------------------------------------------------------------------------------- */

void sync_with_host(const unsigned char payload[SYNC_BYTES], unsigned char answer[SYNCED_BYTES])
{
    set_clock(payload, payload[TIME_BYTES]);
    uint64_t now = clock_now();
    memcpy(answer, payload, TIME_BYTES);
    for (int i = 0; i < TIME_BYTES; i++)
        answer[TIME_BYTES + i] = (unsigned char)(now >> 8 * (TIME_BYTES - 1 - i));
    add_entropy(payload + TIME_BYTES + 1);
}
