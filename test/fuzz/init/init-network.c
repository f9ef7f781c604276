/*
 * The addresses that the host gives: any payload of a NETWORK frame, and calls of the kernel that fail.
 *
 * What has to hold: the interface gets the very bytes of the payload, with a mask of as many bits as the prefix has, or no
 * address where the payload has none; nothing of the kernel's failures ends init but an interface that is not there.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"

static int world_ioctl(int fd, unsigned long command, void *argument);
static int world_open(const char *path, int flags, ...);
static ssize_t world_write(int fd, const void *bytes, size_t count);
static int world_nothing(void);

#define ioctl world_ioctl
#define open world_open
#define write world_write
#define close(fd) ((void)(fd))
#define socket(domain, type, protocol) SOCKET
#define mount(...) world_nothing()
#define sethostname(...) world_nothing()
enum { SOCKET = 100, FILE_FD };
#include "network.c"
#undef ioctl

static struct script script;
static jmp_buf end;
static uint8_t payload[NETWORK_BYTES];
static uint8_t failing;
/* What the interface has. */
static uint8_t mac[MAC_BYTES];
static uint32_t address, mask, gateway;
static char resolver[64];
static int is_missing, is_up;

static int fails(int bit)
{
    errno = EIO;
    return failing & 1 << bit ? -1 : 0;
}

static uint32_t address_in(const struct sockaddr *any)
{
    struct sockaddr_in in;
    memcpy(&in, any, sizeof in);
    return in.sin_addr.s_addr;
}

static int world_ioctl(int fd, unsigned long command, void *argument)
{
    struct ifreq *request = argument;
    CHECK(fd == SOCKET, "an ioctl of descriptor %d", fd);
    if (command != SIOCADDRT)
        CHECK(strcmp(request->ifr_name, INTERFACE) == 0, "the interface %s", request->ifr_name);
    switch (command) {
    case SIOCGIFFLAGS:
        request->ifr_flags = is_up ? IFF_UP : 0;
        errno = ENODEV;
        return is_missing ? -1 : 0;
    case SIOCSIFFLAGS:
        is_up |= fails(0) == 0;
        return fails(0);
    case SIOCSIFHWADDR:
        memcpy(mac, request->ifr_hwaddr.sa_data, MAC_BYTES);
        return fails(1);
    case SIOCSIFADDR:
        address = address_in(&request->ifr_addr);
        mask = gateway = 0;
        return fails(2);
    case SIOCSIFNETMASK:
        mask = address_in(&request->ifr_netmask);
        return fails(3);
    case SIOCADDRT:
        gateway = address_in(&((struct rtentry *)argument)->rt_gateway);
        return fails(4);
    default:
        failed("ioctl %lx", command);
    }
}

static int world_open(const char *path, int flags, ...)
{
    (void)flags;
    CHECK(strcmp(path, RESOLVER_FILE) == 0 || strcmp(path, DISABLE_IPV6) == 0, "the file %s", path);
    return fails(5) < 0 ? -1 : FILE_FD;
}

static ssize_t world_write(int fd, const void *bytes, size_t count)
{
    CHECK(fd == FILE_FD, "a write to descriptor %d", fd);
    CHECK(count < sizeof resolver, "%zu bytes in a file", count);
    if (count > 1)
        snprintf(resolver, sizeof resolver, "%.*s", (int)count, (const char *)bytes);
    return fails(6) < 0 ? -1 : (ssize_t)count;
}

static int world_nothing(void)
{
    return fails(7);
}

void note(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    CHECK(failing != 0, "init complains although nothing has failed: %s", text);
}

void fatal(const char *format, ...)
{
    CHECK(is_missing, "init ended: %s", format);
    longjmp(end, 1);
}

static uint32_t four_bytes(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static void check(void)
{
    static const uint8_t none[MAC_BYTES];
    char expected[64], dns[INET_ADDRSTRLEN];
    uint32_t wanted = four_bytes(payload + 6), name_server = four_bytes(payload + 15);
    unsigned bits = 0;
    if (memcmp(payload, none, MAC_BYTES) == 0) {
        CHECK(address == 0, "an address is left");
        return;
    }
    CHECK(memcmp(mac, payload, MAC_BYTES) == 0, "another MAC");
    CHECK(address == wanted, "another address: %x", address);
    CHECK(is_up, "the interface is down");
    for (uint32_t host_order = ntohl(mask); host_order != 0; host_order <<= 1)
        bits += host_order >> 31;
    CHECK(wanted == 0 || bits == (payload[10] <= 32 ? payload[10] : 32), "a mask of %u bits", bits);
    CHECK(gateway == four_bytes(payload + 11), "another gateway: %x", gateway);
    snprintf(expected, sizeof expected, "nameserver %s\n", inet_ntop(AF_INET, &name_server, dns, sizeof dns));
    CHECK(name_server == 0 || strcmp(resolver, expected) == 0, "another name server: %s", resolver);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    script = (struct script){.data = data, .size = size};
    is_up = 0;
    while (!script_is_over(&script)) {
        uint8_t setting = next_byte(&script);
        failing = setting & 1 ? next_byte(&script) : 0;
        is_missing = setting == 0xff;
        for (size_t i = 0; i < NETWORK_BYTES; i++)
            payload[i] = next_byte(&script);
        if (setjmp(end) != 0)
            return 0;
        take_network_of_host(payload);
        if (failing == 0)
            check();
    }
    return 0;
}
