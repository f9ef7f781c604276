/* A piece of text that lies in somebody else's buffer, and JSON in such pieces. */
#ifndef SNAPFAAS_TEXT_H
#define SNAPFAAS_TEXT_H

#include <stddef.h>
#include <string.h>

struct text {
    const char *at;
    size_t bytes;
};

static inline struct text text_of(const char *string)
{
    return (struct text){string, strlen(string)};
}

static inline int text_is(struct text text, const char *string)
{
    return text.bytes == strlen(string) && memcmp(text.at, string, text.bytes) == 0;
}

/* True if the whole text is one JSON value, in UTF-8. */
int json_is_valid(struct text text);

/*
 * Takes the next member off `rest`, which is an object or what this function left of it. `value` is as it is written. Returns
 * false at the end, and where the text is no JSON.
 */
int json_next_member(struct text *rest, struct text *key, struct text *value);
/* The same for the items of an array. */
int json_next_item(struct text *rest, struct text *value);
/* As it is written; of no bytes if the object has no such member. The last one counts, as it does for most parsers. */
struct text json_member(struct text object, const char *key);

/*
 * Writes what the string `written` stands for, if that is one and has room with a NUL behind it; `target` may be where it is
 * written. Returns the number of bytes without the NUL, or -1.
 */
long json_text(struct text written, char *target, size_t room);
/* The same for text without a NUL in it. Returns false if it is none. */
int json_string(struct text written, char *target, size_t room);
/* Returns `missing` for what is no whole number. */
unsigned long long json_number(struct text written, unsigned long long missing);

/*
 * Writes `text` as the inner part of a JSON string. What has no room is left out, and so is what is no UTF-8. Returns the
 * number of bytes written.
 */
size_t json_escape(struct text text, char *target, size_t room);

/* Writes a character of more than one byte in ASCII, as `\\uXXXX` or two of them. Returns the number of bytes written. */
int json_ascii(const char *at, size_t bytes, char target[16]);

/* Bytes of the character at `at`, which is UTF-8 and whole; 0 if it is none. */
size_t utf8_bytes(const char *at, const char *end);

#endif
