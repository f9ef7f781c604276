/*
 * Shared by the parts of the relay, none of which knows the others' state:
 *
 *   relay.c     what the runtime says, and when it counts; the loop
 *   control.c   the control channel: its line, and frames to the host
 *   host.c      frames from the host
 *   bridge.c    the function channel, where it does not lead to the runtime by itself
 *   vsock.c     connections that the host dials, for the two above
 *   seal.c      the function's processes around a snapshot
 *   output.c    what the function prints, as LOG frames
 *   sync.c      clock and random numbers, as the host gives them
 *   network.c   the addresses that the host gives
 *
 * All buffers are of fixed size.
 *
 * Over virtio-serial and over vsock:
 *
 *   host ══ port ══════════════════════════ runtime      host ══ vsock ══ bridge.c ══ socket ══ runtime
 *   host ── port ── control.c, relay.c ──── runtime      host ── vsock ── control.c, relay.c ── runtime
 */
#ifndef SNAPFAAS_RELAY_H
#define SNAPFAAS_RELAY_H

#include "init.h"

#include <poll.h>

/* How long the kernel is given to find memory. */
#define SHORTAGE_MS 10
/* Largest frame that is accepted from the runtime. */
#define RUNTIME_FRAME_BYTES (64 * 1024)
/* Largest payload of a LOG frame. */
#define LOG_BYTES (16 * 1024)
/* What a LOG frame and the mark of a cut take at most. */
#define LOG_ROOM (LOG_BYTES + 1024)
/* Payload of SYNC: nanoseconds since 1970, u64, big-endian; a byte, 0 if the clock must not go back; random bytes. */
#define TIME_BYTES 8
#define ENTROPY_BYTES 32
#define SYNC_BYTES (TIME_BYTES + 1 + ENTROPY_BYTES)
/* Payload of SYNCED: the time of SYNC, and that of the clock. */
#define SYNCED_BYTES (2 * TIME_BYTES)
/* Payload of NETWORK (src/protocol/guest-network.ts). */
#define NETWORK_BYTES 19

static inline size_t frame_bytes(const unsigned char *frame)
{
    return 4 + ((size_t)frame[0] << 24 | (size_t)frame[1] << 16 | (size_t)frame[2] << 8 | (size_t)frame[3]);
}

static inline size_t frame_header_bytes(const unsigned char *frame)
{
    return (size_t)frame[5] << 8 | frame[6];
}

/* Descriptors that nothing is wanted of are left out: a hang-up is reported even if nobody asked. */
static inline struct pollfd watch(int fd, int events)
{
    return (struct pollfd){.fd = events == 0 ? -1 : fd, .events = (short)events};
}

/* control.c: the line. */
#define CONTROL_FDS 2
void watch_control(struct pollfd fds[CONTROL_FDS], int reads_host);
/* How long to poll at most, in ms. */
int control_retry_ms(void);
int control_can_be_read(const struct pollfd fds[CONTROL_FDS]);
/* Returns the number of bytes read; 0 if there are none now, or no host. */
size_t read_control(void *target, size_t bytes);
/* Another number: another line. */
unsigned long control_line(void);

/* control.c: to the host. Whoever sends has made sure that there is room. */
size_t put_frame_prefix(unsigned char *target, enum frame_type type, size_t header_bytes, size_t payload_bytes);
size_t room_to_host(void);
/* Only whole frames may be there when the queue is flushed. */
void put_to_host(const void *bytes, size_t count);
__attribute__((format(printf, 4, 5))) void send_to_host(enum frame_type type, const void *payload, size_t bytes,
                                                        const char *header_format, ...);
void flush_to_host(void);

/* host.c; what is for the runtime is written to `requests`, which is below 0 if the runtime has closed it. */
int host_can_be_heard(void);
void receive_from_host(void);
void obey_host(int requests);
/* True while bytes for the runtime wait for room in its socket. */
int host_owes_runtime(void);
/* True once LOAD came: the function's code may run. */
int host_has_loaded(void);
/* True if `answer` answers a frame of the host that nothing has answered yet; `take` makes it answered. */
int host_awaits(enum frame_type answer);
void take_answer(enum frame_type answer);

/* bridge.c */
#define BRIDGE_FDS 3
void watch_bridge(struct pollfd fds[BRIDGE_FDS]);
void serve_bridge(const struct pollfd fds[BRIDGE_FDS]);

/* vsock.c */
/* Returns a nonblocking connection to a host that is still there, or -1: there is none. */
int accept_from_host(int listener);
/* As write(2), but not all at once; EAGAIN if the kernel has no memory as well. */
ssize_t write_some(int fd, const void *bytes, size_t count);

/* output.c */
void begin_output(const int pipes[2]);
int output_pipe(int stream);
int output_can_be_read(void);
/* Reads once from stdout (0) or stderr (1) of the runtime and queues what the request may still print. */
void pump_output(int stream);
/* Collects what is in the pipes now. True: done. False: the host must take something first. */
void begin_drain(void);
int drain_output(void);
/* Sends LOG_END if the request printed anything, or if the runtime has asked for it. */
void end_output_of_request(int is_asked);
/* Number of the request that prints; 0 until the function is started. */
void set_request_number(unsigned long number);
unsigned long request_number(void);

/* seal.c */
/*
 * Stops the function's processes if any could run on, and tells the host which there are beside the runtime. `header`: that
 * of SEALED.
 */
void report_sealed(pid_t runtime, const unsigned char *header, size_t header_bytes);
/* Has them go on, if they are stopped. */
void let_function_run(void);

/* sync.c */
void sync_with_host(const unsigned char payload[SYNC_BYTES], unsigned char answer[SYNCED_BYTES]);

/* network.c: all zeros take the address away. */
void take_network_of_host(const unsigned char payload[NETWORK_BYTES]);

#endif
