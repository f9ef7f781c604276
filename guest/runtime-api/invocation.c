/*
 * From INVOKE to the answer. One invocation at a time:
 *
 *   NONE ── INVOKE, and the bootstrap waits in `next` ──▶ RUNNING ── response or error ──▶ ANSWERED ── `next` ──▶ NONE
 *
 * The host's frame is left in its channel until the bootstrap asks: then nothing of it can have been begun if the bootstrap
 * ends before. DONE goes out when the bootstrap asks again, as it is at work until then, and what it prints belongs to the
 * invocation.
 *
 * An application on a port may have several under way. Then frames are taken as they come, none of this state is used but the number, and
 * init is told of each that is begun.
 */
#define _GNU_SOURCE
#include "runtime-api.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define RESULT_TOO_LARGE "Function.ResponseSizeTooLarge"
/* Of a buffer that is used again. What a larger answer took is given back. */
#define KEPT_BYTES (64 * 1024)
#define PAGE_BYTES 4096

static struct {
    enum { NONE, RUNNING, ANSWERED } state;
    unsigned long number;
    char id[ID_BYTES + 1];
    struct wishes wishes;
    int wants_log_end;
} current;

/* Init has not yet said that the last one's output is collected, or it was not asked. */
static int drained_due;

/* Of the invocation under way, in ms since 1970. */
static unsigned long long deadline_ms;

/* The connection that posts the answer, and what of it has come. */
static struct connection *answering;
static int is_streamed, has_sent_chunk;
static unsigned long long answer_bytes;
static char answer[ANSWER_BYTES] __attribute__((aligned(PAGE_BYTES)));
static char trailers[TRAILER_BYTES];

unsigned long begun_invocations(void)
{
    return current.number;
}

static void give_back(unsigned long long used)
{
    if (used > KEPT_BYTES)
        madvise(answer + KEPT_BYTES, sizeof answer - KEPT_BYTES - sizeof answer % PAGE_BYTES, MADV_DONTNEED);
}

/* ---- The event --------------------------------------------------------------------------------------------------- */

/* Head of the answer to `next`: as long as the header of INVOKE, of which each byte may become six, and our own words. */
static char head[6 * HEADER_BYTES + 4096];
static size_t head_bytes;

static void put(const char *bytes, size_t count)
{
    memcpy(head + head_bytes, bytes, count);
    head_bytes += count;
}

/* `is_json`: other characters than ASCII can be written in another way. They, and what ends a line, are no part of a header. */
static void put_header(const char *name, struct text written, int is_json)
{
    static char value[HEADER_BYTES + 1];
    if (!json_string(written, value, sizeof value) || value[0] == '\0')
        return;
    put(name, strlen(name));
    put(": ", 2);
    const char *end = value + strlen(value);
    for (const char *at = value; at < end;) {
        size_t bytes = utf8_bytes(at, end);
        if (bytes <= 1) {
            char c = (unsigned char)*at < 0x20 || *at == 0x7f || bytes == 0 ? ' ' : *at;
            put(&c, 1);
            at++;
            continue;
        }
        char escaped[16] = "?";
        int count = is_json ? json_ascii(at, bytes, escaped) : 1;
        at += bytes;
        put(escaped, (size_t)count);
    }
    put("\r\n", 2);
}

