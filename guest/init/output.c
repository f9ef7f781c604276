/*
 * What the function prints: read from its two pipes, cut to what a request may print, sent to the host as LOG frames.
 *
 * When there is no room for more on the way to the host the pipes are not read, so that the function waits at its next
 * print.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <unistd.h>

/* Output that is collected for an end at most; more can only come from a process that goes on printing. */
#define DRAIN_BYTES (1024 * 1024)

#define CUT_MARK "[snapfaas: output over 256 KiB of this request was cut]\n"

enum pumped { PUMPED, EMPTY, NO_ROOM };

static int pipes[2];
static unsigned long request;
static size_t printed, forwarded;
static size_t drain_left;

void begin_output(const int output[2])
{
    pipes[0] = output[0];
    pipes[1] = output[1];
}

int output_pipe(int stream)
{
    return pipes[stream];
}

void set_request_number(unsigned long number)
{
    request = number;
}

unsigned long request_number(void)
{
    return request;
}

/* From then on it is only counted, which needs no room. */
static int output_is_cut(void)
{
    return printed > forwarded;
}

int output_can_be_read(void)
{
    return output_is_cut() || room_to_host() >= LOG_ROOM;
}

static enum pumped pump(int stream)
{
    static unsigned char chunk[LOG_BYTES];
    if (pipes[stream] < 0)
        return EMPTY;
    if (!output_can_be_read())
        return NO_ROOM;
    ssize_t count = read(pipes[stream], chunk, sizeof chunk);
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN) {
            close(pipes[stream]);
            pipes[stream] = -1;
        }
        return EMPTY;
    }
    size_t bytes = (size_t)count, allowed = MAX_LOG_BYTES_PER_REQUEST - forwarded;
    int was_cut = output_is_cut();
    printed += bytes;
    drain_left -= bytes < drain_left ? bytes : drain_left;
    if (was_cut)
        return PUMPED;
    if (bytes < allowed)
        allowed = bytes;
    if (allowed > 0)
        send_to_host(FRAME_LOG, chunk, allowed, "{\"request\":%lu,\"stream\":\"%s\"}", request,
                     stream == 0 ? "stdout" : "stderr");
    forwarded += allowed;
    if (allowed < bytes)
        send_to_host(FRAME_LOG, CUT_MARK, sizeof CUT_MARK - 1, "{\"request\":%lu,\"stream\":\"stderr\"}", request);
    return PUMPED;
}

void pump_output(int stream)
{
    pump(stream);
}

void begin_drain(void)
{
    drain_left = DRAIN_BYTES;
}

int drain_output(void)
{
    for (;;) {
        enum pumped first = pump(0), second = pump(1);
        if ((first == EMPTY && second == EMPTY) || drain_left == 0)
            return 1;
        if (first == NO_ROOM || second == NO_ROOM) {
            flush_to_host();
            if (room_to_host() < LOG_ROOM)
                return 0;
        }
    }
}

void end_output_of_request(int is_asked)
{
    if (printed > 0 || is_asked)
        send_to_host(FRAME_LOG_END, "", 0, "{\"request\":%lu,\"bytes\":%zu,\"cut\":%zu}", request, printed,
                     printed - forwarded);
    printed = forwarded = 0;
}
