/*
 * The relay, whole: frames of the host, frames and output of the runtime, the line that comes and goes. The host may be
 * right or wrong, the runtime does what it likes.
 *
 * What has to hold, whatever they do:
 *
 *   - the host reads whole frames, of known types, no longer than they may be; a line that ends may cut the last one
 *   - the runtime reads LOAD, SEAL and START as the host sent them, whole and in order, and DRAINED
 *   - a host that keeps to the protocol never sees init end, whatever the runtime does
 *   - init does not go round while nothing happens, and says everything once the host reads
 *   - a case that runs twice does the same twice: nothing is left of the one before
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

static ssize_t world_read(int fd, void *target, size_t count);
static ssize_t world_write(int fd, const void *bytes, size_t count);
static int world_close(int fd);
static int world_poll(struct pollfd *fds, nfds_t count, int timeout);
static int world_kill(pid_t pid, int signal_number);
static pid_t world_waitpid(pid_t pid, int *status, int flags);
static int world_open(const char *path, int flags);
static DIR *world_opendir(const char *path);
static struct dirent *world_readdir(DIR *directory);
static int world_closedir(DIR *directory);

#define read world_read
#define write world_write
#define close world_close
#define poll world_poll
#define kill world_kill
#define waitpid world_waitpid
#define open world_open
#define opendir world_opendir
#define readdir world_readdir
#define closedir world_closedir
#include "control.c"
#include "host.c"
#include "output.c"
#include "relay.c"
#include "seal.c"
#undef read
#undef write
#undef close

#define RUNTIME_PID 7
#define LOWEST_PID 5
#define PROCESSES 6
/* Descriptors. Each line has the next one. */
enum { SIGNALS = 100, REQUESTS, STDOUT_PIPE, STDERR_PIPE, PROC, LISTENER, FIRST_LINE };
/* So often init may poll without anything to do in between. */
#define IDLE_ROUNDS 3
#define SAID_BYTES (4 * RUNTIME_FRAME_BYTES)

static struct world {
    jmp_buf end;
    struct script script;
    struct digest digest;
    int is_dialled, is_closing;
    /* Changes with each thing that init achieves. */
    unsigned long progress, progress_at_poll;
    int idle_rounds;

    /* The host: its newest line, which init may not have taken yet; what it said and has not been read on that. */
    int line_fd, line_waits, line_ended, shortage;
    size_t host_room;
    /* It kept to the protocol until now, and where it stands there. */
    int is_honest, next_step;
    /* What init wrote on this line after its last whole frame. */
    uint8_t said[SAID_BYTES];
    size_t said_bytes;
    unsigned long last_request;
    unsigned long long logged;

    /* What init read on this line after the last whole frame; what of all frames is still to be passed to the runtime. */
    size_t heard_bytes, heard_length;
    uint8_t heard_type;
    uint8_t heard_prefix[FRAME_PREFIX_BYTES];

    int runtime_closed, runtime_reset, runtime_exited, exit_status, pipe_ended[2];
    size_t runtime_room;
    /* Of a DRAINED, or of a frame. */
    size_t got_bytes, got_length;

    const char *proc_text;
    int is_stopped, told_while_stopped;
    int readdir_at;
    struct dirent entry;
} world;

static struct pipe from_world_host, from_world_runtime, printed_by_runtime[2], to_be_passed;

/* ---- What init does ---------------------------------------------------------------------------------------------- */