static void put_head(struct text header, size_t event_bytes)
{
    static const char begin[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    char line[128], quoted_arn[sizeof function.arn + 2];
    struct text arn = json_member(header, "arn");
    head_bytes = 0;
    put(begin, sizeof begin - 1);
    put_header("Lambda-Runtime-Aws-Request-Id", json_member(header, "id"), 0);
    put(line, (size_t)snprintf(line, sizeof line, "Lambda-Runtime-Deadline-Ms: %llu\r\n",
                               json_number(json_member(header, "deadline_ms"), 0)));
    snprintf(quoted_arn, sizeof quoted_arn, "\"%s\"", function.arn);
    put_header("Lambda-Runtime-Invoked-Function-Arn", arn.bytes > 0 ? arn : text_of(quoted_arn), 0);
    put_header("Lambda-Runtime-Trace-Id", json_member(header, "trace"), 0);
    put_header("Lambda-Runtime-Client-Context", json_member(header, "client_context"), 1);
    put_header("Lambda-Runtime-Cognito-Identity", json_member(header, "cognito_identity"), 1);
    put_header("Lambda-Runtime-Aws-Tenant-Id", json_member(header, "tenant_id"), 0);
    put(line, (size_t)snprintf(line, sizeof line, "Content-Length: %zu\r\n\r\n", event_bytes));
}

int wants_frame(void)
{
    if (web_is_shared())
        return phase == PHASE_SERVING;
    return phase == PHASE_SERVING && current.state == NONE && extensions_wait() &&
           (is_web() ? web_is_idle() : waiting_connection(WAITS_FOR_EVENT) != NULL);
}

/* The event goes through a small buffer: what is too large for the client's socket waits in the host's channel. */
static void give_event(struct connection *to, size_t event_bytes)
{
    static char piece[16 * 1024];
    /* The first piece in one write with the head. */
    size_t count = event_bytes < sizeof piece ? event_bytes : sizeof piece;
    read_bytes(HOST, piece, count);
    int is_there;
    if (head_bytes + count <= sizeof head) {
        put(piece, count);
        is_there = send_to_client(to, head, head_bytes);
    } else {
        is_there = send_to_client(to, head, head_bytes) && send_to_client(to, piece, count);
    }
    for (size_t left = event_bytes - count; left > 0; left -= count) {
        count = left < sizeof piece ? left : sizeof piece;
        read_bytes(HOST, piece, count);
        is_there = is_there && send_to_client(to, piece, count);
    }
    /* One that has gone took its event with it: it may be the bootstrap's end, or else the time of the invocation runs out. */
    if (is_there)
        await_request(to);
    else
        close_connection(to);
}

static int is_true(struct text value)
{
    return text_is(value, "true");
}

static _Noreturn void lost(const char *what)
{
    dprintf(2, "snapfaas: the host sent %s\n", what);
    leave(1);
}

/* The event comes back. Not an invocation: it is not counted. */
static void rehearse(size_t event_bytes)
{
    if (event_bytes > sizeof answer)
        lost("a rehearsal that is too large");
    read_bytes(HOST, answer, event_bytes);
    write_frame(HOST, FRAME_RESULT, text_of(""), (struct text){answer, event_bytes});
    give_back(event_bytes);
}

static struct wishes read_wishes(struct text header)
{
    return (struct wishes){
        .is_strict = is_true(json_member(header, "strict")),
        .takes_chunks = is_true(json_member(header, "stream")),
        .takes_http = is_true(json_member(header, "http")),
    };
}

static void take_frame_of_several(struct frame frame)
{
    unsigned long long said = json_number(json_member(frame.header, "slot"), 0);
    unsigned slot = said < web_slots() ? (unsigned)said : web_slots();
    if (frame.type == FRAME_TAKEN) {
        note_taken(slot, json_number(json_member(frame.header, "bytes"), 0));
    } else if (frame.type == FRAME_CANCEL) {
        cancel_exchange(slot);
    } else if (frame.type == FRAME_INVOKE && web_slot_is_free(slot)) {
        struct wishes wishes = read_wishes(frame.header);
        current.number++;
        set_output_number(current.number);
        if (!function.sends_frames)
            write_frame(INIT, FRAME_BEGUN, text_of(""), text_of(""));
        begin_exchange(slot, frame.payload_bytes, wishes);
    } else {
        lost("what is no invocation");
    }
}

void take_frame(void)
{
    struct frame frame = read_frame(HOST);
    if (frame.type == FRAME_REHEARSE) {
        rehearse(frame.payload_bytes);
        return;
    }
    if (web_is_shared()) {
        take_frame_of_several(frame);
        return;
    }
    if (frame.type != FRAME_INVOKE || !json_string(json_member(frame.header, "id"), current.id, sizeof current.id))
        lost("what is no invocation");
    current.wishes = read_wishes(frame.header);
    current.wants_log_end = is_true(json_member(frame.header, "log_end"));
    if (!is_web())
        put_head(frame.header, frame.payload_bytes);
    deadline_ms = json_number(json_member(frame.header, "deadline_ms"), 0);
    prepare_invoke_event(frame.header);
    /* The header is gone with the next frame. */
    if (drained_due && read_frame(INIT).type != FRAME_DRAINED)
        lost("something else than DRAINED");
    drained_due = 0;
    current.number++;
    current.state = RUNNING;
    set_output_number(current.number);
    tell_extensions();
    if (is_web())
        begin_exchange(0, frame.payload_bytes, current.wishes);
    else
        give_event(waiting_connection(WAITS_FOR_EVENT), frame.payload_bytes);
}

/* ---- Between two invocations ------------------------------------------------------------------------------------- */

int invocation_is_under_way(void)
{
    return current.state != NONE;
}

unsigned long long invocation_deadline_ms(void)
{
    return current.state == ANSWERED ? deadline_ms : 0;
}

void fail_invocation(struct text failure)
{
    if (web_is_shared())
        fail_exchanges(failure);
    else if (current.state == RUNNING)
        answer_host(FRAME_FAILURE, text_of("{\"exiting\":true}"), failure);
}

int may_ask(void)
{
    return current.state != RUNNING;
}

void note_asked(void)
{
    char header[1024];
    if (phase != PHASE_SERVING) {
        look_at_readiness();
    } else if (current.state == ANSWERED && extensions_wait()) {
        if (function.sends_frames)
            pump_output();
        if (current.wants_log_end)
            write_frame(INIT, FRAME_DONE, print_header(header, "{\"log_end\":true,\"request\":%lu}", current.number),
                        text_of(""));
        else if (!function.sends_frames)
            write_frame(INIT, FRAME_DONE, text_of(""), text_of(""));
        drained_due = !function.sends_frames;
        current.state = NONE;
    }
}

/* ---- The answer -------------------------------------------------------------------------------------------------- */

static void refuse(struct connection *connection, int status, const char *type, const char *message)
{
    connection->action = REFUSE;
    connection->status = status;
    connection->error_type = type;
    connection->error_message = message;
}

static void begin(struct connection *connection, const struct head *request)
{
    answering = connection;
    answer_bytes = 0;
    has_sent_chunk = 0;
    is_streamed = connection->action == TAKE_RESPONSE && current.wishes.takes_chunks &&
                  text_is(request->fields.response_mode, "streaming");
    connection->body.trailers = trailers;
}

void begin_answer(struct connection *connection, struct text id, const struct head *request)
{
    /* One that was given up may not have been noticed yet. */
    if (answering != NULL)
        read_rest(answering);
    if (current.state == NONE || !text_is(id, current.id))
        refuse(connection, 400, "InvalidRequestID", "Invalid request ID: no invocation under way has it");
    else if (current.state == ANSWERED || answering != NULL)
        refuse(connection, 403, "InvalidStateTransition", "the invocation has an answer already: ask for the next one");
    else
        begin(connection, request);
}

void begin_report(struct connection *connection, const struct head *request)
{
    enum phase due = connection->action == TAKE_INIT_ERROR ? PHASE_INIT : PHASE_RESTORING;
    if (phase != due || answering != NULL)
        refuse(connection, 403, "InvalidStateTransition",
               due == PHASE_INIT ? "the initialisation is over" : "no restore is under way");
    else
        begin(connection, request);
}

static unsigned long long most_bytes(const struct connection *connection)
{
    return connection->action == TAKE_RESPONSE ? function.max_result_bytes : sizeof answer;
}

/* `{}` with the content type of the answer, unless it is the usual one, or that of forms, which curl says of anything. */
static struct text result_header(const struct connection *connection)
{
    static char header[1024];
    char escaped[600];
    const char *type = connection->content_type;
    if (type[0] == '\0' || strcmp(type, "application/json") == 0 || strcmp(type, "application/x-www-form-urlencoded") == 0)
        return text_of("");
    size_t bytes = json_escape(text_of(type), escaped, sizeof escaped);
    return print_header(header, "{\"content_type\":\"%.*s\"}", (int)bytes, escaped);
}

void take_answer(struct connection *connection, struct text data)
{
    if (is_streamed) {
        write_frame(HOST, FRAME_CHUNK, has_sent_chunk ? text_of("") : result_header(connection), data);
        has_sent_chunk = 1;
    } else if (answer_bytes + data.bytes <= most_bytes(connection)) {
        memcpy(answer + answer_bytes, data.at, data.bytes);
    }
    answer_bytes += data.bytes;
}

void answer_host(enum frame_type type, struct text header, struct text payload)
{
    if (function.sends_frames)
        pump_output();
    write_frame(HOST, type, header, payload);
    current.state = ANSWERED;
}

/* A stream that was broken off tells why behind its end. */
static int has_fault(const struct fields *fields)
{
    return fields->error_type.bytes > 0 || fields->error_body.bytes > 0;
}

static struct text fault_of(const struct fields *fields)
{
    static char body[TRAILER_BYTES];
    char type[256] = "";
    size_t bytes = fields->error_type.bytes < sizeof type ? fields->error_type.bytes : 0;
    memcpy(type, fields->error_type.at, bytes);
    type[bytes] = '\0';
    memcpy(body, fields->error_body.at, fields->error_body.bytes);
    long decoded = decode_base64(body, fields->error_body.bytes);
    return describe_failure(NULL, type, (struct text){body, decoded < 0 ? 0 : (size_t)decoded});
}

static void end_response(struct connection *connection)
{
    struct text whole = {answer, answer_bytes};
    struct fields fields = {.content_type = {NULL, 0}};
    read_trailers(&connection->body, &fields);
    if (has_fault(&fields)) {
        answer_host(FRAME_FAILURE, text_of(""), fault_of(&fields));
    } else if (is_streamed) {
        answer_host(FRAME_RESULT, has_sent_chunk ? text_of("") : result_header(connection), text_of(""));
    } else if (answer_bytes > most_bytes(connection)) {
        answer_host(FRAME_FAILURE, text_of(""),
                    own_failure(RESULT_TOO_LARGE, "Response payload size exceeded maximum allowed payload size (%llu bytes).",
                                most_bytes(connection)));
        refuse(connection, 413, "RequestEntityTooLarge", "the response is over the limit of its size");
    } else if (current.wishes.is_strict && answer_bytes == 0) {
        answer_host(FRAME_RESULT, text_of(""), text_of("null"));
    } else if (current.wishes.is_strict && !json_is_valid(whole)) {
        answer_host(FRAME_FAILURE, text_of(""),
                    own_failure("Runtime.MarshalError", "the response of the bootstrap is not JSON, which its caller needs"));
    } else {
        answer_host(FRAME_RESULT, result_header(connection), whole);
    }
}

static struct text posted(const struct connection *connection, const char *kind)
{
    size_t bytes = answer_bytes <= most_bytes(connection) ? (size_t)answer_bytes : 0;
    return describe_failure(kind, connection->fault_type, (struct text){answer, bytes});
}

void end_answer(struct connection *connection)
{
    answering = NULL;
    connection->status = 202;
    switch (connection->action) {
    case TAKE_RESPONSE:
        end_response(connection);
        break;
    case TAKE_ERROR:
        answer_host(FRAME_FAILURE, text_of(""), posted(connection, NULL));
        break;
    case TAKE_INIT_ERROR:
        accept_last(connection);
        fail_start(posted(connection, NULL));
    case TAKE_RESTORE_ERROR:
        accept_last(connection);
        if (function.sends_frames)
            pump_output();
        write_frame(INIT, FRAME_HOOK_FAILED, text_of(""), posted(connection, "Runtime.AfterRestoreError"));
        leave(1);
    default:
        break;
    }
    give_back(answer_bytes);
}

void drop_answer(struct connection *connection)
{
    if (answering != connection)
        return;
    answering = NULL;
    /* What was said of another answer can be said again, but not what has gone on to the host. */
    if (is_streamed && has_sent_chunk)
        answer_host(FRAME_FAILURE, text_of(""),
                    own_failure("Runtime.TruncatedResponse", "the bootstrap broke its streamed response off"));
}
