/*
 * From the initial RAM disk to a machine with its devices, its root file system and its channels to the host.
 *
 * The RAM disk holds /init and /modules: kernel modules, uncompressed, and `order`, their file names one per line.
 * The root file system is /dev/vda, the function's files are /dev/vdb; both are only ever read.
 */
#define _GNU_SOURCE
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Longest wait for a device, and how often it is looked for. */
#define DEVICE_WAIT_MS 10000
#define DEVICE_POLL_MS 2

#define MIB (1024 * 1024ull)
/* Of the machine's memory, what /tmp and /dev/shm do not get a half of. src/protocol/guest.ts has the same number. */
#define SYSTEM_MIB 64
/* Each file takes more than 1 KiB of memory beside its contents, if its name is long. */
#define SCRATCH_FILES_PER_MIB 128
/* Holds files of init's. */
#define RUN_SIZE "1m"

static int try_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *options)
{
    if (mount(source, target, type, flags, options) == 0)
        return 0;
    note("%s cannot be mounted at %s: %m", source, target);
    return -1;
}

/* The RAM disk is empty but for our own files: make the mount points. */
void mount_kernel_file_systems(void)
{
    mkdir("/dev", 0755);
    mkdir("/proc", 0555);
    mkdir("/sys", 0555);
    /* A kernel may have mounted /dev by itself: EBUSY then. */
    mount("dev", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, "mode=755");
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* Files are removed as they are loaded: the RAM disk is memory that the function can use. */
void load_modules(void)
{
    char line[256], path[300];
    FILE *order = fopen("/modules/order", "re");
    if (order == NULL) {
        note("/modules/order: %m");
        return;
    }
    while (fgets(line, sizeof line, order) != NULL) {
        line[strcspn(line, " \t\r\n")] = '\0';
        if (line[0] == '\0')
            continue;
        snprintf(path, sizeof path, "/modules/%s", line);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0)
            note("module %s: %m", line);
        if (fd >= 0)
            close(fd);
        unlink(path);
    }
    fclose(order);
}

int kernel_command_line_has(const char *word)
{
    char line[4096];
    FILE *file = fopen("/proc/cmdline", "re");
    char *rest = file == NULL ? NULL : fgets(line, sizeof line, file);
    if (file != NULL)
        fclose(file);
    for (char *found; (found = strsep(&rest, " \n")) != NULL;)
        if (strcmp(found, word) == 0)
            return 1;
    return 0;
}

static int mount_read_only(const char *device, const char *target, unsigned long flags)
{
    if (mount(device, target, "ext4", MS_RDONLY | flags, NULL) == 0)
        return 0;
    return mount(device, target, "ext2", MS_RDONLY | flags, NULL);
}

static void wait_for_device(const char *path)
{
    for (int waited = 0; access(path, F_OK) < 0; waited += DEVICE_POLL_MS) {
        if (waited >= DEVICE_WAIT_MS)
            fatal("%s did not appear within %d s", path, DEVICE_WAIT_MS / 1000);
        sleep_ms(DEVICE_POLL_MS);
    }
}

/* The machine's memory as the host configured it: what the kernel and the firmware took from it is less than 1 MiB. */
static unsigned long memory_mib(void)
{
    unsigned long long start, end, bytes = 0;
    char line[256];
    FILE *map = fopen("/proc/iomem", "re");
    while (map != NULL && fgets(line, sizeof line, map) != NULL)
        if (line[0] != ' ' && strstr(line, ": System RAM") != NULL && sscanf(line, "%llx-%llx", &start, &end) == 2)
            bytes += end - start + 1;
    if (map != NULL)
        fclose(map);
    return (unsigned long)((bytes + MIB - 1) / MIB);
}

static void make_scratch_directory(const char *path)
{
    if (mkdir(path, 0) < 0 || chmod(path, 01777) < 0)
        note("%s cannot be made: %m", path);
}

/*
 * /tmp and /dev/shm, all that a function can write to. What they hold is memory that nobody can take back, so they are
 * two directories of one file system: together they have the limit of one.
 */
