/*
 * Starts the bootstrap: that of the root file system, the function's own or a layer's, as AWS does: its environment says where the Runtime API is.
 * The end of the bootstrap is the end of this process, in the same way: what init and the host see is the bootstrap's.
 */
#define _GNU_SOURCE
#include "runtime-api.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VALUE_BYTES (64 * 1024)
/* Of an application's command. */
#define COMMAND_BYTES (64 * 1024)
#define MOST_ARGUMENTS 64
/* Of a root file system whose runtime is a client of the Runtime API. */
#define RUNTIME_BOOTSTRAP "/var/runtime/bootstrap"
#define LAYER_BOOTSTRAP "/opt/bootstrap"
/* Without a VM nothing is laid over the host's /opt. */
#define STAGED_LAYERS "/.snapfaas/root"

static pid_t bootstrap;
static int is_image;
static int has_ended, bootstrap_status;
static int signal_pipe[2];

/* ---- Its end ----------------------------------------------------------------------------------------------------- */

static void note_child(int signal)
{
    int before = errno;
    char byte = (char)signal;
    if (write(signal_pipe[1], &byte, 1) < 0)
        errno = before;
    errno = before;
}

void begin_child_signals(void)
{
    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        perror("snapfaas: no pipe for signals");
        exit(1);
    }
    struct sigaction action = {.sa_handler = note_child, .sa_flags = SA_NOCLDSTOP | SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int child_signals(void)
{
    return signal_pipe[0];
}

int reap_children(void)
{
    char bytes[64];
    int status;
    while (read(signal_pipe[0], bytes, sizeof bytes) > 0)
        ;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (note_ended_extension(pid, status))
            continue;
        if (pid == bootstrap) {
            bootstrap = 0;
            has_ended = 1;
            bootstrap_status = status;
        }
    }
    return has_ended;
}

pid_t bootstrap_pid(void)
{
    return bootstrap;
}

int bootstrap_exit_status(void)
{
    return WIFSIGNALED(bootstrap_status) ? 128 + WTERMSIG(bootstrap_status) : WEXITSTATUS(bootstrap_status);
}

_Noreturn void end_as_bootstrap(void)
{
    if (phase == PHASE_INIT) {
        dprintf(2, is_web() ? "snapfaas: the application ended before it listened on $PORT\n" :
                "snapfaas: bootstrap ended before it asked for its first event; it has to stay, and to ask by "
                "GET http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next\n");
    }
    if (!WIFSIGNALED(bootstrap_status))
        leave(WEXITSTATUS(bootstrap_status));
    int number = WTERMSIG(bootstrap_status);
    say_ending();
    signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    kill(getpid(), number);
    _exit(128 + number);
}

/* Else the function's files lie in a directory of the host's. */
static int in_machine(void)
{
    return strcmp(function.root, "/srv") == 0 || strcmp(function.root, "/var/task") == 0;
}

/* ---- Its environment --------------------------------------------------------------------------------------------- */

/* In the child. */
static void set_from(struct text object, const char *key, const char *name)
{
    static char value[VALUE_BYTES];
    if (json_string(json_member(object, key), value, sizeof value))
        setenv(name, value, 1);
}

static void set_libraries(void)
{
    char value[3 * PATH_BYTES];
    const char *inherited = getenv("LD_LIBRARY_PATH");
    snprintf(value, sizeof value, "%s:%s/lib%s%s", function.root, function.root, inherited == NULL ? "" : ":",
             inherited == NULL ? "" : inherited);
    setenv("LD_LIBRARY_PATH", value, 1);
}

static void append_place(char value[3 * PATH_BYTES], const char *path)
{
    size_t bytes = strlen(value);
    if (access(path, F_OK) == 0)
        snprintf(value + bytes, 3 * PATH_BYTES - bytes, "%s%s", bytes > 0 ? ":" : "", path);
}

static int is_python(const struct dirent *entry)
{
    return strncmp(entry->d_name, "python3", 7) == 0;
}

/* Those of any version of Python. (`glob` would bring all that finds users and hosts into the program.) */
static void append_python_places(char value[3 * PATH_BYTES], const char *library, const char *packages)
{
    struct dirent **versions;
    int count = scandir(library, &versions, is_python, alphasort);
    for (int i = 0; i < count; i++) {
        char path[2 * PATH_BYTES + 512];
        snprintf(path, sizeof path, "%s/%s/%s", library, versions[i]->d_name, packages);
        append_place(value, path);
        free(versions[i]);
    }
    if (count >= 0)
        free(versions);
}

