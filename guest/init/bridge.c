/*
 * The function channel over vsock: from the connection that the host dialled to the runtime's descriptor 3, and back.
 *
 *   host ── connection ──▶ to_runtime ──▶ socket ── fd 3 of the runtime
 *   host ◀── connection ── to_host    ◀── socket ── fd 3 of the runtime
 *
 * The runtime has one socket for its whole life and learns nothing of connections and restores. Each flow is one buffer
 * that is filled when it is empty and written until it is: an end that does not read stops the other one.
 *
 * Lengths and types of frames are all that is looked at, to know what the end of a connection means. While no exchange is under way it
 * means nothing, and the next connection is taken. Within one, the answer has nobody left to go to, or the runtime waits
 * for the rest of a request that nobody will send: the runtime's socket is ended, and so is the runtime.
 *
 * A second connection waits until the first has ended: a request that is under way is worth more than a newcomer.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLOW_BYTES (64 * 1024)
/* Bytes of a frame's length field; its type is the byte behind it. */
#define LENGTH_BYTES 4

struct flow {
    unsigned char bytes[FLOW_BYTES];
    size_t start, end;
    /* What came of the length field of the frame that passes, and what is to come of the frame behind its type. */
    size_t length, length_bytes, left;
    /* Neither a request nor an answer: a part of one, or what is said of one. */
    int is_part;
    /* Requests, or answers, that passed whole. */
    unsigned long whole;
};

/* NULL without a bridge. */
static struct flow *to_runtime, *to_host;
/* Below 0: not there, or not any more. */
static int listener = -1, connection = -1, runtime = -1;

int begin_bridge(int function_listener)
{
    int ends[2];
    /* Once, and not static: init's memory is locked, and guests without a bridge would have it in use as well. */
    struct flow *flows =
        mmap(NULL, 2 * sizeof *flows, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (flows == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        fatal("no bridge for the function channel: %m");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    to_runtime = &flows[0];
    to_host = &flows[1];
    listener = function_listener;
    runtime = ends[0];
    return ends[1];
}

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The host is refused from now on, and the runtime reads the end of its work. */
static void end_bridge(void)
{
    close_end(&listener);
    close_end(&connection);
    close_end(&runtime);
}

/* ---- Flows ------------------------------------------------------------------------------------------------------- */

static int is_empty(const struct flow *flow)
{
    return flow->start == flow->end;
}

static int is_between_frames(const struct flow *flow)
{
    return flow->length_bytes == 0 && flow->left == 0;
}

static void count_frames(struct flow *flow, const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count;) {
        if (flow->left == 0) {
            unsigned char byte = bytes[i++];
            if (flow->length_bytes < LENGTH_BYTES) {
                flow->length = flow->length << 8 | byte;
                /* A frame of no bytes has no type either. */
                if (++flow->length_bytes < LENGTH_BYTES || flow->length > 0)
                    continue;
                flow->is_part = 0;
            } else {
                flow->is_part = byte == FRAME_CHUNK || byte == FRAME_TAKEN || byte == FRAME_CANCEL;
                flow->left = flow->length - 1;
            }
            flow->length = flow->length_bytes = 0;
        } else {
            size_t step = flow->left < count - i ? flow->left : count - i;
            flow->left -= step;
            i += step;
        }
        if (flow->left == 0 && !flow->is_part)
            flow->whole++;
    }
}

/* Into an empty flow. False: there is nobody any more to read from. */
static int fill(struct flow *flow, int fd)
{
    ssize_t count = read(fd, flow->bytes, sizeof flow->bytes);
    if (count <= 0)
        return count < 0 && errno == EAGAIN;
    flow->end = (size_t)count;
    count_frames(flow, flow->bytes, flow->end);
    return 1;
}

/* As far as it goes. False: there is nobody any more to write to. */
static int drain(struct flow *flow, int fd)
{
    while (!is_empty(flow)) {
        ssize_t count = write_some(fd, flow->bytes + flow->start, flow->end - flow->start);
        if (count < 0)
            return errno == EAGAIN;
        flow->start += (size_t)count;
    }
    flow->start = flow->end = 0;
    return 1;
}

/* ---- Ends -------------------------------------------------------------------------------------------------------- */

static void connection_ended(void)
{
    int is_quiet = is_empty(to_runtime) && is_empty(to_host) && is_between_frames(to_runtime) &&
                   is_between_frames(to_host) && to_runtime->whole == to_host->whole;
    if (is_quiet)
        close_end(&connection);
    else
        end_bridge();
}

static void carry_to_runtime(void)
{
    if (is_empty(to_runtime) && !fill(to_runtime, connection))
        connection_ended();
    else if (!drain(to_runtime, runtime))
        /* It may have answered before it closed: what it said is read to the end. */
        to_runtime->start = to_runtime->end = 0;
}

static void carry_to_host(void)
{
    if (is_empty(to_host) && !fill(to_host, runtime))
        end_bridge();
    else if (!drain(to_host, connection))
        connection_ended();
}

/* ---- For the loop ------------------------------------------------------------------------------------------------ */

void watch_bridge(struct pollfd fds[BRIDGE_FDS])
{
    int has_both = connection >= 0 && runtime >= 0;
    int reads_host = has_both && is_empty(to_runtime), reads_runtime = has_both && is_empty(to_host);
    fds[0] = watch(listener, connection < 0 ? POLLIN : 0);
    fds[1] = watch(connection, (reads_host ? POLLIN : 0) | (has_both && !reads_runtime ? POLLOUT : 0));
    fds[2] = watch(runtime, (reads_runtime ? POLLIN : 0) | (has_both && !reads_host ? POLLOUT : 0));
}

void serve_bridge(const struct pollfd fds[BRIDGE_FDS])
{
    if (fds[0].revents)
        connection = accept_from_host(listener);
    /* Who is to be read from and who can be written to: the flow moves if either has something to say. */
    int host_stirs = fds[1].revents, runtime_stirs = fds[2].revents;
    if (connection >= 0 && (is_empty(to_runtime) ? host_stirs : runtime_stirs))
        carry_to_runtime();
    if (connection >= 0 && (is_empty(to_host) ? runtime_stirs : host_stirs))
        carry_to_host();
}
