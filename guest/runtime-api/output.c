/*
 * What the bootstrap prints. In a VM it writes to init's pipes, and this has nothing to do. Without one it writes to pipes of
 * ours: each piece goes on as a LOG frame that names its invocation.
 */
#define _GNU_SOURCE
#include "runtime-api.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_BYTES (16 * 1024)
/* Taken at once from one that goes on printing. */
#define MOST_PIECES 128

static int pipes[OUTPUTS] = {-1, -1};
static unsigned long request;

void begin_output(int theirs[OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0) {
            perror("snapfaas: no pipe for the bootstrap's output");
            exit(1);
        }
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        pipes[i] = ends[0];
        theirs[i] = ends[1];
    }
}

void watch_output(struct pollfd fds[OUTPUTS])
{
    for (int i = 0; i < OUTPUTS; i++)
        fds[i] = (struct pollfd){.fd = pipes[i], .events = POLLIN};
}

void pump_output(void)
{
    static char piece[LOG_BYTES];
    char header[1024];
    for (int i = 0; i < OUTPUTS; i++) {
        ssize_t count = 1;
        for (int pieces = 0; pipes[i] >= 0 && count > 0 && pieces < MOST_PIECES; pieces++) {
            count = read(pipes[i], piece, sizeof piece);
            if (count > 0)
                write_frame(INIT, FRAME_LOG,
                            print_header(header, "{\"request\":%lu,\"stream\":\"%s\"}", request, i == 0 ? "stdout" : "stderr"),
                            (struct text){piece, (size_t)count});
        }
        if (count == 0) {
            close(pipes[i]);
            pipes[i] = -1;
        }
    }
}

void set_output_number(unsigned long number)
{
    request = number;
}
