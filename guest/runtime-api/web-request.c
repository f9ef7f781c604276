/*
 * An event of a function URL (AWS's payload format 2.0) as the request over HTTP that it was made of. Pure text: the event is
 * the caller's, and what it says cannot become more than one request.
 */
#include "web.h"

#include <ctype.h>
#include <stdio.h>

/* Whatever is no request over HTTP is posted there, as AWS Lambda Web Adapter does it. */
#define OTHER_EVENTS "/events"

struct writer {
    char *at, *end;
    int is_full;
};

static void put(struct writer *writer, const char *bytes, size_t count)
{
    if ((size_t)(writer->end - writer->at) < count) {
        writer->is_full = 1;
        return;
    }
    memcpy(writer->at, bytes, count);
    writer->at += count;
}

static void put_text(struct writer *writer, const char *text)
{
    put(writer, text, strlen(text));
}

/* Decodes a string of the event where it will stand. Returns what was written; of no bytes if it is none. */
static struct text put_string(struct writer *writer, struct text written)
{
    char *from = writer->at;
    long bytes = json_text(written, from, (size_t)(writer->end - from));
    if (bytes < 0) {
        writer->is_full |= written.bytes > (size_t)(writer->end - from);
        return (struct text){from, 0};
    }
    writer->at += bytes;
    return (struct text){from, (size_t)bytes};
}

/* The gateway reads headers as latin1, as Node does: those characters become their bytes again. What no header may have is a space. */
static void put_value(struct writer *writer, struct text written)
{
    struct text text = put_string(writer, written);
    char *out = (char *)writer->at - text.bytes;
    const char *end = text.at + text.bytes;
    for (const char *at = text.at; at < end;) {
        unsigned char first = (unsigned char)*at;
        if ((first == 0xc2 || first == 0xc3) && end - at > 1) {
            *out++ = (char)((first & 3) << 6 | ((unsigned char)at[1] & 0x3f));
            at += 2;
        } else {
            *out++ = first < 0x20 || first == 0x7f ? ' ' : (char)first;
            at++;
        }
    }
    writer->at = out;
}

/* Characters that would end the request's target, or that it may not have, are written by their numbers. */
static void put_target(struct writer *writer, struct text written, int is_path)
{
    static const char digits[] = "0123456789ABCDEF";
    static char decoded[TARGET_BYTES];
    long bytes = json_text(written, decoded, sizeof decoded);
    writer->is_full |= bytes < 0 && written.bytes > sizeof decoded;
    if (is_path && (bytes <= 0 || decoded[0] != '/'))
        put_text(writer, "/");
    for (long i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)decoded[i];
        char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
        if (c <= 0x20 || c >= 0x7f || c == '#')
            put(writer, escaped, sizeof escaped);
        else
            put(writer, &decoded[i], 1);
    }
}

static int put_method(struct writer *writer, struct text written, int *is_head)
{
    struct text method = put_string(writer, written);
    for (size_t i = 0; i < method.bytes; i++)
        if (!is_token_char(method.at[i]))
            return 0;
    *is_head = text_is(method, "HEAD");
    return method.bytes > 0;
}

static int is_kept(struct text name)
{
    static const char *const dropped[] = {
        "connection", "content-length", "cookie", "expect", "keep-alive", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "x-amzn-request-context",
    };
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        if (is_name(name, dropped[i]))
            return 0;
    return 1;
}

static void put_headers(struct writer *writer, struct text headers)
{
    struct text key, value;
    while (json_next_member(&headers, &key, &value)) {
        struct writer before = *writer;
        struct text name = put_string(writer, key);
        int is_usable = name.bytes > 0 && is_kept(name) && value.at[0] == '"';
        for (size_t i = 0; i < name.bytes; i++)
            is_usable &= is_token_char(name.at[i]);
        if (!is_usable && !writer->is_full) {
            *writer = before;
            continue;
        }
        put_text(writer, ": ");
        put_value(writer, value);
        put_text(writer, "\r\n");
    }
}

static void put_cookies(struct writer *writer, struct text cookies)
{
    struct text rest = cookies, value;
    int count = 0;
    while (json_next_item(&rest, &value)) {
        if (value.at[0] != '"')
            continue;
        put_text(writer, count++ == 0 ? "cookie: " : "; ");
        put_value(writer, value);
    }
    if (count > 0)
        put_text(writer, "\r\n");
}

