/*
 * The main loop: passes frames and output between the runtime and the host, until the machine stops.
 *
 *   host ── control ──▶ SET_CLOCK, LOAD            from_host ──▶ runtime
 *   host ◀─ to_host ─── HELLO, LOADED | LOAD_FAILED, LOG, LOG_END, RUNTIME_EXITED
 *                                                  from_runtime ◀── HELLO, LOADED | LOAD_FAILED, DONE
 *
 * Output is told apart by request: number 0 is the import, which LOADED or LOAD_FAILED ends; DONE ends each invocation.
 * Such an end is carried out in two steps, because the host may be slow: `ending` says that one has come: output that
 * was printed before it is being collected; `finish` reports it. No frame of the runtime is looked at in between.
 *
 * All buffers are of fixed size. When `to_host` is full the pipes are not read, so that the function waits at its next
 * print. The function can write what it likes to the runtime's socket: at worst it ends its own requests.
 */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Largest payload of a LOG frame. */
#define LOG_BYTES (16 * 1024)
/* What a LOG frame and the mark of a cut take at most. */
#define LOG_ROOM (LOG_BYTES + 1024)
/* Largest frame that is accepted from the runtime, and from the host. */
#define RUNTIME_FRAME_BYTES (64 * 1024)
#define LOAD_FRAME_BYTES (1024 * 1024)
/* Output that is collected for an end at most; more can only come from a process that goes on printing. */
#define DRAIN_BYTES (1024 * 1024)
/* How often a port without a host at its other end is tried: such a port polls as ready all the time. */
#define RETRY_MS 10

#define CUT_MARK "[snapfaas: output over 256 KiB of this request was cut]\n"

static int control;
static struct runtime runtime;
static int host_is_there = 1;

static unsigned char to_host[3 * RUNTIME_FRAME_BYTES];
static size_t to_host_start, to_host_end;
static unsigned char from_host[RUNTIME_FRAME_BYTES];
static size_t from_host_bytes;
static unsigned char from_runtime[RUNTIME_FRAME_BYTES];
static size_t from_runtime_bytes;

/* Bytes of the LOAD frame that are still to be passed to the runtime. */
static size_t load_left;
static int load_came;
/* A DRAINED that the runtime's socket did not take. */
static int drained_due;

static enum { EXPECT_HELLO, EXPECT_LOADED, SERVING, OVER } phase;
static enum { NOTHING, LOADED, LOAD_FAILED, INVOCATION, RUNTIME } ending;
static size_t drain_left;

static int runtime_ended, runtime_status;

static unsigned long request_number;
static struct {
    size_t printed, forwarded;
} output;

/* ---- Frames to the host ------------------------------------------------------------------------------------------ */

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

static size_t room_to_host(void)
{
    return sizeof to_host - (to_host_end - to_host_start);
}

/* The caller has made sure that there is room. */
static void put(const void *bytes, size_t count)
{
    if (count > sizeof to_host - to_host_end) {
        memmove(to_host, to_host + to_host_start, to_host_end - to_host_start);
        to_host_end -= to_host_start;
        to_host_start = 0;
    }
    memcpy(to_host + to_host_end, bytes, count);
    to_host_end += count;
}

__attribute__((format(printf, 4, 5))) static void send_to_host(enum frame_type type, const void *payload, size_t bytes,
                                                               const char *header_format, ...)
{
    char header[128];
    unsigned char prefix[FRAME_PREFIX_BYTES];
    va_list arguments;
    va_start(arguments, header_format);
    size_t header_bytes = (size_t)vsnprintf(header, sizeof header, header_format, arguments);
    va_end(arguments);
    put(prefix, put_frame_prefix(prefix, type, header_bytes, bytes));
    put(header, header_bytes);
    put(payload, bytes);
}

static void flush_to_host(void)
{
    while (to_host_start < to_host_end) {
        ssize_t count = write(control, to_host + to_host_start, to_host_end - to_host_start);
        if (count <= 0) {
            /* Short of memory or no host: polling would say "ready" at once. EAGAIN is a host that does not read. */
            if (count == 0 || errno != EAGAIN)
                host_is_there = 0;
            return;
        }
        to_host_start += (size_t)count;
    }
    to_host_start = to_host_end = 0;
}

/* ---- Output of the function -------------------------------------------------------------------------------------- */

