#include "http.h"

#include <ctype.h>
#include <strings.h>

/* More hex digits would be more than a number holds. */
#define SIZE_DIGITS 15
/* A body of more is not waited for. */
#define LENGTH_DIGITS 15
/* Of a line with the size of a chunk. */
#define EXTENSION_BYTES 256

int is_token_char(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Without the space around it. */
static struct text trimmed(struct text text)
{
    while (text.bytes > 0 && (*text.at == ' ' || *text.at == '\t')) {
        text.at++;
        text.bytes--;
    }
    while (text.bytes > 0 && (text.at[text.bytes - 1] == ' ' || text.at[text.bytes - 1] == '\t'))
        text.bytes--;
    return text;
}

int is_name(struct text text, const char *name)
{
    return text.bytes == strlen(name) && strncasecmp(text.at, name, text.bytes) == 0;
}

int is_same_name(struct text a, struct text b)
{
    return a.bytes == b.bytes && strncasecmp(a.at, b.at, a.bytes) == 0;
}

int lists(struct text list, struct text word)
{
    while (list.bytes > 0) {
        const char *comma = memchr(list.at, ',', list.bytes);
        size_t bytes = comma == NULL ? list.bytes : (size_t)(comma - list.at);
        if (is_same_name(trimmed((struct text){list.at, bytes}), word))
            return 1;
        bytes += comma != NULL;
        list.at += bytes;
        list.bytes -= bytes;
    }
    return 0;
}

int next_line(struct text *rest, struct text *line)
{
    const char *end = memchr(rest->at, '\n', rest->bytes);
    if (end == NULL)
        return 0;
    size_t bytes = (size_t)(end - rest->at);
    *line = (struct text){rest->at, bytes > 0 && end[-1] == '\r' ? bytes - 1 : bytes};
    rest->at += bytes + 1;
    rest->bytes -= bytes + 1;
    return 1;
}

int split_field(struct text line, struct text *name, struct text *value)
{
    size_t bytes = 0;
    while (bytes < line.bytes && is_token_char(line.at[bytes]))
        bytes++;
    if (bytes == 0 || bytes == line.bytes || line.at[bytes] != ':')
        return 0;
    *name = (struct text){line.at, bytes};
    *value = trimmed((struct text){line.at + bytes + 1, line.bytes - bytes - 1});
    for (size_t i = 0; i < value->bytes; i++) {
        unsigned char c = (unsigned char)value->at[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return 0;
    }
    return 1;
}

static void keep_field(struct fields *fields, struct text name, struct text value)
{
    if (is_name(name, "content-type"))
        fields->content_type = value;
    else if (is_name(name, "lambda-runtime-function-error-type"))
        fields->error_type = value;
    else if (is_name(name, "lambda-runtime-function-error-body"))
        fields->error_body = value;
    else if (is_name(name, "lambda-runtime-function-response-mode"))
        fields->response_mode = value;
    else if (is_name(name, "lambda-extension-name"))
        fields->extension_name = value;
    else if (is_name(name, "lambda-extension-identifier"))
        fields->extension_id = value;
    else if (is_name(name, "lambda-extension-function-error-type"))
        fields->extension_error = value;
}

static int read_length(struct head *head, struct text value)
{
    unsigned long long length = 0;
    if (value.bytes == 0 || value.bytes > LENGTH_DIGITS)
        return 400;
    for (size_t i = 0; i < value.bytes; i++) {
        if (!isdigit((unsigned char)value.at[i]))
            return 400;
        length = length * 10 + (unsigned)(value.at[i] - '0');
    }
    if (head->has_length && head->length != length)
        return 400;
    head->length = length;
    head->has_length = 1;
    return 0;
}

/* Returns the status of a refusal, or 0. */
static int read_field(struct head *head, struct text name, struct text value)
{
    keep_field(&head->fields, name, value);
    if (is_name(name, "content-length"))
        return read_length(head, value);
    if (is_name(name, "transfer-encoding")) {
        if (head->is_chunked || !is_name(value, "chunked"))
            return 501;
        head->is_chunked = 1;
    } else if (is_name(name, "connection")) {
        head->closes |= lists(value, text_of("close"));
        if (head->is_old && lists(value, text_of("keep-alive")))
            head->closes = 0;
    } else if (is_name(name, "expect")) {
        if (!is_name(value, "100-continue"))
            return 417;
        head->awaits_continue = 1;
    }
    return 0;
}

static int read_request_line(struct head *head, struct text line)
{
    const char *end = line.at + line.bytes, *space = memchr(line.at, ' ', line.bytes);
    if (space == NULL || space == line.at)
        return 400;
    struct text method = {line.at, (size_t)(space - line.at)};
    for (size_t i = 0; i < method.bytes; i++)
        if (!is_token_char(method.at[i]))
            return 400;
    head->method = text_is(method, "GET") ? METHOD_GET : text_is(method, "POST") ? METHOD_POST : text_is(method, "PUT") ? METHOD_PUT : METHOD_OTHER;
    const char *target = space + 1;
    space = memchr(target, ' ', (size_t)(end - target));
    if (space == NULL || *target != '/')
        return 400;
    for (const char *at = target; at < space; at++)
        if (*at <= 0x20 || *at == 0x7f)
            return 400;
    const char *query = memchr(target, '?', (size_t)(space - target));
    head->path = (struct text){target, (size_t)((query == NULL ? space : query) - target)};
    struct text version = {space + 1, (size_t)(end - space - 1)};
    if (version.bytes != 8 || memcmp(version.at, "HTTP/", 5) != 0 || version.at[6] != '.')
        return 400;
    if (version.at[5] != '1')
        return 505;
    head->is_old = head->closes = version.at[7] == '0';
    return 0;
}

long read_head(const char *bytes, size_t count, struct head *head)
{
    struct text rest = {bytes, count}, line = {bytes, 0}, name, value;
    *head = (struct head){.method = METHOD_OTHER};
    /* Some clients end a body with a line too much. */
    do {
        if (!next_line(&rest, &line))
            return count < HEAD_BYTES ? 0 : -431;
    } while (line.bytes == 0);
    int refused = read_request_line(head, line);
    for (;;) {
        if (!next_line(&rest, &line))
            return refused != 0 ? -refused : count < HEAD_BYTES ? 0 : -431;
        if (line.bytes == 0)
            break;
        if (refused != 0)
            continue;
        refused = split_field(line, &name, &value) ? read_field(head, name, value) : 400;
    }
    /* What one reader takes for the end of a body another one takes for a request. */
    if (refused == 0 && head->is_chunked && (head->has_length || head->is_old))
        refused = 400;
    return refused != 0 ? -refused : (long)(rest.at - bytes);
}

/* ---- Body -------------------------------------------------------------------------------------------------------- */

void begin_body(struct body *body, const struct head *head, char *trailers)
{
    *body = (struct body){.is_chunked = head->is_chunked, .left = head->length, .trailers = trailers};
    body->at = head->is_chunked ? BODY_SIZE : head->length > 0 ? BODY_DATA : BODY_OVER;
    if (head->is_chunked)
        body->left = 0;
}

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

static void end_size_line(struct body *body)
{
    if (body->digits == 0)
        body->at = BODY_BAD;
    else
        body->at = body->left > 0 ? BODY_DATA : BODY_TRAILERS;
    body->digits = 0;
    body->line_bytes = 0;
}

static void take_size_char(struct body *body, char c)
{
    int digit = hex_digit(c);
    if (body->at == BODY_SIZE && digit >= 0 && body->digits < SIZE_DIGITS) {
        body->left = body->left << 4 | (unsigned)digit;
        body->digits++;
    } else if (c == '\n') {
        end_size_line(body);
    } else if (body->at == BODY_EXTENSION || c == ';' || c == '\r' || c == ' ' || c == '\t') {
        body->at = BODY_EXTENSION;
        if (++body->line_bytes > EXTENSION_BYTES)
            body->at = BODY_BAD;
    } else {
        body->at = BODY_BAD;
    }
}

static void take_trailer_char(struct body *body, char c)
{
    if (body->trailer_bytes == TRAILER_BYTES) {
        body->at = BODY_BAD;
        return;
    }
    if (body->trailers != NULL)
        body->trailers[body->trailer_bytes] = c;
    body->trailer_bytes++;
    if (c == '\n') {
        if (body->line_bytes == 0)
            body->at = BODY_OVER;
        body->line_bytes = 0;
    } else if (c != '\r') {
        body->line_bytes++;
    }
}

size_t take_body(struct body *body, const char *bytes, size_t count, struct text *data)
{
    *data = (struct text){bytes, 0};
    if (body->at == BODY_DATA) {
        data->bytes = body->left < count ? (size_t)body->left : count;
        body->left -= data->bytes;
        if (body->left == 0)
            body->at = body->is_chunked ? BODY_AFTER_CHUNK : BODY_OVER;
        return data->bytes;
    }
    size_t taken = 0;
    while (taken < count && body->at != BODY_DATA && body->at != BODY_OVER && body->at != BODY_BAD) {
        char c = bytes[taken++];
        if (body->at == BODY_TRAILERS)
            take_trailer_char(body, c);
        else if (body->at != BODY_AFTER_CHUNK)
            take_size_char(body, c);
        else if (c == '\n')
            body->at = BODY_SIZE;
        else if (c != '\r')
            body->at = BODY_BAD;
    }
    return taken;
}

int read_trailers(const struct body *body, struct fields *fields)
{
    struct text rest = {body->trailers, body->trailers == NULL ? 0 : body->trailer_bytes}, line, name, value;
    while (next_line(&rest, &line) && line.bytes > 0) {
        if (!split_field(line, &name, &value))
            return 0;
        keep_field(fields, name, value);
    }
    return 1;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

long decode_base64(char *bytes, size_t count)
{
    unsigned bits = 0, held = 0;
    size_t out = 0;
    while (count > 0 && bytes[count - 1] == '=')
        count--;
    for (size_t i = 0; i < count; i++) {
        int digit = base64_digit(bytes[i]);
        if (digit < 0)
            return -1;
        held = (held << 6 | (unsigned)digit) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes[out++] = (char)(held >> bits & 0xff);
        }
    }
    return (long)out;
}
