/*
 * Stands before the C library's fsync and fdatasync. DRYSTONE_CUT names a directory. While it holds a file `armed` with a number and a letter, as
 * in "3k", the syncs of all processes are counted, one byte each in the file `count`. When the one of that number has returned, and its caller has not
 * heard of it yet, the process
 *   k  kills itself, as `kill -9` does;
 *   h  makes a file `held` and waits until `armed` is gone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void in_directory(char *path, size_t size, const char *name) {
    snprintf(path, size, "%s/%s", getenv("DRYSTONE_CUT"), name);
}

static void count_and_cut(void) {
    char path[512], text[32] = {0};
    if (!getenv("DRYSTONE_CUT")) {
        return;
    }
    in_directory(path, sizeof path, "armed");
    int armed = open(path, O_RDONLY | O_CLOEXEC);
    if (armed < 0) {
        return;
    }
    if (read(armed, text, sizeof text - 1) < 2) {
        abort();
    }
    close(armed);
    char what = 0;
    long long number = 0;
    if (sscanf(text, "%lld%c", &number, &what) != 2) {
        abort();
    }
    char counter[512];
    in_directory(counter, sizeof counter, "count");
    int count = open(counter, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct stat seen;
    if (count < 0 || write(count, "x", 1) != 1 || fstat(count, &seen) != 0) {
        abort();
    }
    close(count);
    if (seen.st_size != number) {
        return;
    }
    if (what == 'k') {
        kill(getpid(), SIGKILL);
    }
    char held[512];
    in_directory(held, sizeof held, "held");
    close(open(held, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    while (access(path, F_OK) == 0) {
        usleep(1000);
    }
}

static int after(int result) {
    int error = errno;
    if (result == 0) {
        count_and_cut();
    }
    errno = error;
    return result;
}

int fsync(int fd) {
    return after((int)syscall(SYS_fsync, fd));
}

int fdatasync(int fd) {
    return after((int)syscall(SYS_fdatasync, fd));
}
