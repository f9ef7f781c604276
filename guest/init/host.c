/*
 * What the host says on the control channel: obeyed here (SYNC, NETWORK), or passed on to the
 * runtime in order (LOAD, SEAL, START).
 *
 * Nothing is done before a frame is there whole, unless it is too long for the buffer: what a line began to say and did
 * not end is forgotten when the next one speaks.
 *
 * The host is trusted: a frame of it that makes no sense means that it is of another version, and ends the machine.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Largest LOAD, and largest SEAL or START. */
#define LOAD_FRAME_BYTES (1024 * 1024)
#define STEP_FRAME_BYTES 1024

static unsigned char from_host[64 * 1024];
static size_t from_host_bytes;
/* The line that the last of them came on. */
static unsigned long from_line;

/* Bytes of the frame at the front of `from_host` that are still to be passed to the runtime. */
static size_t left_to_pass;
/* Frames that came, and of those the unanswered. */
static int load_came, start_came;
static int load_unanswered, seals_unanswered, start_unanswered;

/* ---- From the host ----------------------------------------------------------------------------------------------- */

int host_can_be_heard(void)
{
    return from_host_bytes < sizeof from_host;
}

/* Keeps the frames that came whole. */
static void forget_cut_frame(void)
{
    size_t whole = left_to_pass;
    if (whole > from_host_bytes)
        fatal("the host went away in the middle of a frame, of which %zu bytes are missing", whole - from_host_bytes);
    for (size_t left; (left = from_host_bytes - whole) >= FRAME_PREFIX_BYTES;) {
        size_t bytes = frame_bytes(from_host + whole);
        /* One that is too short for its prefix is no cut one: it ends the machine when its turn comes. */
        if (bytes < FRAME_PREFIX_BYTES)
            bytes = FRAME_PREFIX_BYTES;
        if (bytes > left)
            break;
        whole += bytes;
    }
    from_host_bytes = whole;
}

void receive_from_host(void)
{
    if (!host_can_be_heard())
        return;
    if (from_line != control_line())
        forget_cut_frame();
    from_line = control_line();
    from_host_bytes += read_control(from_host + from_host_bytes, sizeof from_host - from_host_bytes);
}

static void forget_bytes_of_host(size_t bytes)
{
    from_host_bytes -= bytes;
    memmove(from_host, from_host + bytes, from_host_bytes);
}

/* False: not enough of the frame has come yet. */
static int begin_to_pass(size_t limit)
{
    size_t bytes = frame_bytes(from_host);
    if (bytes > limit)
        fatal("the host sent a frame of type %d of %zu bytes; at most %zu are allowed", from_host[4], bytes, limit);
    if (from_host_bytes < bytes && host_can_be_heard())
        return 0;
    left_to_pass = bytes;
    return 1;
}

static int begin_load(void)
{
    if (load_came)
        fatal("the host sent a second LOAD");
    if (!begin_to_pass(LOAD_FRAME_BYTES))
        return 0;
    mount_app_file_system();
    load_came = load_unanswered = 1;
    return 1;
}

/* SEAL and START. A SEAL may come before LOAD as well. */
static int begin_step(void)
{
    if (start_came || (from_host[4] == FRAME_START && !load_came))
        fatal("the host sent a frame of type %d %s", from_host[4], load_came ? "after START" : "before LOAD");
    if (!begin_to_pass(STEP_FRAME_BYTES))
        return 0;
    if (from_host[4] == FRAME_SEAL)
        seals_unanswered++;
    else
        start_came = start_unanswered = 1;
    return 1;
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
    unsigned char answer[SYNCED_BYTES];
    sync_with_host(from_host + FRAME_PREFIX_BYTES, answer);
    /* A host that does not read has no use for an answer: it would come late. */
    if (room_to_host() >= FRAME_PREFIX_BYTES + sizeof answer)
        send_to_host(FRAME_SYNCED, answer, sizeof answer, "%s", "");
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
    let_function_run();
    return 1;
}

/* False: not enough of it has come yet. */
static int begin_frame(void)
{
    if (frame_bytes(from_host) < FRAME_PREFIX_BYTES + frame_header_bytes(from_host))
        fatal("the host sent a frame of type %d of %zu bytes, which does not hold its own header", from_host[4],
              frame_bytes(from_host));
    switch (from_host[4]) {
    case FRAME_LOAD:
        return begin_load();
    case FRAME_SEAL:
    case FRAME_START:
        return begin_step();
    case FRAME_SYNC:
        return take_sync();
    case FRAME_NETWORK:
        return take_network();
    default:
        fatal("the host sent a frame of unknown type %d", from_host[4]);
    }
}

void obey_host(int requests)
{
    for (;;) {
        if (host_owes_runtime()) {
            if (!pass_to(requests))
                return;
        } else if (left_to_pass > 0 || from_host_bytes < FRAME_PREFIX_BYTES || !begin_frame()) {
            return;
        }
    }
}

int host_has_loaded(void)
{
    return load_came;
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
