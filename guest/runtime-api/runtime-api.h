/*
 * The runtime of functions that bring their own: AWS Lambda's Runtime API for a program of the function's, `bootstrap`.
 *
 *   host ── fd 3 ── frames ──┐                        ┌── HTTP, 127.0.0.1 ── bootstrap
 *   init ── fd 4 ── frames ──┴── this single thread ──┘
 *
 * To init and the host it is a runtime like those of other languages (guest/CONTRACT.md); it never runs code of the
 * function's itself. In the order in which they act:
 *
 *   main.c        the life: HELLO, LOAD, SEAL, START, and the loop
 *   frames.c      frames to and from the host and init
 *   bootstrap.c   starts the bootstrap, and ends as it ends
 *   container.c   what is started where the function is a container image
 *   output.c      what it prints, where no init collects that
 *   api.c         connections, and what is asked on them
 *   invocation.c  from INVOKE to the answer
 *   extensions.c  programs of layers that hear of each invocation
 *   web.c         instead of the two above, where the function is an application that listens on a port
 *   web-request.c, web-response.c  its requests and answers
 *   reseed.c      random generators in an application's memory
 *   failure.c     failures as the host gets them
 *   peer.c        which process is at the other end of a connection
 *   http.c, text.c  HTTP and JSON as such
 *
 * All buffers are of fixed size; what is large is touched only where it is used.
 */
#ifndef SNAPFAAS_RUNTIME_API_H
#define SNAPFAAS_RUNTIME_API_H

#include "http.h"
#include "text.h"

#include <poll.h>
#include <sys/types.h>

/* Numbers and names of src/protocol/guest.ts. */
#define PROTOCOL_VERSION 6
#define MAX_CHUNK_BYTES (32 * 1024)
/* What may be sent of a streamed answer ahead of TAKEN. */
#define STREAM_WINDOW_BYTES (256 * 1024)
enum frame_type {
    FRAME_INVOKE = 1,
    FRAME_RESULT = 2,
    FRAME_FAILURE = 3,
    FRAME_REHEARSE = 4,
    FRAME_CHUNK = 5,
    FRAME_TAKEN = 6,
    FRAME_CANCEL = 7,
    FRAME_HELLO = 16,
    FRAME_LOAD = 17,
    FRAME_LOADED = 18,
    FRAME_LOAD_FAILED = 19,
    FRAME_DONE = 20,
    FRAME_DRAINED = 21,
    FRAME_LOG = 22,
    FRAME_SEAL = 27,
    FRAME_SEALED = 28,
    FRAME_START = 29,
    FRAME_STARTED = 30,
    FRAME_HOOK_FAILED = 31,
    FRAME_ENDING = 33,
    FRAME_BEGUN = 35,
};

#define HOST 3
#define INIT 4

/* Largest header of a frame. */
#define HEADER_BYTES 0xffff
/* Largest event; and result, of which the host may allow less. A LOAD is smaller. */
#define ANSWER_BYTES (6 * 1024 * 1024 + 4096)
#define ID_BYTES 128
#define PATH_BYTES 4096

/* ---- main.c */
enum phase {
    PHASE_INIT, /* from LOAD to the first `next` */
    PHASE_LOADED, /* SEAL or START comes */
    PHASE_RESTORING, /* the bootstrap's hooks after a restore run */
    PHASE_SERVING,
};
extern enum phase phase;

/* What is said by LOAD, as far as it counts later. */
struct function {
    char arn[2048];
    char name[192], version[64], handler[256]; /* as JSON has them, in quotes */
    char root[4096];
    unsigned long long max_result_bytes;
    int sends_frames; /* there is no init that collects output */
};
extern struct function function;

/* The bootstrap waits for its first event, or for a snapshot: its initialisation is over. */
void bootstrap_is_ready(void);
/* Somebody waits or has registered who did not: it may be time to go on. */
void look_at_readiness(void);
/* Ends at once, and the bootstrap with it. */
_Noreturn void quit(int status);
/* Tells the host why it gets no function, and ends. `failure` is as `describe_failure` made it. */
_Noreturn void fail_start(struct text failure);
/* An extension has ended, or said that it will: whoever waits for the function hears of it. */
_Noreturn void end_by_extension(struct text failure);
/* Ends at once, with everything that the bootstrap printed on its way. */
_Noreturn void leave(int status);
/* Has the host know what was begun, where there is no init to tell. */
void say_ending(void);