static void said_to_host(const uint8_t *bytes, size_t count)
{
    digest_bytes(&world.digest, bytes, count);
    CHECK(count <= sizeof world.said - world.said_bytes, "a frame to the host is over %zu bytes", sizeof world.said);
    memcpy(world.said + world.said_bytes, bytes, count);
    world.said_bytes += count;
    size_t at = 0;
    for (; world.said_bytes - at >= FRAME_PREFIX_BYTES; at += frame_bytes(world.said + at)) {
        const uint8_t *frame = world.said + at;
        size_t bytes_of_frame = frame_bytes(frame), header = frame_header_bytes(frame);
        CHECK(bytes_of_frame >= FRAME_PREFIX_BYTES + header, "a frame to the host has a header longer than itself");
        CHECK(bytes_of_frame <= RUNTIME_FRAME_BYTES, "a frame to the host has %zu bytes", bytes_of_frame);
        if (world.said_bytes - at < bytes_of_frame)
            break;
        switch (frame[4]) {
        case FRAME_LOG:
        case FRAME_LOG_END: {
            char text[128] = "";
            unsigned long request;
            CHECK(header < sizeof text, "LOG has a header of %zu bytes", header);
            memcpy(text, frame + FRAME_PREFIX_BYTES, header);
            CHECK(sscanf(text, "{\"request\":%lu", &request) == 1, "LOG has the header %s", text);
            CHECK(request >= world.last_request, "LOG of request %lu after %lu", request, world.last_request);
            if (request > world.last_request)
                world.logged = 0;
            world.last_request = request;
            world.logged += bytes_of_frame - header - FRAME_PREFIX_BYTES;
            CHECK(world.logged <= MAX_LOG_BYTES_PER_REQUEST + sizeof CUT_MARK, "%llu bytes of output", world.logged);
            if (frame[4] == FRAME_LOG_END)
                world.logged = 0;
            break;
        }
        case FRAME_HELLO:
        case FRAME_SYNCED:
        case FRAME_LOADED:
        case FRAME_LOAD_FAILED:
        case FRAME_SEALED:
        case FRAME_STARTED:
        case FRAME_HOOK_FAILED:
        case FRAME_RUNTIME_EXITED:
        case FRAME_INIT_FAILED:
            break;
        default:
            failed("the host is told a frame of type %d", frame[4]);
        }
    }
    memmove(world.said, world.said + at, world.said_bytes - at);
    world.said_bytes -= at;
}

static int is_passed_on(uint8_t type)
{
    return type == FRAME_LOAD || type == FRAME_SEAL || type == FRAME_START;
}

/* A line begins: what the one before it had begun in either direction is not ended any more. */
static void forget_line(void)
{
    /* Of a frame that is over init's buffer, the beginning was passed on: that ends init when it hears of the new line. */
    int is_begun = left_to_pass > from_host_bytes;
    if (!is_begun && is_passed_on(world.heard_type) && world.heard_bytes >= FRAME_PREFIX_BYTES)
        to_be_passed.end -= world.heard_bytes;
    world.said_bytes = world.heard_bytes = world.heard_length = 0;
}

/* Init has read this from the host: what of it is for the runtime? */
static void heard_from_host(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count;) {
        if (world.heard_bytes < FRAME_PREFIX_BYTES) {
            world.heard_prefix[world.heard_bytes++] = bytes[i++];
            if (world.heard_bytes < FRAME_PREFIX_BYTES)
                continue;
            world.heard_length = frame_bytes(world.heard_prefix);
            world.heard_type = world.heard_prefix[4];
            uint8_t *room = is_passed_on(world.heard_type) ? pipe_room(&to_be_passed, FRAME_PREFIX_BYTES) : NULL;
            if (room != NULL)
                memcpy(room, world.heard_prefix, FRAME_PREFIX_BYTES);
        } else {
            size_t step = world.heard_length - world.heard_bytes;
            step = step < count - i ? step : count - i;
            uint8_t *room = is_passed_on(world.heard_type) ? pipe_room(&to_be_passed, step) : NULL;
            if (room != NULL)
                memcpy(room, bytes + i, step);
            world.heard_bytes += step;
            i += step;
        }
        if (world.heard_bytes >= world.heard_length)
            world.heard_bytes = 0;
    }
}

