/*
 * Functions that are applications which listen on a port: each event goes there as the request that it tells of, and the answer
 * is the result. One at a time:
 *
 *   NOT_LISTENING ── a connection is taken ──▶ IDLE ── event ──▶ AWAITS_HEAD ──▶ TAKES_BODY ── answer ──▶ IDLE
 *
 * The request is written while the answer is read: an application may answer before it has read everything. A connection is
 * used again for REUSE_MS, if the application said that it keeps it for longer than that. So none is closed by the application,
 * or by a clock that jumps after a restore, while a request is on its way.
 */
#define _GNU_SOURCE
#include "runtime-api.h"
#include "web.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RESULT_TOO_LARGE "Function.ResponseSizeTooLarge"
/* How often a port that nobody listens on is tried, and when that is said. */
#define RETRY_MS 5
#define REMARK_MS 8000
/* An application that hangs up may be about to end. */
#define END_MS 200
/* A connection that stays open, and what its application has to promise for that. */
#define REUSE_MS 1000
#define LEAST_PROMISE_S 2
#define PAGE_BYTES 4096
#define KEPT_BYTES (64 * 1024)
#define METADATA_TYPE "{\"content_type\":\"application/vnd.awslambda.http-integration-response\"}"

static unsigned port;
static int family = AF_INET;
static long long begun_ms;
static int has_remarked;

static enum { NOT_LISTENING, IDLE, AWAITS_HEAD, TAKES_BODY } state;
/* The connection; one that is there while no request is goes on to the next. */
static int app = -1;
static int may_reuse;
static long long kept_since_ms;
static struct wishes wishes;
static struct web_request request;
static struct web_response response;
/* Of the request's head and body, what was written. */
static size_t sent;
/* What was read and not looked at yet. */
static char incoming[RESPONSE_HEAD_BYTES];
static size_t incoming_bytes;
static char response_head[RESPONSE_HEAD_BYTES];
static char request_head[REQUEST_HEAD_BYTES];
static char event[ANSWER_BYTES] __attribute__((aligned(PAGE_BYTES)));
/* Metadata, and the body behind them. */
static char result[METADATA_BYTES + ANSWER_BYTES] __attribute__((aligned(PAGE_BYTES)));
static size_t metadata_bytes;
static unsigned long long body_bytes;

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

int is_web(void)
{
    return port != 0;
}

unsigned web_port(void)
{
    return port;
}

/* Without a VM functions share the host's ports: each process gets one of its own. */
static unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &bytes) < 0)
        fail_start(own_failure("Web.NoPort", "no free port could be had for the application: %s", strerror(errno)));
    close(fd);
    return ntohs(address.sin_port);
}

void begin_web(struct text load)
{
    unsigned long long wanted = json_number(json_member(json_member(load, "web"), "port"), 0);
    if (wanted == 0 || wanted > 65535)
        return;
    port = function.sends_frames ? free_port() : (unsigned)wanted;
    begun_ms = now_ms();
}

static size_t request_bytes(void)
{
    return request.head.bytes + request.body.bytes;
}

/* ---- The connection ---------------------------------------------------------------------------------------------- */

/* Returns the connection, or -1. Loopback answers at once, unless more wait than the application lets wait. */
static int dial(int to)
{
    struct sockaddr_in old = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 new = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_loopback};
    int fd = socket(to, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), yes = 1;
    if (fd < 0)
        return -1;
    int result_of = to == AF_INET ? connect(fd, (struct sockaddr *)&old, sizeof old) : connect(fd, (struct sockaddr *)&new, sizeof new);
    if (result_of < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

/* Some listen on `localhost`, which may be the new address alone. */
static int find_application(void)
{
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < 2; i++) {
        int fd = dial(families[i]), error = 0;
        socklen_t bytes = sizeof error;
        struct pollfd done = {.fd = fd, .events = POLLOUT};
        if (fd < 0)
            continue;
        int is_there = poll(&done, 1, 0) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 && error == 0;
        close(fd);
        if (is_there) {
            family = families[i];
            return 1;
        }
    }
    return 0;
}

static void hang_up(void)
{
    if (app >= 0)
        close(app);
    app = -1;
}

int web_limit_ms(void)
{
    if (state == IDLE && app >= 0) {
        long long left_ms = kept_since_ms + REUSE_MS - now_ms();
        return left_ms > 0 ? (int)left_ms : 0;
    }
    return is_web() && state == NOT_LISTENING ? RETRY_MS : -1;
}

