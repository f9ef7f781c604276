/*
 * Connections of the Runtime API, and what is asked on them. A connection reads a request at a time:
 *
 *   READS_HEAD ──▶ READS_BODY ──┬──────────────────────────────────────── answer ──▶ READS_HEAD
 *                               └─▶ WAITS_FOR_EVENT, WAITS_FOR_RESTORE ── answer ──▶
 *
 * The client is the function: it is held to bounds, and otherwise harms itself alone.
 */
#define _GNU_SOURCE
#include "runtime-api.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* AWS's own; no promise of theirs. */
#define USUAL_PORT 9001
#define BACKLOG 64
/* What of a body that is of no use is read, so that the client hears why. */
#define MOST_DISCARDED (64ull * 1024 * 1024)

static int listener = -1;
static struct connection connections[CONNECTIONS];
static unsigned long turns;

int begin_api(int any_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(any_port ? 0 : USUAL_PORT)};
    socklen_t bytes = sizeof address;
    int yes = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < CONNECTIONS; i++)
        connections[i].fd = -1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    int is_taken = bind(listener, (struct sockaddr *)&address, sizeof address) < 0;
    address.sin_port = 0;
    if (listener < 0 || (is_taken && bind(listener, (struct sockaddr *)&address, sizeof address) < 0) || listen(listener, BACKLOG) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &bytes) < 0) {
        perror("snapfaas: the Runtime API cannot be offered");
        exit(1);
    }
    return ntohs(address.sin_port);
}

struct connection *waiting_connection(int state)
{
    struct connection *found = NULL;
    for (struct connection *one = connections; one < connections + CONNECTIONS; one++)
        if (one->fd >= 0 && (int)one->state == state && (found == NULL || one->turn < found->turn))
            found = one;
    return found;
}

struct connection *extension_connection(int number)
{
    for (struct connection *one = connections; one < connections + CONNECTIONS; one++)
        if (one->fd >= 0 && one->state == WAITS_FOR_LIFE && one->extension == number)
            return one;
    return NULL;
}

void close_connection(struct connection *connection)
{
    close(connection->fd);
    connection->fd = -1;
    drop_answer(connection);
}

/* ---- What the client is told ------------------------------------------------------------------------------------- */

int send_to_client(struct connection *connection, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t sent = send(connection->fd, bytes, count, MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes += sent;
            count -= (size_t)sent;
        } else if (errno == EAGAIN) {
            /* It may have to print before it reads on. */
            struct pollfd fds[OUTPUTS + 1];
            watch_output(fds);
            fds[OUTPUTS] = (struct pollfd){.fd = connection->fd, .events = POLLOUT};
            poll(fds, OUTPUTS + 1, -1);
            pump_output();
        } else if (errno != EINTR) {
            return 0;
        }
    }
    return 1;
}

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 202:
        return "Accepted";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 413:
        return "Request Entity Too Large";
    case 417:
        return "Expectation Failed";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    default:
        return "HTTP Version Not Supported";
    }
}

/* An answer is smaller than what the kernel takes at once: a client that leaves no room for it does not read. */
static void reply(struct connection *connection, int status, const char *type, const char *body)
{
    char text[1024];
    int bytes = snprintf(text, sizeof text, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n%s", status,
                         reason_of(status), type, strlen(body), connection->closes ? "Connection: close\r\n" : "", body);
    connection->state = READS_HEAD;
    if (send(connection->fd, text, (size_t)bytes, MSG_NOSIGNAL) != bytes || connection->closes)
        close_connection(connection);
}

static void reply_refused(struct connection *connection)
{
    char body[512];
    snprintf(body, sizeof body, "{\"errorMessage\":\"%s\",\"errorType\":\"%s\"}\n", connection->error_message,
             connection->error_type);
    reply(connection, connection->status, "application/json", body);
}

static void reply_accepted(struct connection *connection)
{
    reply(connection, 202, "application/json", "{\"status\":\"OK\"}\n");
}

void accept_last(struct connection *connection)
{
    connection->closes = 0;
    reply_accepted(connection);
}

void answer_restore(void)
{
    struct connection *waiting;
    while ((waiting = waiting_connection(WAITS_FOR_RESTORE)) != NULL)
        reply(waiting, 200, "application/json", "");
}

/* ---- What is asked ----------------------------------------------------------------------------------------------- */

static void refuse(struct connection *connection, int status, const char *type, const char *message)
{
    connection->action = REFUSE;
    connection->status = status;
    connection->error_type = type;
    connection->error_message = message;
}

