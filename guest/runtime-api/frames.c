#include "runtime-api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PREFIX_BYTES 7
#define RETRY_US 1000

static _Noreturn void lost(const char *what)
{
    dprintf(2, "snapfaas: the runtime lost its channel: %s\n", what);
    quit(1);
}

static void wait_for(int fd, short events)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    poll(&wanted, 1, -1);
}

/* A port that nobody is connected to reads as if it had ended. */
static int is_port(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode);
}

/*
 * Read ahead of the host, so that a small frame takes one read. Not of init: a frame of its that was not asked for has to stay
 * unread, by which init knows what was begun.
 */
static char ahead[8 * 1024];
static size_t ahead_start, ahead_end;

/* Returns 0 if nobody is connected to the port. */
static size_t read_some(int fd, void *target, size_t count)
{
    for (;;) {
        ssize_t bytes = read(fd, target, count);
        if (bytes > 0)
            return (size_t)bytes;
        if (bytes == 0 && !is_port(fd))
            quit(0);
        if (bytes == 0)
            return 0;
        if (errno == EAGAIN)
            wait_for(fd, POLLIN);
        else if (errno != EINTR)
            lost(strerror(errno));
    }
}

void read_bytes(int fd, void *target, size_t count)
{
    char *at = target;
    if (fd == HOST) {
        size_t known = ahead_end - ahead_start < count ? ahead_end - ahead_start : count;
        memcpy(at, ahead + ahead_start, known);
        ahead_start += known;
        at += known;
        count -= known;
    }
    while (count > 0) {
        size_t bytes = read_some(fd, at, count);
        at += bytes;
        count -= bytes;
        if (bytes == 0)
            usleep(RETRY_US);
    }
}

int host_is_ahead(void)
{
    return ahead_start < ahead_end;
}

int host_has_frame(void)
{
    if (!host_is_ahead()) {
        ahead_start = 0;
        ahead_end = read_some(HOST, ahead, sizeof ahead);
    }
    return host_is_ahead();
}

struct frame read_frame(int fd)
{
    static char header[HEADER_BYTES + 1];
    unsigned char prefix[PREFIX_BYTES];
    read_bytes(fd, prefix, sizeof prefix);
    size_t length = (size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | prefix[3];
    size_t header_bytes = (size_t)prefix[5] << 8 | prefix[6];
    if (length < PREFIX_BYTES - 4 + header_bytes || length > ANSWER_BYTES + HEADER_BYTES)
        lost("the host sent what is no frame");
    read_bytes(fd, header, header_bytes);
    header[header_bytes] = '\0';
    return (struct frame){prefix[4], {header, header_bytes}, length - (PREFIX_BYTES - 4) - header_bytes};
}

void write_frame(int fd, enum frame_type type, struct text header, struct text payload)
{
    size_t length = PREFIX_BYTES - 4 + header.bytes + payload.bytes;
    unsigned char prefix[PREFIX_BYTES] = {
        (unsigned char)(length >> 24), (unsigned char)(length >> 16),       (unsigned char)(length >> 8),
        (unsigned char)length,         (unsigned char)type,                 (unsigned char)(header.bytes >> 8),
        (unsigned char)header.bytes,
    };
    struct iovec parts[3] = {
        {prefix, sizeof prefix}, {(void *)(uintptr_t)header.at, header.bytes}, {(void *)(uintptr_t)payload.at, payload.bytes}};
    for (int first = 0; first < 3;) {
        ssize_t bytes = writev(fd, parts + first, 3 - first);
        if (bytes < 0 && errno == EAGAIN)
            wait_for(fd, POLLOUT);
        else if (bytes < 0 && errno == EPIPE)
            quit(0);
        else if (bytes < 0 && errno != EINTR)
            lost(strerror(errno));
        size_t left = bytes < 0 ? 0 : (size_t)bytes;
        while (first < 3 && left >= parts[first].iov_len)
            left -= parts[first++].iov_len;
        if (first < 3 && left > 0) {
            parts[first].iov_base = (char *)parts[first].iov_base + left;
            parts[first].iov_len -= left;
        }
    }
}

struct text print_header(char target[1024], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(target, 1024, format, arguments);
    va_end(arguments);
    return (struct text){target, bytes < 0 || bytes >= 1024 ? 0 : (size_t)bytes};
}
