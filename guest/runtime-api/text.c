/*
 * JSON as far as a runtime needs it: members of what the host says, and whether a function's answer is JSON at all. Nothing
 * here recurses, allocates or copies more than it is given room for.
 */
#include "text.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>

/* Of arrays and objects in each other. */
#define DEEPEST 10000

size_t utf8_bytes(const char *at, const char *end)
{
    const unsigned char *byte = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    if (left == 0)
        return 0;
    if (byte[0] < 0x80)
        return 1;
    size_t bytes = byte[0] >= 0xf0 && byte[0] <= 0xf4 ? 4 : byte[0] >= 0xe0 && byte[0] < 0xf0 ? 3 : byte[0] >= 0xc2 && byte[0] < 0xe0 ? 2 : 0;
    if (bytes == 0 || left < bytes)
        return 0;
    for (size_t i = 1; i < bytes; i++)
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
    /* Written longer than need be, halves of pairs, and what is behind the last character. */
    int is_wrong = (byte[0] == 0xe0 && byte[1] < 0xa0) || (byte[0] == 0xed && byte[1] >= 0xa0) ||
                   (byte[0] == 0xf0 && byte[1] < 0x90) || (byte[0] == 0xf4 && byte[1] >= 0x90);
    return is_wrong ? 0 : bytes;
}

/* ---- Grammar: each returns what follows, or NULL if it is not there. --------------------------------------------- */

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static const char *skip_string(const char *at, const char *end)
{
    if (at == end || *at++ != '"')
        return NULL;
    while (at < end && *at != '"') {
        /* Most characters by far, of bodies of megabytes. */
        if ((unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '\\') {
            at++;
            continue;
        }
        if (*at == '\\') {
            if (++at == end || strchr("\"\\/bfnrtu", *at) == NULL || *at == '\0')
                return NULL;
            if (*at++ != 'u')
                continue;
            for (int i = 0; i < 4; i++, at++)
                if (at == end || !isxdigit((unsigned char)*at))
                    return NULL;
        } else {
            size_t bytes = (unsigned char)*at < 0x20 ? 0 : utf8_bytes(at, end);
            if (bytes == 0)
                return NULL;
            at += bytes;
        }
    }
    return at == end ? NULL : at + 1;
}

static const char *skip_digits(const char *at, const char *end)
{
    const char *from = at;
    while (at < end && isdigit((unsigned char)*at))
        at++;
    return at == from ? NULL : at;
}

static const char *skip_number(const char *at, const char *end)
{
    if (at < end && *at == '-')
        at++;
    if (at < end && *at == '0')
        at++;
    else if ((at = skip_digits(at, end)) == NULL)
        return NULL;
    if (at < end && *at == '.' && (at = skip_digits(at + 1, end)) == NULL)
        return NULL;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = skip_digits(at, end);
    }
    return at;
}

static const char *skip_word(const char *at, const char *end, const char *word)
{
    size_t bytes = strlen(word);
    return (size_t)(end - at) >= bytes && memcmp(at, word, bytes) == 0 ? at + bytes : NULL;
}

static const char *skip_scalar(const char *at, const char *end)
{
    switch (*at) {
    case '"':
        return skip_string(at, end);
    case 't':
        return skip_word(at, end, "true");
    case 'f':
        return skip_word(at, end, "false");
    case 'n':
        return skip_word(at, end, "null");
    default:
        return skip_number(at, end);
    }
}

/* A key, its colon and what space is around them. */
static const char *skip_key(const char *at, const char *end)
{
    at = skip_string(skip_space(at, end), end);
    if (at == NULL)
        return NULL;
    at = skip_space(at, end);
    return at < end && *at == ':' ? at + 1 : NULL;
}

static const char *skip_value(const char *at, const char *end)
{
    uint8_t is_object[DEEPEST / 8];
    size_t depth = 0;
    for (;;) {
        at = skip_space(at, end);
        if (at == end)
            return NULL;
        int opens = *at == '{' || *at == '[';
        char close = *at == '{' ? '}' : ']';
        if (opens) {
            at = skip_space(at + 1, end);
            if (at < end && *at == close) {
                at++;
            } else {
                if (depth == DEEPEST)
                    return NULL;
                uint8_t bit = (uint8_t)(1 << depth % 8);
                uint8_t others = depth % 8 == 0 ? 0 : (uint8_t)(is_object[depth / 8] & ~bit);
                is_object[depth / 8] = (uint8_t)(others | (close == '}' ? bit : 0));
                depth++;
                if (close == '}' && (at = skip_key(at, end)) == NULL)
                    return NULL;
                continue;
            }
        } else if ((at = skip_scalar(at, end)) == NULL) {
            return NULL;
        }
        /* A value is over: so may be those around it. */
        for (;;) {
            if (depth == 0)
                return at;
            at = skip_space(at, end);
            int in_object = is_object[(depth - 1) / 8] >> (depth - 1) % 8 & 1;
            if (at < end && *at == ',') {
                at++;
                if (in_object && (at = skip_key(at, end)) == NULL)
                    return NULL;
                break;
            }
            if (at == end || *at != (in_object ? '}' : ']'))
                return NULL;
            at++;
            depth--;
        }
    }
}

