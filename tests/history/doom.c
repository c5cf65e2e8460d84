/* Preloaded into a process: it dies at its Nth call that changes a disk. A write is half done by then, as a kill may leave it.

   doom(n)   arm it; 0 only counts
   calls()   how many there were since
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

static long at, seen;

void doom(long n) { at = n; seen = 0; }
long calls(void) { return seen; }

static int doomed(void) { return __sync_add_and_fetch(&seen, 1) == at; }
static void die(void) { kill(getpid(), SIGKILL); pause(); }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRITES(name, offset) \
    ssize_t name(int fd, const void *data, size_t size, offset where) { \
        if (doomed()) { REAL(name)(fd, data, size / 2, where); die(); } \
        return REAL(name)(fd, data, size, where); \
    }
#define CHANGES(name, parameters, ...) \
    int name parameters { if (doomed()) die(); return REAL(name)(__VA_ARGS__); }

WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)
CHANGES(fsync, (int fd), fd)
CHANGES(fdatasync, (int fd), fd)
CHANGES(ftruncate, (int fd, off_t size), fd, size)
CHANGES(ftruncate64, (int fd, off64_t size), fd, size)
CHANGES(unlink, (const char *path), path)
CHANGES(rename, (const char *from, const char *to), from, to)
