/* Events as requests over HTTP, and answers over HTTP as results. No input and no output: the bytes are the caller's. */
#ifndef SNAPFAAS_WEB_H
#define SNAPFAAS_WEB_H

#include "http.h"
#include "text.h"

/* Of a request's path, and of its query. */
#define TARGET_BYTES (64 * 1024)
/* Of a request: its headers, and once more what the context repeats of them. */
#define REQUEST_HEAD_BYTES (320 * 1024)
/* Of an answer: what the gateway takes. */
#define RESPONSE_HEAD_BYTES (64 * 1024)
/* They are bounded by their bytes; some applications set hundreds of cookies. */
#define MOST_FIELDS 4096
/* Of an answer's head as JSON: each of its bytes may become six. */
#define METADATA_BYTES (6 * RESPONSE_HEAD_BYTES + 256)

struct web_request {
    struct text head, body;
    int is_http; /* the event was a request, and its caller wants an answer as a whole */
    int is_head; /* the answer has no body */
};

/*
 * The request that `event` tells of; what is no event of a URL is posted as it is. The body is decoded where it lies in the
 * event. Returns false if it cannot be had: too long, or none.
 */
int write_request(struct text event, char *head, size_t room, struct web_request *request);

struct web_response {
    int status;
    int is_chunked, ends_with_connection;
    int keeps_s; /* how long the connection stays open for another request, as its server says; 0: it does not say */
    struct body body;
    int fields;
    struct text names[MOST_FIELDS], values[MOST_FIELDS];
};

/* Returns the length of the head; 0: it is not all there; below 0: it is none. The fields lie in `bytes`. */
long read_response(const char *bytes, size_t count, int is_head, struct web_response *response);
/* The first of that name. */
struct text response_field(const struct web_response *response, const char *name);

/* `{"statusCode", "headers", "cookies"}` and eight zero bytes. Returns how many were written; 0: there is no room. */
size_t write_metadata(const struct web_response *response, char *target, size_t room);
/* The same with `body` and `isBase64Encoded`. */
size_t write_answer(const struct web_response *response, struct text body, char *target, size_t room);

#endif
