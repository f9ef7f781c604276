/*
 * Shared by the parts of the relay, none of which knows the others' state:
 *
 *   relay.c     what the runtime says, and when it counts; the loop
 *   host.c      the control channel: frames to the host and from it
 *   output.c    what the function prints, as LOG frames
 *   sync.c      clock and random numbers, as the host gives them
 *
 * All buffers are of fixed size.
 */
#ifndef SNAPFAAS_RELAY_H
#define SNAPFAAS_RELAY_H

#include "init.h"

/* Largest frame that is accepted from the runtime. */
#define RUNTIME_FRAME_BYTES (64 * 1024)
/* Largest payload of a LOG frame. */
#define LOG_BYTES (16 * 1024)
/* What a LOG frame and the mark of a cut take at most. */
#define LOG_ROOM (LOG_BYTES + 1024)
/* Payload of SYNC: nanoseconds since 1970, u64, big-endian; then random bytes. */
#define ENTROPY_BYTES 32
#define SYNC_BYTES (8 + ENTROPY_BYTES)

static inline size_t frame_bytes(const unsigned char *frame)
{
    return 4 + ((size_t)frame[0] << 24 | (size_t)frame[1] << 16 | (size_t)frame[2] << 8 | (size_t)frame[3]);
}

static inline size_t frame_header_bytes(const unsigned char *frame)
{
    return (size_t)frame[5] << 8 | frame[6];
}

/* host.c: to the host. Whoever sends has made sure that there is room. */
void begin_host(int control_channel);
size_t room_to_host(void);
void put_to_host(const void *bytes, size_t count);
__attribute__((format(printf, 4, 5))) void send_to_host(enum frame_type type, const void *payload, size_t bytes,
                                                        const char *header_format, ...);
void flush_to_host(void);

/* host.c: from the host; what is for the runtime is written to `requests`, which is below 0 if the runtime has closed it. */
void receive_from_host(void);
void obey_host(int requests);
/* True while bytes for the runtime wait for room in its socket. */
int host_owes_runtime(void);
/* True if `answer` answers a frame of the host that nothing has answered yet; `take` makes it answered. */
int host_awaits(enum frame_type answer);
void take_answer(enum frame_type answer);
/* What to poll the control channel for, and how long at most. */
int host_is_connected(void);
void host_is_gone(void);
int host_events(void);

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

/* sync.c */
void sync_with_host(const unsigned char payload[SYNC_BYTES]);

#endif
