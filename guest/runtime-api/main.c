/*
 * The life of the runtime, from HELLO to the last invocation.
 *
 * Build: gcc -static -O2 -Wall -Wextra -Werror -o runtime-api *.c
 */
#define _GNU_SOURCE
#include "runtime-api.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Of a LOAD, as init allows it. */
#define LOAD_BYTES (1024 * 1024)
/* How long a port that nobody is connected to is left alone. */
#define PORT_RETRY_MS 1
#define EXTENSIONS "/opt/extensions"
/* When a slow extension is told of, and how often it is looked at. */
#define REMARK_MS 8000
#define LOOK_MS 500

enum phase phase = PHASE_INIT;
struct function function;

static int bootstrap_is_over, has_bootstrap, has_remarked;
static long long begun_ms;
static char load_bytes[LOAD_BYTES];

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

/* ---- Ends -------------------------------------------------------------------------------------------------------- */

/* Init of a VM needs no word: its own count cannot be forged. */
void say_ending(void)
{
    char header[1024];
    if (!function.sends_frames)
        return;
    pump_output();
    write_frame(INIT, FRAME_ENDING, print_header(header, "{\"begun\":%lu}", begun_invocations()), text_of(""));
}

_Noreturn void quit(int status)
{
    kill_extensions();
    if (bootstrap_pid() > 0)
        kill(bootstrap_pid(), SIGKILL);
    _exit(status);
}

_Noreturn void leave(int status)
{
    say_ending();
    quit(status);
}

_Noreturn void fail_start(struct text failure)
{
    if (function.sends_frames)
        pump_output();
    write_frame(INIT, FRAME_LOAD_FAILED, text_of(""), failure);
    leave(1);
}

static _Noreturn void lost(const char *what)
{
    dprintf(2, "snapfaas: init sent %s\n", what);
    leave(1);
}

/* ---- Up to the first invocation ---------------------------------------------------------------------------------- */

/* Tells which process asks for events: that one, and those that have started it, are what a snapshot is made of. */
static void answer_seal(void)
{
    char header[1024];
    struct connection *waiting = waiting_connection(WAITS_FOR_EVENT);
    if (waiting == NULL)
        waiting = waiting_connection(WAITS_FOR_RESTORE);
    pid_t asking = is_web() ? listener_of(web_port()) : waiting == NULL ? 0 : peer_of(waiting->fd);
    if (!seal_generators()) {
        write_frame(INIT, FRAME_HOOK_FAILED, text_of(""),
                    own_failure("Web.NotResponding", "the application listens, but its event loop is busy: there is no snapshot of it"));
        leave(1);
    }
    char others[256] = "";
    print_extension_pids(others, sizeof others);
    write_frame(INIT, FRAME_SEALED,
                print_header(header, "{\"pid\":%d,\"others\":[%s]}", asking > 0 ? (int)asking : (int)bootstrap_pid(), others),
                text_of(""));
}

static struct text receive_load(void)
{
    char header[1024];
    write_frame(INIT, FRAME_HELLO,
                print_header(header, "{\"protocol\":%d,\"runtime\":\"provided\",\"version\":\"2018-06-01\"}", PROTOCOL_VERSION),
                text_of(""));
    struct frame frame;
    while ((frame = read_frame(INIT)).type == FRAME_SEAL)
        write_frame(INIT, FRAME_SEALED, print_header(header, "{\"pid\":%d}", (int)getpid()), text_of(""));
    if (frame.type != FRAME_LOAD || frame.payload_bytes > sizeof load_bytes)
        lost("something else than LOAD");
    read_bytes(INIT, load_bytes, frame.payload_bytes);
    return (struct text){load_bytes, frame.payload_bytes};
}

/* For extensions, which are told of it in JSON: a longer one, or one with quotes, is no name of a handler. */
static void keep_handler(struct text handler)
{
    if (!json_string(handler, function.handler, sizeof function.handler) || strpbrk(function.handler, "\"\\") != NULL)
        function.handler[0] = '\0';
}

