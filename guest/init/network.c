/*
 * The guest's network: a loopback interface always, and eth0 in machines that have one, with the addresses that the host
 * gives. They are not part of the machine: each that is restored from a snapshot gets its own. IPv4 only: an IPv6 address
 * that the kernel chose by itself would be the same in all machines of a snapshot.
 */
#define _GNU_SOURCE
#include "relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#define INTERFACE "eth0"
#define DISABLE_IPV6 "/proc/sys/net/ipv6/conf/" INTERFACE "/disable_ipv6"
/* The root file system is never written to: the file lies in memory, and is mounted over the one that programs read. */
#define RESOLVER_FILE "/run/resolv.conf"
#define RESOLVER_PLACE "/etc/resolv.conf"
#define MAC_BYTES 6

/* A NETWORK frame's payload, as src/protocol/guest-network.ts draws it; addresses in network order, 0: none. */
struct network {
    unsigned char mac[MAC_BYTES];
    uint32_t address, gateway, dns;
    unsigned prefix_length;
};

/* Stays open: a restored machine need not open another one. */
static int any_socket(void)
{
    static int fd = -1;
    if (fd < 0)
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd;
}

static struct ifreq named(const char *name)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    return request;
}

static struct sockaddr ipv4(uint32_t address)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = address};
    struct sockaddr any;
    memcpy(&any, &in, sizeof any);
    return any;
}

static int bring_up(const char *name)
{
    struct ifreq request = named(name);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    return ioctl(any_socket(), SIOCSIFFLAGS, &request);
}

void set_up_network(void)
{
    if (sethostname("snapfaas", 8) < 0)
        note("the host name cannot be set: %m");
    if (bring_up("lo") < 0)
        note("the loopback interface cannot be brought up: %m");
}

static struct network parse(const unsigned char payload[NETWORK_BYTES])
{
    struct network network = {.prefix_length = payload[10] <= 32 ? payload[10] : 32};
    memcpy(network.mac, payload, MAC_BYTES);
    memcpy(&network.address, payload + 6, 4);
    memcpy(&network.gateway, payload + 11, 4);
    memcpy(&network.dns, payload + 15, 4);
    return network;
}

static void disable_ipv6(void)
{
    int fd = open(DISABLE_IPV6, O_WRONLY | O_CLOEXEC);
    /* A kernel without IPv6 has no such file. */
    if (fd < 0)
        return;
    if (write(fd, "1", 1) != 1)
        note("%s: IPv6 cannot be switched off: %s", INTERFACE, strerror(errno));
    close(fd);
}

static void set_mac(const unsigned char mac[MAC_BYTES])
{
    struct ifreq request = named(INTERFACE);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(request.ifr_hwaddr.sa_data, mac, MAC_BYTES);
    if (ioctl(any_socket(), SIOCSIFHWADDR, &request) < 0)
        note("%s: the MAC cannot be set: %s", INTERFACE, strerror(errno));
}

/* Takes the place of an address that is there, and 0 leaves none; with the old one its routes go. */
static void set_address(uint32_t address, unsigned prefix_length)
{
    struct ifreq request = named(INTERFACE);
    request.ifr_addr = ipv4(0);
    if (ioctl(any_socket(), SIOCSIFADDR, &request) < 0 && errno != EADDRNOTAVAIL)
        note("%s: the old address cannot be removed: %s", INTERFACE, strerror(errno));
    if (address == 0)
        return;
    request.ifr_addr = ipv4(address);
    int is_set = ioctl(any_socket(), SIOCSIFADDR, &request) == 0;
    request.ifr_netmask = ipv4(prefix_length == 0 ? 0 : htonl(~(uint32_t)0 << (32 - prefix_length)));
    if (!is_set || ioctl(any_socket(), SIOCSIFNETMASK, &request) < 0)
        note("%s: the address cannot be set: %s", INTERFACE, strerror(errno));
}

static void set_default_route(uint32_t gateway)
{
    struct rtentry route = {.rt_dst = ipv4(0), .rt_genmask = ipv4(0), .rt_gateway = ipv4(gateway)};
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    if (ioctl(any_socket(), SIOCADDRT, &route) < 0)
        note("%s: the default route cannot be set: %s", INTERFACE, strerror(errno));
}

static void set_name_server(uint32_t dns)
{
    static int is_mounted;
    char text[64], address[INET_ADDRSTRLEN];
    int fd = open(RESOLVER_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int bytes = snprintf(text, sizeof text, "nameserver %s\n", inet_ntop(AF_INET, &dns, address, sizeof address));
    if (fd < 0 || write(fd, text, (size_t)bytes) != bytes)
        note("%s cannot be written: %s", RESOLVER_FILE, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (!is_mounted && mount(RESOLVER_FILE, RESOLVER_PLACE, NULL, MS_BIND, NULL) < 0)
        note("%s cannot be replaced: %s", RESOLVER_PLACE, strerror(errno));
    is_mounted = 1;
}

void take_network_of_host(const unsigned char payload[NETWORK_BYTES])
{
    static const unsigned char none[MAC_BYTES];
    struct network network = parse(payload);
    struct ifreq request = named(INTERFACE);
    if (ioctl(any_socket(), SIOCGIFFLAGS, &request) < 0)
        fatal("the host gave the machine an address, but there is no %s: %s", INTERFACE, strerror(errno));
    if (memcmp(network.mac, none, MAC_BYTES) == 0) {
        set_address(0, 0);
        return;
    }
    if (!(request.ifr_flags & IFF_UP))
        disable_ipv6();
    set_mac(network.mac);
    if (!(request.ifr_flags & IFF_UP) && bring_up(INTERFACE) < 0)
        note("%s cannot be brought up: %s", INTERFACE, strerror(errno));
    set_address(network.address, network.prefix_length);
    if (network.gateway != 0)
        set_default_route(network.gateway);
    if (network.dns != 0)
        set_name_server(network.dns);
}
