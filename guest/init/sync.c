/*
 * What a machine cannot know by itself: what time it is, to better than a second, and random numbers that no other
 * machine has. Both are stale once the machine was restored from a snapshot, and equal in all that were restored from it.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

static void set_clock(const unsigned char *since_1970)
{
    uint64_t nanoseconds = 0;
    for (int i = 0; i < 8; i++)
        nanoseconds = nanoseconds << 8 | since_1970[i];
    struct timespec now = {.tv_sec = (time_t)(nanoseconds / 1000000000), .tv_nsec = (long)(nanoseconds % 1000000000)};
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

void sync_with_host(const unsigned char payload[SYNC_BYTES])
{
    set_clock(payload);
    add_entropy(payload + 8);
}