static void mount_scratch(void)
{
    char options[64];
    unsigned long memory = memory_mib();
    unsigned long size = memory > SYSTEM_MIB ? (memory - SYSTEM_MIB) / 2 : 0;
    if (size == 0)
        fatal("/proc/iomem tells of %lu MiB of memory; at least %d are needed", memory, SYSTEM_MIB + 2);
    snprintf(options, sizeof options, "mode=755,size=%lum,nr_inodes=%lu", size, size * SCRATCH_FILES_PER_MIB);
    mkdir("/dev/shm", 0755);
    if (try_mount("scratch", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        return;
    make_scratch_directory("/dev/shm/tmp");
    make_scratch_directory("/dev/shm/shm");
    try_mount("/dev/shm/tmp", "/tmp", NULL, MS_BIND, NULL);
    /* Last: it hides the rest. */
    try_mount("/dev/shm/shm", "/dev/shm", NULL, MS_BIND, NULL);
}

void enter_root_file_system(void)
{
    static const char *const kernel_file_systems[] = {"dev", "proc", "sys"};
    wait_for_device("/dev/vda");
    mkdir("/root", 0755);
    if (mount_read_only("/dev/vda", "/root", 0) < 0)
        fatal("the root file system on /dev/vda cannot be mounted: %m");
    if (chdir("/root") < 0)
        fatal("the root file system cannot be entered: %m");
    for (size_t i = 0; i < sizeof kernel_file_systems / sizeof *kernel_file_systems; i++) {
        char from[16];
        snprintf(from, sizeof from, "/%s", kernel_file_systems[i]);
        if (mount(from, kernel_file_systems[i], NULL, MS_MOVE, NULL) < 0)
            fatal("%s has no place in the root file system: %m", from);
    }
    if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        fatal("the root file system cannot become the root: %m");

    try_mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=" RUN_SIZE);
    mount_scratch();
    mkdir("/dev/pts", 0755);
    mount("pts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666");
    /* What every program expects beside the kernel's own devices; udev is not here to make them. */
    symlink("/proc/self/fd", "/dev/fd");
    symlink("/proc/self/fd/0", "/dev/stdin");
    symlink("/proc/self/fd/1", "/dev/stdout");
    symlink("/proc/self/fd/2", "/dev/stderr");
}

/* Opens the virtio-serial port that carries `name`; -1 if it is not there yet. */
static int open_port(const char *name, int flags)
{
    int fd = -1;
    DIR *ports = opendir("/sys/class/virtio-ports");
    if (ports == NULL)
        return -1;
    for (struct dirent *entry; fd < 0 && (entry = readdir(ports)) != NULL;) {
        char path[300], found[64] = "";
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            continue;
        if (fgets(found, sizeof found, file) != NULL)
            found[strcspn(found, "\n")] = '\0';
        fclose(file);
        if (strcmp(found, name) == 0) {
            snprintf(path, sizeof path, "/dev/%s", entry->d_name);
            fd = open(path, O_RDWR | O_CLOEXEC | flags);
        }
    }
    closedir(ports);
    return fd;
}

/* The one place that knows what the channels are made of. Opening a port does not wait for the host to connect. */
struct channels open_channels(void)
{
    struct channels channels = {.function = -1, .control = -1};
    for (int waited = 0;; waited += DEVICE_POLL_MS) {
        if (channels.control < 0)
            channels.control = open_port(CONTROL_PORT_NAME, O_NONBLOCK);
        if (channels.function < 0)
            channels.function = open_port(FUNCTION_PORT_NAME, 0);
        if (channels.control >= 0 && channels.function >= 0)
            return channels;
        if (channels.control < 0 && channels.function < 0 && vsock_is_there())
            return (struct channels){.are_dialled = 1,
                                     .function = listen_on_vsock(FUNCTION_VSOCK_PORT),
                                     .control = listen_on_vsock(CONTROL_VSOCK_PORT)};
        if (waited >= DEVICE_WAIT_MS)
            fatal("no virtio-serial port named %s, and no vsock device",
                  channels.control < 0 ? CONTROL_PORT_NAME : FUNCTION_PORT_NAME);
        sleep_ms(DEVICE_POLL_MS);
    }
}

/* True if the device begins with 4 KiB of zeros: a disk without a file system, where one keeps the place. */
static int is_blank(const char *device)
{
    unsigned char block[4096];
    int fd = open(device, O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? -1 : read(fd, block, sizeof block);
    if (fd >= 0)
        close(fd);
    if (count < (ssize_t)sizeof block)
        return 0;
    for (size_t i = 0; i < sizeof block; i++)
        if (block[i] != 0)
            return 0;
    return 1;
}

/*
 * Where a function's packages of the system lie in its files, as they lie in a root file system; written when the image is
 * made, see src/images/app-debian.ts.
 */
#define SYSTEM_PACKAGES "/srv/.snapfaas/root"

/* Files of init's own, which may be mounts: what is laid over their directory must not hide them. */
static const char *const own_files[] = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"};
#define OWN_FILES (sizeof own_files / sizeof *own_files)

static void overlay(const char *packages, const char *place)
{
    char layers[128];
    int kept[OWN_FILES];
    size_t length = strlen(place);
    snprintf(layers, sizeof layers, "lowerdir=%s:%s", packages, place);
    for (size_t i = 0; i < OWN_FILES; i++)
        kept[i] = strncmp(own_files[i], place, length) == 0
                      ? (int)syscall(SYS_open_tree, AT_FDCWD, own_files[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
                      : -1;
    if (mount("packages", place, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, layers) < 0)
        fatal("the function's Debian packages cannot be laid over %s: %s (does the kernel have overlay?)", place,
              strerror(errno));
    for (size_t i = 0; i < OWN_FILES; i++) {
        if (kept[i] < 0)
            continue;
        if (syscall(SYS_move_mount, kept[i], "", AT_FDCWD, own_files[i], MOVE_MOUNT_F_EMPTY_PATH) < 0)
            note("%s is hidden by the function's packages: %m", own_files[i]);
        close(kept[i]);
    }
}

/* Programs find packages where they were built to look for them. */
static void mount_system_packages(void)
{
    static const char *const places[] = {"/etc", "/opt", "/usr", "/var"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char packages[64];
        snprintf(packages, sizeof packages, "%s%s", SYSTEM_PACKAGES, places[i]);
        if (access(packages, F_OK) == 0 && access(places[i], F_OK) == 0)
            overlay(packages, places[i]);
    }
}

/* Says that the function's files are a root file system of their own; written when a container image is unpacked, see src/oci/. */
#define CONTAINER_IMAGE "/srv/.snapfaas/image.json"

/* What the kernel and init mount; an image is made with a directory for each. */
static const char *const carried[] = {"/proc", "/sys", "/dev", "/run", "/tmp"};

static void carry_own_files(void)
{
    for (size_t i = 0; i < OWN_FILES; i++) {
        char place[64];
        int fd = (int)syscall(SYS_open_tree, AT_FDCWD, own_files[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        snprintf(place, sizeof place, "/srv%s", own_files[i]);
        if (fd < 0 || syscall(SYS_move_mount, fd, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) < 0)
            note("%s has no place in the container image: %m", own_files[i]);
        if (fd >= 0)
            close(fd);
    }
}

/*
 * The image becomes the root, for the runtime as well: pivot_root takes every process along whose root is the old one. Of the
 * old root nothing can be reached any more; the runtime is static, and needs nothing of it.
 */
static void enter_container_image(void)
{
    carry_own_files();
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++) {
        char place[32];
        snprintf(place, sizeof place, "/srv%s", carried[i]);
        if (mount(carried[i], place, NULL, MS_MOVE, NULL) < 0)
            fatal("%s has no place in the container image: %s", carried[i], strerror(errno));
    }
    if (chdir("/srv") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        fatal("the container image cannot become the root: %s", strerror(errno));
}

/* Not before the host says LOAD: until then /dev/vdb may still be replaced. */
void mount_app_file_system(void)
{
    if (access("/dev/vdb", F_OK) < 0)
        return;
    if (is_blank("/dev/vdb")) {
        note("/dev/vdb holds no file system");
        return;
    }
    if (mount_read_only("/dev/vdb", "/srv", MS_NOSUID | MS_NODEV) < 0)
        fatal("the app file system on /dev/vdb cannot be mounted at /srv: %s", strerror(errno));
    if (access(CONTAINER_IMAGE, F_OK) == 0) {
        enter_container_image();
        return;
    }
    mount_system_packages();
    /* Functions of AWS Lambda find themselves where they are used to be. A root file system need not have the place. */
    if (mount("/srv", "/var/task", NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
        note("/srv cannot be mounted at /var/task as well: %m");
}