static int takes_off(struct text *path, const char *prefix)
{
    size_t bytes = strlen(prefix);
    if (path->bytes < bytes || memcmp(path->at, prefix, bytes) != 0)
        return 0;
    path->at += bytes;
    path->bytes -= bytes;
    return 1;
}

/* `ID/response` and `ID/error`. */
static int splits_off(struct text *path, const char *suffix)
{
    size_t bytes = strlen(suffix);
    if (path->bytes <= bytes || memcmp(path->at + path->bytes - bytes, suffix, bytes) != 0)
        return 0;
    path->bytes -= bytes;
    return memchr(path->at, '/', path->bytes) == NULL;
}

/* Of the Extensions API, and of the subscriptions that go with it. */
static enum action extension_action_of(struct text path)
{
    if (text_is(path, "/2020-01-01/extension/register"))
        return TAKE_REGISTRATION;
    if (text_is(path, "/2020-01-01/extension/event/next"))
        return GIVE_LIFE;
    if (text_is(path, "/2020-01-01/extension/init/error") || text_is(path, "/2020-01-01/extension/exit/error"))
        return TAKE_EXTENSION_ERROR;
    if (path.bytes > 0 && path.at[path.bytes - 1] == '/')
        path.bytes--;
    int is_subscription = text_is(path, "/2022-07-01/telemetry") || text_is(path, "/2020-08-15/logs");
    return is_subscription ? TAKE_SUBSCRIPTION : REFUSE;
}

static enum action action_of(struct text *path)
{
    if (text_is(*path, "/2018-06-01/ping"))
        return GIVE_PONG;
    if (!takes_off(path, "/2018-06-01/runtime/"))
        return extension_action_of(*path);
    if (text_is(*path, "invocation/next"))
        return GIVE_EVENT;
    if (text_is(*path, "init/error"))
        return TAKE_INIT_ERROR;
    if (text_is(*path, "restore/next"))
        return GIVE_RESTORE;
    if (text_is(*path, "restore/error"))
        return TAKE_RESTORE_ERROR;
    if (!takes_off(path, "invocation/"))
        return REFUSE;
    if (splits_off(path, "/response"))
        return TAKE_RESPONSE;
    return splits_off(path, "/error") ? TAKE_ERROR : REFUSE;
}

static void keep(char target[256], struct text value)
{
    size_t bytes = value.bytes < 256 ? value.bytes : 0;
    memcpy(target, value.at == NULL ? "" : value.at, bytes);
    target[bytes] = '\0';
}

static int is_of_extension(enum action action)
{
    return action == TAKE_REGISTRATION || action == TAKE_EXTENSION_ERROR || action == TAKE_SUBSCRIPTION || action == GIVE_LIFE;
}

static void begin_of_extension(struct connection *connection)
{
    if (connection->action != TAKE_REGISTRATION && connection->extension < 0)
        refuse(connection, 403, "Extension.UnknownExtensionIdentifier",
               "no extension has the Lambda-Extension-Identifier; register first");
}

static void take_posted(struct connection *connection, struct text data)
{
    if (connection->posted_bytes + data.bytes <= sizeof connection->posted)
        memcpy(connection->posted + connection->posted_bytes, data.at, data.bytes);
    connection->posted_bytes += data.bytes;
}

static void route(struct connection *connection, const struct head *head)
{
    struct text path = head->path;
    connection->closes = head->closes;
    connection->discarded = 0;
    connection->turn = ++turns;
    keep(connection->content_type, head->fields.content_type);
    keep(connection->fault_type, head->fields.error_type);
    char identifier[256];
    keep(identifier, head->fields.extension_id);
    connection->extension = extension_of(identifier);
    connection->posted_bytes = 0;
    begin_body(&connection->body, head, NULL);
    connection->action = action_of(&path);
    int is_question = connection->action >= GIVE_EVENT;
    enum method due = is_question ? METHOD_GET : connection->action == TAKE_SUBSCRIPTION ? METHOD_PUT : METHOD_POST;
    keep(connection->name, connection->action == TAKE_REGISTRATION ? head->fields.extension_name : head->fields.extension_error);
    if (connection->action == REFUSE)
        refuse(connection, 404, "NotFound", "the Runtime API has no such path");
    else if (head->method != due)
        refuse(connection, 405, "MethodNotAllowed", is_question ? "the path takes GET" : due == METHOD_PUT ? "the path takes PUT" : "the path takes POST");
    else if (connection->action == TAKE_RESPONSE || connection->action == TAKE_ERROR)
        begin_answer(connection, path, head);
    else if (is_of_extension(connection->action))
        begin_of_extension(connection);
    else if (!is_question)
        begin_report(connection, head);
}

