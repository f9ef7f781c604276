/*
 * Which process is at the other end of a connection: the one that asks for events is the one whose memory a snapshot is made
 * for. Kernels tell it of unix sockets only; for TCP it takes the kernel's table, and a look at everybody's descriptors.
 */
#include "runtime-api.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOCAL_ADDRESS = 1, REMOTE_ADDRESS = 2, INODE = 9, COLUMNS };

/* Of an address such as 0100007F:1F90. Returns -1 if it is none. */
static long port_of(const char *address)
{
    const char *colon = strchr(address, ':');
    return colon == NULL ? -1 : strtol(colon + 1, NULL, 16);
}

/* The inode of the socket whose own port is `port` and whose peer's is `ours`, 0 if it listens; 0: it is not there. */
static unsigned long inode_of(const char *path, unsigned port, unsigned ours)
{
    unsigned long found = 0;
    char line[512];
    FILE *table = fopen(path, "re");
    while (table != NULL && found == 0 && fgets(line, sizeof line, table) != NULL) {
        char *columns[COLUMNS] = {NULL}, *left = line;
        for (int i = 0; i < COLUMNS && (columns[i] = strtok_r(left, " \n", &left)) != NULL;)
            i++;
        if (columns[INODE] != NULL && port_of(columns[LOCAL_ADDRESS]) == (long)port &&
            port_of(columns[REMOTE_ADDRESS]) == (long)ours)
            found = strtoul(columns[INODE], NULL, 10);
    }
    if (table != NULL)
        fclose(table);
    return found;
}

static int has_socket(const char *pid, const char *wanted)
{
    char path[300], target[64];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *all = opendir(path);
    int is_found = 0;
    for (struct dirent *entry; all != NULL && !is_found && (entry = readdir(all)) != NULL;) {
        ssize_t bytes = readlinkat(dirfd(all), entry->d_name, target, sizeof target - 1);
        target[bytes > 0 ? bytes : 0] = '\0';
        is_found = strcmp(target, wanted) == 0;
    }
    if (all != NULL)
        closedir(all);
    return is_found;
}

/* Of several that share it the lowest: the others are copies. */
static pid_t owner_of(unsigned long inode)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    pid_t found = 0;
    DIR *all = inode == 0 ? NULL : opendir("/proc");
    for (struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 1 && (found == 0 || pid < found) && has_socket(entry->d_name, wanted))
            found = pid;
    }
    if (all != NULL)
        closedir(all);
    return found;
}

pid_t peer_of(int fd)
{
    struct sockaddr_in ours, theirs;
    socklen_t bytes = sizeof ours;
    if (getsockname(fd, (struct sockaddr *)&ours, &bytes) < 0 || getpeername(fd, (struct sockaddr *)&theirs, &bytes) < 0)
        return 0;
    return owner_of(inode_of("/proc/net/tcp", ntohs(theirs.sin_port), ntohs(ours.sin_port)));
}

pid_t listener_of(unsigned port)
{
    unsigned long inode = inode_of("/proc/net/tcp", port, 0);
    return owner_of(inode != 0 ? inode : inode_of("/proc/net/tcp6", port, 0));
}
