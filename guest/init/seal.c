/*
 * The function's processes around a snapshot. From SEALED to the next command of the host they stand still: a VM that was
 * restored has neither the right time nor random numbers of its own before the host has sent them, and whatever a thread
 * drew until then it would draw in every VM. A runtime that has no more threads than before the function's import waits in
 * a read and draws nothing: it is left alone, since each thread that is stopped takes time and memory to go on.
 *
 * Of the processes beside the runtime the host is told: each may have random generators in its memory, which nobody from
 * outside can make draw new seeds.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As many are named; all are counted. */
#define NAMED_PROCESSES 4
/* What is told of a command line. */
#define NAME_BYTES 64
/* Of a wrapper that starts a wrapper. */
#define DEEPEST 16
/* How long the runtime may take after SEALED to read what comes next. */
#define READ_MS 100

static int is_stopped;
/* Of the runtime, before the import; 0: not known. */
static int first_threads;

void let_function_run(void)
{
    if (is_stopped)
        kill(-1, SIGCONT);
    is_stopped = 0;
}

static ssize_t read_file_of(pid_t pid, const char *file, char *target, size_t bytes)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? -1 : read(fd, target, bytes - 1);
    if (fd >= 0)
        close(fd);
    target[count > 0 ? count : 0] = '\0';
    return count;
}

/* Returns the parent, or 0: the process is of the kernel's, or has no memory any more, as it has ended. */
static pid_t parent_of(pid_t pid)
{
    char text[512], state;
    int parent;
    if (read_file_of(pid, "stat", text, sizeof text) <= 0)
        return 0;
    /* What follows the name, which may hold anything. */
    const char *name_end = strrchr(text, ')');
    if (name_end == NULL || sscanf(name_end + 1, " %c %d", &state, &parent) != 2 || strchr("ZX", state) != NULL)
        return 0;
    /* The kernel's threads are children of its second process. */
    return parent == 2 ? 0 : parent;
}

/* Returns 0 if it cannot be told. */
static int threads_of(pid_t pid)
{
    char path[64];
    int threads = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *all = opendir(path);
    if (all == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(all)) != NULL;)
        threads += entry->d_name[0] != '.';
    closedir(all);
    return threads;
}

/* True once the runtime's first thread waits for the host's next command, and does nothing else. */
static int waits_for_host(pid_t pid)
{
    for (int waited = 0; waited < READ_MS; waited++) {
        char text[256];
        int number;
        if (read_file_of(pid, "syscall", text, sizeof text) > 0 && sscanf(text, "%d ", &number) == 1 &&
            (number == SYS_read || number == SYS_readv))
            return 1;
        sleep_ms(1);
    }
    return 0;
}

/* Beside the one that answers, as many may be named whose memory is the function's own matter: extensions that wait. */
#define MOST_OTHERS 10

struct answer {
    pid_t pid, others[MOST_OTHERS];
    int count;
};

/*
 * The runtime that answers, which reseeds itself, and whoever has started it and waits for its end: a wrapper of the
 * function's, and the runtime that init has started.
 */
static int is_runtime(pid_t pid, pid_t runtime, const struct answer *answer)
{
    int depth = 0;
    for (int i = 0; i < answer->count; i++)
        if (pid == answer->others[i])
            return 1;
    for (pid_t ancestor = answer->pid; ancestor > 1 && depth < DEEPEST; depth++, ancestor = parent_of(ancestor))
        if (pid == ancestor)
            return 1;
    return pid == runtime;
}

/* `{"pid":N}` or `{"pid":N,"others":[N,…]}`; of what is none of both, the runtime itself. */
static struct answer read_answer(pid_t runtime, const unsigned char *header, size_t header_bytes)
{
    struct answer answer = {.pid = runtime};
    char text[256];
    int pid, used = 0;
    size_t bytes = header_bytes < sizeof text ? header_bytes : sizeof text - 1;
    memcpy(text, header, bytes);
    text[bytes] = '\0';
    if (sscanf(text, "{\"pid\":%9d%n", &pid, &used) != 1)
        return answer;
    answer.pid = (pid_t)pid;
    const char *at = text + used, opening[] = ",\"others\":[";
    if (strncmp(at, opening, sizeof opening - 1) != 0)
        return answer;
    for (at += sizeof opening - 1; answer.count < MOST_OTHERS && sscanf(at, "%9d%n", &pid, &used) == 1; at++) {
        answer.others[answer.count++] = (pid_t)pid;
        at += used;
        if (*at != ',')
            break;
    }
    return answer;
}

/* Appends the command line of the process to `names`, made fit for a line of text. */
static size_t append_name(char *names, size_t bytes, pid_t pid)
{
    char name[NAME_BYTES];
    ssize_t count = read_file_of(pid, "cmdline", name, sizeof name);
    while (count > 0 && name[count - 1] == '\0')
        count--;
    if (count <= 0)
        return bytes;
    if (bytes > 0) {
        names[bytes++] = ',';
        names[bytes++] = ' ';
    }
    for (ssize_t i = 0; i < count; i++)
        names[bytes++] = isprint((unsigned char)name[i]) ? name[i] : name[i] == '\0' ? ' ' : '?';
    return bytes;
}

void report_sealed(pid_t runtime, const unsigned char *header, size_t header_bytes)
{
    struct answer answer = read_answer(runtime, header, header_bytes);
    char names[NAMED_PROCESSES * (NAME_BYTES + 2)];
    size_t bytes = 0;
    int processes = 0, threads = threads_of(runtime);
    if (!host_has_loaded())
        first_threads = threads;
    is_stopped = answer.pid != runtime || answer.count > 0 || threads == 0 || threads != first_threads || !waits_for_host(runtime);
    if (is_stopped)
        kill(-1, SIGSTOP);
    DIR *all = opendir("/proc");
    if (all == NULL)
        fatal("the function's processes cannot be counted: %m");
    for (struct dirent *entry; (entry = readdir(all)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 1 || parent_of(pid) == 0 || is_runtime(pid, runtime, &answer))
            continue;
        if (processes++ < NAMED_PROCESSES)
            bytes = append_name(names, bytes, pid);
    }
    closedir(all);
    if (processes > 0 && !is_stopped) {
        is_stopped = 1;
        kill(-1, SIGSTOP);
    }
    send_to_host(FRAME_SEALED, names, bytes, "{\"processes\":%d}", processes);
}