static void register_one(struct connection *connection)
{
    char identifier[64], body[1024], text[2048];
    struct text posted = {connection->posted, connection->posted_bytes};
    const char *problem = register_extension(connection->name, posted, identifier);
    if (problem != NULL) {
        refuse(connection, 403, "Extension.InvalidExtensionState", problem);
        reply_refused(connection);
        return;
    }
    snprintf(body, sizeof body, "{\"functionName\":\"%s\",\"functionVersion\":\"%s\",\"handler\":\"%s\"}", function.name,
             function.version, function.handler);
    int bytes = snprintf(text, sizeof text,
                         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Extension-Identifier: %s\r\n"
                         "Content-Length: %zu\r\n\r\n%s", identifier, strlen(body), body);
    connection->state = READS_HEAD;
    if (send(connection->fd, text, (size_t)bytes, MSG_NOSIGNAL) != bytes)
        close_connection(connection);
    look_at_readiness();
}

/* Nothing is sent to a subscriber: its output is in the function's log already. */
static void subscribe(struct connection *connection)
{
    struct text posted = {connection->posted, connection->posted_bytes};
    if (json_is_valid(posted) && json_member(posted, "destination").bytes > 2 && json_member(posted, "types").bytes > 2) {
        reply(connection, 200, "application/json", "\"OK\"");
        return;
    }
    refuse(connection, 400, "ValidationError", "a subscription is an object with types and a destination");
    reply_refused(connection);
}

static void take_extension_error(struct connection *connection)
{
    accept_last(connection);
    end_by_extension(own_failure(connection->name[0] != '\0' ? connection->name : "Extension.UnknownReason",
                                 "the extension %s told of an error and ends", name_of_extension(connection->extension)));
}

static void answer_extension(struct connection *connection)
{
    if (connection->posted_bytes > sizeof connection->posted) {
        refuse(connection, 413, "RequestEntityTooLarge", "that is more than an extension has to say");
        reply_refused(connection);
    } else if (connection->action == TAKE_REGISTRATION) {
        register_one(connection);
    } else if (connection->action == TAKE_SUBSCRIPTION) {
        subscribe(connection);
    } else if (connection->action == TAKE_EXTENSION_ERROR) {
        take_extension_error(connection);
    } else {
        connection->state = WAITS_FOR_LIFE;
        connection->has_waited = 1;
        note_extension_waits(connection->extension);
        look_at_readiness();
    }
}

/* The request is all there. */
static void answer_request(struct connection *connection)
{
    if (is_of_extension(connection->action)) {
        answer_extension(connection);
        return;
    }
    switch (connection->action) {
    case REFUSE:
        break;
    case GIVE_PONG:
        reply(connection, 200, "text/plain", "pong");
        return;
    case GIVE_EVENT:
        if (!may_ask()) {
            refuse(connection, 403, "InvalidStateTransition", "the invocation under way has no answer yet: post one first");
            break;
        }
        connection->state = WAITS_FOR_EVENT;
        connection->has_waited = 1;
        note_asked();
        return;
    case GIVE_RESTORE:
        if (phase != PHASE_INIT) {
            refuse(connection, 403, "InvalidStateTransition", "the initialisation is over");
            break;
        }
        connection->state = WAITS_FOR_RESTORE;
        connection->has_waited = 1;
        look_at_readiness();
        return;
    default:
        end_answer(connection);
        if (connection->action == REFUSE)
            break;
        reply_accepted(connection);
        return;
    }
    reply_refused(connection);
}

/* ---- What is read ------------------------------------------------------------------------------------------------ */

static void consume(struct connection *connection, size_t count)
{
    connection->bytes -= count;
    memmove(connection->buffer, connection->buffer + count, connection->bytes);
}

/* Returns false if there is nothing to go on with. */
static int begin_request(struct connection *connection)
{
    struct head head;
    long bytes = read_head(connection->buffer, connection->bytes, &head);
    if (bytes == 0)
        return 0;
    if (bytes < 0) {
        connection->closes = 1;
        refuse(connection, (int)-bytes, "BadRequest", "the request is no HTTP that is understood here");
        reply_refused(connection);
        return 0;
    }
    route(connection, &head);
    consume(connection, (size_t)bytes);
    connection->state = READS_BODY;
    if (!head.awaits_continue || head.is_old)
        return 1;
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (connection->action == REFUSE) {
        /* Nobody knows whether the body will come. */
        connection->closes = 1;
        reply_refused(connection);
        return 0;
    }
    return send_to_client(connection, go_on, sizeof go_on - 1);
}

