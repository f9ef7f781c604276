/*
 * Starts the language runtime: an unprivileged process with exactly five descriptors.
 *
 *   0  /dev/null
 *   1  pipe to init: what the function prints
 *   2  pipe to init: the same for errors
 *   3  function channel to the host, blocking
 *   4  stream socket to init
 */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The runtime's command, one argument per line; comes with the root file system. */
#define COMMAND_FILE "/etc/snapfaas/runtime"
/* The same of what serves applications on a port, where the kernel's command line asks for it. */
#define WEB_COMMAND_FILE "/etc/snapfaas/web"
#define WEB_ARGUMENT "snapfaas.web"
#define MAX_ARGUMENTS 32
#define RUNTIME_UID 1000
#define MAX_PROCESSES 1024
#define MAX_OPEN_FILES 1024
/* The capabilities the kernel could know; beyond the last, dropping fails and does no harm. */
#define CAPABILITY_BITS 64

static char command_text[4096];
static char *command[MAX_ARGUMENTS + 1];

static char *environment[] = {
    "PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin",
    "HOME=/tmp",
    "TMPDIR=/tmp",
    "LANG=C.UTF-8",
    "LD_LIBRARY_PATH=/srv/lib:/srv:/opt/lib",
    NULL,
};

static void read_command(void)
{
    const char *path = kernel_command_line_has(WEB_ARGUMENT) ? WEB_COMMAND_FILE : COMMAND_FILE;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = fd < 0 ? -1 : read(fd, command_text, sizeof command_text - 1);
    if (bytes < 0)
        fatal("%s cannot be read: %m", path);
    close(fd);
    if (bytes == sizeof command_text - 1)
        fatal("%s is longer than %zu bytes", path, sizeof command_text - 2);
    int count = 0;
    char *rest = command_text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] == '\0')
            continue;
        if (count == MAX_ARGUMENTS)
            fatal("%s has more than %d lines", path, MAX_ARGUMENTS);
        command[count++] = line;
    }
    if (count == 0)
        fatal("%s names no program", path);
}

/*
 * In a user namespace of its own a process has all capabilities, and with them it can make the other namespaces, mount, and
 * reach code of the kernel that is there for root alone. The limit is the kernel's own, and binds all system calls that
 * make one. Those of the other kinds are not touched: init's own mounts count there.
 */
static void forbid_user_namespaces(void)
{
    int fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
    int is_forbidden = fd >= 0 && write(fd, "0", 1) == 1;
    /* A kernel that cannot make any has nothing to forbid. */
    if (!is_forbidden && access("/proc/self/ns/user", F_OK) == 0)
        fatal("user namespaces cannot be forbidden: %m");
    if (fd >= 0)
        close(fd);
}

/* Out of the way of the numbers that the runtime will get. */
static int moved_up(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 16);
    if (moved < 0)
        fatal("no descriptor left: %m");
    close(fd);
    return moved;
}

static void set_limit(int resource, rlim_t value)
{
    struct rlimit limit = {.rlim_cur = value, .rlim_max = value};
    setrlimit(resource, &limit);
}

static void set_oom_score(const char *score)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (write(fd, score, strlen(score)) < 0)
            dprintf(2, "snapfaas-init: oom_score_adj: %m\n");
        close(fd);
    }
}

/* In the child. Nothing of init's privileges, priority, signals or files is left when the program starts. */
static _Noreturn void become_runtime(const int descriptors[5])
{
    sigset_t none;
    setsid();
    for (int i = 0; i < 5; i++)
        dup2(descriptors[i], i);
    syscall(SYS_close_range, 5, ~0U, 0);
    umask(022);
    setpriority(PRIO_PROCESS, 0, 0);
    set_oom_score("500");
    set_limit(RLIMIT_NPROC, MAX_PROCESSES);
    set_limit(RLIMIT_NOFILE, MAX_OPEN_FILES);
    set_limit(RLIMIT_CORE, 0);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (unsigned long i = 0; i < CAPABILITY_BITS; i++)
        prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    if (setgroups(0, NULL) < 0 || setresgid(RUNTIME_UID, RUNTIME_UID, RUNTIME_UID) < 0 ||
        setresuid(RUNTIME_UID, RUNTIME_UID, RUNTIME_UID) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        dprintf(2, "snapfaas-init: the runtime's privileges cannot be dropped: %m\n");
        _exit(126);
    }
    if (chdir("/srv") < 0 && chdir("/") < 0)
        _exit(126);
    execve(command[0], command, environment);
    dprintf(2, "snapfaas-init: %s cannot be started: %m\n", command[0]);
    _exit(127);
}

struct runtime start_runtime(int function_channel)
{
    int standard_output[2], standard_error[2], requests[2];
    read_command();
    if (pipe2(standard_output, O_CLOEXEC) < 0 || pipe2(standard_error, O_CLOEXEC) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, requests) < 0)
        fatal("no pipes for the runtime: %m");
    /* So that it may open /dev/stdout, which is a pipe by its name. */
    if (fchown(standard_output[1], RUNTIME_UID, RUNTIME_UID) < 0 || fchown(standard_error[1], RUNTIME_UID, RUNTIME_UID) < 0)
        fatal("no owner for the runtime's pipes: %m");
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int channel = fcntl(function_channel, F_DUPFD_CLOEXEC, 16);
    if (null < 0 || channel < 0)
        fatal("no descriptors for the runtime: %m");
    int theirs[5] = {moved_up(null), moved_up(standard_output[1]), moved_up(standard_error[1]), channel,
                     moved_up(requests[1])};

    struct runtime runtime = {.requests = requests[0], .output = {standard_output[0], standard_error[0]}};
    fcntl(runtime.requests, F_SETFL, O_NONBLOCK);
    fcntl(runtime.output[0], F_SETFL, O_NONBLOCK);
    fcntl(runtime.output[1], F_SETFL, O_NONBLOCK);
    for (int i = 1; i <= 2; i++)
        if (fchown(theirs[i], RUNTIME_UID, RUNTIME_UID) < 0)
            note("/dev/std%s cannot be opened by the function: %m", i == 1 ? "out" : "err");
    forbid_user_namespaces();
    runtime.pid = fork();
    if (runtime.pid < 0)
        fatal("no process for the runtime: %m");
    if (runtime.pid == 0)
        become_runtime(theirs);
    for (int i = 0; i < 5; i++)
        close(theirs[i]);
    return runtime;
}