/* ---- frames.c */
struct frame {
    enum frame_type type;
    struct text header;
    size_t payload_bytes; /* not read yet */
};
/* Both block. They end the process where the other end is gone. */
struct frame read_frame(int fd);
void read_bytes(int fd, void *target, size_t count);
/* Call it when the host's channel can be read. False: nobody is connected to the port, which polls as readable all the same. */
int host_has_frame(void);
/* More of the host's was read than was taken. */
int host_is_ahead(void);
void write_frame(int fd, enum frame_type type, struct text header, struct text payload);
__attribute__((format(printf, 2, 3))) struct text print_header(char target[1024], const char *format, ...);

/* ---- bootstrap.c */
/* Programs are started with the environment that `load` asks for. `port`: of the Runtime API. */
void begin_programs(struct text load, int port);
/* The host is told if it cannot be started. */
void start_bootstrap(void);
/* Starts another program with the same environment. Returns an error's number, or 0. */
int start_child(const char *path, pid_t *pid);
/* Where a path below /opt is: without a VM below the function's files. */
void locate(char target[PATH_BYTES + 64], const char *path);
/* A descriptor that can be read when a child has ended. */
int child_signals(void);
void begin_child_signals(void);
/* Returns true if the bootstrap has ended. */
int reap_children(void);
pid_t bootstrap_pid(void);
/* Of one that has ended; 128 and more: by a signal. */
int bootstrap_exit_status(void);
/* Ends as the bootstrap has ended. */
_Noreturn void end_as_bootstrap(void);

/* ---- container.c */
/* Returns false if the function is no container image. */
int read_image(struct text load);
const char *image_program(void);
const char *image_directory(void);
/* In the child. Those that return something return false with errno set; `exec_image_program` returns if it fails. */
void set_image_environment(void);
void set_image_handler(void);
int enter_image_directory(void);
void exec_image_program(void);

/* ---- output.c */
#define OUTPUTS 2
/* Returns our ends' other ends, for the bootstrap. */
void begin_output(int theirs[OUTPUTS]);
void watch_output(struct pollfd fds[OUTPUTS]);
void pump_output(void);
/* Number of the invocation that prints. */
void set_output_number(unsigned long number);

/* ---- extensions.c */
/* Starts those of the folder; there need be none. */
void begin_extensions(const char *folder);
int extensions_are_registered(void);
/* True if all have asked for their next event that are to hear of invocations; before the first one, all. */
int extensions_wait(void);
/* The first that has not asked; NULL if there is none. */
const char *absent_extension(void);
/* With commas. Returns the number of bytes. */
size_t print_extension_pids(char *target, size_t room);
/* Returns true if it was one. */
int note_ended_extension(pid_t pid, int status);
int extension_has_ended(void);
/* The failure that tells of the first that has. */
struct text ended_extension(void);
void prepare_invoke_event(struct text header);
void tell_extensions(void);
/* Tells those that want it, and waits for them for a moment. */
void shut_extensions_down(const char *reason);
void kill_extensions(void);
/* Below 0: there is none. */
int extension_of(const char *identifier);
/* Returns why not, or NULL. */
const char *register_extension(const char *name, struct text posted, char identifier[64]);
void note_extension_waits(int number);
const char *name_of_extension(int number);

/* ---- api.c */
#define CONNECTIONS 32
/* Of what an extension posts. */
#define POSTED_BYTES (8 * 1024)
struct connection {
    int fd; /* below 0: free */
    enum { READS_HEAD, READS_BODY, WAITS_FOR_EVENT, WAITS_FOR_RESTORE, WAITS_FOR_LIFE } state;
    enum action {
        REFUSE,
        TAKE_RESPONSE,
        TAKE_ERROR,
        TAKE_INIT_ERROR,
        TAKE_RESTORE_ERROR,
        TAKE_REGISTRATION,
        TAKE_EXTENSION_ERROR,
        TAKE_SUBSCRIPTION,
        GIVE_EVENT,
        GIVE_RESTORE,
        GIVE_LIFE,
        GIVE_PONG,
    } action;
    int closes;
    int has_waited; /* it is that of the program, or of an extension */
    /* Of a refusal. */
    int status;
    const char *error_type, *error_message;
    unsigned long long discarded;
    struct body body;
    char content_type[256], fault_type[256]; /* what its headers say; empty: nothing */
    int extension; /* which one asks; below 0: none that is known */
    char name[256]; /* of one that registers, or of its error */
    size_t posted_bytes;
    char posted[POSTED_BYTES];
    unsigned long turn; /* grows with each request: the one that waits longest has the lowest */
    size_t bytes;
    char buffer[HEAD_BYTES];
};

