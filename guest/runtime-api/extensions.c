/*
 * Extensions of AWS Lambda: programs of layers in /opt/extensions, which are started before the bootstrap and told of each
 * invocation. One that the bootstrap registers itself is heard in the same way. All of them ask for their events by HTTP:
 *
 *   STARTED ── register ──▶ REGISTERED ── event/next ──▶ WAITS ── INVOKE ──▶ REGISTERED
 *
 * The function is loaded when the bootstrap and each extension wait; an invocation is over when they wait again.
 */
#define _GNU_SOURCE
#include "runtime-api.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FOLDER "/opt/extensions"
#define NAME_BYTES 256
/* As many as AWS allows. */
#define MOST 10
#define IDENTIFIER_BYTES 37
/* How long one may take to end when it hears that all is over. */
#define SHUTDOWN_MS 300
#define REMARK_MS 8000

static struct extension {
    char name[NAME_BYTES];
    char identifier[IDENTIFIER_BYTES];
    pid_t pid; /* 0: it is the bootstrap's own, or has ended */
    enum { STARTED, REGISTERED, WAITS } state;
    int wants_invoke, wants_shutdown;
} extensions[MOST];
static int count;
static int has_ended, end_status;
static char ended_name[NAME_BYTES];

static long long wall_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static void make_identifier(char target[IDENTIFIER_BYTES])
{
    unsigned char random[16] = {0};
    int bytes = 0;
    if (getrandom(random, sizeof random, 0) < 0)
        dprintf(2, "snapfaas: no random numbers: %s\n", strerror(errno));
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    for (size_t i = 0; i < sizeof random; i++)
        bytes += snprintf(target + bytes, IDENTIFIER_BYTES - (size_t)bytes, "%s%02x",
                          i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", random[i]);
}

/* ---- Their start ------------------------------------------------------------------------------------------------- */

static void start_one(const char *folder, const char *name)
{
    char path[2 * NAME_BYTES + 4096];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (stat(path, &status) < 0 || !S_ISREG(status.st_mode) || strlen(name) >= NAME_BYTES)
        return;
    /* It does what is done here already, and would take the events away. */
    if (is_web() && strcmp(name, "lambda-adapter") == 0)
        return;
    if (count == MOST)
        fail_start(own_failure("Extension.LaunchError", "there are more than %d extensions in %s; leave some out", MOST, FOLDER));
    struct extension *one = &extensions[count++];
    snprintf(one->name, sizeof one->name, "%s", name);
    int error = start_child(path, &one->pid);
    if (error != 0)
        fail_start(own_failure("Extension.LaunchError", "the extension %s cannot be started: %s%s", name, strerror(error),
                               error == EACCES ? "; make it executable (chmod +x) before the layer is packed" : ""));
}

void begin_extensions(const char *folder)
{
    struct dirent **entries;
    int found = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < found; i++) {
        if (entries[i]->d_name[0] != '.')
            start_one(folder, entries[i]->d_name);
        free(entries[i]);
    }
    if (found >= 0)
        free(entries);
}

int extensions_are_registered(void)
{
    for (int i = 0; i < count; i++)
        if (extensions[i].state == STARTED)
            return 0;
    return 1;
}

int extensions_wait(void)
{
    for (int i = 0; i < count; i++)
        if (extensions[i].state != WAITS && (extensions[i].wants_invoke || phase == PHASE_INIT))
            return 0;
    return 1;
}

const char *absent_extension(void)
{
    for (int i = 0; i < count; i++)
        if (extensions[i].state != WAITS)
            return extensions[i].name;
    return NULL;
}

size_t print_extension_pids(char *target, size_t room)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        if (extensions[i].pid > 0 && bytes + 16 < room)
            bytes += (size_t)snprintf(target + bytes, room - bytes, "%s%d", bytes > 0 ? "," : "", (int)extensions[i].pid);
    return bytes;
}

/* ---- Their end --------------------------------------------------------------------------------------------------- */

int note_ended_extension(pid_t pid, int status)
{
    for (int i = 0; i < count; i++) {
        if (extensions[i].pid != pid)
            continue;
        extensions[i].pid = 0;
        if (!has_ended)
            memcpy(ended_name, extensions[i].name, sizeof ended_name);
        has_ended = 1;
        end_status = status;
        return 1;
    }
    return 0;
}

int extension_has_ended(void)
{
    return has_ended;
}

struct text ended_extension(void)
{
    int signal_number = WIFSIGNALED(end_status) ? WTERMSIG(end_status) : 0;
    return own_failure("Extension.Crash", "the extension %s ended with %s %d; it has to stay", ended_name,
                       signal_number > 0 ? "signal" : "exit status", signal_number > 0 ? signal_number : WEXITSTATUS(end_status));
}

/* ---- Events ------------------------------------------------------------------------------------------------------ */

static void give(struct extension *one, struct connection *connection, const char *body)
{
    char head[512], identifier[IDENTIFIER_BYTES];
    make_identifier(identifier);
    int bytes = snprintf(head, sizeof head,
                         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Extension-Event-Identifier: %s\r\n"
                         "Content-Length: %zu\r\n\r\n", identifier, strlen(body));
    one->state = REGISTERED;
    int is_there = send_to_client(connection, head, (size_t)bytes) && send_to_client(connection, body, strlen(body));
    if (is_there)
        await_request(connection);
    else
        close_connection(connection);
}

