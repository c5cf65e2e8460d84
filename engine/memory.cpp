// Memory as the system gives it: what is cleared without being touched, and weights in huge pages.
//
// engine_clear clears the keys and values of a new context, and its outputs.
//
// llama.cpp writes zeros over all of them, and so takes their memory from the system at the start, page by page: up to
// a third of a start, for room that most conversations never need. The system gives zeros anyway. Here the pages are
// given back instead, whatever lay in them; each comes anew, zeroed, when it is touched for the first time:
//
//     buffer   ▏ edge ▏ page ▏ page ▏ … ▏ page ▏ edge ▏
//               zeros   └──── given back ────┘   zeros
//
// Pages stay as large as the process asked for: a step far into a conversation takes 6 % longer where they are small.
//
// overlay.cmake has llama.cpp call it in place of ggml_backend_buffer_clear, on Linux.
//
// engine_enlarge moves what lies in a mapped file to memory of our own, whose pages are 512 times as large. A step reads
// every weight, and the processor asks less often where the next page is. The pages of the file go where they are
// needed more:
//
//     mapping   ▏ small ▏ huge ▏ huge ▏ small ▏ small …      a copy of the next one  ▏ huge ▏
//                                         ▲                                              │
//                                         └────────────────── mremap ────────────────────┘
//
// Both hold the same bytes: who looks there meanwhile waits until they have changed places, and goes on.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "ggml-backend.h"

extern "C" {
GGML_API void engine_clear(ggml_backend_buffer_t buffer, uint8_t value);
GGML_API size_t engine_enlarge(char *start, size_t size, const volatile int *stop);
}

void engine_clear(ggml_backend_buffer_t buffer, uint8_t value) {
    char *const start = static_cast<char *>(ggml_backend_buffer_get_base(buffer));
    const size_t size = ggml_backend_buffer_get_size(buffer);
    const size_t page = sysconf(_SC_PAGESIZE);
    const size_t before = -reinterpret_cast<uintptr_t>(start) % page;
    if (value != 0 || !ggml_backend_buffer_is_host(buffer) || size < before + page) {
        return ggml_backend_buffer_clear(buffer, value);
    }
    const size_t whole = (size - before) / page * page;
    if (madvise(start + before, whole, MADV_DONTNEED) != 0) {  // pages that are locked, for example
        return ggml_backend_buffer_clear(buffer, value);
    }
    memset(start, 0, before);
    memset(start + before + whole, 0, size - before - whole);
}

// Moves what can be of `size` mapped bytes, until *stop is not 0 or memory is short. Returns how many bytes were moved.
size_t engine_enlarge(char *start, size_t size, const volatile int *stop) {
    constexpr size_t HUGE = 2 << 20;
    const auto up = [](char *at) { return at + -reinterpret_cast<uintptr_t>(at) % HUGE; };
    char *const first = up(start);
    if (size < HUGE || static_cast<size_t>(first - start) > size - HUGE) return 0;
    const size_t whole = (size - (first - start)) / HUGE * HUGE;
    void *const room = mmap(nullptr, whole + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return 0;
    char *const copy = up(static_cast<char *>(room));  // neighbours once more where they go: one entry in the kernel's table
    size_t moved = 0;
    if (madvise(copy, whole, MADV_HUGEPAGE) == 0) {
        for (; moved < whole && !*stop; moved += HUGE) {
            memcpy(copy + moved, first + moved, HUGE);
            if (mprotect(copy + moved, HUGE, PROT_READ) != 0) break;
            if (mremap(copy + moved, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, first + moved) == MAP_FAILED) break;
        }
    }
    munmap(room, copy - static_cast<char *>(room));  // not between them: what lay there may be somebody else's now
    munmap(copy + moved, static_cast<char *>(room) + whole + HUGE - (copy + moved));
    return moved;
}
