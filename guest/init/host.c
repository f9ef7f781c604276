/*
 * The control channel. Frames to the host are gathered in a buffer that is written when the port takes it; frames from
 * the host are obeyed here (SYNC, NETWORK) or passed on to the runtime whole and in order (LOAD, SEAL, START).
 *
 * The host is trusted: a frame of it that makes no sense means that it is of another version, and ends the machine.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Largest LOAD, and largest SEAL or START. */
#define LOAD_FRAME_BYTES (1024 * 1024)
#define STEP_FRAME_BYTES 1024

static int control;
/* A port without a host at its other end reads as ended and polls as ready all the time. */
static int is_connected = 1;

static unsigned char to_host[3 * RUNTIME_FRAME_BYTES];
static size_t to_host_start, to_host_end;
static unsigned char from_host[64 * 1024];
static size_t from_host_bytes;

/* Bytes of the frame at the front of `from_host` that are still to be passed to the runtime. */
static size_t left_to_pass;
/* Frames that came, and of those the unanswered. */
static int load_came, start_came;
static int load_unanswered, seals_unanswered, start_unanswered;

void begin_host(int control_channel)
{
    control = control_channel;
}

int host_is_connected(void)
{
    return is_connected;
}

void host_is_gone(void)
{
    is_connected = 0;
}

int host_events(void)
{
    return (from_host_bytes < sizeof from_host ? POLLIN : 0) | (to_host_start < to_host_end ? POLLOUT : 0);
}

/* ---- To the host ------------------------------------------------------------------------------------------------- */

size_t put_frame_prefix(unsigned char *target, enum frame_type type, size_t header_bytes, size_t payload_bytes)
{
    size_t length = 3 + header_bytes + payload_bytes;
    target[0] = (unsigned char)(length >> 24);
    target[1] = (unsigned char)(length >> 16);
    target[2] = (unsigned char)(length >> 8);
    target[3] = (unsigned char)length;
    target[4] = (unsigned char)type;
    target[5] = (unsigned char)(header_bytes >> 8);
    target[6] = (unsigned char)header_bytes;
    return FRAME_PREFIX_BYTES;
}

size_t room_to_host(void)
{
    return sizeof to_host - (to_host_end - to_host_start);
}

void put_to_host(const void *bytes, size_t count)
{
    if (count > sizeof to_host - to_host_end) {
        memmove(to_host, to_host + to_host_start, to_host_end - to_host_start);
        to_host_end -= to_host_start;
        to_host_start = 0;
    }
    memcpy(to_host + to_host_end, bytes, count);
    to_host_end += count;
}

void send_to_host(enum frame_type type, const void *payload, size_t bytes, const char *header_format, ...)
{
    char header[128];
    unsigned char prefix[FRAME_PREFIX_BYTES];
    va_list arguments;
    va_start(arguments, header_format);
    size_t header_bytes = (size_t)vsnprintf(header, sizeof header, header_format, arguments);
    va_end(arguments);
    put_to_host(prefix, put_frame_prefix(prefix, type, header_bytes, bytes));
    put_to_host(header, header_bytes);
    put_to_host(payload, bytes);
}

void flush_to_host(void)
{
    while (to_host_start < to_host_end) {
        ssize_t count = write(control, to_host + to_host_start, to_host_end - to_host_start);
        if (count <= 0) {
            /* Short of memory or no host: polling would say "ready" at once. EAGAIN is a host that does not read. */
            if (count == 0 || errno != EAGAIN)
                is_connected = 0;
            return;
        }
        to_host_start += (size_t)count;
    }
    to_host_start = to_host_end = 0;
}

/* ---- From the host ----------------------------------------------------------------------------------------------- */

void receive_from_host(void)
{
    if (from_host_bytes == sizeof from_host)
        return;
    ssize_t count = read(control, from_host + from_host_bytes, sizeof from_host - from_host_bytes);
    if (count > 0)
        from_host_bytes += (size_t)count;
    is_connected = count > 0 || (count < 0 && errno == EAGAIN);
}

static void forget_bytes_of_host(size_t bytes)
{
    from_host_bytes -= bytes;
    memmove(from_host, from_host + bytes, from_host_bytes);
}

static void begin_to_pass(size_t limit)
{
    size_t bytes = frame_bytes(from_host);
    if (bytes > limit)
        fatal("the host sent a frame of type %d of %zu bytes; at most %zu are allowed", from_host[4], bytes, limit);
    left_to_pass = bytes;
}