void look_for_application(void)
{
    if (state == IDLE && now_ms() - kept_since_ms >= REUSE_MS)
        hang_up();
    if (!is_web() || state != NOT_LISTENING || bootstrap_pid() <= 0)
        return;
    if (find_application()) {
        state = IDLE;
        look_at_readiness();
    } else if (!has_remarked && now_ms() - begun_ms > REMARK_MS) {
        has_remarked = 1;
        dprintf(2, "snapfaas: nothing listens on 127.0.0.1:%u yet; the application has to listen there, as $PORT says\n", port);
    }
}

int web_is_idle(void)
{
    return state == IDLE;
}

/* ---- The answer -------------------------------------------------------------------------------------------------- */

static void give_back(char *buffer, size_t room, size_t used)
{
    if (used > KEPT_BYTES)
        madvise(buffer + KEPT_BYTES, room - KEPT_BYTES - room % PAGE_BYTES, MADV_DONTNEED);
}

static void end_exchange(enum frame_type type, struct text header, struct text payload)
{
    if (may_reuse)
        kept_since_ms = now_ms();
    else
        hang_up();
    state = IDLE;
    answer_host(type, header, payload);
    give_back(event, sizeof event, request.body.bytes);
    give_back(result, sizeof result, metadata_bytes + (size_t)body_bytes);
    note_asked();
}

static void fail(struct text failure)
{
    end_exchange(FRAME_FAILURE, text_of(""), failure);
}

/* One that has ended tells more by how it did: the loop sees it next. */
static int application_ends(void)
{
    struct pollfd child = {.fd = child_signals(), .events = POLLIN};
    int count;
    do
        count = poll(&child, 1, END_MS);
    while (count < 0 && errno == EINTR);
    return count == 1;
}

static void fail_broken(void)
{
    hang_up();
    if (application_ends())
        state = IDLE;
    else if (state == AWAITS_HEAD && incoming_bytes == 0)
        fail(own_failure("Web.NoResponse", "the application closed the connection without an answer"));
    else
        fail(own_failure("Web.BadResponse", "the application broke its answer off"));
}

static int is_streamed(void)
{
    return request.is_http && wishes.takes_http && wishes.takes_chunks;
}

static void fail_too_large(void)
{
    fail(own_failure(RESULT_TOO_LARGE, "Response payload size exceeded maximum allowed payload size (%llu bytes).",
                     function.max_result_bytes));
}

/* Of an event that was no request. */
static void end_other(struct text body)
{
    struct text type = response_field(&response, "content-type");
    static char header[1024];
    char escaped[600];
    if (response.status >= 500) {
        fail(own_failure("Web.ServerError", "the application answered an event with status %d", response.status));
        return;
    }
    if (wishes.is_strict && body.bytes > 0 && !json_is_valid(body)) {
        fail(own_failure("Runtime.MarshalError", "the answer of the application is not JSON, which its caller needs"));
        return;
    }
    size_t bytes = json_escape(type, escaped, sizeof escaped);
    int is_json = type.bytes == 0 || text_is(type, "application/json");
    end_exchange(FRAME_RESULT, is_json ? text_of("") : print_header(header, "{\"content_type\":\"%.*s\"}", (int)bytes, escaped),
                 body.bytes == 0 && wishes.is_strict ? text_of("null") : body);
}

static void end_answer_of_application(void)
{
    struct text body = {result + metadata_bytes, (size_t)body_bytes};
    if (is_streamed()) {
        end_exchange(FRAME_RESULT, text_of(""), text_of(""));
    } else if (!request.is_http) {
        end_other(body);
    } else if (wishes.takes_http) {
        end_exchange(FRAME_RESULT, text_of(METADATA_TYPE), (struct text){result, metadata_bytes + (size_t)body_bytes});
    } else {
        size_t bytes = write_answer(&response, body, event, function.max_result_bytes);
        if (bytes == 0)
            fail_too_large();
        else
            end_exchange(FRAME_RESULT, text_of(""), (struct text){event, bytes});
    }
}

/* Returns false if the exchange is over. */
static int take_body_piece(struct text data)
{
    if (is_streamed()) {
        for (size_t count; data.bytes > 0; data.at += count, data.bytes -= count) {
            count = data.bytes < MAX_CHUNK_BYTES ? data.bytes : MAX_CHUNK_BYTES;
            write_frame(HOST, FRAME_CHUNK, text_of(""), (struct text){data.at, count});
        }
        return 1;
    }
    if (body_bytes + data.bytes > function.max_result_bytes) {
        fail_too_large();
        return 0;
    }
    memcpy(result + metadata_bytes + body_bytes, data.at, data.bytes);
    body_bytes += data.bytes;
    return 1;
}

/* ---- What is read ------------------------------------------------------------------------------------------------ */

static void consume(size_t count)
{
    incoming_bytes -= count;
    memmove(incoming, incoming + count, incoming_bytes);
}

