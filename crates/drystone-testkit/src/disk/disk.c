/* A disk that fails at will, for the process that this library is loaded into and its children.
 *
 * DRYSTONE_DISK names a directory. Its file `plan` has a line a fault: `full PART` makes writes fail that would lengthen a file whose path contains
 * PART, as on a disk without space; `sync PART` makes the syncs of such a file fail. Each call that fails adds a byte to the file `refused`. Without
 * a plan nothing fails. System calls are made directly, so that nothing here calls itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int open_of_plan(const char *name, int flags) {
    char path[4096];
    const char *dir = getenv("DRYSTONE_DISK");
    if (dir == NULL || snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) {
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

static int is_planned(int fd, const char *fault) {
    char plan[4096], link[64], path[4096];
    int file = open_of_plan("plan", O_RDONLY);
    if (file < 0) {
        return 0;
    }
    ssize_t length = syscall(SYS_read, file, plan, sizeof plan - 1);
    syscall(SYS_close, file);
    plan[length < 0 ? 0 : length] = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    char *rest = NULL;
    for (char *line = strtok_r(plan, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        size_t word = strlen(fault);
        if (strncmp(line, fault, word) == 0 && line[word] == ' ' && strstr(path, line + word + 1) != NULL) {
            return 1;
        }
    }
    return 0;
}

/* Says that a call fails, and leaves errno as the plan wants it. */
static int fails(int fd, const char *fault, int error) {
    int before = errno;
    int planned = is_planned(fd, fault);
    if (planned) {
        int file = open_of_plan("refused", O_WRONLY | O_APPEND);
        if (file >= 0) {
            if (syscall(SYS_write, file, "x", 1) != 1) {
                abort();
            }
            syscall(SYS_close, file);
        }
    }
    errno = planned ? error : before;
    return planned;
}

/* Whether so many bytes at an offset, or at the current place if that is negative, lengthen a file that is full. */
static int is_full(int fd, size_t bytes, off_t offset) {
    struct stat file;
    int before = errno;
    int regular = syscall(SYS_fstat, fd, &file) == 0 && S_ISREG(file.st_mode);
    if (regular && offset < 0) {
        int flags = fcntl(fd, F_GETFL);
        offset = flags >= 0 && (flags & O_APPEND) ? file.st_size : lseek(fd, 0, SEEK_CUR);
    }
    errno = before;
    return regular && offset + (off_t)bytes > file.st_size && fails(fd, "full", ENOSPC);
}

static size_t bytes_of(const struct iovec *parts, int count) {
    size_t bytes = 0;
    for (int part = 0; part < count; part++) {
        bytes += parts[part].iov_len;
    }
    return bytes;
}

ssize_t write(int fd, const void *from, size_t bytes) {
    return is_full(fd, bytes, -1) ? -1 : syscall(SYS_write, fd, from, bytes);
}

ssize_t pwrite64(int fd, const void *from, size_t bytes, off_t offset) {
    return is_full(fd, bytes, offset) ? -1 : syscall(SYS_pwrite64, fd, from, bytes, offset);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t offset) {
    return pwrite64(fd, from, bytes, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    return is_full(fd, bytes_of(parts, count), -1) ? -1 : syscall(SYS_writev, fd, parts, count);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    return is_full(fd, bytes_of(parts, count), offset) ? -1 : syscall(SYS_pwritev, fd, parts, count, offset, 0);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev64(fd, parts, count, offset);
}

int fallocate64(int fd, int mode, off_t offset, off_t bytes) {
    return is_full(fd, (size_t)bytes, offset) ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
}

int fallocate(int fd, int mode, off_t offset, off_t bytes) {
    return fallocate64(fd, mode, offset, bytes);
}

int posix_fallocate64(int fd, off_t offset, off_t bytes) {
    int before = errno;
    int error = fallocate64(fd, 0, offset, bytes) == 0 ? 0 : errno;
    errno = before;
    return error;
}

int posix_fallocate(int fd, off_t offset, off_t bytes) {
    return posix_fallocate64(fd, offset, bytes);
}

int fsync(int fd) {
    return fails(fd, "sync", EIO) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    return fails(fd, "sync", EIO) ? -1 : (int)syscall(SYS_fdatasync, fd);
}