static void said_to_runtime(const uint8_t *bytes, size_t count)
{
    static const uint8_t drained[FRAME_PREFIX_BYTES] = {0, 0, 0, 3, FRAME_DRAINED};
    digest_bytes(&world.digest, bytes, count);
    if (count == sizeof drained && memcmp(bytes, drained, sizeof drained) == 0)
        return;
    world.told_while_stopped = world.is_stopped;
    CHECK(count <= pipe_bytes(&to_be_passed), "the runtime is told %zu bytes, but the host said %zu", count,
          pipe_bytes(&to_be_passed));
    CHECK(memcmp(bytes, to_be_passed.bytes + to_be_passed.start, count) == 0, "the runtime is told what nobody said");
    to_be_passed.start += count;
}

/* ---- System calls ------------------------------------------------------------------------------------------------ */

static ssize_t again(void)
{
    errno = EAGAIN;
    return -1;
}

static ssize_t read_or_end(struct pipe *pipe, int is_ended, void *target, size_t count)
{
    if (pipe_bytes(pipe) == 0 && !is_ended)
        return again();
    world.progress++;
    return (ssize_t)pipe_read(pipe, target, count);
}

static ssize_t world_read(int fd, void *target, size_t count)
{
    CHECK(count > 0, "a read of no bytes");
    switch (fd) {
    case SIGNALS:
        return again();
    case REQUESTS:
        if (world.runtime_reset && pipe_bytes(&from_world_runtime) == 0) {
            errno = ECONNRESET;
            world.progress++;
            return -1;
        }
        return read_or_end(&from_world_runtime, world.runtime_closed, target, count);
    case STDOUT_PIPE:
    case STDERR_PIPE:
        return read_or_end(&printed_by_runtime[fd - STDOUT_PIPE], world.pipe_ended[fd - STDOUT_PIPE], target, count);
    case PROC: {
        size_t bytes = strlen(world.proc_text) < count ? strlen(world.proc_text) : count;
        memcpy(target, world.proc_text, bytes);
        return (ssize_t)bytes;
    }
    default: {
        CHECK(fd == world.line_fd, "a read from descriptor %d", fd);
        ssize_t bytes = read_or_end(&from_world_host, world.line_ended, target, count);
        if (bytes > 0)
            heard_from_host(target, (size_t)bytes);
        return bytes;
    }
    }
}

static ssize_t world_write(int fd, const void *bytes, size_t count)
{
    if (fd == REQUESTS) {
        if (world.runtime_closed) {
            errno = EPIPE;
            return -1;
        }
        /* A socket takes a frame as short as DRAINED whole or not at all. */
        if (world.runtime_room < 8)
            return again();
        count = count < world.runtime_room ? count : world.runtime_room;
        world.runtime_room -= count;
        said_to_runtime(bytes, count);
    } else {
        CHECK(fd == world.line_fd, "a write to descriptor %d", fd);
        if (world.line_ended) {
            errno = EPIPE;
            world.progress++;
            return -1;
        }
        if (world.host_room == 0)
            return again();
        count = count < world.host_room ? count : world.host_room;
        world.host_room -= count;
        said_to_host(bytes, count);
    }
    world.progress++;
    return (ssize_t)count;
}

/* vsock.c */
ssize_t write_some(int fd, const void *bytes, size_t count)
{
    if (world.shortage > 0) {
        world.shortage--;
        world.progress++;
        return again();
    }
    return world_write(fd, bytes, count < 16 * 1024 ? count : 16 * 1024);
}

int accept_from_host(int from)
{
    CHECK(from == LISTENER, "a connection from descriptor %d", from);
    if (!world.line_waits)
        return -1;
    world.line_waits = 0;
    world.progress++;
    return world.line_fd;
}

static int world_close(int fd)
{
    digest_bytes(&world.digest, &fd, sizeof fd);
    world.progress++;
    if (fd == REQUESTS)
        world.runtime_closed = 1;
    else if (fd == world.line_fd && !world.line_waits)
        world.line_ended = 1;
    return 0;
}

static int world_kill(pid_t pid, int signal_number)
{
    CHECK(pid == -1, "signal %d for process %d", signal_number, pid);
    world.is_stopped = signal_number == SIGSTOP;
    world.told_while_stopped = 0;
    if (signal_number == SIGKILL)
        world.pipe_ended[0] = world.pipe_ended[1] = 1;
    return 0;
}

