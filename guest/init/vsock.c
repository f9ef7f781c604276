/*
 * Connections over vsock. The guest listens and the host dials: a restore resets connections, and keeps what listens.
 *
 * Whoever is at the other end may be gone at any time, and the function may have taken all memory there is.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

/* Connections that wait at most; the host's further attempts are refused. */
#define BACKLOG 4
/* Lowest address of a guest: 0 is the hypervisor, 1 the own machine, 2 the host. */
#define LOWEST_GUEST_CID 3
/* The kernel copies what is sent into one piece, and 16 KiB are found even if memory is in shreds. */
#define LARGEST_WRITE_BYTES (16 * 1024)

int vsock_is_there(void)
{
    unsigned cid = VMADDR_CID_ANY;
    int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    int answered = ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) == 0;
    close(fd);
    return answered && cid >= LOWEST_GUEST_CID && cid != VMADDR_CID_ANY;
}

/* To whatever address the guest has: a restored one may have another. */
int listen_on_vsock(unsigned port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0)
        fatal("vsock port %u cannot be listened on: %m", port);
    return fd;
}

/* A connection that was given up while it waited is of no use, even if something was said on it. */
static int is_abandoned(int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLRDHUP};
    return poll(&look, 1, 0) > 0;
}

int accept_from_host(int listener)
{
    for (;;) {
        struct sockaddr_vm peer = {.svm_family = AF_UNSPEC};
        socklen_t size = sizeof peer;
        int fd = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN)
                sleep_ms(SHORTAGE_MS);
            return -1;
        }
        /* Where a kernel or a VMM carries it back, the function can dial as well. */
        int is_guest = peer.svm_family == AF_VSOCK && peer.svm_cid != VMADDR_CID_HOST;
        if (!is_guest && !is_abandoned(fd))
            return fd;
        close(fd);
    }
}

ssize_t write_some(int fd, const void *bytes, size_t count)
{
    ssize_t written = write(fd, bytes, count < LARGEST_WRITE_BYTES ? count : LARGEST_WRITE_BYTES);
    if (written < 0 && (errno == ENOMEM || errno == ENOBUFS)) {
        /* Polling would say "ready" at once. */
        sleep_ms(SHORTAGE_MS);
        errno = EAGAIN;
    }
    return written;
}
