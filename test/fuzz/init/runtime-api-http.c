/*
 * HTTP as the Runtime API reads it: a request of any bytes, and another way to cut it into pieces.
 *
 * What has to hold: a head is found at the same place however much has come of what is behind it, and never before it is whole; what it
 * names lies within it; content, trailers and end of a body do not depend on how it was cut; every byte is taken once; what
 * stands for bytes in base64 is not longer than they are.
 */
#define _GNU_SOURCE
#include "http.c"
#include "text.c"

#include "fuzz.h"

#include <stdlib.h>

#define INPUT_BYTES 256

struct outcome {
    char content[INPUT_BYTES];
    size_t content_bytes, taken;
    struct body body;
    char trailers[TRAILER_BYTES];
};

static void check_within(struct text text, const char *from, size_t bytes)
{
    if (text.bytes > 0)
        CHECK(text.at >= from && text.at + text.bytes <= from + bytes, "a field lies outside of the head");
}

static void check_head(const char *bytes, size_t count)
{
    struct head head, again;
    long length = read_head(bytes, count, &head);
    CHECK(length <= (long)count, "a head of %ld bytes in %zu", length, count);
    if (length <= 0)
        return;
    for (size_t part = 0; part < (size_t)length; part++) {
        /* Memory of its own, behind which nothing may be read. */
        char *copy = malloc(part + 1);
        memcpy(copy, bytes, part);
        long early = read_head(copy, part, &again);
        free(copy);
        CHECK(early == 0, "a head is whole with %zu bytes of %ld", part, length);
    }
    CHECK(read_head(bytes, (size_t)length, &again) == length, "a head depends on what is behind it");
    CHECK(head.path.bytes > 0 && head.path.at[0] == '/', "a path that is none");
    CHECK(!head.is_chunked || !head.has_length, "a body of two lengths");
    check_within(head.path, bytes, (size_t)length);
    check_within(head.fields.content_type, bytes, (size_t)length);
    check_within(head.fields.error_type, bytes, (size_t)length);
    check_within(head.fields.error_body, bytes, (size_t)length);
    check_within(head.fields.response_mode, bytes, (size_t)length);
}

static void read_body(struct outcome *outcome, const struct head *head, const char *bytes, size_t count, size_t piece)
{
    outcome->content_bytes = outcome->taken = 0;
    begin_body(&outcome->body, head, outcome->trailers);
    while (outcome->taken < count && outcome->body.at != BODY_OVER && outcome->body.at != BODY_BAD) {
        size_t there = count - outcome->taken < piece ? count - outcome->taken : piece;
        char *copy = malloc(there);
        memcpy(copy, bytes + outcome->taken, there);
        struct text data;
        size_t taken = take_body(&outcome->body, copy, there, &data);
        CHECK(taken > 0 && taken <= there, "%zu of %zu bytes are taken", taken, there);
        CHECK(data.bytes <= taken, "more content than was taken");
        memcpy(outcome->content + outcome->content_bytes, data.at, data.bytes);
        outcome->content_bytes += data.bytes;
        outcome->taken += taken;
        free(copy);
    }
}

static void check_body(const char *bytes, size_t count, size_t piece, const struct head *head)
{
    static struct outcome whole, cut;
    read_body(&whole, head, bytes, count, count + 1);
    read_body(&cut, head, bytes, count, piece);
    CHECK(whole.body.at == cut.body.at && whole.taken == cut.taken, "a body ends elsewhere if it comes in pieces");
    CHECK(whole.content_bytes == cut.content_bytes && memcmp(whole.content, cut.content, cut.content_bytes) == 0,
          "a body is another one if it comes in pieces");
    CHECK(whole.body.trailer_bytes == cut.body.trailer_bytes &&
              memcmp(whole.trailers, cut.trailers, cut.body.trailer_bytes) == 0,
          "trailers are others if they come in pieces");
    if (!head->is_chunked && head->length <= count)
        CHECK(whole.body.at == BODY_OVER && whole.content_bytes == head->length, "a body has another length than its head says");
    struct fields fields = {.content_type = {NULL, 0}};
    if (whole.body.at == BODY_OVER && read_trailers(&whole.body, &fields))
        check_within(fields.error_body, whole.trailers, whole.body.trailer_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_BYTES)
        return 0;
    size_t piece = 1 + data[0] % 16;
    const char *bytes = (const char *)data + 1;
    size_t count = size - 1;
    check_head(bytes, count);
    struct head head;
    long length = read_head(bytes, count, &head);
    if (length > 0)
        check_body(bytes + length, count - (size_t)length, piece, &head);
    struct head chunked = {.is_chunked = 1};
    check_body(bytes, count, piece, &chunked);
    char *copy = malloc(count);
    memcpy(copy, bytes, count);
    long decoded = decode_base64(copy, count);
    CHECK(decoded <= (long)(count / 4 * 3 + 2), "%ld bytes of %zu characters", decoded, count);
    free(copy);
    return 0;
}
