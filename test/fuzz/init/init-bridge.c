/*
 * The bridge of the function channel: two flows of bytes, and connections that come and go at any place of a frame.
 *
 * What has to hold: each side reads what the other one wrote, all of it, in order and nothing else; a connection that ends
 * between two exchanges ends nothing, one that ends within an exchange ends the runtime's socket; init does not go round
 * while nothing happens; a case that runs twice does the same twice.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"

static ssize_t world_read(int fd, void *target, size_t count);
static int world_close(int fd);
static int world_socketpair(int domain, int type, int protocol, int ends[2]);
static int world_fcntl(int fd, int command, int flags);

#define read world_read
#define close world_close
#define socketpair world_socketpair
#define fcntl world_fcntl
#include "bridge.c"

enum { LISTENER = 100, RUNTIME, RUNTIME_END, FIRST_CONNECTION };
#define IDLE_ROUNDS 3
/* Some buffers of the bridge. */
#define MAX_PAYLOAD_BYTES (200 * 1024)

/* What one side has written, counted in frames by another way than the bridge's. */
struct side {
    struct pipe written;
    /* Of frames that begin in what was read from it: the last one's bytes, and how many of them there are. */
    uint8_t frame[8];
    size_t frame_bytes, frame_length;
    unsigned long whole;
    /* Bytes of it that were read by the bridge and not yet written to the other side. */
    struct pipe due;
    size_t room;
    int is_over;
};

static struct side host, program;
static struct script script;
static struct digest result;
static int connection_fd, connection_waits, is_closing;
static unsigned long progress;

static int is_between(const struct side *side)
{
    return side->frame_bytes == 0;
}

/* Not one itself, nor its end. */
static int is_of_exchange(uint8_t type)
{
    return type == FRAME_CHUNK || type == FRAME_TAKEN || type == FRAME_CANCEL;
}

static void was_read(struct side *side, const uint8_t *bytes, size_t count)
{
    uint8_t *room = pipe_room(&side->due, count);
    CHECK(room != NULL, "the bridge holds more than it has room for");
    memcpy(room, bytes, count);
    for (size_t i = 0; i < count;) {
        size_t step = 1;
        if (side->frame_bytes < 5)
            side->frame[side->frame_bytes] = bytes[i];
        else if ((step = 4 + side->frame_length - side->frame_bytes) > count - i)
            step = count - i;
        i += step;
        side->frame_bytes += step;
        if (side->frame_bytes < 4)
            continue;
        side->frame_length = (size_t)side->frame[0] << 24 | side->frame[1] << 16 | side->frame[2] << 8 | side->frame[3];
        if (side->frame_bytes < 4 + side->frame_length)
            continue;
        side->whole += side->frame_length == 0 || !is_of_exchange(side->frame[4]);
        side->frame_bytes = 0;
    }
}

static void was_written(struct side *from, const uint8_t *bytes, size_t count)
{
    CHECK(count <= pipe_bytes(&from->due), "the bridge writes %zu bytes of %zu", count, pipe_bytes(&from->due));
    CHECK(memcmp(bytes, from->due.bytes + from->due.start, count) == 0, "the bridge writes what nobody said");
    from->due.start += count;
    digest_bytes(&result, bytes, count);
}

/* ---- System calls ------------------------------------------------------------------------------------------------ */

static ssize_t world_read(int fd, void *target, size_t count)
{
    struct side *side = fd == RUNTIME ? &program : &host;
    CHECK(fd == RUNTIME || fd == connection_fd, "a read from descriptor %d", fd);
    if (pipe_bytes(&side->written) == 0 && !side->is_over) {
        errno = EAGAIN;
        return -1;
    }
    progress++;
    size_t bytes = pipe_read(&side->written, target, count);
    was_read(side, target, bytes);
    return (ssize_t)bytes;
}

ssize_t write_some(int fd, const void *bytes, size_t count)
{
    struct side *to = fd == RUNTIME ? &program : &host;
    CHECK(fd == RUNTIME || fd == connection_fd, "a write to descriptor %d", fd);
    errno = to->is_over ? EPIPE : EAGAIN;
    /* What the runtime does not take any more is dropped. */
    if (to == &program && to->is_over)
        host.due.start = host.due.end = 0;
    if (to->is_over || to->room == 0)
        return -1;
    count = count < to->room ? count : to->room;
    to->room -= count;
    progress++;
    was_written(fd == RUNTIME ? &host : &program, bytes, count);
    return (ssize_t)count;
}

int accept_from_host(int from)
{
    CHECK(from == LISTENER, "a connection from descriptor %d", from);
    CHECK(connection_waits, "a connection is accepted that is not there");
    connection_waits = 0;
    progress++;
    return connection_fd;
}

static int world_close(int fd)
{
    digest_bytes(&result, &fd, sizeof fd);
    progress++;
    if (fd == RUNTIME)
        program.is_over = 1;
    else if (fd == connection_fd) {
        int is_quiet = is_between(&host) && is_between(&program) && host.whole == program.whole &&
                       pipe_bytes(&host.due) == 0 && pipe_bytes(&program.due) == 0;
        CHECK(is_quiet || listener < 0, "the bridge lives on although an exchange was cut");
        host.is_over = 1;
    }
    return 0;
}

