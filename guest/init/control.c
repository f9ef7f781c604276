/*
 * The control channel: the line to the host, and what waits to be said on it.
 *
 * Over virtio-serial the line is a port, one for the whole life. Over vsock it is a connection that the host dialled: it
 * may end at any time, and does with every restore. The newest one counts, for only the host knows why it dials again.
 *
 * A frame leaves the queue when its last byte was written, and each line begins with a whole frame. So one that was cut is
 * said again, which the host cannot have taken for a frame yet. One that was written is not, even if it was lost on
 * the way: the host may have it, and an answer that comes twice is a mistake, while one that is missing is found by the
 * host's time limit.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* How often a port without a host at its other end is tried: it reads as ended and polls as ready all the time. */
#define RETRY_MS 10
/* How long the host has to take the last words before the machine stops. */
#define LAST_WORDS_MS 2000

/* Below 0 where lines do not come and go. */
static int listener = -1;
/* Below 0 until there is one. */
static int line = -1;
static unsigned long line_number;
static int is_connected;

static unsigned char queue[3 * RUNTIME_FRAME_BYTES];
/* `queue_start` is the beginning of a frame; up to `queue_sent` it was written to this line. */
static size_t queue_start, queue_sent, queue_end;

void begin_control(struct channels channels)
{
    listener = channels.are_dialled ? channels.control : -1;
    line = channels.are_dialled ? -1 : channels.control;
    is_connected = line >= 0;
}

/* ---- The line ---------------------------------------------------------------------------------------------------- */

unsigned long control_line(void)
{
    return line_number;
}

static void line_is_gone(void)
{
    is_connected = 0;
    if (listener < 0)
        return;
    if (line >= 0)
        close(line);
    line = -1;
    queue_sent = queue_start;
}

static void accept_line(void)
{
    for (int next; listener >= 0 && (next = accept_from_host(listener)) >= 0;) {
        line_is_gone();
        line = next;
        line_number++;
        is_connected = 1;
    }
}

int control_retry_ms(void)
{
    return listener >= 0 || is_connected ? -1 : RETRY_MS;
}

void watch_control(struct pollfd fds[CONTROL_FDS], int reads_host)
{
    int events = (reads_host ? POLLIN : 0) | (queue_start < queue_end ? POLLOUT : 0);
    fds[0] = watch(line, is_connected ? events : 0);
    fds[1] = watch(listener, POLLIN);
}

int control_can_be_read(const struct pollfd fds[CONTROL_FDS])
{
    if (fds[1].revents)
        accept_line();
    else if (fds[0].revents & POLLHUP && !(fds[0].events & POLLIN))
        line_is_gone();
    else
        return fds[0].revents & (POLLIN | POLLHUP | POLLERR) || (!is_connected && line >= 0);
    return 0;
}

size_t read_control(void *target, size_t bytes)
{
    ssize_t count = read(line, target, bytes);
    is_connected = count > 0 || (count < 0 && errno == EAGAIN);
    if (!is_connected)
        line_is_gone();
    return count > 0 ? (size_t)count : 0;
}

/* ---- The queue --------------------------------------------------------------------------------------------------- */

size_t put_frame_prefix(unsigned char *target, enum frame_type type, size_t header_bytes, size_t payload_bytes)
{
    size_t length = 3 + header_bytes + payload_bytes;
    target[0] = (unsigned char)(length >> 24);
    target[1] = (unsigned char)(length >> 16);
    target[2] = (unsigned char)(length >> 8);
    target[3] = (unsigned char)length;
    target[4] = (unsigned char)type;
    target[5] = (unsigned char)(header_bytes >> 8);
    target[6] = (unsigned char)header_bytes;
    return FRAME_PREFIX_BYTES;
}

size_t room_to_host(void)
{
    return sizeof queue - (queue_end - queue_start);
}

void put_to_host(const void *bytes, size_t count)
{
    if (count > sizeof queue - queue_end) {
        memmove(queue, queue + queue_start, queue_end - queue_start);
        queue_sent -= queue_start;
        queue_end -= queue_start;
        queue_start = 0;
    }
    memcpy(queue + queue_end, bytes, count);
    queue_end += count;
}

/*
 * As vsnprintf, for %s, and for %d, %lu and %zu of what is not negative. It is on the way of a restored machine's first answer,
 * and under emulation each line that runs for the first time costs its translation: libc's are more than all others of init.
 */
static size_t format_header(char *header, size_t room, const char *format, va_list arguments)
{
    size_t used = 0;
    for (; *format != '\0'; format++) {
        char digits[20];
        const char *text = format;
        size_t bytes = 1;
        if (*format == '%' && *++format == 's') {
            text = va_arg(arguments, const char *);
            bytes = strlen(text);
        } else if (text != format) {
            unsigned long number = *format == 'd' ? (unsigned long)va_arg(arguments, int) : va_arg(arguments, unsigned long);
            char *first = digits + sizeof digits;
            do
                *--first = (char)('0' + number % 10);
            while ((number /= 10) > 0);
            text = first;
            bytes = (size_t)(digits + sizeof digits - first);
            format += *format != 'd';
        }
        if (bytes > room - used)
            bytes = room - used;
        memcpy(header + used, text, bytes);
        used += bytes;
    }
    return used;
}

void send_to_host(enum frame_type type, const void *payload, size_t bytes, const char *header_format, ...)
{
    char header[128];
    unsigned char prefix[FRAME_PREFIX_BYTES];
    va_list arguments;
    va_start(arguments, header_format);
    size_t header_bytes = format_header(header, sizeof header, header_format, arguments);
    va_end(arguments);
    put_to_host(prefix, put_frame_prefix(prefix, type, header_bytes, bytes));
    put_to_host(header, header_bytes);
    put_to_host(payload, bytes);
}

static void forget_sent_frames(void)
{
    while (queue_start < queue_sent && frame_bytes(queue + queue_start) <= queue_sent - queue_start)
        queue_start += frame_bytes(queue + queue_start);
    if (queue_start == queue_end)
        queue_start = queue_sent = queue_end = 0;
}

void flush_to_host(void)
{
    while (line >= 0 && queue_sent < queue_end) {
        const unsigned char *unsent = queue + queue_sent;
        size_t bytes = queue_end - queue_sent;
        ssize_t count = listener < 0 ? write(line, unsent, bytes) : write_some(line, unsent, bytes);
        if (count <= 0) {
            /* Short of memory or no host: polling would say "ready" at once. EAGAIN is a host that does not read. */
            if (count == 0 || errno != EAGAIN)
                line_is_gone();
            return;
        }
        queue_sent += (size_t)count;
        forget_sent_frames();
    }
}

void say_last_words(const char *reason)
{
    size_t bytes = strlen(reason);
    if (listener < 0 && line < 0)
        return;
    /* A frame that was begun is ended; behind it this one is worth more than all others. */
    if (room_to_host() < FRAME_PREFIX_BYTES + bytes)
        queue_end = queue_start + frame_bytes(queue + queue_start);
    send_to_host(FRAME_INIT_FAILED, reason, bytes, "%s", "");
    for (int waited = 0; queue_start < queue_end && waited < LAST_WORDS_MS; waited += RETRY_MS) {
        accept_line();
        flush_to_host();
        if (queue_start < queue_end)
            sleep_ms(RETRY_MS);
    }
    sleep_ms(200); /* A VMM drops what its socket has not taken when it ends. */
}
