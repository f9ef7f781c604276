/*
 * A function that is a container image: init has made the image the root. What the image says of itself lies in a file that
 * its maker wrote (src/oci/root-files.ts); what LOAD says wins, part by part, as AWS's `ImageConfig` does.
 */
#define _GNU_SOURCE
#include "runtime-api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IMAGE_FILE "/.snapfaas/image.json"
#define IMAGE_BYTES (1024 * 1024)
#define MAX_ARGUMENTS 1024
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static char image_bytes[IMAGE_BYTES];
static struct text image;
/* What the strings of the command line and the environment are made in. */
static char strings[2 * IMAGE_BYTES];
static size_t string_bytes;
static char *arguments[MAX_ARGUMENTS + 1];
static int argument_count;
static char directory[4096] = "/";
/* The first argument that came from the command, not from the entry point: what AWS's images take for the handler. */
static const char *handler;

static char *kept_string(struct text written)
{
    char *at = strings + string_bytes;
    if (!json_string(written, at, sizeof strings - string_bytes))
        return NULL;
    string_bytes += strlen(at) + 1;
    return at;
}

static void add_arguments(struct text list)
{
    struct text element;
    while (argument_count < MAX_ARGUMENTS && json_next_item(&list, &element)) {
        char *argument = kept_string(element);
        if (argument != NULL)
            arguments[argument_count++] = argument;
    }
}

static struct text said(struct text overrides, const char *key)
{
    struct text value = json_member(overrides, key);
    return value.bytes > 0 && !text_is(value, "null") ? value : json_member(image, key);
}

int read_image(struct text load)
{
    int fd = open(IMAGE_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    for (ssize_t count; image.bytes < sizeof image_bytes; image.bytes += (size_t)count)
        if ((count = read(fd, image_bytes + image.bytes, sizeof image_bytes - image.bytes)) <= 0)
            break;
    close(fd);
    image.at = image_bytes;
    struct text overrides = json_member(load, "image");
    add_arguments(said(overrides, "entry_point"));
    int before = argument_count;
    add_arguments(said(overrides, "command"));
    handler = arguments[before];
    json_string(said(overrides, "working_directory"), directory, sizeof directory);
    if (argument_count == 0)
        fail_start(own_failure("Runtime.InvalidEntrypoint", "the image has neither ENTRYPOINT nor CMD, so there is nothing to "
                               "start; set one when it is built, or ImageConfig.EntryPoint of the function"));
    /* What is left of the root of before must not be the working directory of anything. */
    return chdir("/") == 0;
}

const char *image_program(void)
{
    return arguments[0];
}

const char *image_directory(void)
{
    return directory;
}

/* In the child. The function's own variables come after these. */
void set_image_environment(void)
{
    struct text rest = json_member(image, "environment"), key, value;
    clearenv();
    setenv("PATH", DEFAULT_PATH, 1);
    setenv("HOME", "/tmp", 1);
    setenv("LANG", "en_US.UTF-8", 1);
    setenv("TZ", ":UTC", 1);
    while (json_next_member(&rest, &key, &value)) {
        char *name = kept_string(key), *content = name == NULL ? NULL : kept_string(value);
        if (content != NULL)
            setenv(name, content, 1);
    }
}

void set_image_handler(void)
{
    if (handler == NULL)
        unsetenv("_HANDLER");
    else
        setenv("_HANDLER", handler, 1);
}

int enter_image_directory(void)
{
    return chdir(directory) == 0;
}

void exec_image_program(void)
{
    execvp(arguments[0], arguments);
}
