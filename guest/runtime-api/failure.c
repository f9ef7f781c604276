#include "runtime-api.h"

#include <stdarg.h>
#include <stdio.h>

/* Of a frame to init, which takes no more than 64 KiB. */
#define FAILURE_BYTES (60 * 1000)
/* Of what is told beside the payload itself. */
#define TYPE_BYTES 512
#define MESSAGE_BYTES (8 * 1024)
#define STACK_BYTES (16 * 1024)

static char buffer[FAILURE_BYTES + 16];
static size_t used;

static void put(struct text text)
{
    size_t room = FAILURE_BYTES - used, bytes = text.bytes < room ? text.bytes : room;
    memcpy(buffer + used, text.at, bytes);
    used += bytes;
}

static void put_escaped(struct text text, size_t most)
{
    size_t room = FAILURE_BYTES - used;
    put(text_of("\""));
    used += json_escape(text, buffer + used, room < most ? room - 1 : most);
    put(text_of("\""));
}

/* A member of the payload that is of this kind and not too long. */
static int is_usable(struct text value, char first, size_t most)
{
    return value.bytes > 0 && value.bytes <= most && value.at[0] == first;
}

struct text describe_failure(const char *kind, const char *type, struct text posted)
{
    int is_json = json_is_valid(posted);
    struct text object = is_json ? posted : text_of("");
    while (object.bytes > 0 && strchr(" \t\r\n", object.at[0]) != NULL) {
        object.at++;
        object.bytes--;
    }
    struct text own_type = json_member(object, "errorType"), message = json_member(object, "errorMessage");
    struct text stack = json_member(object, "stackTrace");
    if (stack.bytes == 0)
        stack = json_member(object, "trace");
    used = 0;
    put(text_of("{\"type\":"));
    if (kind != NULL)
        put_escaped(text_of(kind), TYPE_BYTES);
    else if (is_usable(own_type, '"', TYPE_BYTES))
        put(own_type);
    else
        put_escaped(text_of(type[0] != '\0' ? type : "Runtime.Unknown"), TYPE_BYTES);
    put(text_of(",\"message\":"));
    if (is_usable(message, '"', MESSAGE_BYTES))
        put(message);
    else
        put_escaped(is_json && message.bytes == 0 ? text_of("") : message.bytes > 0 ? message : posted, MESSAGE_BYTES / 4);
    put(text_of(",\"stack\":"));
    put(is_usable(stack, '[', STACK_BYTES) ? stack : text_of("[]"));
    /* What the caller of Lambda's API gets, unchanged, or not at all. */
    size_t without = used;
    if (is_json && posted.bytes < FAILURE_BYTES - used - 32) {
        put(text_of(",\"posted\":\""));
        size_t room = FAILURE_BYTES - used - 2, bytes = json_escape(posted, buffer + used, room);
        used += bytes;
        if (bytes + 6 > room)
            used = without;
        else
            put(text_of("\""));
    }
    put(text_of("}"));
    return (struct text){buffer, used};
}

struct text own_failure(const char *type, const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    used = 0;
    put(text_of("{\"type\":"));
    put_escaped(text_of(type), TYPE_BYTES);
    put(text_of(",\"message\":"));
    put_escaped(text_of(message), MESSAGE_BYTES);
    put(text_of(",\"stack\":[],\"raw\":true}"));
    return (struct text){buffer, used};
}