static pid_t world_waitpid(pid_t pid, int *status, int flags)
{
    (void)pid, (void)flags;
    if (world.runtime_exited != 1)
        return -1;
    world.runtime_exited = 2;
    world.progress++;
    *status = world.exit_status;
    return RUNTIME_PID;
}

/* A process may call itself anything. */
static int world_open(const char *path, int flags)
{
    static const char *const names[] = {"node", "a) Z 2 (", ") S 2", "(((", "", "x) S"};
    static char text[128];
    int pid = atoi(path + strlen("/proc/"));
    (void)flags;
    if (strstr(path, "cmdline") != NULL)
        snprintf(text, sizeof text, "%s%.*s", names[pid % 6], pid % 100, "\x80\x01 argument argument argument argument");
    else
        snprintf(text, sizeof text, pid % 4 == 3 ? "%d (%s" : "%d (%s) S %d 1", pid, names[pid % 6], pid / 2);
    world.proc_text = text;
    return PROC;
}

static DIR *world_opendir(const char *path)
{
    world.readdir_at = 0;
    return (DIR *)path;
}

static struct dirent *world_readdir(DIR *directory)
{
    (void)directory;
    if (world.readdir_at == PROCESSES)
        return NULL;
    snprintf(world.entry.d_name, sizeof world.entry.d_name, "%d", LOWEST_PID + 3 * world.readdir_at++);
    return &world.entry;
}

static int world_closedir(DIR *directory)
{
    (void)directory;
    return 0;
}

void sleep_ms(long milliseconds)
{
    (void)milliseconds;
    world.progress++;
}

void note(const char *format, ...)
{
    (void)format;
}

void fatal(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    digest_bytes(&world.digest, text, strlen(text));
    CHECK(!world.is_honest, "init ended although the host was right: %s", text);
    CHECK(strncmp(text, "the host ", 9) == 0, "init ended for another reason than the host's: %s", text);
    world.runtime_closed = 1;
    say_last_words(text);
    longjmp(world.end, 1);
}

void mount_app_file_system(void)
{
}

void sync_with_host(const unsigned char payload[SYNC_BYTES], unsigned char answer[SYNCED_BYTES])
{
    digest_bytes(&world.digest, payload, SYNC_BYTES);
    memset(answer, payload[0], SYNCED_BYTES);
    world.progress++;
}

void take_network_of_host(const unsigned char payload[NETWORK_BYTES])
{
    digest_bytes(&world.digest, payload, NETWORK_BYTES);
    world.progress++;
}

void watch_bridge(struct pollfd fds[BRIDGE_FDS])
{
    for (int i = 0; i < BRIDGE_FDS; i++)
        fds[i] = watch(-1, 0);
}

void serve_bridge(const struct pollfd fds[BRIDGE_FDS])
{
    (void)fds;
}

/* ---- What the world does ----------------------------------------------------------------------------------------- */

static void put_frame(struct pipe *pipe, uint8_t type, size_t header, size_t payload, size_t missing)
{
    size_t bytes = FRAME_PREFIX_BYTES + header + payload;
    missing = missing < bytes ? missing : bytes - 1;
    uint8_t *room = pipe_room(pipe, bytes - missing), prefix[FRAME_PREFIX_BYTES];
    if (room == NULL)
        return;
    put_frame_prefix(prefix, type, header, payload);
    for (size_t i = 0; i < bytes - missing && i < FRAME_PREFIX_BYTES; i++)
        room[i] = prefix[i];
    if (bytes - missing > FRAME_PREFIX_BYTES)
        memset(room + FRAME_PREFIX_BYTES, 'p', bytes - missing - FRAME_PREFIX_BYTES);
}

