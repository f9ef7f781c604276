/*
 * Functions that are applications which listen on a port: each event goes there as the request that it tells of, and the answer
 * is the result. One at a time, or one in each slot, as many as LOAD says; each exchange has a connection and buffers of its own:
 *
 *   IDLE ── event ──▶ AWAITS_HEAD ──▶ TAKES_BODY ── answer ──▶ IDLE
 *                          └───────────────┴── hangs up ──▶ AWAITS_END ── but does not end ──▶ IDLE
 *
 * The request is written while the answer is read: an application may answer before it has read everything. A connection is
 * used again for REUSE_MS, if the application said that it keeps it for longer than that. So none is closed by the application,
 * or by a clock that jumps after a restore, while a request is on its way.
 *
 * Where there are several, the host always reads, so that no answer stands in the way of another one. What it may get of a streamed one
 * that its client is slow to take is bounded by a window: beyond that the application is not read.
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
#define NOT_LISTENING "Web.NotListening"
#define NO_RESPONSE "Web.NoResponse"
#define BAD_RESPONSE "Web.BadResponse"
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
#define METADATA_TYPE "{\"content_type\":\"application/vnd.snapfaas.http-response\"}"

static unsigned port;
static int family = AF_INET;
static long long begun_ms;
static int is_listening, has_remarked;

struct exchange {
    enum { IDLE, AWAITS_HEAD, TAKES_BODY, AWAITS_END } state;
    /* As the header of a frame; empty: the first. */
    char slot[32];
    /* The connection; one that is there while no request is goes on to the next. */
    int app;
    int may_reuse;
    long long kept_since_ms;
    /* Of one that has hung up. */
    const char *failure;
    long long fails_at_ms;
    struct wishes wishes;
    struct web_request request;
    struct web_response response;
    /* Of the request's head and body, what was written. */
    size_t sent;
    /* Of a streamed answer, what the host may still get; below 0 if more was read at once. */
    long long window;
    size_t incoming_bytes, metadata_bytes, event_bytes;
    unsigned long long body_bytes;
    /* What was read and not looked at yet. */
    char incoming[RESPONSE_HEAD_BYTES];
    char response_head[RESPONSE_HEAD_BYTES];
    char request_head[REQUEST_HEAD_BYTES] __attribute__((aligned(PAGE_BYTES)));
    char event[ANSWER_BYTES] __attribute__((aligned(PAGE_BYTES)));
    /* Metadata, and the body behind them. */
    char result[METADATA_BYTES + ANSWER_BYTES] __attribute__((aligned(PAGE_BYTES)));
};

/* Made when they are needed first: in a small VM all of them together could not even be promised. */
static struct exchange *exchanges[MOST_EXCHANGES];
static unsigned slots;

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

unsigned web_slots(void)
{
    return slots;
}

int web_is_shared(void)
{
    return slots > 1;
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
    unsigned long long most = json_number(json_member(json_member(load, "web"), "max_concurrency"), 1);
    slots = most < 1 ? 1 : most > MOST_EXCHANGES ? MOST_EXCHANGES : (unsigned)most;
    port = function.sends_frames ? free_port() : (unsigned)wanted;
    begun_ms = now_ms();
}