/* Who called, and by which address: as it is written in the event, with other characters than ASCII in the way of JSON. */
static void put_context(struct writer *writer, struct text context)
{
    put_text(writer, "x-amzn-request-context: ");
    const char *end = context.at + context.bytes;
    for (const char *at = context.at; at < end;) {
        char escaped[16];
        size_t bytes = utf8_bytes(at, end);
        if (*at == 0x7f) {
            /* JSON may have it in a string as it is; a header may not. */
            put_text(writer, "\\u007f");
            at++;
            continue;
        }
        if (bytes <= 1) {
            char c = (unsigned char)*at < 0x20 ? ' ' : *at;
            put(writer, &c, 1);
            at++;
            continue;
        }
        int count = json_ascii(at, bytes, escaped);
        put(writer, escaped, (size_t)count);
        at += bytes;
    }
    put_text(writer, "\r\n");
}

struct members {
    struct text context, path, query, headers, cookies, body;
    int is_base64;
};

/* In one go: a body may have megabytes. Returns false if it is no event of a URL. */
static int read_members(struct text event, struct members *members)
{
    struct text key, value;
    *members = (struct members){.is_base64 = 0};
    while (json_next_member(&event, &key, &value)) {
        if (text_is(key, "\"requestContext\""))
            members->context = value;
        else if (text_is(key, "\"rawPath\""))
            members->path = value;
        else if (text_is(key, "\"rawQueryString\""))
            members->query = value;
        else if (text_is(key, "\"headers\""))
            members->headers = value;
        else if (text_is(key, "\"cookies\""))
            members->cookies = value;
        else if (text_is(key, "\"body\""))
            members->body = value;
        else if (text_is(key, "\"isBase64Encoded\""))
            members->is_base64 = text_is(value, "true");
    }
    return members->context.bytes > 0 && members->context.at[0] == '{' && members->path.bytes > 2;
}

static void end_head(struct writer *writer, size_t body_bytes, int has_body)
{
    char line[96];
    if (has_body) {
        snprintf(line, sizeof line, "content-length: %zu\r\n", body_bytes);
        put_text(writer, line);
    }
    put_text(writer, "\r\n");
}

static int write_other(struct text event, struct writer *writer, struct web_request *request)
{
    put_text(writer, "POST " OTHER_EVENTS " HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    request->body = event;
    request->is_http = 0;
    end_head(writer, event.bytes, 1);
    return !writer->is_full;
}

/* Where it is written in the event; decoded it is no longer. Returns false if it is no base64. */
static int read_body(struct members *members, struct text *body)
{
    char *target = (char *)(members->body.at);
    long bytes = members->body.bytes > 0 ? json_text(members->body, target, members->body.bytes) : 0;
    if (bytes > 0 && members->is_base64)
        bytes = decode_base64(target, (size_t)bytes);
    *body = (struct text){target, bytes < 0 ? 0 : (size_t)bytes};
    return bytes >= 0 || members->body.at[0] != '"';
}

int write_request(struct text event, char *head, size_t room, struct web_request *request)
{
    struct writer writer = {.at = head, .end = head + room};
    struct members members;
    *request = (struct web_request){.is_http = 1};
    int is_http = read_members(event, &members);
    struct text http = is_http ? json_member(members.context, "http") : event;
    if (!is_http || json_member(http, "method").bytes == 0) {
        write_other(event, &writer, request);
    } else {
        if (!put_method(&writer, json_member(http, "method"), &request->is_head))
            return 0;
        put_text(&writer, " ");
        put_target(&writer, members.path, 1);
        if (members.query.bytes > 2) {
            put_text(&writer, "?");
            put_target(&writer, members.query, 0);
        }
        put_text(&writer, " HTTP/1.1\r\n");
        int has_length = json_member(members.headers, "content-length").bytes > 0;
        if (json_member(members.headers, "host").bytes == 0)
            put_text(&writer, "host: localhost\r\n");
        put_headers(&writer, members.headers);
        put_cookies(&writer, members.cookies);
        put_context(&writer, members.context);
        if (!read_body(&members, &request->body))
            return 0;
        end_head(&writer, request->body.bytes, request->body.bytes > 0 || has_length);
    }
    request->head = (struct text){head, (size_t)(writer.at - head)};
    return !writer.is_full;
}
