/*
 * An answer over HTTP (RFC 9112) as a client reads it, and what a function says of it: the metadata that AWS's
 * `HttpResponseStream` has, or its payload format 2.0.
 */
#include "web.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static int read_status_line(struct text line, int *status, int *is_old)
{
    if (line.bytes < 12 || memcmp(line.at, "HTTP/1.", 7) != 0 || !isdigit((unsigned char)line.at[7]) || line.at[8] != ' ')
        return 0;
    *is_old = line.at[7] == '0';
    *status = 0;
    for (int i = 9; i < 12; i++) {
        if (!isdigit((unsigned char)line.at[i]))
            return 0;
        *status = *status * 10 + (line.at[i] - '0');
    }
    return *status >= 100 && (line.bytes == 12 || line.at[12] == ' ');
}

static int read_length(struct text value, unsigned long long *length)
{
    unsigned long long read = json_number(value, ~0ull);
    if (read == ~0ull || (*length != ~0ull && *length != read))
        return 0;
    *length = read;
    return 1;
}

static int read_fields(struct text rest, struct web_response *response, unsigned long long *length)
{
    struct text line, name, value;
    while (next_line(&rest, &line) && line.bytes > 0) {
        if (response->fields == MOST_FIELDS || !split_field(line, &name, &value))
            return 0;
        response->names[response->fields] = name;
        response->values[response->fields++] = value;
        if (is_name(name, "content-length") && !read_length(value, length))
            return 0;
        if (is_name(name, "transfer-encoding")) {
            if (!is_name(value, "chunked") || response->is_chunked)
                return 0;
            response->is_chunked = 1;
        }
    }
    return 1;
}

/* Whether a header `Connection` has it, of which there may be several. */
static int is_listed(const struct web_response *response, struct text word)
{
    for (int i = 0; i < response->fields; i++)
        if (is_name(response->names[i], "connection") && lists(response->values[i], word))
            return 1;
    return 0;
}

/* `timeout=5, max=100`: the answers of Node, Apache and others say it; none does that means to close the connection. */
static int read_keep_alive(const struct web_response *response)
{
    static const char timeout[] = "timeout=";
    struct text value = response_field(response, "keep-alive");
    if (value.bytes < sizeof timeout || strncasecmp(value.at, timeout, sizeof timeout - 1) != 0 ||
        is_listed(response, text_of("close")))
        return 0;
    int seconds = 0;
    for (size_t at = sizeof timeout - 1; at < value.bytes && isdigit((unsigned char)value.at[at]) && seconds < 10000; at++)
        seconds = seconds * 10 + (value.at[at] - '0');
    return seconds;
}

long read_response(const char *bytes, size_t count, int is_head, struct web_response *response)
{
    struct text rest = {bytes, count}, line, head = rest;
    int is_old = 0;
    unsigned long long length = ~0ull;
    /* Nothing that may not begin an answer is waited for. */
    for (size_t i = 0; i < count && i < 5; i++)
        if (bytes[i] != "HTTP/"[i])
            return -1;
    if (!next_line(&rest, &line))
        return count < RESPONSE_HEAD_BYTES ? 0 : -1;
    /* Not as a whole: that would be all the fields that there could be. */
    response->is_chunked = response->ends_with_connection = response->keeps_s = response->fields = 0;
    if (!read_status_line(line, &response->status, &is_old))
        return -1;
    head = rest;
    do {
        if (!next_line(&rest, &line))
            return count < RESPONSE_HEAD_BYTES ? 0 : -1;
    } while (line.bytes > 0);
    if (!read_fields(head, response, &length) || (response->is_chunked && (is_old || length != ~0ull)))
        return -1;
    int has_no_body = is_head || response->status < 200 || response->status == 204 || response->status == 304;
    struct head framing = {.is_chunked = response->is_chunked && !has_no_body, .length = has_no_body ? 0 : length};
    response->ends_with_connection = !has_no_body && !response->is_chunked && length == ~0ull;
    response->keeps_s = is_old || response->ends_with_connection ? 0 : read_keep_alive(response);
    begin_body(&response->body, &framing, NULL);
    return (long)(rest.at - bytes);
}

struct text response_field(const struct web_response *response, const char *name)
{
    for (int i = 0; i < response->fields; i++)
        if (is_name(response->names[i], name))
            return response->values[i];
    return (struct text){NULL, 0};
}

/* ---- As JSON ----------------------------------------------------------------------------------------------------- */

struct output {
    char *at, *end;
    int is_full;
};

static void put(struct output *output, const char *bytes, size_t count)
{
    if ((size_t)(output->end - output->at) < count) {
        output->is_full = 1;
        return;
    }
    memcpy(output->at, bytes, count);
    output->at += count;
}

static void put_text(struct output *output, const char *text)
{
    put(output, text, strlen(text));
}