static void put_text_frame(uint8_t type, const char *header)
{
    put_frame(&from_world_runtime, type, strlen(header), 0, 0);
    if (pipe_bytes(&from_world_runtime) >= strlen(header))
        memcpy(from_world_runtime.bytes + from_world_runtime.end - strlen(header), header, strlen(header));
}

static void put_bytes(struct pipe *pipe)
{
    size_t count = next_byte(&world.script) % 24;
    uint8_t *room = pipe_room(pipe, count);
    for (size_t i = 0; i < count; i++) {
        uint8_t byte = next_byte(&world.script);
        if (room != NULL)
            room[i] = byte;
    }
}

static int host_is_there(void)
{
    return world.line_fd >= FIRST_LINE && !world.line_ended;
}

/* A line that is given up in the middle of a frame takes the frame with it, which a right host does not do. */
static void host_goes(void)
{
    if (pipe_bytes(&from_world_host) > 0 || world.heard_bytes > 0)
        world.is_honest = 0;
    world.line_ended = 1;
}

static void host_dials(void)
{
    if (!world.is_dialled) {
        world.line_ended = !world.line_ended;
        return;
    }
    host_goes();
    forget_line();
    from_world_host.start = from_world_host.end = 0;
    world.line_fd++;
    world.line_waits = 1;
    world.line_ended = 0;
    world.host_room = 0;
}

/* The steps of a host that keeps to the protocol: SYNC and NETWORK at any time, SEAL until START, LOAD once before it. */
static void host_goes_on(void)
{
    uint8_t choice = next_byte(&world.script);
    size_t header = choice % 40;
    if (!host_is_there())
        return;
    switch (choice % 5) {
    case 0:
        return put_frame(&from_world_host, FRAME_SYNC, 0, SYNC_BYTES, 0);
    case 1:
        return put_frame(&from_world_host, FRAME_NETWORK, 0, NETWORK_BYTES, 0);
    case 2:
        if (world.next_step < 2)
            put_frame(&from_world_host, FRAME_SEAL, header, 0, 0);
        return;
    default:
        if (world.next_step == 0)
            put_frame(&from_world_host, FRAME_LOAD, 0, next_size(&world.script) % (1024 * 1024 - 6), 0);
        else if (world.next_step == 1)
            put_frame(&from_world_host, FRAME_START, header, 0, 0);
        world.next_step++;
    }
}

static void host_says_frame(size_t missing)
{
    static const uint8_t types[] = {FRAME_LOAD, FRAME_SEAL, FRAME_START, FRAME_SYNC, FRAME_NETWORK, FRAME_LOADED};
    uint8_t choice = next_byte(&world.script);
    uint8_t type = choice < 0xf0 ? types[choice % sizeof types] : next_byte(&world.script);
    size_t header = next_byte(&world.script) % 64, payload = next_size(&world.script);
    if (choice & 1 && type == FRAME_SYNC)
        header = 0, payload = SYNC_BYTES;
    if (choice & 1 && type == FRAME_NETWORK)
        header = 0, payload = NETWORK_BYTES;
    world.is_honest = 0;
    if (host_is_there())
        put_frame(&from_world_host, type, header, payload, missing);
}

static void runtime_says_frame(void)
{
    static const uint8_t types[] = {FRAME_HELLO, FRAME_LOADED,  FRAME_LOAD_FAILED, FRAME_DONE,
                                    FRAME_SEALED, FRAME_STARTED, FRAME_HOOK_FAILED, FRAME_LOG, FRAME_BEGUN};
    uint8_t choice = next_byte(&world.script);
    uint8_t type = choice < 0xf0 ? types[choice % sizeof types] : next_byte(&world.script);
    size_t header = next_byte(&world.script), payload = next_size(&world.script);
    put_frame(&from_world_runtime, type, header, payload, choice == 0xef ? payload : 0);
}