static int go_on_with_body(struct connection *connection)
{
    struct text data;
    if (connection->body.at != BODY_OVER) {
        size_t taken = take_body(&connection->body, connection->buffer, connection->bytes, &data);
        if (data.bytes > 0 && is_of_extension(connection->action))
            take_posted(connection, data);
        else if (data.bytes > 0 && connection->action != REFUSE && connection->action < GIVE_EVENT)
            take_answer(connection, data);
        connection->discarded += data.bytes;
        consume(connection, taken);
    }
    if (connection->body.at == BODY_BAD) {
        drop_answer(connection);
        connection->closes = 1;
        refuse(connection, 400, "BadRequest", "the body of the request is broken");
        reply_refused(connection);
        return 0;
    }
    if (connection->discarded > MOST_DISCARDED && connection->action == REFUSE) {
        close_connection(connection);
        return 0;
    }
    if (connection->body.at != BODY_OVER)
        return connection->bytes > 0;
    answer_request(connection);
    return 1;
}

static void process(struct connection *connection)
{
    int goes_on = 1;
    while (goes_on && connection->fd >= 0) {
        if (connection->state == READS_HEAD)
            goes_on = connection->bytes > 0 && begin_request(connection);
        else
            goes_on = connection->state == READS_BODY && go_on_with_body(connection);
    }
}

void await_request(struct connection *connection)
{
    connection->state = READS_HEAD;
    if (connection->closes)
        close_connection(connection);
    else
        process(connection);
}

/* Returns false if nothing was there. */
static int receive(struct connection *connection)
{
    size_t room = sizeof connection->buffer - connection->bytes;
    if (room == 0)
        return 0;
    ssize_t count = recv(connection->fd, connection->buffer + connection->bytes, room, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (count <= 0) {
        close_connection(connection);
        return 0;
    }
    connection->bytes += (size_t)count;
    process(connection);
    return 1;
}

void read_rest(struct connection *connection)
{
    while (connection->fd >= 0 && connection->state == READS_BODY && receive(connection))
        ;
}

/* ---- Connections ------------------------------------------------------------------------------------------------- */

/* Of those that ask for nothing: one that nobody is known by, which its client makes anew; else the one that has been idle for longest. */
static int goes_before(const struct connection *one, const struct connection *other)
{
    return one->has_waited != other->has_waited ? other->has_waited : one->turn < other->turn;
}

static struct connection *free_connection(void)
{
    struct connection *idle = NULL;
    for (struct connection *one = connections; one < connections + CONNECTIONS; one++) {
        if (one->fd < 0)
            return one;
        if (one->state == READS_HEAD && one->bytes == 0 && (idle == NULL || goes_before(one, idle)))
            idle = one;
    }
    return idle;
}

static int accept_connection(void)
{
    struct connection *connection = free_connection();
    if (connection == NULL)
        return 0;
    int yes = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return 0;
    if (connection->fd >= 0)
        close_connection(connection);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    connection->fd = fd;
    connection->state = READS_HEAD;
    connection->bytes = 0;
    connection->closes = 0;
    connection->has_waited = 0;
    connection->turn = ++turns;
    return receive(connection) || connection->fd >= 0;
}

static int is_waiting(const struct connection *connection)
{
    return connection->state == WAITS_FOR_EVENT || connection->state == WAITS_FOR_RESTORE || connection->state == WAITS_FOR_LIFE;
}

void watch_api(struct pollfd fds[API_FDS])
{
    fds[0] = (struct pollfd){.fd = free_connection() == NULL ? -1 : listener, .events = POLLIN};
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *one = &connections[i];
        fds[1 + i] = (struct pollfd){.fd = one->fd, .events = is_waiting(one) ? POLLRDHUP : POLLIN};
    }
}

void serve_api(const struct pollfd fds[API_FDS])
{
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *one = &connections[i];
        if (fds[1 + i].revents == 0 || one->fd != fds[1 + i].fd)
            continue;
        if (is_waiting(one))
            close_connection(one);
        else
            receive(one);
    }
    if (fds[0].revents)
        accept_connection();
}

void serve_rest(void)
{
    while (accept_connection())
        ;
    for (int i = 0; i < CONNECTIONS; i++)
        while (connections[i].fd >= 0 && !is_waiting(&connections[i]) && receive(&connections[i]))
            ;
}