static void begin_load(void)
{
    if (load_came)
        fatal("the host sent a second LOAD");
    begin_to_pass(LOAD_FRAME_BYTES);
    mount_app_file_system();
    load_came = load_unanswered = 1;
}

/* SEAL and START. */
static void begin_step(void)
{
    if (!load_came || start_came)
        fatal("the host sent a frame of type %d %s", from_host[4], load_came ? "after START" : "before LOAD");
    begin_to_pass(STEP_FRAME_BYTES);
    if (from_host[4] == FRAME_SEAL)
        seals_unanswered++;
    else
        start_came = start_unanswered = 1;
}

/* True: all of the frame at the front has come. Frames that are obeyed here have a payload of a fixed size. */
static int has_come(const char *name, size_t payload_bytes)
{
    const size_t bytes = FRAME_PREFIX_BYTES + payload_bytes;
    if (frame_bytes(from_host) != bytes || frame_header_bytes(from_host) != 0)
        fatal("the host sent a %s of %zu bytes; %zu are expected", name, frame_bytes(from_host), bytes);
    return from_host_bytes >= bytes;
}

static int take_sync(void)
{
    if (!has_come("SYNC", SYNC_BYTES))
        return 0;
    sync_with_host(from_host + FRAME_PREFIX_BYTES);
    /* Random numbers that were used must not be found in a snapshot. */
    explicit_bzero(from_host + FRAME_PREFIX_BYTES, SYNC_BYTES);
    forget_bytes_of_host(FRAME_PREFIX_BYTES + SYNC_BYTES);
    return 1;
}

static int take_network(void)
{
    if (!has_come("NETWORK", NETWORK_BYTES))
        return 0;
    take_network_of_host(from_host + FRAME_PREFIX_BYTES);
    forget_bytes_of_host(FRAME_PREFIX_BYTES + NETWORK_BYTES);
    return 1;
}

/* False: the runtime's socket is full. */
static int pass_to(int requests)
{
    size_t bytes = left_to_pass < from_host_bytes ? left_to_pass : from_host_bytes;
    ssize_t count = requests < 0 ? -1 : write(requests, from_host, bytes);
    if (count < 0 && requests >= 0 && errno == EAGAIN)
        return 0;
    /* A runtime that is gone takes everything; its end is reported as such. */
    bytes = count < 0 ? bytes : (size_t)count;
    left_to_pass -= bytes;
    forget_bytes_of_host(bytes);
    return 1;
}

void obey_host(int requests)
{
    for (;;) {
        if (host_owes_runtime()) {
            if (!pass_to(requests))
                return;
            continue;
        }
        if (left_to_pass > 0 || from_host_bytes < FRAME_PREFIX_BYTES)
            return;
        switch (from_host[4]) {
        case FRAME_LOAD:
            begin_load();
            break;
        case FRAME_SEAL:
        case FRAME_START:
            begin_step();
            break;
        case FRAME_SYNC:
            if (!take_sync())
                return;
            break;
        case FRAME_NETWORK:
            if (!take_network())
                return;
            break;
        default:
            fatal("the host sent a frame of unknown type %d", from_host[4]);
        }
    }
}

int host_owes_runtime(void)
{
    return left_to_pass > 0 && from_host_bytes > 0;
}

/* ---- What the host waits for ------------------------------------------------------------------------------------- */

int host_awaits(enum frame_type answer)
{
    switch (answer) {
    case FRAME_LOADED:
    case FRAME_LOAD_FAILED:
        return load_unanswered;
    case FRAME_SEALED:
        return !load_unanswered && seals_unanswered > 0;
    case FRAME_STARTED:
        return !load_unanswered && seals_unanswered == 0 && start_unanswered;
    case FRAME_HOOK_FAILED:
        return !load_unanswered && (seals_unanswered > 0 || start_unanswered);
    default:
        return 0;
    }
}

void take_answer(enum frame_type answer)
{
    if (answer == FRAME_LOADED)
        load_unanswered = 0;
    else if (answer == FRAME_SEALED)
        seals_unanswered--;
    else if (answer == FRAME_STARTED)
        start_unanswered = 0;
    else /* A failure: the runtime ends, and nothing else of what it says is an answer. */
        load_unanswered = seals_unanswered = start_unanswered = 0;
}