/* What a runtime answers that keeps to the protocol, as far as init knows. */
static void runtime_goes_on(void)
{
    static const uint8_t answers[] = {FRAME_LOADED, FRAME_SEALED, FRAME_STARTED, FRAME_HOOK_FAILED, FRAME_LOAD_FAILED};
    static const char *const pids[] = {"{\"pid\":7}", "{\"pid\":99999999999999999999}", "{\"pid\":-1}", "{\"pid\":14}"};
    uint8_t choice = next_byte(&world.script);
    if (phase == EXPECT_HELLO)
        return put_frame(&from_world_runtime, FRAME_HELLO, choice % 80, 0, 0);
    if (phase == SERVING)
        return put_frame(&from_world_runtime, choice < 0x40 ? FRAME_BEGUN : FRAME_DONE, choice % 2 * 12, 0, 0);
    for (size_t i = 0; i < sizeof answers - (choice < 0xe0 ? 2 : 0); i++) {
        if (!host_awaits(answers[i]))
            continue;
        if (answers[i] == FRAME_SEALED)
            return put_text_frame(FRAME_SEALED, pids[choice % 4]);
        return put_frame(&from_world_runtime, answers[i], 0, i < 3 ? 0 : choice, 0);
    }
}

static void print(int stream, size_t count)
{
    uint8_t *room = world.pipe_ended[stream] ? NULL : pipe_room(&printed_by_runtime[stream], count);
    if (room != NULL)
        memset(room, 'o', count);
}

/* One step of the script. */
static void step(void)
{
    uint8_t code = next_byte(&world.script);
    switch (code % 16) {
    case 0:
    case 1:
        return host_goes_on();
    case 2:
        return host_says_frame(0);
    case 3:
        return host_says_frame(1 + next_byte(&world.script));
    case 4:
        world.is_honest = 0;
        return put_bytes(&from_world_host);
    case 5:
        world.host_room += next_size(&world.script);
        return;
    case 6:
        return host_dials();
    case 7:
        return host_goes();
    case 8:
    case 9:
        return runtime_goes_on();
    case 10:
        if (!world.runtime_closed)
            runtime_says_frame();
        return;
    case 11:
        if (!world.runtime_closed)
            put_bytes(&from_world_runtime);
        return;
    case 12:
        world.runtime_room += next_size(&world.script);
        return;
    case 13:
        return print(code / 16 % 2, next_size(&world.script));
    case 14:
        /* Two at once. */
        if (code & 0x80) {
            step();
            step();
        } else {
            world.shortage = code / 16;
        }
        return;
    default:
        if (code < 0x60)
            world.pipe_ended[code / 16 % 2] = 1;
        else if (code < 0xa0)
            world.runtime_closed = 1, world.runtime_reset = code & 0x10;
        else if (world.runtime_exited == 0) {
            world.runtime_exited = world.runtime_closed = 1;
            world.exit_status = next_byte(&world.script) << (code & 0x10 ? 8 : 0);
        }
    }
}

/* Behind the script: everybody reads, and init has to come to rest with nothing left to say. */
static int end_well(void)
{
    if (world.is_closing++ == 0) {
        if (world.line_ended || world.line_fd < FIRST_LINE)
            host_dials();
        world.host_room = world.runtime_room = SIZE_MAX / 2;
        world.shortage = 0;
        return 1;
    }
    CHECK(!is_connected || queue_start == queue_end, "%zu bytes for the host are left", queue_end - queue_start);
    for (int stream = 0; stream < 2 && is_connected; stream++)
        CHECK(pipe_bytes(&printed_by_runtime[stream]) == 0 || output_pipe(stream) < 0, "output is left in its pipe");
    CHECK(!is_connected || world.runtime_exited == 0 || phase == OVER, "nobody was told of the runtime's end");
    CHECK(!is_connected || from_runtime_bytes < FRAME_PREFIX_BYTES || from_runtime_bytes < frame_bytes(from_runtime),
          "a frame of the runtime is left");
    return 0;
}