/* Cut out of INVOKE's header as it is written there: JSON in JSON. */
static int print_member(char *target, size_t room, const char *name, struct text written)
{
    return written.bytes == 0 ? 0 : snprintf(target, room, ",\"%s\":%.*s", name, (int)written.bytes, written.at);
}

static char invoke_event[3 * HEADER_BYTES];

static int hears(const struct extension *one)
{
    return one->wants_invoke && one->state == WAITS && !web_is_shared();
}

void prepare_invoke_event(struct text header)
{
    char *body = invoke_event, own_arn[sizeof function.arn + 2];
    size_t room = sizeof invoke_event;
    int is_wanted = 0;
    for (int i = 0; i < count; i++)
        is_wanted |= hears(&extensions[i]);
    if (!is_wanted)
        return;
    struct text arn = json_member(header, "arn"), trace = json_member(header, "trace");
    snprintf(own_arn, sizeof own_arn, "\"%s\"", function.arn);
    int bytes = snprintf(body, room, "{\"eventType\":\"INVOKE\",\"deadlineMs\":%llu", json_number(json_member(header, "deadline_ms"), 0));
    bytes += print_member(body + bytes, room - (size_t)bytes, "requestId", json_member(header, "id"));
    bytes += print_member(body + bytes, room - (size_t)bytes, "invokedFunctionArn", arn.bytes > 0 ? arn : text_of(own_arn));
    if (trace.bytes > 0)
        bytes += snprintf(body + bytes, room - (size_t)bytes, ",\"tracing\":{\"type\":\"X-Amzn-Trace-Id\",\"value\":%.*s}",
                          (int)trace.bytes, trace.at);
    snprintf(body + bytes, room - (size_t)bytes, "}");
}

void tell_extensions(void)
{
    for (int i = 0; i < count; i++) {
        struct connection *connection = hears(&extensions[i]) ? extension_connection(i) : NULL;
        if (connection != NULL)
            give(&extensions[i], connection, invoke_event);
    }
}

void shut_extensions_down(const char *reason)
{
    int asked = 0;
    char body[256];
    snprintf(body, sizeof body, "{\"eventType\":\"SHUTDOWN\",\"shutdownReason\":\"%s\",\"deadlineMs\":%lld}", reason,
             wall_clock_ms() + SHUTDOWN_MS);
    for (int i = 0; i < count; i++) {
        struct extension *one = &extensions[i];
        struct connection *connection = one->wants_shutdown && one->state == WAITS ? extension_connection(i) : NULL;
        if (connection == NULL)
            continue;
        give(one, connection, body);
        asked += one->pid > 0;
    }
    /* Not all of that time, if all have ended. */
    for (int waited = 0; asked > 0 && waited < SHUTDOWN_MS; waited += 5) {
        usleep(5000);
        for (int i = 0; i < count; i++)
            if (extensions[i].pid > 0 && waitpid(extensions[i].pid, NULL, WNOHANG) == extensions[i].pid) {
                extensions[i].pid = 0;
                asked--;
            }
        pump_output();
    }
}

void kill_extensions(void)
{
    for (int i = 0; i < count; i++)
        if (extensions[i].pid > 0)
            kill(extensions[i].pid, SIGKILL);
}

/* ---- What they ask ----------------------------------------------------------------------------------------------- */

int extension_of(const char *identifier)
{
    for (int i = 0; i < count; i++)
        if (identifier[0] != '\0' && strcmp(extensions[i].identifier, identifier) == 0)
            return i;
    return -1;
}

static int is_listed(struct text events, const char *wanted)
{
    struct text value;
    while (json_next_item(&events, &value))
        if (text_is(value, wanted))
            return 1;
    return 0;
}

const char *register_extension(const char *name, struct text posted, char identifier[64])
{
    struct extension *one = NULL;
    struct text events = json_member(posted, "events");
    for (int i = 0; i < count; i++)
        if (strcmp(extensions[i].name, name) == 0)
            one = &extensions[i];
    if (name[0] == '\0' || !json_is_valid(posted) || (events.bytes > 0 && events.at[0] != '['))
        return "an extension names itself in Lambda-Extension-Name, and its events in the body";
    if (phase != PHASE_INIT || (one != NULL && one->state != STARTED))
        return "the extension is registered already, or the initialisation is over";
    if (one == NULL && (count == MOST || !extensions_are_registered()))
        return "no extension of this name was started: it has to be that of the file";
    if (one == NULL && is_listed(events, "\"SHUTDOWN\""))
        return "an extension inside of the runtime cannot have SHUTDOWN";
    if (one == NULL) {
        one = &extensions[count++];
        snprintf(one->name, sizeof one->name, "%s", name);
    }
    one->wants_invoke = is_listed(events, "\"INVOKE\"");
    one->wants_shutdown = is_listed(events, "\"SHUTDOWN\"");
    one->state = REGISTERED;
    make_identifier(one->identifier);
    memcpy(identifier, one->identifier, IDENTIFIER_BYTES);
    return NULL;
}

void note_extension_waits(int number)
{
    extensions[number].state = WAITS;
}

const char *name_of_extension(int number)
{
    return extensions[number].name;
}
