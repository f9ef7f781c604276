/*
 * What stands between an event and an application on a port: an event of any bytes becomes a request or none, and any bytes of an
 * answer a result or none.
 *
 * What has to hold: a request has one head, which ends where it says, whose lines are headers, and as many bytes of a body as it
 * says; the head of an answer is found at the same place however much has come, and never before it is whole; what is said of an
 * answer is JSON.
 */
#define _GNU_SOURCE
#include "http.c"
#include "text.c"
#include "web-request.c"
#define put put_of_answer
#define put_text put_text_of_answer
#define put_headers put_headers_of_answer
#define put_cookies put_cookies_of_answer
#define read_length read_length_of_answer
#include "web-response.c"

#include "fuzz.h"

#include <stdlib.h>

#define INPUT_BYTES 256

/* Of the request, as the server of the Runtime API would read it, had it been sent there. */
static void check_request(const struct web_request *request)
{
    struct head head;
    long length = read_head(request->head.at, request->head.bytes, &head);
    CHECK(request->head.bytes > HEAD_BYTES || length == (long)request->head.bytes, "a request's head has %zu bytes and is read as %ld",
          request->head.bytes, length);
    if (length <= 0)
        return;
    CHECK(!head.closes && !head.is_chunked && !head.awaits_continue, "a request that says more than it should");
    CHECK(head.has_length ? head.length == request->body.bytes : request->body.bytes == 0, "a body of %zu bytes with another length",
          request->body.bytes);
}

static void try_event(const char *bytes, size_t count)
{
    static char target[REQUEST_HEAD_BYTES];
    struct web_request request;
    /* Memory of its own, behind which nothing may be read. */
    char *event = malloc(count + 1);
    memcpy(event, bytes, count);
    if (write_request((struct text){event, count}, target, sizeof target, &request))
        check_request(&request);
    free(event);
    event = malloc(count + 1);
    memcpy(event, bytes, count);
    write_request((struct text){event, count}, target, count % 200, &request);
    free(event);
}

static void check_json(const char *bytes, size_t count)
{
    CHECK(count == 0 || json_is_valid((struct text){bytes, count}), "what is said of an answer is no JSON");
}

static void try_answer(const char *bytes, size_t count, int is_head)
{
    static struct web_response response, again;
    static char target[METADATA_BYTES];
    long length = read_response(bytes, count, is_head, &response);
    CHECK(length <= (long)count, "a head of %ld bytes in %zu", length, count);
    if (length <= 0)
        return;
    for (size_t part = 0; part < (size_t)length; part++) {
        char *copy = malloc(part + 1);
        memcpy(copy, bytes, part);
        long early = read_response(copy, part, is_head, &again);
        free(copy);
        CHECK(early == 0, "a head is whole with %zu bytes of %ld", part, length);
    }
    size_t written = write_metadata(&response, target, sizeof target);
    CHECK(written > 8, "there is room for metadata");
    check_json(target, written - 8);
    struct text body = {bytes + length, count - (size_t)length};
    check_json(target, write_answer(&response, body, target, sizeof target));
    check_json(target, write_answer(&response, body, target, count % 200));
    write_metadata(&response, target, count % 200);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_BYTES)
        return 0;
    const char *bytes = (const char *)data + 1;
    if (data[0] & 1)
        try_event(bytes, size - 1);
    else
        try_answer(bytes, size - 1, data[0] & 2);
    return 0;
}