static struct exchange *exchange_of(unsigned slot)
{
    if (exchanges[slot] != NULL)
        return exchanges[slot];
    struct exchange *one = mmap(NULL, sizeof *one, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (one == MAP_FAILED) {
        dprintf(2, "snapfaas: no memory for another request: %s\n", strerror(errno));
        leave(1);
    }
    one->app = -1;
    if (slot > 0)
        snprintf(one->slot, sizeof one->slot, "{\"slot\":%u}", slot);
    return exchanges[slot] = one;
}

static size_t request_bytes(const struct exchange *one)
{
    return one->request.head.bytes + one->request.body.bytes;
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

static void hang_up(struct exchange *one)
{
    if (one->app >= 0)
        close(one->app);
    one->app = -1;
}

/* When something is due that nobody else tells of; below 0: nothing is. */
static long long due_ms(const struct exchange *one)
{
    return one->state == AWAITS_END ? one->fails_at_ms : one->state == IDLE && one->app >= 0 ? one->kept_since_ms + REUSE_MS : -1;
}

int web_limit_ms(void)
{
    if (!is_web())
        return -1;
    if (!is_listening)
        return RETRY_MS;
    long long first_ms = -1;
    for (unsigned i = 0; i < slots; i++) {
        long long due = exchanges[i] == NULL ? -1 : due_ms(exchanges[i]);
        if (due >= 0 && (first_ms < 0 || due < first_ms))
            first_ms = due;
    }
    if (first_ms < 0)
        return -1;
    first_ms -= now_ms();
    return first_ms > 0 ? (int)first_ms : 0;
}

static void fail_at_end(struct exchange *one);

static void look_at_exchanges(void)
{
    for (unsigned i = 0; i < slots; i++) {
        struct exchange *one = exchanges[i];
        long long due = one == NULL ? -1 : due_ms(one);
        if (due < 0 || due > now_ms())
            continue;
        if (one->state == IDLE)
            hang_up(one);
        else
            fail_at_end(one);
    }
}

void look_for_application(void)
{
    look_at_exchanges();
    if (!is_web() || is_listening || bootstrap_pid() <= 0)
        return;
    if (find_application()) {
        is_listening = 1;
        look_at_readiness();
    } else if (!has_remarked && now_ms() - begun_ms > REMARK_MS) {
        has_remarked = 1;
        dprintf(2, "snapfaas: nothing listens on 127.0.0.1:%u yet; the application has to listen there, as $PORT says\n", port);
    }
}

int web_is_idle(void)
{
    return is_listening && (exchanges[0] == NULL || exchanges[0]->state == IDLE);
}

/* ---- The answer -------------------------------------------------------------------------------------------------- */

static void give_back(char *buffer, size_t room, size_t used)
{
    if (used > KEPT_BYTES)
        madvise(buffer + KEPT_BYTES, room - KEPT_BYTES - room % PAGE_BYTES, MADV_DONTNEED);
}

/* A header with the slot in it, in a static buffer. */
static struct text with_slot(const struct exchange *one, struct text header)
{
    static char whole[1024 + sizeof one->slot];
    if (one->slot[0] == '\0')
        return header;
    if (header.bytes == 0)
        return text_of(one->slot);
    int bytes = snprintf(whole, sizeof whole, "%.*s,%.*s", (int)strlen(one->slot) - 1, one->slot, (int)header.bytes - 1, header.at + 1);
    return (struct text){whole, (size_t)bytes};
}

static void end_exchange(struct exchange *one, enum frame_type type, struct text header, struct text payload)
{
    if (one->may_reuse)
        one->kept_since_ms = now_ms();
    else
        hang_up(one);
    one->state = IDLE;
    if (!web_is_shared()) {
        answer_host(type, header, payload);
    } else {
        if (function.sends_frames)
            pump_output();
        write_frame(HOST, type, with_slot(one, header), payload);
    }
    give_back(one->request_head, sizeof one->request_head, one->request.head.bytes);
    give_back(one->event, sizeof one->event, one->event_bytes);
    give_back(one->result, sizeof one->result, one->metadata_bytes + (size_t)one->body_bytes);
    if (!web_is_shared())
        note_asked();
}

static void fail(struct exchange *one, struct text failure)
{
    end_exchange(one, FRAME_FAILURE, text_of(""), failure);
}

/* One that has ended tells more by how it did: the loop sees that, if it comes soon. */
static void await_end(struct exchange *one, const char *failure)
{
    hang_up(one);
    one->state = AWAITS_END;
    one->failure = failure;
    one->fails_at_ms = now_ms() + END_MS;
}

static void fail_at_end(struct exchange *one)
{
    if (strcmp(one->failure, NOT_LISTENING) == 0)
        fail(one, own_failure(NOT_LISTENING, "nothing listens on port %u any more", port));
    else if (strcmp(one->failure, NO_RESPONSE) == 0)
        fail(one, own_failure(NO_RESPONSE, "the application closed the connection without an answer"));
    else
        fail(one, own_failure(BAD_RESPONSE, "the application broke its answer off"));
}

static void fail_broken(struct exchange *one)
{
    await_end(one, one->state == AWAITS_HEAD && one->incoming_bytes == 0 ? NO_RESPONSE : BAD_RESPONSE);
}

static int is_streamed(const struct exchange *one)
{
    return one->request.is_http && one->wishes.takes_http && one->wishes.takes_chunks;
}

static void fail_too_large(struct exchange *one)
{
    fail(one, own_failure(RESULT_TOO_LARGE, "Response payload size exceeded maximum allowed payload size (%llu bytes).",
                          function.max_result_bytes));
}

static void send_chunk(struct exchange *one, struct text header, struct text data)
{
    write_frame(HOST, FRAME_CHUNK, with_slot(one, header), data);
    one->window -= (long long)data.bytes;
}

/* The host has enough of it for now. */
static int is_held(const struct exchange *one)
{
    return web_is_shared() && one->state == TAKES_BODY && is_streamed(one) && one->window <= 0;
}

/* Of an event that was no request. */
static void end_other(struct exchange *one, struct text body)
{
    struct text type = response_field(&one->response, "content-type");
    static char header[1024];
    char escaped[600];
    if (one->response.status >= 500) {
        fail(one, own_failure("Web.ServerError", "the application answered an event with status %d", one->response.status));
        return;
    }
    if (one->wishes.is_strict && body.bytes > 0 && !json_is_valid(body)) {
        fail(one, own_failure("Runtime.MarshalError", "the answer of the application is not JSON, which its caller needs"));
        return;
    }
    size_t bytes = json_escape(type, escaped, sizeof escaped);
    int is_json = type.bytes == 0 || text_is(type, "application/json");
    end_exchange(one, FRAME_RESULT, is_json ? text_of("") : print_header(header, "{\"content_type\":\"%.*s\"}", (int)bytes, escaped),
                 body.bytes == 0 && one->wishes.is_strict ? text_of("null") : body);
}

static void end_answer_of_application(struct exchange *one)
{
    struct text body = {one->result + one->metadata_bytes, (size_t)one->body_bytes};
    if (is_streamed(one)) {
        end_exchange(one, FRAME_RESULT, text_of(""), text_of(""));
    } else if (!one->request.is_http) {
        end_other(one, body);
    } else if (one->wishes.takes_http) {
        end_exchange(one, FRAME_RESULT, text_of(METADATA_TYPE), (struct text){one->result, one->metadata_bytes + (size_t)one->body_bytes});
    } else {
        size_t bytes = write_answer(&one->response, body, one->event, function.max_result_bytes);
        one->event_bytes = bytes > one->event_bytes ? bytes : one->event_bytes;
        if (bytes == 0)
            fail_too_large(one);
        else
            end_exchange(one, FRAME_RESULT, text_of(""), (struct text){one->event, bytes});
    }
}

/* Returns false if the exchange is over. */
static int take_body_piece(struct exchange *one, struct text data)
{
    if (is_streamed(one)) {
        for (size_t count; data.bytes > 0; data.at += count, data.bytes -= count) {
            count = data.bytes < MAX_CHUNK_BYTES ? data.bytes : MAX_CHUNK_BYTES;
            send_chunk(one, text_of(""), (struct text){data.at, count});
        }
        return 1;
    }
    if (one->body_bytes + data.bytes > function.max_result_bytes) {
        fail_too_large(one);
        return 0;
    }
    memcpy(one->result + one->metadata_bytes + one->body_bytes, data.at, data.bytes);
    one->body_bytes += data.bytes;
    return 1;
}

/* ---- What is read ------------------------------------------------------------------------------------------------ */

static void consume(struct exchange *one, size_t count)
{
    one->incoming_bytes -= count;
    memmove(one->incoming, one->incoming + count, one->incoming_bytes);
}

/* Returns false if there is nothing to go on with. */
static int read_head_of_answer(struct exchange *one)
{
    long bytes = read_response(one->incoming, one->incoming_bytes, one->request.is_head, &one->response);
    if (bytes == 0)
        return 0;
    /* 101 ends HTTP, which nobody has asked for. */
    if (bytes < 0 || one->response.status == 101) {
        fail(one, own_failure(BAD_RESPONSE, "the application answered what is no HTTP, or in a way that is not understood here"));
        return 0;
    }
    if (one->response.status < 200) {
        consume(one, (size_t)bytes);
        return one->incoming_bytes > 0;
    }
    /* Its fields are looked at until the end. */
    memcpy(one->response_head, one->incoming, (size_t)bytes);
    read_response(one->response_head, (size_t)bytes, one->request.is_head, &one->response);
    consume(one, (size_t)bytes);
    one->state = TAKES_BODY;
    one->body_bytes = 0;
    one->metadata_bytes = one->request.is_http && one->wishes.takes_http ? write_metadata(&one->response, one->result, METADATA_BYTES) : 0;
    if (is_streamed(one))
        send_chunk(one, text_of(METADATA_TYPE), (struct text){one->result, one->metadata_bytes});
    return 1;
}

static int read_body_of_answer(struct exchange *one)
{
    struct text data;
    while (one->incoming_bytes > 0 && one->response.body.at != BODY_OVER) {
        size_t taken = take_body(&one->response.body, one->incoming, one->incoming_bytes, &data);
        if (one->response.body.at == BODY_BAD) {
            fail(one, own_failure(BAD_RESPONSE, "the body of the application's answer is broken"));
            return 0;
        }
        if (data.bytes > 0 && !take_body_piece(one, data))
            return 0;
        consume(one, taken);
    }
    if (one->response.body.at == BODY_OVER) {
        one->may_reuse = one->response.keeps_s >= LEAST_PROMISE_S && one->sent == request_bytes(one) && one->incoming_bytes == 0;
        end_answer_of_application(one);
    }
    return 0;
}

static void look_at_incoming(struct exchange *one)
{
    int goes_on = 1;
    while (goes_on && one->state == AWAITS_HEAD)
        goes_on = read_head_of_answer(one);
    if (one->state == TAKES_BODY)
        read_body_of_answer(one);
}

static void receive(struct exchange *one)
{
    ssize_t count = recv(one->app, one->incoming + one->incoming_bytes, sizeof one->incoming - one->incoming_bytes, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count > 0) {
        one->incoming_bytes += (size_t)count;
        look_at_incoming(one);
    } else if (count == 0 && one->state == TAKES_BODY && one->response.ends_with_connection) {
        end_answer_of_application(one);
    } else {
        fail_broken(one);
    }
}

/* ---- The request ------------------------------------------------------------------------------------------------- */

/* What cannot be written is not missed: the answer tells. */
static void send_request(struct exchange *one)
{
    while (one->sent < request_bytes(one)) {
        int is_in_head = one->sent < one->request.head.bytes;
        const char *at = is_in_head ? one->request.head.at + one->sent : one->request.body.at + (one->sent - one->request.head.bytes);
        size_t left = is_in_head ? one->request.head.bytes - one->sent : request_bytes(one) - one->sent;
        ssize_t count = send(one->app, at, left, MSG_NOSIGNAL | (is_in_head && one->request.body.bytes > 0 ? MSG_MORE : 0));
        if (count >= 0)
            one->sent += (size_t)count;
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            one->sent = request_bytes(one);
    }
}

void begin_exchange(unsigned slot, size_t event_bytes, struct wishes wishes)
{
    struct exchange *one = exchange_of(slot);
    one->wishes = wishes;
    one->incoming_bytes = 0;
    one->sent = 0;
    one->body_bytes = 0;
    one->metadata_bytes = 0;
    one->event_bytes = event_bytes;
    one->window = STREAM_WINDOW_BYTES;
    one->may_reuse = 0;
    one->request = (struct web_request){.is_http = 0};
    one->state = AWAITS_HEAD;
    if (event_bytes > sizeof one->event)
        leave(1);
    read_bytes(HOST, one->event, event_bytes);
    if (!write_request((struct text){one->event, event_bytes}, one->request_head, sizeof one->request_head, &one->request)) {
        fail(one, own_failure("Web.BadRequest", "the event is no request over HTTP that an application could be sent"));
        return;
    }
    struct pollfd kept = {.fd = one->app, .events = POLLIN};
    if (now_ms() - one->kept_since_ms >= REUSE_MS || poll(&kept, 1, 0) != 0)
        hang_up(one);
    if (one->app < 0)
        one->app = dial(family);
    if (one->app >= 0)
        send_request(one);
    else
        await_end(one, NOT_LISTENING);
}

/* ---- Of several -------------------------------------------------------------------------------------------------- */

/* What the host says of an exchange that is over by now means nothing. */
static struct exchange *under_way(unsigned slot)
{
    struct exchange *one = slot < slots ? exchanges[slot] : NULL;
    return one != NULL && one->state != IDLE ? one : NULL;
}

int web_slot_is_free(unsigned slot)
{
    return slot < slots && under_way(slot) == NULL;
}

void note_taken(unsigned slot, unsigned long long bytes)
{
    struct exchange *one = under_way(slot);
    if (one != NULL && bytes <= STREAM_WINDOW_BYTES * 2)
        one->window += (long long)bytes;
}

/* The application sees its client hang up. */
void cancel_exchange(unsigned slot)
{
    struct exchange *one = under_way(slot);
    if (one == NULL)
        return;
    one->may_reuse = 0;
    fail(one, own_failure("Web.Cancelled", "nobody waits for the answer any more"));
}

void fail_exchanges(struct text failure)
{
    for (unsigned i = 0; i < slots; i++) {
        struct exchange *one = under_way(i);
        if (one == NULL)
            continue;
        one->may_reuse = 0;
        end_exchange(one, FRAME_FAILURE, text_of("{\"exiting\":true}"), failure);
    }
}

/* ---- For the loop ------------------------------------------------------------------------------------------------ */

void watch_web(struct pollfd *fds)
{
    for (unsigned i = 0; i < slots; i++) {
        const struct exchange *one = exchanges[i];
        fds[i] = (struct pollfd){.fd = -1};
        if (one == NULL || one->app < 0)
            continue;
        int sends = one->state != IDLE && one->sent < request_bytes(one), reads = !is_held(one);
        /* Of one that is not to be looked at, poll would tell that it has ended, again and again. */
        if (sends || reads)
            fds[i] = (struct pollfd){.fd = one->app, .events = (short)((reads ? POLLIN : 0) | (sends ? POLLOUT : 0))};
    }
}

static void serve_exchange(struct exchange *one, int stirs)
{
    /* Nothing may come that was not asked for. */
    if (one->state == IDLE) {
        hang_up(one);
        return;
    }
    if (is_held(one) || stirs & POLLOUT)
        send_request(one);
    if (!is_held(one) && stirs & ~POLLOUT)
        receive(one);
}

void serve_web(const struct pollfd *fds)
{
    for (unsigned i = 0; i < slots; i++)
        if (exchanges[i] != NULL && exchanges[i]->app >= 0 && fds[i].fd == exchanges[i]->app && fds[i].revents != 0)
            serve_exchange(exchanges[i], fds[i].revents);
}

void serve_web_rest(void)
{
    for (unsigned i = 0; i < slots; i++) {
        struct exchange *one = under_way(i);
        struct pollfd fd = {.fd = one == NULL ? -1 : one->app, .events = POLLIN};
        while (one != NULL && one->state != IDLE && one->app >= 0 && poll(&fd, 1, 0) == 1 && fd.revents & POLLIN && !is_held(one))
            receive(one);
    }
}