static short readiness(const struct pollfd *fd)
{
    int can_read = 0, can_write = 0, is_over = 0;
    if (fd->fd == SIGNALS)
        can_read = world.runtime_exited == 1;
    else if (fd->fd == REQUESTS) {
        can_read = pipe_bytes(&from_world_runtime) > 0 || world.runtime_closed;
        can_write = world.runtime_room >= 8;
        is_over = world.runtime_closed;
    } else if (fd->fd == STDOUT_PIPE || fd->fd == STDERR_PIPE) {
        can_read = pipe_bytes(&printed_by_runtime[fd->fd - STDOUT_PIPE]) > 0;
        is_over = world.pipe_ended[fd->fd - STDOUT_PIPE];
    } else if (fd->fd == LISTENER)
        can_read = world.line_waits;
    else if (fd->fd == world.line_fd) {
        can_read = pipe_bytes(&from_world_host) > 0 || world.line_ended;
        can_write = world.host_room > 0;
        is_over = world.line_ended;
    }
    return (short)((can_read ? fd->events & POLLIN : 0) | (can_write ? fd->events & POLLOUT : 0) | (is_over ? POLLHUP : 0));
}

static int world_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    CHECK(!world.told_while_stopped, "the runtime was told something and stands still");
    for (;;) {
        int ready = 0;
        for (nfds_t i = 0; i < count; i++) {
            fds[i].revents = fds[i].fd < 0 ? 0 : readiness(&fds[i]);
            ready += fds[i].revents != 0;
        }
        if (ready > 0) {
            world.idle_rounds = world.progress == world.progress_at_poll ? world.idle_rounds + 1 : 0;
            world.progress_at_poll = world.progress;
            CHECK(world.idle_rounds < IDLE_ROUNDS, "init goes round while nothing happens");
            return ready;
        }
        if (!script_is_over(&world.script))
            step();
        else if (!end_well())
            longjmp(world.end, 1);
        if (timeout >= 0)
            return 0;
    }
}

/* ---- A case ------------------------------------------------------------------------------------------------------ */

static void reset(void)
{
    listener = line = -1;
    line_number = 0;
    is_connected = 0;
    queue_start = queue_sent = queue_end = 0;
    from_host_bytes = left_to_pass = 0;
    from_line = 0;
    load_came = start_came = load_unanswered = seals_unanswered = start_unanswered = 0;
    request = 0;
    printed = forwarded = drain_left = 0;
    from_runtime_bytes = 0;
    drained_due = left_unread = log_end_asked = runtime_ended = runtime_status = 0;
    told_begun = 0;
    phase = EXPECT_HELLO;
    ending = NOTHING;
    is_stopped = 0;
    memset(&world, 0, offsetof(struct world, said));
    memset(&world.said_bytes, 0, sizeof world - offsetof(struct world, said_bytes));
    struct pipe *pipes_of_world[] = {&from_world_host, &from_world_runtime, &printed_by_runtime[0],
                                     &printed_by_runtime[1], &to_be_passed};
    for (size_t i = 0; i < sizeof pipes_of_world / sizeof *pipes_of_world; i++)
        pipes_of_world[i]->start = pipes_of_world[i]->end = 0;
}

static uint64_t run(const uint8_t *data, size_t size)
{
    reset();
    world.script = (struct script){.data = data, .size = size};
    uint8_t setting = next_byte(&world.script);
    world.is_dialled = setting & 1;
    world.is_honest = 1;
    world.line_fd = world.is_dialled ? LISTENER : FIRST_LINE;
    world.runtime_room = 4 * (setting >> 1);
    if (setjmp(world.end) == 0) {
        begin_control((struct channels){.are_dialled = world.is_dialled,
                                        .function = -1,
                                        .control = world.is_dialled ? LISTENER : FIRST_LINE});
        relay((struct runtime){.pid = RUNTIME_PID, .requests = REQUESTS, .output = {STDOUT_PIPE, STDERR_PIPE}}, SIGNALS);
    }
    return world.digest.value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t first = run(data, size);
    /* Twice as slow, so not always. */
    if (first % 64 == 0)
        CHECK(run(data, size) == first, "the same case had another result");
    return 0;
}
