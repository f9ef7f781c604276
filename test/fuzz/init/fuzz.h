/*
 * What the targets have in common. A case is a script: bytes that say, step by step, what the world around a part of init
 * does. The part's system calls are replaced by those of the world, so that a case needs no kernel, no time and no process
 * of its own, and gives the same result each time.
 */
#ifndef SNAPFAAS_FUZZ_H
#define SNAPFAAS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property does not hold. */
_Noreturn void failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define CHECK(condition, ...) ((condition) ? (void)0 : failed(__VA_ARGS__))

struct script {
    const uint8_t *data;
    size_t size, at;
};

static inline int script_is_over(const struct script *script)
{
    return script->at >= script->size;
}

/* Zeros behind its end. */
static inline uint8_t next_byte(struct script *script)
{
    return script_is_over(script) ? 0 : script->data[script->at++];
}

/* Small numbers mostly, and those at which something changes. */
static inline size_t next_size(struct script *script)
{
    static const size_t edges[] = {1010,   1011,   1012,    1017,    1018,    4096,      16 * 1024, 65528,
                                   65529,  65530,  65535,   65536,   65537,   80 * 1024, 200000,    256 * 1024,
                                   262145, 300000, 1048565, 1048569, 1048570, 1100000};
    uint8_t code = next_byte(script);
    return code < 256 - sizeof edges / sizeof *edges ? code % 64 : edges[code - (256 - sizeof edges / sizeof *edges)];
}

/* FNV-1a, of what a part has done. */
struct digest {
    uint64_t value;
};

static inline void digest_bytes(struct digest *digest, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    /* Of a long piece its ends, so that large payloads are no slower than small ones. */
    for (size_t i = 0; i < count; i = i == 64 && count > 128 ? count - 64 : i + 1)
        digest->value = (digest->value ^ at[i]) * 1099511628211u;
    digest->value = (digest->value ^ count) * 1099511628211u;
}

/* Bytes on their way: written by one side, not yet read by the other one. */
#define PIPE_BYTES (1200 * 1024)
struct pipe {
    uint8_t bytes[PIPE_BYTES];
    size_t start, end;
};

static inline size_t pipe_bytes(const struct pipe *pipe)
{
    return pipe->end - pipe->start;
}

/* A place for as many bytes, or NULL: no more fit. */
uint8_t *pipe_room(struct pipe *pipe, size_t count);
/* Reads as read(2) does. */
size_t pipe_read(struct pipe *pipe, void *target, size_t count);

#endif