/* Returns false if there is nothing to go on with. */
static int read_head_of_answer(void)
{
    long bytes = read_response(incoming, incoming_bytes, request.is_head, &response);
    if (bytes == 0)
        return 0;
    /* 101 ends HTTP, which nobody has asked for. */
    if (bytes < 0 || response.status == 101) {
        fail(own_failure("Web.BadResponse", "the application answered what is no HTTP, or in a way that is not understood here"));
        return 0;
    }
    if (response.status < 200) {
        consume((size_t)bytes);
        return incoming_bytes > 0;
    }
    /* Its fields are looked at until the end. */
    memcpy(response_head, incoming, (size_t)bytes);
    read_response(response_head, (size_t)bytes, request.is_head, &response);
    consume((size_t)bytes);
    state = TAKES_BODY;
    body_bytes = 0;
    metadata_bytes = request.is_http && wishes.takes_http ? write_metadata(&response, result, METADATA_BYTES) : 0;
    if (is_streamed())
        write_frame(HOST, FRAME_CHUNK, text_of(METADATA_TYPE), (struct text){result, metadata_bytes});
    return 1;
}

static int read_body_of_answer(void)
{
    struct text data;
    while (incoming_bytes > 0 && response.body.at != BODY_OVER) {
        size_t taken = take_body(&response.body, incoming, incoming_bytes, &data);
        if (response.body.at == BODY_BAD) {
            fail(own_failure("Web.BadResponse", "the body of the application's answer is broken"));
            return 0;
        }
        if (data.bytes > 0 && !take_body_piece(data))
            return 0;
        consume(taken);
    }
    if (response.body.at == BODY_OVER) {
        may_reuse = response.keeps_s >= LEAST_PROMISE_S && sent == request_bytes() && incoming_bytes == 0;
        end_answer_of_application();
    }
    return 0;
}

static void look_at_incoming(void)
{
    int goes_on = 1;
    while (goes_on && state == AWAITS_HEAD)
        goes_on = read_head_of_answer();
    if (state == TAKES_BODY)
        read_body_of_answer();
}

static void receive(void)
{
    ssize_t count = recv(app, incoming + incoming_bytes, sizeof incoming - incoming_bytes, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count > 0) {
        incoming_bytes += (size_t)count;
        look_at_incoming();
    } else if (count == 0 && state == TAKES_BODY && response.ends_with_connection) {
        end_answer_of_application();
    } else {
        fail_broken();
    }
}

/* ---- The request ------------------------------------------------------------------------------------------------- */

/* What cannot be written is not missed: the answer tells. */
static void send_request(void)
{
    while (sent < request_bytes()) {
        int is_in_head = sent < request.head.bytes;
        const char *at = is_in_head ? request.head.at + sent : request.body.at + (sent - request.head.bytes);
        size_t left = is_in_head ? request.head.bytes - sent : request_bytes() - sent;
        ssize_t count = send(app, at, left, MSG_NOSIGNAL | (is_in_head && request.body.bytes > 0 ? MSG_MORE : 0));
        if (count >= 0)
            sent += (size_t)count;
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            sent = request_bytes();
    }
}

void begin_exchange(size_t event_bytes, struct wishes wanted)
{
    wishes = wanted;
    incoming_bytes = 0;
    sent = 0;
    body_bytes = 0;
    metadata_bytes = 0;
    may_reuse = 0;
    request = (struct web_request){.is_http = 0};
    state = AWAITS_HEAD;
    if (event_bytes > sizeof event)
        leave(1);
    read_bytes(HOST, event, event_bytes);
    if (!write_request((struct text){event, event_bytes}, request_head, sizeof request_head, &request)) {
        fail(own_failure("Web.BadRequest", "the event is no request over HTTP that an application could be sent"));
        return;
    }
    struct pollfd kept = {.fd = app, .events = POLLIN};
    if (now_ms() - kept_since_ms >= REUSE_MS || poll(&kept, 1, 0) != 0)
        hang_up();
    if (app < 0)
        app = dial(family);
    if (app >= 0)
        send_request();
    else if (application_ends())
        state = IDLE;
    else
        fail(own_failure("Web.NotListening", "nothing listens on port %u any more", port));
}

void watch_web(struct pollfd *fd)
{
    int wants = app < 0 ? 0 : POLLIN | (sent < request_bytes() ? POLLOUT : 0);
    *fd = (struct pollfd){.fd = app, .events = (short)wants};
}

void serve_web(const struct pollfd *fd)
{
    if (app < 0 || fd->fd != app || fd->revents == 0)
        return;
    /* Nothing may come that was not asked for. */
    if (state == IDLE) {
        hang_up();
        return;
    }
    if (fd->revents & POLLOUT)
        send_request();
    if (fd->revents & ~POLLOUT)
        receive();
}
