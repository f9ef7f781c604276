/*
 * Shared by the parts of init, in the order in which they act:
 *
 *   init.c      main: the life of the guest in one page; how it ends
 *   boot.c      modules, file systems, channels; vsock.c if they are made of that
 *   network.c   host name and interfaces
 *   runtime.c   starts the language runtime as an unprivileged process
 *   relay.c     frames and output between the runtime and the host, until the end; relay.h has its parts
 */
#ifndef SNAPFAAS_INIT_H
#define SNAPFAAS_INIT_H

#include <stddef.h>
#include <sys/types.h>

/* Names and numbers of src/protocol/guest.ts. */
#define FUNCTION_PORT_NAME "snapfaas.function"
#define CONTROL_PORT_NAME "snapfaas.control"
#define FUNCTION_VSOCK_PORT 1024
#define CONTROL_VSOCK_PORT 1025
#define MAX_LOG_BYTES_PER_REQUEST (256 * 1024)
enum frame_type {
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
    FRAME_LOG_END = 23,
    FRAME_RUNTIME_EXITED = 24,
    FRAME_INIT_FAILED = 25,
    FRAME_SYNC = 26,
    FRAME_SEAL = 27,
    FRAME_SEALED = 28,
    FRAME_START = 29,
    FRAME_STARTED = 30,
    FRAME_HOOK_FAILED = 31,
    FRAME_NETWORK = 32,
    FRAME_ENDING = 33,
    FRAME_SYNCED = 34,
    FRAME_BEGUN = 35,
};

/* Length, type and header length of a frame (src/protocol/frame.ts draws it). */
#define FRAME_PREFIX_BYTES 7

/*
 * The ways to the host. Ports: `function` blocks and is handed to the runtime, `control` is nonblocking and stays here.
 * If they are dialled, both are nonblocking sockets that listen for the host's connections.
 */
struct channels {
    int are_dialled;
    int function;
    int control;
};

/* The runtime and our ends of its descriptors, all nonblocking. */
struct runtime {
    pid_t pid;
    int requests; /* its fd 4 */
    int output[2]; /* its fd 1 and 2 */
};

/* init.c */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void power_off(void);
void sleep_ms(long milliseconds);

/* boot.c */
void mount_kernel_file_systems(void);
void load_modules(void);
int kernel_command_line_has(const char *word);
void enter_root_file_system(void);
struct channels open_channels(void);
void mount_app_file_system(void);

/* sync.c */
void check_clock_rate(void);

/* network.c */
void set_up_network(void);

/* runtime.c */
struct runtime start_runtime(int function_channel);

/* vsock.c */
int vsock_is_there(void);
int listen_on_vsock(unsigned port);

/* bridge.c: returns the socket that is to be the runtime's function channel. */
int begin_bridge(int function_listener);

/* control.c */
void begin_control(struct channels channels);
/* Tells the host why the guest cannot go on; silent before `begin_control`. */
void say_last_words(const char *reason);

/* relay.c */
_Noreturn void relay(struct runtime runtime, int child_signals);

#endif
