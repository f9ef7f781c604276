/*
 * PID 1 of a SnapFaaS guest, started by the kernel from the initial RAM disk.
 *
 * It brings the machine up, starts the runtime, and from then on passes frames and output between the runtime and the
 * host. It outlives whatever the function does: it holds no memory but its own, waits for nobody, and trusts nothing
 * that comes from the runtime. When it cannot go on it says why, on the console and to the host, and stops the machine.
 *
 * Build: gcc -static -O2 -Wall -Wextra -Werror -o init *.c
 */
#define _GNU_SOURCE
#include "init.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static int console = -1;

static void open_console(void);
static void protect_self(void);
static int block_signals(void);

int main(void)
{
    mount_kernel_file_systems();
    open_console();
    load_modules();
    if (kernel_command_line_has("snapfaas.probe")) {
        dprintf(console, "snapfaas-probe-ok\n");
        power_off();
    }
    enter_root_file_system();
    set_up_network();
    protect_self();
    check_clock_rate();
    int child_signals = block_signals();
    struct channels channels = open_channels();
    begin_control(channels);
    int function_channel = channels.are_dialled ? begin_bridge(channels.function) : channels.function;
    struct runtime runtime = start_runtime(function_channel);
    close(function_channel);
    relay(runtime, child_signals);
}

static void open_console(void)
{
    console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
}

/* The kernel's last choice when memory is short, and served before the function when the processor is. */
static void protect_self(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "-1000", 5) != 5)
        note("cannot be exempted from the out-of-memory killer: %m");
    if (fd >= 0)
        close(fd);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        note("cannot be locked into memory: %m");
    setpriority(PRIO_PROCESS, 0, -10);
}

/* Ends of children are read from a descriptor, along with everything else. */
static int block_signals(void)
{
    sigset_t all, children;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    int fd = signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        fatal("no descriptor for signals: %m");
    return fd;
}

static void say(const char *text)
{
    dprintf(console, "snapfaas-init: %s\n", text);
}

void note(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    say(text);
}

void fatal(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    say(text);
    say_last_words(text);
    power_off();
}

/* A reset ends the VMM on every machine type (QEMU is run with -no-reboot, Firecracker's kernel with reboot=k); switching off would need ACPI. */
void power_off(void)
{
    sync();
    reboot(RB_AUTOBOOT);
    for (;;)
        pause();
}

void sleep_ms(long milliseconds)
{
    struct timespec time = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}