enum pumped { PUMPED, EMPTY, NO_ROOM };

/* From then on it is only counted, which needs no room. */
static int output_is_cut(void)
{
    return output.printed > output.forwarded;
}

/* Reads once from stdout (0) or stderr (1) of the runtime and queues what the request may still print. */
static enum pumped pump(int stream)
{
    static unsigned char chunk[LOG_BYTES];
    if (runtime.output[stream] < 0)
        return EMPTY;
    if (!output_is_cut() && room_to_host() < LOG_ROOM)
        return NO_ROOM;
    ssize_t count = read(runtime.output[stream], chunk, sizeof chunk);
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN) {
            close(runtime.output[stream]);
            runtime.output[stream] = -1;
        }
        return EMPTY;
    }
    size_t bytes = (size_t)count, allowed = MAX_LOG_BYTES_PER_REQUEST - output.forwarded;
    int was_cut = output_is_cut();
    output.printed += bytes;
    drain_left -= bytes < drain_left ? bytes : drain_left;
    if (was_cut)
        return PUMPED;
    if (bytes < allowed)
        allowed = bytes;
    if (allowed > 0)
        send_to_host(FRAME_LOG, chunk, allowed, "{\"request\":%lu,\"stream\":\"%s\"}", request_number,
                     stream == 0 ? "stdout" : "stderr");
    output.forwarded += allowed;
    if (allowed < bytes)
        send_to_host(FRAME_LOG, CUT_MARK, sizeof CUT_MARK - 1, "{\"request\":%lu,\"stream\":\"stderr\"}",
                     request_number);
    return PUMPED;
}

/* True when both pipes are empty, or enough was collected. False: the host must take something first. */
static int drain(void)
{
    for (;;) {
        enum pumped first = pump(0), second = pump(1);
        if ((first == EMPTY && second == EMPTY) || drain_left == 0)
            return 1;
        if (first == NO_ROOM || second == NO_ROOM) {
            flush_to_host();
            if (room_to_host() < LOG_ROOM)
                return 0;
        }
    }
}

/* ---- Frames from the runtime ------------------------------------------------------------------------------------- */

static size_t frame_bytes(const unsigned char *frame)
{
    return 4 + ((size_t)frame[0] << 24 | (size_t)frame[1] << 16 | (size_t)frame[2] << 8 | (size_t)frame[3]);
}

static void stop_listening_to_runtime(void)
{
    if (runtime.requests >= 0)
        close(runtime.requests);
    runtime.requests = -1;
    from_runtime_bytes = 0;
    drained_due = 0;
}

/* Returns the number of bytes received; 0 if there are none now. */
static size_t receive_from_runtime(void)
{
    if (runtime.requests < 0 || from_runtime_bytes == sizeof from_runtime)
        return 0;
    ssize_t count = read(runtime.requests, from_runtime + from_runtime_bytes, sizeof from_runtime - from_runtime_bytes);
    if (count > 0) {
        from_runtime_bytes += (size_t)count;
        return (size_t)count;
    }
    if (count == 0 || errno != EAGAIN)
        stop_listening_to_runtime();
    return 0;
}

static void forget_frame_of_runtime(void)
{
    size_t bytes = frame_bytes(from_runtime);
    from_runtime_bytes -= bytes;
    memmove(from_runtime, from_runtime + bytes, from_runtime_bytes);
}

static void begin_end(int what)
{
    ending = what;
    drain_left = DRAIN_BYTES;
}

/* Looks at one frame, if one is there. False: none is. */
static int take_frame_of_runtime(void)
{
    if (drained_due || from_runtime_bytes < FRAME_PREFIX_BYTES)
        return 0;
    size_t bytes = frame_bytes(from_runtime);
    size_t header_bytes = (size_t)from_runtime[5] << 8 | from_runtime[6];
    if (bytes > sizeof from_runtime || bytes < FRAME_PREFIX_BYTES + header_bytes) {
        stop_listening_to_runtime();
        return 0;
    }
    if (from_runtime_bytes < bytes)
        return 0;
    int type = from_runtime[4];
    if (type == FRAME_HELLO && phase == EXPECT_HELLO) {
        /* The only frame that is passed on as it is: no code of the function has run yet. */
        phase = EXPECT_LOADED;
        put(from_runtime, bytes);
    } else if (type == FRAME_LOADED && phase == EXPECT_LOADED && load_came) {
        begin_end(LOADED);
    } else if (type == FRAME_LOAD_FAILED && phase == EXPECT_LOADED && load_came) {
        begin_end(LOAD_FAILED);
        return 1; /* Its payload is needed when the output is collected. */
    } else if (type == FRAME_DONE && phase == SERVING) {
        begin_end(INVOCATION);
    }
    forget_frame_of_runtime();
    return 1;
}

