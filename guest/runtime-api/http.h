/*
 * HTTP/1.1 (RFC 9112) as a server reads it: the head of a request, and its body piece by piece. No input and no output: the
 * bytes are the caller's, and every length is bounded by him.
 */
#ifndef SNAPFAAS_HTTP_H
#define SNAPFAAS_HTTP_H

#include "text.h"

/* Longest head of a request; a longer one is refused. */
#define HEAD_BYTES (16 * 1024)
/* Longest trailer section. */
#define TRAILER_BYTES (128 * 1024)

enum method { METHOD_GET, METHOD_POST, METHOD_PUT, METHOD_OTHER };

/* The headers that mean something here; of a repeated one the last. Absent ones have no bytes. */
struct fields {
    struct text content_type;
    struct text error_type; /* Lambda-Runtime-Function-Error-Type */
    struct text error_body; /* Lambda-Runtime-Function-Error-Body */
    struct text extension_name; /* Lambda-Extension-Name */
    struct text extension_id; /* Lambda-Extension-Identifier */
    struct text extension_error; /* Lambda-Extension-Function-Error-Type */
    struct text response_mode; /* Lambda-Runtime-Function-Response-Mode */
};

struct head {
    enum method method;
    struct text path; /* without a query */
    struct fields fields;
    unsigned long long length; /* of the body, if that is not chunked */
    int has_length, is_chunked;
    int closes; /* the client wants no other answer on the connection */
    int is_old; /* HTTP/1.0 */
    int awaits_continue;
};

/* ---- Lines, for heads of both kinds. */
/* Takes a line off `rest`, without its end. Returns false if there is no whole one. */
int next_line(struct text *rest, struct text *line);
/* Returns false if the line is no header. */
int split_field(struct text line, struct text *name, struct text *value);
int is_token_char(char c);
int is_name(struct text text, const char *name);
int is_same_name(struct text a, struct text b);
/* Whether a list such as that of `Connection` has a word in it. */
int lists(struct text list, struct text word);

/* Returns the length of the head; 0: it is not all there; below 0: it is none, and minus that is the status to answer. */
long read_head(const char *bytes, size_t count, struct head *head);

struct body {
    enum {
        BODY_DATA,
        BODY_SIZE, /* of a chunk: its digits, then what is behind them */
        BODY_EXTENSION,
        BODY_AFTER_CHUNK,
        BODY_TRAILERS,
        BODY_OVER,
        BODY_BAD,
    } at;
    int is_chunked;
    unsigned digits;
    unsigned long long left; /* of the body, or of the chunk */
    /* Trailers are kept there; NULL: they are dropped. Their number is counted in any case. */
    char *trailers;
    size_t trailer_bytes, line_bytes;
};

void begin_body(struct body *body, const struct head *head, char *trailers);

/* Takes one step through `bytes`. Returns how many were taken; `data` is what of them belongs to the content. */
size_t take_body(struct body *body, const char *bytes, size_t count, struct text *data);

/* Returns false if the trailers are none. */
int read_trailers(const struct body *body, struct fields *fields);

/* Base64 in place. Returns the number of bytes it stood for, or -1 if it is none. */
long decode_base64(char *bytes, size_t count);

#endif
