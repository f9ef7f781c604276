/*
 * JSON as the Runtime API reads and writes it: any bytes, valid or not.
 *
 * What has to hold: nothing is read behind the text; what is valid stays so with space around it, and not with something behind it; members
 * of a valid object are valid; what is escaped is a string, and stands for the text it was made of.
 */
#define _GNU_SOURCE
#include "text.c"

#include "fuzz.h"

#include <stdlib.h>

#define ROOM 2048

static int is_utf8(struct text text)
{
    const char *end = text.at + text.bytes;
    for (const char *at = text.at; at < end;) {
        size_t bytes = utf8_bytes(at, end);
        if (bytes == 0)
            return 0;
        at += bytes;
    }
    return 1;
}

static void check_members(struct text object)
{
    struct text rest = object, key, value;
    size_t before = rest.bytes + 1;
    while (json_next_member(&rest, &key, &value)) {
        CHECK(rest.bytes < before, "a member takes nothing");
        before = rest.bytes;
        CHECK(json_is_valid(key) && json_is_valid(value), "a member that is no JSON");
        char string[ROOM];
        CHECK(json_string(key, string, sizeof string), "a key that is no string");
    }
}

static void check_escape(struct text text)
{
    char written[ROOM], read[ROOM];
    written[0] = '"';
    size_t bytes = json_escape(text, written + 1, sizeof written - 2);
    written[bytes + 1] = '"';
    struct text string = {written, bytes + 2};
    CHECK(json_is_valid(string), "what was escaped is no JSON");
    CHECK(json_string(string, read, sizeof read), "what was escaped is no string");
    if (is_utf8(text) && memchr(text.at, 0, text.bytes) == NULL)
        CHECK(strlen(read) == text.bytes && memcmp(read, text.at, text.bytes) == 0, "what was escaped is another text");
    for (size_t room = 0; room < bytes && room < 16; room++) {
        size_t less = json_escape(text, read, room);
        CHECK(less <= room && memcmp(read, written + 1, less) == 0, "what is cut is another text");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 256)
        return 0;
    /* Memory of its own, behind which nothing may be read. */
    char *bytes = malloc(size + 1), spaced[300];
    memcpy(bytes, data, size);
    bytes = realloc(bytes, size == 0 ? 1 : size);
    struct text text = {bytes, size};
    int is_valid = json_is_valid(text);
    memcpy(spaced, " \n", 2);
    memcpy(spaced + 2, bytes, size);
    memcpy(spaced + 2 + size, "\t\r", 2);
    CHECK(json_is_valid((struct text){spaced, size + 4}) == is_valid, "space makes a difference");
    memcpy(spaced + 2 + size, ",1", 2);
    if (is_valid)
        CHECK(!json_is_valid((struct text){spaced, size + 4}), "two values are one");
    check_members(text);
    check_escape(text);
    char string[ROOM];
    json_string(text, string, sizeof string);
    json_string(text, string, 3);
    json_number(text, 7);
    json_member(text, "id");
    free(bytes);
    return 0;
}
