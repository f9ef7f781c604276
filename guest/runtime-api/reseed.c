/*
 * Random generators in an application's own memory, which a snapshot would hand to every VM. Nobody can reach them from
 * outside, so an image may have its interpreter bring somebody inside: a variable of this program's arguments, such as
 * `NODE_OPTIONS=--require=FILE`. It says `h` on a socket when it is there, seals the generators at `s`, says `s`, and renews
 * them at `r`. Until then each draws new state at each use, so that nobody waits for the renewal.
 */
#define _GNU_SOURCE
#include "runtime-api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define FD_VARIABLE "_SNAPFAAS_RESEED_FD"
/* An application that does not look at its socket for so long would not look at a request. */
#define ANSWER_MS 5000

static char **variables;
static int socket_of[2] = {-1, -1};

void begin_reseed(char **arguments)
{
    variables = arguments;
    if (is_web() && *variables != NULL && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket_of) < 0)
        perror("snapfaas: no socket for the application's generators");
}

void set_reseed_environment(void)
{
    char number[16], value[4096];
    if (socket_of[1] < 0)
        return;
    for (char **variable = variables; *variable != NULL; variable++) {
        char name[64];
        const char *equals = strchr(*variable, '=');
        if (equals == NULL || (size_t)(equals - *variable) >= sizeof name)
            continue;
        memcpy(name, *variable, (size_t)(equals - *variable));
        name[equals - *variable] = '\0';
        const char *own = getenv(name);
        int bytes = snprintf(value, sizeof value, "%s%s%s", equals + 1, own == NULL ? "" : " ", own == NULL ? "" : own);
        if (bytes > 0 && (size_t)bytes < sizeof value)
            setenv(name, value, 1);
    }
    snprintf(number, sizeof number, "%d", socket_of[1]);
    setenv(FD_VARIABLE, number, 1);
    fcntl(socket_of[1], F_SETFD, 0);
}

/* Returns false if it does not come in time, or nobody is there to say it. */
static int hears(char wanted)
{
    char byte = 0;
    struct pollfd fd = {.fd = socket_of[0], .events = POLLIN};
    while (poll(&fd, 1, wanted == 'h' ? 0 : ANSWER_MS) == 1 && recv(socket_of[0], &byte, 1, 0) == 1)
        if (byte == wanted)
            return 1;
    return 0;
}

int seal_generators(void)
{
    static int is_there;
    if (socket_of[0] < 0)
        return 1;
    is_there = is_there || hears('h');
    return !is_there || (send(socket_of[0], "s", 1, MSG_NOSIGNAL) == 1 && hears('s'));
}

void renew_generators(void)
{
    if (socket_of[0] >= 0)
        send(socket_of[0], "r", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}