static void load(struct text request, char **arguments)
{
    char output[16];
    if (!json_string(json_member(request, "root"), function.root, sizeof function.root) ||
        !json_string(json_member(request, "arn"), function.arn, sizeof function.arn) ||
        !json_string(json_member(request, "output"), output, sizeof output) ||
        !json_string(json_member(request, "function"), function.name, sizeof function.name) ||
        !json_string(json_member(request, "version"), function.version, sizeof function.version))
        lost("a LOAD that is incomplete");
    keep_handler(json_member(request, "handler"));
    function.sends_frames = strcmp(output, "frames") == 0;
    function.max_result_bytes = json_number(json_member(request, "max_result_bytes"), 0);
    if (function.max_result_bytes > ANSWER_BYTES)
        function.max_result_bytes = ANSWER_BYTES;
    int port = begin_api(function.sends_frames);
    begin_web(request);
    begin_reseed(arguments);
    begin_child_signals();
    begin_programs(request, port);
    char folder[PATH_BYTES + 64];
    locate(folder, EXTENSIONS);
    begin_extensions(folder);
    begun_ms = now_ms();
    look_at_readiness();
}

static void start_serving(void)
{
    if (function.sends_frames)
        pump_output();
    write_frame(INIT, FRAME_STARTED, text_of(""), text_of(""));
    phase = PHASE_SERVING;
}

/* Extensions come first, as on AWS. */
void look_at_readiness(void)
{
    if (phase == PHASE_INIT && !has_bootstrap && extensions_are_registered()) {
        has_bootstrap = 1;
        start_bootstrap();
    }
    if (phase == PHASE_INIT && !extensions_wait())
        return;
    int waits = waiting_connection(WAITS_FOR_EVENT) != NULL || waiting_connection(WAITS_FOR_RESTORE) != NULL;
    if (phase == PHASE_INIT ? is_web() ? web_is_idle() : waits : phase == PHASE_RESTORING && waits)
        bootstrap_is_ready();
    else if (phase == PHASE_SERVING && (is_web() || waits))
        note_asked();
}

void bootstrap_is_ready(void)
{
    if (phase == PHASE_INIT) {
        if (function.sends_frames)
            pump_output();
        write_frame(INIT, FRAME_LOADED, text_of(""), text_of(""));
        phase = PHASE_LOADED;
    } else if (phase == PHASE_RESTORING) {
        start_serving();
    }
}

/* Between its first question and the first event nobody of the host's waits for the end of a process: it is told of one. */
static _Noreturn void fail_hook(void)
{
    if (function.sends_frames)
        pump_output();
    write_frame(INIT, FRAME_HOOK_FAILED, text_of(""),
                own_failure("Runtime.ExitError", "bootstrap ended with exit status %d after it had asked for its first event; it "
                            "has to stay in the foreground", bootstrap_exit_status()));
    leave(1);
}

/* Nothing in this process is random. What is in the bootstrap's, nobody can reach from outside. */
static void obey_init(void)
{
    struct frame frame = read_frame(INIT);
    if (bootstrap_is_over)
        fail_hook();
    if (frame.type == FRAME_SEAL) {
        answer_seal();
    } else if (frame.type != FRAME_START) {
        lost("something else than SEAL or START");
    } else if (waiting_connection(WAITS_FOR_RESTORE) != NULL) {
        phase = PHASE_RESTORING;
        answer_restore();
    } else {
        renew_generators();
        start_serving();
    }
}

/* ---- Extensions -------------------------------------------------------------------------------------------------- */