static int world_socketpair(int domain, int type, int protocol, int ends[2])
{
    (void)domain, (void)type, (void)protocol;
    ends[0] = RUNTIME;
    ends[1] = RUNTIME_END;
    return 0;
}

static int world_fcntl(int fd, int command, int flags)
{
    CHECK(fd == RUNTIME && command == F_SETFL && flags == O_NONBLOCK, "the runtime's socket would block");
    return 0;
}

void fatal(const char *format, ...)
{
    failed("init ended: %s", format);
}

/* ---- What the world does ----------------------------------------------------------------------------------------- */

static void write_frame(struct side *side, int is_part)
{
    size_t payload = next_size(&script) % MAX_PAYLOAD_BYTES, bytes = FRAME_PREFIX_BYTES + payload;
    uint8_t *room = side->is_over ? NULL : pipe_room(&side->written, bytes);
    if (room == NULL)
        return;
    memset(room, 'p', bytes);
    room[0] = (uint8_t)((3 + payload) >> 24);
    room[1] = (uint8_t)((3 + payload) >> 16);
    room[2] = (uint8_t)((3 + payload) >> 8);
    room[3] = (uint8_t)(3 + payload);
    room[4] = !is_part ? 1 : side == &program ? FRAME_CHUNK : payload % 2 == 0 ? FRAME_TAKEN : FRAME_CANCEL;
    room[5] = room[6] = 0;
}

static void write_bytes(struct side *side)
{
    size_t count = next_byte(&script) % 24;
    uint8_t *room = side->is_over ? NULL : pipe_room(&side->written, count);
    for (size_t i = 0; i < count; i++) {
        uint8_t byte = next_byte(&script);
        if (room != NULL)
            room[i] = byte;
    }
}

/* The end of a connection, and the next one, which waits if the bridge has not seen that end. */
static void host_dials(void)
{
    if (!host.is_over || connection_waits || connection >= 0)
        return;
    host.written.start = host.written.end = 0;
    host.is_over = 0;
    connection_fd++;
    connection_waits = 1;
}

static void step(void)
{
    uint8_t code = next_byte(&script);
    struct side *side = code & 0x80 ? &host : &program;
    switch (code % 8) {
    case 0:
        return write_frame(side, 0);
    case 1:
        return write_frame(side, code & 0x40);
    case 2:
        return write_bytes(side);
    case 3:
        side->room += next_size(&script);
        return;
    case 4:
        return host_dials();
    case 5:
        if (code & 0x40)
            host.is_over = 1;
        return;
    case 6:
        if (code < 8)
            program.is_over = 1;
        return;
    default:
        host.room = program.room = SIZE_MAX / 4;
    }
}

static int end_well(void)
{
    if (is_closing++ == 0) {
        host.room = program.room = SIZE_MAX / 2;
        return 1;
    }
    if (connection < 0 || runtime < 0)
        return 0;
    CHECK(pipe_bytes(&host.written) == 0 && pipe_bytes(&host.due) == 0, "bytes of the host are left");
    CHECK(pipe_bytes(&program.written) == 0 && pipe_bytes(&program.due) == 0, "bytes of the runtime are left");
    return 0;
}

static int look(struct pollfd *fd)
{
    const struct side *side = fd->fd == RUNTIME ? &program : &host;
    int can_read = pipe_bytes(&side->written) > 0 || side->is_over;
    fd->revents = 0;
    if (fd->fd == LISTENER)
        fd->revents = connection_waits ? POLLIN : 0;
    else if (fd->fd >= 0)
        fd->revents = (short)((can_read ? fd->events & POLLIN : 0) | (side->room > 0 ? fd->events & POLLOUT : 0) |
                              (side->is_over ? POLLHUP : 0));
    return fd->revents != 0;
}

static uint64_t run(const uint8_t *data, size_t size)
{
    int idle_rounds = 0;
    memset(&result, 0, sizeof result);
    script = (struct script){.data = data, .size = size};
    for (struct side *side = &host;; side = &program) {
        side->written.start = side->written.end = side->due.start = side->due.end = 0;
        side->frame_bytes = side->frame_length = side->room = side->whole = 0;
        side->is_over = side == &host;
        if (side == &program)
            break;
    }
    connection_fd = FIRST_CONNECTION;
    connection_waits = is_closing = 0;
    for (struct flow *flow = to_runtime; flow <= to_host; flow++)
        memset((uint8_t *)flow + FLOW_BYTES, 0, sizeof *flow - FLOW_BYTES);
    listener = LISTENER;
    connection = -1;
    runtime = RUNTIME;
    for (;;) {
        struct pollfd fds[BRIDGE_FDS];
        watch_bridge(fds);
        int ready = 0;
        for (int i = 0; i < BRIDGE_FDS; i++)
            ready += look(&fds[i]);
        if (ready == 0) {
            if (!script_is_over(&script))
                step();
            else if (!end_well())
                return result.value;
            continue;
        }
        unsigned long before = progress;
        serve_bridge(fds);
        idle_rounds = progress == before ? idle_rounds + 1 : 0;
        CHECK(idle_rounds < IDLE_ROUNDS, "init goes round while nothing happens");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (to_runtime == NULL)
        begin_bridge(LISTENER);
    uint64_t first = run(data, size);
    if (first % 64 == 0)
        CHECK(run(data, size) == first, "the same case had another result");
    return 0;
}