static void answer_drained(void)
{
    unsigned char frame[FRAME_PREFIX_BYTES];
    put_frame_prefix(frame, FRAME_DRAINED, 0, 0);
    drained_due = runtime.requests >= 0 && write(runtime.requests, frame, sizeof frame) < 0 && errno == EAGAIN;
}

/* Reports what has ended, after its output. */
static void finish(void)
{
    size_t header_bytes = (size_t)from_runtime[5] << 8 | from_runtime[6];
    if (output.printed > 0)
        send_to_host(FRAME_LOG_END, "", 0, "{\"request\":%lu,\"bytes\":%zu,\"cut\":%zu}", request_number,
                     output.printed, output.printed - output.forwarded);
    output.printed = output.forwarded = 0;
    switch (ending) {
    case LOADED:
        phase = SERVING;
        request_number = 1;
        send_to_host(FRAME_LOADED, "", 0, "%s", "");
        break;
    case LOAD_FAILED:
        phase = OVER;
        send_to_host(FRAME_LOAD_FAILED, from_runtime + FRAME_PREFIX_BYTES + header_bytes,
                     frame_bytes(from_runtime) - FRAME_PREFIX_BYTES - header_bytes, "%s", "");
        forget_frame_of_runtime();
        break;
    case INVOCATION:
        request_number++;
        answer_drained();
        break;
    case RUNTIME:
        phase = OVER;
        runtime_ended = 0;
        if (WIFSIGNALED(runtime_status))
            send_to_host(FRAME_RUNTIME_EXITED, "", 0, "{\"signal\":%d}", WTERMSIG(runtime_status));
        else
            send_to_host(FRAME_RUNTIME_EXITED, "", 0, "{\"status\":%d}", WEXITSTATUS(runtime_status));
        break;
    case NOTHING:
        break;
    }
    ending = NOTHING;
}

/* Goes on with the runtime as far as its frames and the host allow. */
static void advance(void)
{
    for (;;) {
        if (ending == NOTHING) {
            if (room_to_host() < RUNTIME_FRAME_BYTES + LOG_ROOM)
                return;
            if (take_frame_of_runtime())
                continue;
            if (!runtime_ended)
                return;
            /* What the runtime sent before it ended comes first; what it left running is of no use to anyone. */
            if (receive_from_runtime() > 0)
                continue;
            kill(-1, SIGKILL);
            begin_end(RUNTIME);
        }
        if (!drain())
            return;
        flush_to_host();
        if (room_to_host() < RUNTIME_FRAME_BYTES + LOG_ROOM)
            return;
        finish();
    }
}

static void reap(int child_signals)
{
    struct signalfd_siginfo ignored;
    int status;
    while (read(child_signals, &ignored, sizeof ignored) > 0)
        ;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == runtime.pid) {
            runtime_ended = 1;
            runtime_status = status;
        }
    }
}

/* ---- Frames from the host ---------------------------------------------------------------------------------------- */

static void receive_from_host(void)
{
    if (from_host_bytes == sizeof from_host)
        return;
    ssize_t count = read(control, from_host + from_host_bytes, sizeof from_host - from_host_bytes);
    if (count > 0)
        from_host_bytes += (size_t)count;
    /* A port reads as ended while no host is connected to it. */
    host_is_there = count > 0 || (count < 0 && errno == EAGAIN);
}

static void forget_bytes_of_host(size_t bytes)
{
    from_host_bytes -= bytes;
    memmove(from_host, from_host + bytes, from_host_bytes);
}

static void begin_load(void)
{
    size_t bytes = frame_bytes(from_host);
    if (load_came)
        fatal("the host sent a second LOAD");
    if (bytes > LOAD_FRAME_BYTES)
        fatal("the host sent a LOAD of %zu bytes; at most %d are allowed", bytes, LOAD_FRAME_BYTES);
    mount_app_file_system();
    load_came = 1;
    load_left = bytes;
}