/* Where interpreters find what layers and packages bring. In a VM packages are laid over the root file system. */
static void set_modules(void)
{
    char value[3 * PATH_BYTES] = "", path[PATH_BYTES + 128];
    const char *root = in_machine() ? "" : function.root, *staged = in_machine() ? "" : STAGED_LAYERS;
    snprintf(path, sizeof path, "%s%s/opt/nodejs/node_modules", root, staged);
    append_place(value, path);
    setenv("NODE_PATH", value, 1);
    value[0] = '\0';
    snprintf(path, sizeof path, "%s%s/opt/python/lib", root, staged);
    append_python_places(value, path, "site-packages");
    snprintf(path, sizeof path, "%s%s/opt/python", root, staged);
    append_place(value, path);
    if (!in_machine()) {
        snprintf(path, sizeof path, "%s%s/usr/local/lib", root, staged);
        append_python_places(value, path, "dist-packages");
    }
    setenv("PYTHONPATH", value, 1);
}

static int is_leap_year(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

struct date {
    int year, month, day;
};

/* Of the day in UTC. (`gmtime_r` would bring all that reads time zones into the program.) */
static struct date today(void)
{
    static const int days_of_months[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct date date = {.year = 1970, .month = 1};
    long long days = time(NULL) / (24 * 60 * 60);
    for (int length; days >= (length = is_leap_year(date.year) ? 366 : 365); date.year++)
        days -= length;
    for (int length; days >= (length = days_of_months[date.month - 1] + (date.month == 2 && is_leap_year(date.year))); date.month++)
        days -= length;
    date.day = (int)days + 1;
    return date;
}

/* A name that no other import has, in Lambda's form: `2026/01/31/[$LATEST]` and 32 hex digits. */
static void set_log_stream(struct text load)
{
    unsigned char random[16] = {0};
    char version[64] = "$LATEST", name[160];
    if (getrandom(random, sizeof random, 0) < 0)
        return;
    json_string(json_member(load, "version"), version, sizeof version);
    struct date date = today();
    int bytes = snprintf(name, sizeof name, "%04d/%02d/%02d/[%s]", date.year, date.month, date.day, version);
    for (size_t i = 0; i < sizeof random; i++)
        bytes += snprintf(name + bytes, sizeof name - (size_t)bytes, "%02x", random[i]);
    setenv("AWS_LAMBDA_LOG_STREAM_NAME", name, 1);
}

/* The function's own variables come last, but for what AWS reserves. */
static void set_environment(struct text load, int port)
{
    char address[64];
    if (is_image) {
        set_image_environment();
    } else {
        setenv("PWD", function.root, 1);
        set_libraries();
        if (is_web())
            set_modules();
    }
    set_log_stream(load);
    set_from(load, "log_group", "AWS_LAMBDA_LOG_GROUP_NAME");
    setenv("_HANDLER", "bootstrap", 1);
    set_from(load, "handler", "_HANDLER");
    struct text rest = json_member(load, "environment"), key, value;
    static char name[VALUE_BYTES], content[VALUE_BYTES];
    while (json_next_member(&rest, &key, &value))
        if (json_string(key, name, sizeof name) && json_string(value, content, sizeof content))
            setenv(name, content, 1);
    set_from(load, "initialization", "AWS_LAMBDA_INITIALIZATION_TYPE");
    if (is_image)
        set_image_handler();
    setenv("LAMBDA_TASK_ROOT", function.root, !is_image);
    setenv("LAMBDA_RUNTIME_DIR", "/var/runtime", !is_image);
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    setenv("AWS_LAMBDA_RUNTIME_API", address, 1);
    if (is_web()) {
        snprintf(address, sizeof address, "%u", web_port());
        setenv("PORT", address, 1);
    }
}

/* `web.command` of LOAD, for an application on a port. It is looked for in PATH, unless it has a slash. */
static void read_command(struct text load, char *argv[MOST_ARGUMENTS + 1])
{
    static char text[COMMAND_BYTES];
    struct text rest = json_member(json_member(load, "web"), "command"), value;
    size_t used = 0;
    int count = 0;
    while (count < MOST_ARGUMENTS && json_next_item(&rest, &value)) {
        long bytes = json_text(value, text + used, sizeof text - used);
        if (bytes < 0)
            break;
        argv[count++] = text + used;
        used += (size_t)bytes + 1;
    }
    if (count > 0)
        argv[count] = NULL;
}

/* ---- Its start --------------------------------------------------------------------------------------------------- */

static _Noreturn void refuse(const char *path, int error)
{
    const char *type = "Runtime.InvalidEntrypoint";
    struct stat status;
    if (is_web())
        fail_start(own_failure(type, "fork/exec %s: %s; the command of the application has to be a program in PATH, or an executable "
                               "file of the function's", path, strerror(error)));
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        fail_start(own_failure(type, "%s is a directory; the function's program has to be a file of that name", path));
    if (error == EACCES)
        fail_start(own_failure(type, "fork/exec %s: permission denied; make it executable (chmod +x) before it is packed", path));
    if (error == ENOEXEC)
        fail_start(own_failure(type,
                               "fork/exec %s: exec format error; build it for Linux on x86-64 (GOOS=linux GOARCH=amd64), or "
                               "begin a script with #!/bin/sh",
                               path));
    if (error == ENOENT)
        fail_start(own_failure(type,
                               "fork/exec %s: no such file or directory; what it is run by is not there: a script's first line "
                               "has to name a program of the image, with no carriage return, and a program has to be static or "
                               "linked with glibc",
                               path));
    fail_start(own_failure(type, "fork/exec %s: %s", path, strerror(error)));
}

/* What went wrong in the child. */
struct mishap {
    int error, is_in_directory;
};

static _Noreturn void refuse_image(struct mishap mishap)
{
    const char *path = image_program();
    if (mishap.is_in_directory)
        fail_start(own_failure("Runtime.InvalidWorkingDir", "chdir %s: %s; correct the image's WORKDIR, or "
                               "ImageConfig.WorkingDirectory of the function", image_directory(), strerror(mishap.error)));
    const char *advice = mishap.error == ENOENT
                             ? "; correct ENTRYPOINT or CMD of the image, or ImageConfig of the function; where the file is "
                               "there, what it is run by is not: its interpreter, or its dynamic linker"
                         : mishap.error == EACCES  ? "; make it executable for everybody: functions do not run as root"
                         : mishap.error == ENOEXEC ? "; build the image for linux/amd64, or begin a script with #!/bin/sh"
                                                   : "";
    fail_start(own_failure("Runtime.InvalidEntrypoint", "fork/exec %s: %s%s", path, strerror(mishap.error), advice));
}

/* What all of them are started with. */
static struct text function_load;
static int api_port;
static int output[OUTPUTS] = {-1, -1};

void begin_programs(struct text load, int port)
{
    function_load = load;
    api_port = port;
    is_image = !function.sends_frames && read_image(load);
    if (function.sends_frames)
        begin_output(output);
}

/* In the child. Returns if the program cannot be started; `argv` NULL: it is the image's. */
static struct mishap become(char **argv, int is_bootstrap)
{
    if (function.sends_frames) {
        dup2(output[0], 1);
        dup2(output[1], 2);
    }
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    set_environment(function_load, api_port);
    if (is_bootstrap)
        set_reseed_environment();
    int is_there = is_image ? enter_image_directory() : chdir(function.root) == 0;
    if (is_there && argv == NULL)
        exec_image_program();
    else if (is_there)
        execvp(argv[0], argv);
    return (struct mishap){.error = errno, .is_in_directory = !is_there};
}

static struct mishap start(char **argv, pid_t *pid)
{
    int report[2];
    struct mishap mishap = {.error = 0};
    if (pipe2(report, O_CLOEXEC) < 0 || (*pid = fork()) < 0)
        return (struct mishap){.error = errno};
    if (*pid == 0) {
        mishap = become(argv, pid == &bootstrap);
        if (write(report[1], &mishap, sizeof mishap) < 0)
            _exit(126);
        _exit(127);
    }
    close(report[1]);
    ssize_t bytes;
    while ((bytes = read(report[0], &mishap, sizeof mishap)) < 0 && errno == EINTR)
        ;
    close(report[0]);
    return bytes == sizeof mishap ? mishap : (struct mishap){.error = 0};
}

int start_child(const char *path, pid_t *pid)
{
    char *argv[] = {(char *)(uintptr_t)path, NULL};
    return start(argv, pid).error;
}

void locate(char target[PATH_BYTES + 64], const char *path)
{
    snprintf(target, PATH_BYTES + 64, "%s%s%s", in_machine() ? "" : function.root, in_machine() ? "" : STAGED_LAYERS, path);
}

static void find_bootstrap(char path[PATH_BYTES + 64])
{
    snprintf(path, PATH_BYTES + 64, RUNTIME_BOOTSTRAP);
    if (in_machine() && access(path, F_OK) == 0)
        return;
    snprintf(path, PATH_BYTES + 64, "%s/bootstrap", function.root);
    if (access(path, F_OK) == 0)
        return;
    locate(path, LAYER_BOOTSTRAP);
    if (access(path, F_OK) == 0)
        return;
    fail_start(own_failure("Runtime.InvalidEntrypoint",
                           "Couldn't find valid bootstrap(s): [/var/task/bootstrap " LAYER_BOOTSTRAP
                           "]; put the function's program there: an executable file named bootstrap, at the top of the "
                           "package and not in a directory of it"));
}

void start_bootstrap(void)
{
    char path[PATH_BYTES + 64] = "";
    char *argv[MOST_ARGUMENTS + 1] = {path, NULL};
    if (!is_image && is_web())
        read_command(function_load, argv);
    else if (!is_image)
        find_bootstrap(path);
    if (!is_image && argv[0][0] == '\0')
        fail_start(own_failure("Runtime.InvalidEntrypoint", "the application has no command"));
    struct mishap mishap = start(is_image ? NULL : argv, &bootstrap);
    for (int i = 0; i < OUTPUTS; i++)
        if (output[i] >= 0)
            close(output[i]);
    if (mishap.error != 0 && is_image)
        refuse_image(mishap);
    if (mishap.error != 0)
        refuse(argv[0], mishap.error);
}
