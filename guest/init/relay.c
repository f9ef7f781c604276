/*
 * The main loop: passes frames and output between the runtime and the host, until the machine stops.
 *
 *   host ── control ──▶ SYNC, LOAD, SEAL, START     host.c ──▶ runtime: LOAD, SEAL, START; DRAINED from here
 *   host ◀─ control.c ─ HELLO, answers, LOG, LOG_END, RUNTIME_EXITED
 *                                                  from_runtime ◀── HELLO, answers, DONE or BEGUN
 *   answers: LOADED | LOAD_FAILED, SEALED | HOOK_FAILED, STARTED | HOOK_FAILED
 *
 * Output is told apart by request: number 0 is all that comes before STARTED; DONE ends each invocation. An answer, an
 * invocation's end and the runtime's end are reported in two steps, because the host may be slow: `ending` says that one
 * has come: output that was printed before it is being collected; `finish` reports it. No frame of the runtime is looked
 * at in between.
 *
 * Where several invocations may be under way, what is printed belongs to none of them: the number is that of the newest one, and BEGUN
 * raises it, which nobody waits for. It is sent before anything else is done.
 *
 * A handler is begun only after the DRAINED of the invocation before it was read. So when the runtime ends, that frame tells
 * whether the next invocation was begun, whatever the function channel has brought meanwhile.
 *
 * The function can write what it likes to the runtime's socket: at worst it ends its own requests.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* The process, and our end of its fd 4; -1 when one of us has closed it. */
static pid_t runtime_pid;
static int requests;

static unsigned char from_runtime[RUNTIME_FRAME_BYTES];
static size_t from_runtime_bytes;
/* A DRAINED that the runtime's socket did not take. */
static int drained_due;
/* The runtime's end was closed before it had read all that it was sent. */
static int left_unread;

static enum { EXPECT_HELLO, EXPECT_ANSWERS, SERVING, OVER } phase;
/* ANSWER: the frame stays at the front of `from_runtime` until it is reported. */
static enum ending { NOTHING, ANSWER, INVOCATION, RUNTIME } ending;

/* The DONE that ends the invocation had a header, which asks for LOG_END. */
static int log_end_asked;

/* Invocations that the runtime has said it begins; 0 if there is one at a time. */
static unsigned long told_begun;

static int runtime_ended, runtime_status;

/* ---- Frames from the runtime ------------------------------------------------------------------------------------- */

static void close_requests(void)
{
    if (requests >= 0)
        close(requests);
    requests = -1;
    left_unread |= drained_due;
    drained_due = 0;
}

/* Returns the number of bytes received; 0 if there are none now. */
static size_t receive_from_runtime(void)
{
    if (requests < 0 || from_runtime_bytes == sizeof from_runtime)
        return 0;
    ssize_t count = read(requests, from_runtime + from_runtime_bytes, sizeof from_runtime - from_runtime_bytes);
    if (count > 0) {
        from_runtime_bytes += (size_t)count;
        return (size_t)count;
    }
    if (count < 0 && errno == ECONNRESET)
        left_unread = 1;
    if (count == 0 || errno != EAGAIN)
        close_requests();
    return 0;
}

static void forget_frame_of_runtime(void)
{
    size_t bytes = frame_bytes(from_runtime);
    from_runtime_bytes -= bytes;
    memmove(from_runtime, from_runtime + bytes, from_runtime_bytes);
}

static void begin_ending(enum ending of)
{
    ending = of;
    begin_drain();
}

/* Looks at one frame, if one is there. False: none is. */
static int take_frame_of_runtime(void)
{
    if (drained_due || from_runtime_bytes < FRAME_PREFIX_BYTES)
        return 0;
    size_t bytes = frame_bytes(from_runtime);
    if (bytes > sizeof from_runtime || bytes < FRAME_PREFIX_BYTES + frame_header_bytes(from_runtime)) {
        close_requests();
        from_runtime_bytes = 0;
        return 0;
    }
    if (from_runtime_bytes < bytes)
        return 0;
    enum frame_type type = from_runtime[4];
    if (phase == EXPECT_ANSWERS && host_awaits(type)) {
        begin_ending(ANSWER);
        return 1;
    }
    if (type == FRAME_HELLO && phase == EXPECT_HELLO) {
        /* The only frame that is passed on as it is: no code of the function has run yet. */
        phase = EXPECT_ANSWERS;
        put_to_host(from_runtime, bytes);
    } else if (type == FRAME_DONE && phase == SERVING) {
        log_end_asked = frame_header_bytes(from_runtime) > 0;
        begin_ending(INVOCATION);
    } else if (type == FRAME_BEGUN && phase == SERVING) {
        /* The first has its number already. */
        if (told_begun++ > 0) {
            end_output_of_request(0);
            set_request_number(request_number() + 1);
        }
    }
    forget_frame_of_runtime();
    return 1;
}

static void answer_drained(void)
{
    unsigned char frame[FRAME_PREFIX_BYTES];
    put_frame_prefix(frame, FRAME_DRAINED, 0, 0);
    int is_refused = requests < 0 || write(requests, frame, sizeof frame) < 0;
    drained_due = is_refused && requests >= 0 && errno == EAGAIN;
    left_unread |= is_refused && !drained_due;
}