/* The machine's own clock knows whole seconds only. Payload: nanoseconds since 1970, u64, big-endian. False: not all of
 * the frame has come yet. */
static int set_clock(void)
{
    const size_t bytes = FRAME_PREFIX_BYTES + 8;
    if (frame_bytes(from_host) != bytes)
        fatal("the host sent a SET_CLOCK of %zu bytes; %zu are expected", frame_bytes(from_host), bytes);
    if (from_host_bytes < bytes)
        return 0;
    uint64_t nanoseconds = 0;
    for (size_t i = FRAME_PREFIX_BYTES; i < bytes; i++)
        nanoseconds = nanoseconds << 8 | from_host[i];
    struct timespec now = {.tv_sec = (time_t)(nanoseconds / 1000000000), .tv_nsec = (long)(nanoseconds % 1000000000)};
    if (clock_settime(CLOCK_REALTIME, &now) < 0)
        note("clock: %s", strerror(errno));
    forget_bytes_of_host(bytes);
    return 1;
}

static void obey_host(void)
{
    for (;;) {
        if (load_left > 0 && from_host_bytes > 0) {
            size_t bytes = load_left < from_host_bytes ? load_left : from_host_bytes;
            ssize_t count = runtime.requests < 0 ? -1 : write(runtime.requests, from_host, bytes);
            if (count < 0 && runtime.requests >= 0 && errno == EAGAIN)
                return;
            /* A runtime that is gone takes everything; its end is reported as such. */
            bytes = count < 0 ? bytes : (size_t)count;
            load_left -= bytes;
            forget_bytes_of_host(bytes);
            continue;
        }
        if (from_host_bytes < FRAME_PREFIX_BYTES)
            return;
        switch (from_host[4]) {
        case FRAME_LOAD:
            begin_load();
            break;
        case FRAME_SET_CLOCK:
            if (!set_clock())
                return;
            break;
        default:
            fatal("the host sent a frame of unknown type %d", from_host[4]);
        }
    }
}

/* ---- The loop ---------------------------------------------------------------------------------------------------- */

/* Descriptors that nothing is wanted of are left out: a hang-up is reported even if nobody asked. */
static struct pollfd watch(int fd, int events)
{
    return (struct pollfd){.fd = events == 0 ? -1 : fd, .events = (short)events};
}

void relay(int control_channel, struct runtime started, int child_signals)
{
    control = control_channel;
    runtime = started;
    for (;;) {
        int can_log = output_is_cut() || room_to_host() >= LOG_ROOM;
        int takes_frames = ending == NOTHING && !drained_due && from_runtime_bytes < sizeof from_runtime &&
                           room_to_host() >= RUNTIME_FRAME_BYTES + LOG_ROOM;
        int owes_runtime = drained_due || (load_left > 0 && from_host_bytes > 0);
        int from_control = from_host_bytes < sizeof from_host ? POLLIN : 0;
        int to_control = to_host_start < to_host_end ? POLLOUT : 0;
        struct pollfd fds[] = {
            watch(child_signals, POLLIN),
            watch(control, host_is_there ? from_control | to_control : 0),
            watch(runtime.requests, (takes_frames ? POLLIN : 0) | (owes_runtime ? POLLOUT : 0)),
            watch(runtime.output[0], can_log ? POLLIN : 0),
            watch(runtime.output[1], can_log ? POLLIN : 0),
        };
        if (poll(fds, sizeof fds / sizeof *fds, host_is_there ? -1 : RETRY_MS) < 0) {
            sleep_ms(RETRY_MS); /* Short of kernel memory. */
            continue;
        }
        if (fds[0].revents)
            reap(child_signals);
        if (fds[1].revents & POLLHUP && !from_control)
            host_is_there = 0;
        else if (fds[1].revents & (POLLIN | POLLHUP | POLLERR) || !host_is_there)
            receive_from_host();
        obey_host();
        if (drained_due && fds[2].revents)
            answer_drained();
        if (takes_frames && fds[2].revents & (POLLIN | POLLHUP | POLLERR))
            receive_from_runtime();
        if (fds[3].revents)
            pump(0);
        if (fds[4].revents)
            pump(1);
        advance();
        flush_to_host();
    }
}