int json_is_valid(struct text text)
{
    const char *end = text.at + text.bytes, *at = skip_value(text.at, end);
    return at != NULL && skip_space(at, end) == end;
}

/* ---- Members and values ------------------------------------------------------------------------------------------ */

int json_next_member(struct text *rest, struct text *key, struct text *value)
{
    const char *end = rest->at + rest->bytes, *at = skip_space(rest->at, end);
    if (at == end || (*at != '{' && *at != ','))
        return 0;
    const char *key_at = skip_space(at + 1, end), *key_end = skip_string(key_at, end);
    if (key_end == NULL || (at = skip_key(key_at, end)) == NULL)
        return 0;
    at = skip_space(at, end);
    const char *value_end = skip_value(at, end);
    if (value_end == NULL)
        return 0;
    *key = (struct text){key_at, (size_t)(key_end - key_at)};
    *value = (struct text){at, (size_t)(value_end - at)};
    *rest = (struct text){value_end, (size_t)(end - value_end)};
    return 1;
}

int json_next_item(struct text *rest, struct text *value)
{
    const char *end = rest->at + rest->bytes, *at = skip_space(rest->at, end);
    if (at == end || (*at != '[' && *at != ','))
        return 0;
    at = skip_space(at + 1, end);
    const char *value_end = skip_value(at, end);
    if (value_end == NULL)
        return 0;
    *value = (struct text){at, (size_t)(value_end - at)};
    *rest = (struct text){value_end, (size_t)(end - value_end)};
    return 1;
}

struct text json_member(struct text object, const char *key)
{
    struct text found = {object.at, 0}, name, value;
    size_t bytes = strlen(key);
    while (json_next_member(&object, &name, &value))
        if (name.bytes == bytes + 2 && memcmp(name.at + 1, key, bytes) == 0)
            found = value;
    return found;
}

static unsigned hex4(const char *at)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 4 | (unsigned)(isdigit((unsigned char)at[i]) ? at[i] - '0' : (at[i] | 0x20) - 'a' + 10);
    return value;
}

static size_t put_utf8(unsigned code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t bytes = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = bytes - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00 >> bytes & 0xff) | code);
    return bytes;
}

long json_text(struct text written, char *target, size_t room)
{
    const char *end = written.at + written.bytes;
    if (room == 0 || written.bytes < 2 || skip_string(written.at, end) != end)
        return -1;
    size_t bytes = 0;
    for (const char *at = written.at + 1; at < end - 1;) {
        if (*at != '\\' && room - bytes > 1) {
            target[bytes++] = *at++;
            continue;
        }
        char character[4];
        size_t count = 1;
        if (*at != '\\') {
            character[0] = *at++;
        } else if (at[1] != 'u') {
            static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
            character[0] = meant[strchr(names, at[1]) - names];
            at += 2;
        } else {
            unsigned code = hex4(at + 2);
            at += 6;
            int is_pair = code >= 0xd800 && code < 0xdc00 && end - at > 6 && at[0] == '\\' && at[1] == 'u';
            unsigned low = is_pair ? hex4(at + 2) : 0;
            if (low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                at += 6;
            }
            count = put_utf8(code >= 0xd800 && code < 0xe000 ? 0xfffd : code, character);
        }
        if (count >= room - bytes)
            return -1;
        memcpy(target + bytes, character, count);
        bytes += count;
    }
    target[bytes] = '\0';
    return (long)bytes;
}

int json_string(struct text written, char *target, size_t room)
{
    return json_text(written, target, room) >= 0;
}

unsigned long long json_number(struct text written, unsigned long long missing)
{
    unsigned long long value = 0;
    if (written.bytes == 0 || written.bytes > 18)
        return missing;
    for (size_t i = 0; i < written.bytes; i++) {
        if (!isdigit((unsigned char)written.at[i]))
            return missing;
        value = value * 10 + (unsigned)(written.at[i] - '0');
    }
    return value;
}

int json_ascii(const char *at, size_t bytes, char target[16])
{
    unsigned code = (unsigned char)*at & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++)
        code = code << 6 | ((unsigned char)at[i] & 0x3f);
    if (code < 0x10000)
        return snprintf(target, 16, "\\u%04x", code);
    code -= 0x10000;
    return snprintf(target, 16, "\\u%04x\\u%04x", 0xd800 + (code >> 10), 0xdc00 + (code & 0x3ff));
}

size_t json_escape(struct text text, char *target, size_t room)
{
    static const char digits[] = "0123456789abcdef";
    const char *end = text.at + text.bytes;
    size_t bytes = 0;
    for (const char *at = text.at; at < end;) {
        size_t length = utf8_bytes(at, end);
        if (length == 0) {
            at++;
            continue;
        }
        char escaped[6] = {'\\', *at, '0', '0', 0, 0};
        unsigned char first = (unsigned char)*at;
        size_t count = length;
        if (first == '"' || first == '\\') {
            count = 2;
        } else if (first < 0x20) {
            escaped[1] = 'u';
            escaped[2] = escaped[3] = '0';
            escaped[4] = digits[first >> 4];
            escaped[5] = digits[first & 15];
            count = 6;
        } else {
            memcpy(escaped, at, length);
        }
        if (count > room - bytes)
            break;
        memcpy(target + bytes, escaped, count);
        bytes += count;
        at += length;
    }
    return bytes;
}
