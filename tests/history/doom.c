/* Preloaded into a process: it dies at its Nth call that changes a disk. A write is half done by then, as a kill may leave it.

   doom(n)   arm it; 0 only counts. Below 0 the power fails at the -Nth call: the process dies, and of every file the
             writes since its last flush are lost, the newest first
   calls()   how many there were since
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long at, seen;
static int powered;

/* ── what would be lost ── */

struct lost { struct lost *older; int fd; ino_t file; off64_t where, end; ssize_t size; char before[]; };
static struct lost *newest;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void remember(int fd, size_t size, off64_t where) {
    struct stat status;
    if (powered || fstat(fd, &status)) return;
    struct lost *one = malloc(sizeof *one + size);
    ssize_t had = pread64(fd, one->before, size, where);
    pthread_mutex_lock(&turn);
    *one = (struct lost){newest, dup(fd), status.st_ino, where, status.st_size, had < 0 ? 0 : had};
    newest = one;
    pthread_mutex_unlock(&turn);
}

static void flushed(int fd) {
    struct stat status;
    if (powered || fstat(fd, &status)) return;
    pthread_mutex_lock(&turn);
    for (struct lost **link = &newest; *link;) {
        struct lost *one = *link;
        if (one->file != status.st_ino) { link = &one->older; continue; }
        *link = one->older;
        close(one->fd);
        free(one);
    }
    pthread_mutex_unlock(&turn);
}

static void lose(void) {
    pthread_mutex_lock(&turn);
    for (struct lost *one = newest; one; one = one->older) {
        REAL(pwrite64)(one->fd, one->before, one->size, one->where);
        if (REAL(ftruncate64)(one->fd, one->end)) continue;
    }
}

/* ── when ── */

void doom(long n) { powered = n >= 0; at = labs(n); seen = 0; }
long calls(void) { return seen; }

static int doomed(void) { return __sync_add_and_fetch(&seen, 1) == at; }
static void die(void) { if (!powered) lose(); kill(getpid(), SIGKILL); pause(); }

#define WRITES(name, offset) \
    ssize_t name(int fd, const void *data, size_t size, offset where) { \
        int last = doomed(); \
        remember(fd, size, where); \
        if (last) { REAL(name)(fd, data, size / 2, where); die(); } \
        return REAL(name)(fd, data, size, where); \
    }
#define FLUSHES(name) \
    int name(int fd) { if (doomed()) die(); int failed = REAL(name)(fd); if (!failed) flushed(fd); return failed; }
#define CHANGES(name, parameters, ...) \
    int name parameters { if (doomed()) die(); return REAL(name)(__VA_ARGS__); }

WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)
ssize_t write(int fd, const void *data, size_t size) {
    struct stat status;
    if (fstat(fd, &status) || !S_ISREG(status.st_mode)) return REAL(write)(fd, data, size); /* a pipe is no disk */
    int last = doomed();
    remember(fd, size, lseek64(fd, 0, SEEK_CUR));
    if (last) { ssize_t half = REAL(write)(fd, data, size / 2); (void)half; die(); }
    return REAL(write)(fd, data, size);
}
FLUSHES(fsync)
FLUSHES(fdatasync)
CHANGES(ftruncate, (int fd, off_t size), fd, size)
CHANGES(ftruncate64, (int fd, off64_t size), fd, size)
CHANGES(unlink, (const char *path), path)
CHANGES(rename, (const char *from, const char *to), from, to)