/* Returns the port. */
int begin_api(int any_port);
/* Entries for the listener and each connection. */
#define API_FDS (1 + CONNECTIONS)
void watch_api(struct pollfd fds[API_FDS]);
void serve_api(const struct pollfd fds[API_FDS]);
/* Serves what is there now, without a poll. */
void serve_rest(void);
/* Of an extension that waits for its next event; NULL if it has gone. */
struct connection *extension_connection(int number);
/* The one that has waited longest in this state; NULL if none does. */
struct connection *waiting_connection(int state);
void answer_restore(void);
/* Reads what is there of a request that has begun. */
void read_rest(struct connection *connection);
/* Writes all of it, however slowly it is read. Returns false if the client is gone. */
int send_to_client(struct connection *connection, const char *bytes, size_t count);
/* Tells the client that its report was taken, right before the process ends. */
void accept_last(struct connection *connection);
void close_connection(struct connection *connection);
/* The client has its answer: what it asked next is looked at. */
void await_request(struct connection *connection);

/* ---- web.c */
/* What the caller of an invocation takes. */
struct wishes {
    int is_strict, takes_chunks;
    int takes_http; /* answers over HTTP: metadata and the bytes of the body */
};
/* True if the function is an application on a port, which asks nothing of the Runtime API. */
int is_web(void);
/* Looks for `web` in LOAD. */
void begin_web(struct text load);
unsigned web_port(void);
/* How long the loop may wait until `look_for_application` is called again; below 0: for ever. */
int web_limit_ms(void);
void look_for_application(void);
int web_is_idle(void);
/* Requests that LOAD allows at once. */
#define MOST_EXCHANGES 100
unsigned web_slots(void);
/* True if that are several: then INVOKE names a slot, and there is no DONE. */
int web_is_shared(void);
int web_slot_is_free(unsigned slot);
/* Reads the event from the host. */
void begin_exchange(unsigned slot, size_t event_bytes, struct wishes wishes);
/* The host has taken so much of a streamed answer. */
void note_taken(unsigned slot, unsigned long long bytes);
void cancel_exchange(unsigned slot);
/* All that are under way; the process is about to end. */
void fail_exchanges(struct text failure);
/* Entries for all slots. */
void watch_web(struct pollfd *fds);
void serve_web(const struct pollfd *fds);
/* Answers that are there already; the application has ended. */
void serve_web_rest(void);

/* ---- reseed.c */
/* `arguments`: variables for the application, until NULL. */
void begin_reseed(char **arguments);
/* In the child. */
void set_reseed_environment(void);
/* Before a snapshot. Returns false if the application has generators that could not be sealed. */
int seal_generators(void);
/* After a restore. */
void renew_generators(void);

/* ---- invocation.c */
/* The one under way is over for its caller. */
void answer_host(enum frame_type type, struct text header, struct text payload);
/* True if the host's next frame can be taken: the bootstrap waits for an event, and none is under way, or several may be. */
int wants_frame(void);
/* INVOKE or REHEARSE; TAKEN or CANCEL if there may be several. */
void take_frame(void);
/* The bootstrap asks for an event. Returns false if it owes an answer. */
int may_ask(void);
void note_asked(void);
/* Decides on a request for /invocation/ID/response or /error; sets its refusal if there is one. */
void begin_answer(struct connection *connection, struct text id, const struct head *head);
void begin_report(struct connection *connection, const struct head *head);
void take_answer(struct connection *connection, struct text data);
/* Sets the status of what the client is told. */
void end_answer(struct connection *connection);
/* Its client has gone before it had said all. */
void drop_answer(struct connection *connection);
unsigned long begun_invocations(void);
/* When one that has its answer has to be over, in ms since 1970; 0: there is none. */
unsigned long long invocation_deadline_ms(void);
int invocation_is_under_way(void);
/* If it has no answer yet. */
void fail_invocation(struct text failure);

/* ---- failure.c */
/*
 * What a runtime client has posted, `{"errorType", "errorMessage", "stackTrace"}`, as FAILURE has it. `kind`: its type, if
 * that is not for the client to say. Lies in a static buffer.
 */
struct text describe_failure(const char *kind, const char *type, struct text posted);
/* A failure in our words. */
__attribute__((format(printf, 2, 3))) struct text own_failure(const char *type, const char *format, ...);

/* ---- peer.c */
/* The process at the other end of a connection to us; 0 if it cannot be told. */
pid_t peer_of(int fd);
/* The process that listens on a port of loopback; 0 if it cannot be told. */
pid_t listener_of(unsigned port);

#endif
