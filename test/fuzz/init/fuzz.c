#include "fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void failed(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "FAILED: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    abort();
}

uint8_t *pipe_room(struct pipe *pipe, size_t count)
{
    if (pipe->start == pipe->end)
        pipe->start = pipe->end = 0;
    if (count > PIPE_BYTES - pipe->end) {
        memmove(pipe->bytes, pipe->bytes + pipe->start, pipe_bytes(pipe));
        pipe->end -= pipe->start;
        pipe->start = 0;
    }
    if (count > PIPE_BYTES - pipe->end)
        return NULL;
    pipe->end += count;
    return pipe->bytes + pipe->end - count;
}

size_t pipe_read(struct pipe *pipe, void *target, size_t count)
{
    size_t bytes = count < pipe_bytes(pipe) ? count : pipe_bytes(pipe);
    memcpy(target, pipe->bytes + pipe->start, bytes);
    pipe->start += bytes;
    return bytes;
}