/* Each byte of a header is a character, as in latin1. */
static void put_bytes(struct output *output, struct text value, int makes_small)
{
    for (size_t i = 0; i < value.bytes; i++) {
        unsigned char c = (unsigned char)value.at[i];
        char written[8] = {(char)(makes_small ? tolower(c) : c)};
        if (c < 0x20 || c >= 0x7f)
            snprintf(written, sizeof written, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            snprintf(written, sizeof written, "\\%c", c);
        put_text(output, written);
    }
}

static int is_between(struct text name, const struct web_response *response)
{
    static const char *const dropped[] = {"connection", "keep-alive", "proxy-connection", "set-cookie", "te", "trailer",
                                          "transfer-encoding", "upgrade"};
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        if (is_name(name, dropped[i]))
            return 1;
    return is_listed(response, name);
}

static int is_repeated(const struct web_response *response, int field)
{
    for (int i = 0; i < field; i++)
        if (is_same_name(response->names[i], response->names[field]))
            return 1;
    return 0;
}

static void put_fields(struct output *output, const struct web_response *response)
{
    int count = 0;
    put_text(output, ",\"headers\":{");
    for (int i = 0; i < response->fields; i++) {
        if (is_repeated(response, i) || is_between(response->names[i], response))
            continue;
        put_text(output, count++ > 0 ? ",\"" : "\"");
        put_bytes(output, response->names[i], 1);
        put_text(output, "\":\"");
        put_bytes(output, response->values[i], 0);
        for (int j = i + 1; j < response->fields; j++) {
            /* Several lengths are equal, or there is no answer. */
            if (!is_same_name(response->names[i], response->names[j]) || is_name(response->names[i], "content-length"))
                continue;
            put_text(output, ", ");
            put_bytes(output, response->values[j], 0);
        }
        put_text(output, "\"");
    }
    put_text(output, "}");
}

static void put_cookies(struct output *output, const struct web_response *response)
{
    int count = 0;
    for (int i = 0; i < response->fields; i++) {
        if (!is_name(response->names[i], "set-cookie"))
            continue;
        put_text(output, count++ > 0 ? ",\"" : ",\"cookies\":[\"");
        put_bytes(output, response->values[i], 0);
        put_text(output, "\"");
    }
    if (count > 0)
        put_text(output, "]");
}

static void put_head(struct output *output, const struct web_response *response)
{
    char status[32];
    snprintf(status, sizeof status, "{\"statusCode\":%d", response->status);
    put_text(output, status);
    put_fields(output, response);
    put_cookies(output, response);
}

size_t write_metadata(const struct web_response *response, char *target, size_t room)
{
    struct output output = {target, target + room, 0};
    put_head(&output, response);
    put(&output, "}\0\0\0\0\0\0\0\0", 9);
    return output.is_full ? 0 : (size_t)(output.at - target);
}

/* Text is told as it is: the event of a request has it in the same way. */
static int is_text(const struct web_response *response, struct text body)
{
    static const char *const types[] = {"application/json", "application/javascript", "application/xml"};
    struct text type = response_field(response, "content-type"), encoding = response_field(response, "content-encoding");
    if (encoding.bytes > 0 && !is_name(encoding, "identity"))
        return 0;
    const char *semicolon = type.bytes > 0 ? memchr(type.at, ';', type.bytes) : NULL;
    if (semicolon != NULL)
        type.bytes = (size_t)(semicolon - type.at);
    while (type.bytes > 0 && type.at[type.bytes - 1] == ' ')
        type.bytes--;
    if (type.bytes <= 5)
        return 0;
    struct text front = {type.at, 5}, back = {type.at + type.bytes - 5, 5};
    int is_known = is_name(front, "text/") || is_name(back, "+json") || is_name((struct text){back.at + 1, 4}, "+xml");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        is_known |= is_name(type, types[i]);
    const char *at = body.at, *end = body.at + body.bytes;
    for (size_t bytes; is_known && at < end; at += bytes)
        if ((bytes = utf8_bytes(at, end)) == 0)
            return 0;
    return is_known;
}

static void put_base64(struct output *output, struct text body)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < body.bytes && !output->is_full; i += 3) {
        const unsigned char *three = (const unsigned char *)body.at + i;
        size_t left = body.bytes - i;
        unsigned bits = (unsigned)three[0] << 16 | (left > 1 ? (unsigned)three[1] << 8 : 0) | (left > 2 ? three[2] : 0);
        char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63], left > 1 ? digits[bits >> 6 & 63] : '=',
                        left > 2 ? digits[bits & 63] : '='};
        put(output, four, sizeof four);
    }
}

size_t write_answer(const struct web_response *response, struct text body, char *target, size_t room)
{
    struct output output = {target, target + room, 0};
    put_head(&output, response);
    int is_plain = is_text(response, body);
    put_text(&output, ",\"body\":\"");
    if (is_plain) {
        size_t left = (size_t)(output.end - output.at);
        size_t bytes = json_escape(body, output.at, left);
        output.at += bytes;
        /* It leaves out what has no room. */
        output.is_full |= bytes + 6 > left;
    } else {
        put_base64(&output, body);
    }
    put_text(&output, is_plain ? "\",\"isBase64Encoded\":false}" : "\",\"isBase64Encoded\":true}");
    return output.is_full ? 0 : (size_t)(output.at - target);
}