_Noreturn void end_by_extension(struct text failure)
{
    if (phase == PHASE_INIT)
        fail_start(failure);
    if (phase == PHASE_SERVING) {
        fail_invocation(failure);
        dprintf(2, "snapfaas: %.*s\n", (int)failure.bytes, failure.at);
        leave(1);
    }
    if (function.sends_frames)
        pump_output();
    /* SEAL or START is about to come, or has. */
    if (phase == PHASE_LOADED)
        read_frame(INIT);
    write_frame(INIT, FRAME_HOOK_FAILED, text_of(""), failure);
    leave(1);
}

static int limit_of_extensions_ms(void)
{
    const char *absent = absent_extension();
    int is_owed = absent != NULL && (phase == PHASE_INIT ? !has_remarked : invocation_deadline_ms() > 0);
    return is_owed ? LOOK_MS : -1;
}

static void look_at_extensions(void)
{
    const char *absent = absent_extension();
    if (extension_has_ended())
        end_by_extension(ended_extension());
    if (absent == NULL)
        return;
    if (phase == PHASE_INIT && !has_remarked && now_ms() - begun_ms > REMARK_MS) {
        has_remarked = 1;
        dprintf(2, "snapfaas: the extension %s has not asked for its first event yet\n", absent);
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned long long deadline = invocation_deadline_ms();
    if (phase == PHASE_SERVING && deadline > 0 && (unsigned long long)now.tv_sec * 1000 > deadline + 1000 && !extensions_wait()) {
        dprintf(2, "snapfaas: the extension %s did not ask for its next event in the time of the function\n", absent);
        leave(1);
    }
}

static int shorter_ms(int a, int b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

/* ---- The loop ---------------------------------------------------------------------------------------------------- */

int main(int count, char **arguments)
{
    fcntl(HOST, F_SETFD, FD_CLOEXEC);
    fcntl(INIT, F_SETFD, FD_CLOEXEC);
    load(receive_load(), count > 0 ? arguments + 1 : arguments);
    int host_is_away = 0;
    for (;;) {
        struct {
            struct pollfd signals, init, host, output[OUTPUTS], api[API_FDS], web[MOST_EXCHANGES];
        } fds;
        int takes_frame = wants_frame();
        fds.signals = (struct pollfd){.fd = child_signals(), .events = POLLIN};
        fds.init = (struct pollfd){.fd = INIT, .events = (short)(phase == PHASE_LOADED ? POLLIN : POLLRDHUP)};
        fds.host = (struct pollfd){.fd = takes_frame && !host_is_away ? HOST : -1, .events = POLLIN};
        watch_web(fds.web);
        watch_output(fds.output);
        watch_api(fds.api);
        int is_ahead = takes_frame && host_is_ahead(), limit_ms = is_ahead ? 0 : host_is_away ? PORT_RETRY_MS : web_limit_ms();
        limit_ms = shorter_ms(limit_ms, limit_of_extensions_ms());
        nfds_t count_of_fds = sizeof fds / sizeof(struct pollfd) - MOST_EXCHANGES + web_slots();
        int ready = poll((struct pollfd *)&fds, count_of_fds, limit_ms);
        if (ready < 0 && errno != EINTR)
            lost("more than can be waited for");
        if (ready < 0)
            continue;
        look_for_application();
        if (fds.output[0].revents || fds.output[1].revents)
            pump_output();
        serve_web(fds.web);
        serve_api(fds.api);
        if (fds.signals.revents && reap_children()) {
            /* Its last words. */
            serve_rest();
            serve_web_rest();
            shut_extensions_down("failure");
            bootstrap_is_over = 1;
            if (phase == PHASE_RESTORING)
                fail_hook();
            if (phase != PHASE_LOADED)
                end_as_bootstrap();
        }
        look_at_extensions();
        if (fds.init.revents & POLLIN && phase == PHASE_LOADED)
            obey_init();
        else if (fds.init.revents & (POLLRDHUP | POLLHUP | POLLERR))
            quit(0);
        if (takes_frame && wants_frame() && (is_ahead || host_is_away || fds.host.revents)) {
            host_is_away = !host_has_frame();
            if (!host_is_away)
                take_frame();
        }
    }
}