static void report_answer(void)
{
    enum frame_type type = from_runtime[4];
    size_t prefix_and_header = FRAME_PREFIX_BYTES + frame_header_bytes(from_runtime), payload_bytes = 0;
    take_answer(type);
    if (type == FRAME_STARTED) {
        phase = SERVING;
        set_request_number(1);
    } else if (type == FRAME_LOAD_FAILED || type == FRAME_HOOK_FAILED) {
        phase = OVER;
        payload_bytes = frame_bytes(from_runtime) - prefix_and_header;
    }
    if (type == FRAME_SEALED)
        report_sealed(runtime_pid, from_runtime + FRAME_PREFIX_BYTES, frame_header_bytes(from_runtime));
    else
        send_to_host(type, from_runtime + prefix_and_header, payload_bytes, "%s", "");
    forget_frame_of_runtime();
}

/* Invocations of which a handler may have been begun. */
static unsigned long begun(void)
{
    unsigned long number = request_number();
    if (told_begun > 0)
        return told_begun;
    return number > 1 && (left_unread || drained_due) ? number - 1 : number;
}

static void report_exit(void)
{
    phase = OVER;
    runtime_ended = 0;
    int is_signal = WIFSIGNALED(runtime_status);
    send_to_host(FRAME_RUNTIME_EXITED, "", 0, "{\"%s\":%d,\"begun\":%lu}", is_signal ? "signal" : "status",
                 is_signal ? WTERMSIG(runtime_status) : WEXITSTATUS(runtime_status), begun());
}

/* Reports what has ended, after its output. */
static void finish(void)
{
    end_output_of_request(ending == INVOCATION && log_end_asked);
    switch (ending) {
    case ANSWER:
        report_answer();
        break;
    case INVOCATION:
        set_request_number(request_number() + 1);
        answer_drained();
        break;
    case RUNTIME:
        report_exit();
        break;
    case NOTHING:
        break;
    }
    ending = NOTHING;
}

/* Room for any frame of the runtime, and for the output that goes before it. */
static int has_room_for_frame(void)
{
    return room_to_host() >= RUNTIME_FRAME_BYTES + LOG_ROOM;
}

/* Goes on with the runtime as far as its frames and the host allow. True: it would go on if there were more room. */
static int advance(void)
{
    for (;;) {
        if (ending == NOTHING) {
            if (!has_room_for_frame())
                return 1;
            if (take_frame_of_runtime())
                continue;
            if (!runtime_ended)
                return 0;
            /* What the runtime sent before it ended comes first; what it left running is of no use to anyone. */
            if (receive_from_runtime() > 0)
                continue;
            kill(-1, SIGKILL);
            begin_ending(RUNTIME);
        }
        if (!drain_output())
            return 1;
        flush_to_host();
        if (!has_room_for_frame())
            return 1;
        finish();
    }
}

/* Nobody is woken by room that comes after it was looked for: it is looked for again until the host takes nothing. */
static void advance_and_flush(void)
{
    for (;;) {
        int needs_room = advance();
        size_t room = room_to_host();
        flush_to_host();
        if (!needs_room || room_to_host() == room)
            return;
    }
}

static void reap(int child_signals)
{
    struct signalfd_siginfo ignored;
    int status;
    while (read(child_signals, &ignored, sizeof ignored) > 0)
        ;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == runtime_pid) {
            runtime_ended = 1;
            runtime_status = status;
        }
    }
}

/* ---- The loop ---------------------------------------------------------------------------------------------------- */

void relay(struct runtime runtime, int child_signals)
{
    runtime_pid = runtime.pid;
    requests = runtime.requests;
    begin_output(runtime.output);
    for (;;) {
        struct {
            struct pollfd child_signals, requests, output[2], control[CONTROL_FDS], bridge[BRIDGE_FDS];
        } fds;
        int takes_frames =
            ending == NOTHING && !drained_due && from_runtime_bytes < sizeof from_runtime && has_room_for_frame();
        int owes_runtime = drained_due || host_owes_runtime();
        int reads_output = output_can_be_read() ? POLLIN : 0;
        fds.child_signals = watch(child_signals, POLLIN);
        fds.requests = watch(requests, (takes_frames ? POLLIN : 0) | (owes_runtime ? POLLOUT : 0));
        fds.output[0] = watch(output_pipe(0), reads_output);
        fds.output[1] = watch(output_pipe(1), reads_output);
        watch_control(fds.control, host_can_be_heard());
        watch_bridge(fds.bridge);
        if (poll((struct pollfd *)&fds, sizeof fds / sizeof(struct pollfd), control_retry_ms()) < 0) {
            sleep_ms(SHORTAGE_MS);
            continue;
        }
        serve_bridge(fds.bridge);
        if (fds.child_signals.revents)
            reap(child_signals);
        if (control_can_be_read(fds.control))
            receive_from_host();
        obey_host(requests);
        if (drained_due && fds.requests.revents)
            answer_drained();
        if (takes_frames && fds.requests.revents & (POLLIN | POLLHUP | POLLERR))
            receive_from_runtime();
        for (int stream = 0; stream < 2; stream++)
            if (fds.output[stream].revents)
                pump_output(stream);
        advance_and_flush();
    }
}
