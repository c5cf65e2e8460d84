// Memory as the system gives it: what is cleared without being touched, pages taken ahead of their use, and weights in
// huge pages.
//
// engine_clear clears the outputs of a new context, engine_clear_cells its keys and values.
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
// overlay.cmake has llama.cpp call them in place of ggml_backend_buffer_clear, on Linux.
//
// engine_ahead takes the pages of keys and values before a step needs them. The matrices of all layers fill up side by
// side, and so all of them come to the end of a page in the same step, which would wait for as many new ones at once:
// a virtual machine that has to ask its host for each takes a quarter of a second.
//
//     buffer   ▏ keys, layer 0 ██▊░░░░ ▏ values ██▊░░░░ ▏ keys, layer 1 ██▊░░░░ ▏ values …
//                                ↑                 ↑                      ↑
//                a page with something in it, and the next one not there yet: that is touched
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

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "ggml-backend.h"

extern "C" {
GGML_API void engine_clear(ggml_backend_buffer_t buffer, uint8_t value);
GGML_API void engine_clear_cells(ggml_backend_buffer_t buffer, uint8_t value);
GGML_API size_t engine_cells(size_t (*areas)[2], size_t most);
GGML_API size_t engine_ahead(char *start, size_t size);
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

namespace {

constexpr size_t HUGE_PAGE = 2 << 20;
constexpr size_t SAMPLE = 1 << 16;  // bytes from one place where a page is looked at to the next: a hundred cells or more

char *up(char *at) { return at + -reinterpret_cast<uintptr_t>(at) % HUGE_PAGE; }

thread_local std::vector<std::array<size_t, 2>> cleared;  // address, size

bool resident(char *at, size_t page) {
    unsigned char found = 0;
    char *const start = at - reinterpret_cast<uintptr_t>(at) % page;
    return mincore(start, page, &found) == 0 && (found & 1);
}

// Whether anything was written between `start` and `end`, by what lies at some places there.
bool holds(const char *start, const char *end, size_t page) {
    for (; end - start >= static_cast<ptrdiff_t>(sizeof(uint64_t)); start += SAMPLE) {
        uint64_t found = 0;  // a place that is not there yet is not asked: it would come, as one that may only be read
        if (resident(const_cast<char *>(start), page)) memcpy(&found, start, sizeof found);
        if (found) return true;
    }
    return false;
}

}  // namespace

void engine_clear_cells(ggml_backend_buffer_t buffer, uint8_t value) {
    const auto start = reinterpret_cast<uintptr_t>(ggml_backend_buffer_get_base(buffer));
    const std::array<size_t, 2> area{start, ggml_backend_buffer_get_size(buffer)};
    const bool is_new = std::find(cleared.begin(), cleared.end(), area) == cleared.end();
    if (is_new && ggml_backend_buffer_is_host(buffer)) cleared.push_back(area);
    engine_clear(buffer, value);
}

// Where the keys and values lie that this thread cleared since it last asked; returns how many of `most` there are.
size_t engine_cells(size_t (*areas)[2], size_t most) {
    const size_t count = std::min(most, cleared.size());
    for (size_t each = 0; each < count; ++each) std::copy_n(cleared[each].begin(), 2, areas[each]);
    cleared.clear();
    return count;
}

// Touches one page that is next, while others write there: a few at once would take a step's core from it. Returns its
// bytes, 0 where all that are next are there.
size_t engine_ahead(char *start, size_t size) {
    const size_t page = sysconf(_SC_PAGESIZE);
    char *const end = start + size;
    for (char *at = start, *next = up(start + 1); next < end; at = next, next += HUGE_PAGE) {
        if (resident(next, page) || !holds(at, next, page)) continue;
        char *const last = std::min(next + HUGE_PAGE, end);
        for (char *each = next; each < last; each += page) __atomic_fetch_or(each, 0, __ATOMIC_RELAXED);
        return last - next;
    }
    return 0;
}

// Moves what can be of `size` mapped bytes, until *stop is not 0 or memory is short. Returns how many bytes were moved.
size_t engine_enlarge(char *start, size_t size, const volatile int *stop) {
    char *const first = up(start);
    if (size < HUGE_PAGE || static_cast<size_t>(first - start) > size - HUGE_PAGE) return 0;
    const size_t whole = (size - (first - start)) / HUGE_PAGE * HUGE_PAGE;
    void *const room = mmap(nullptr, whole + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return 0;
    char *const copy = up(static_cast<char *>(room));  // neighbours once more where they go: one entry in the kernel's table
    size_t moved = 0;
    if (madvise(copy, whole, MADV_HUGEPAGE) == 0) {
        for (; moved < whole && !*stop; moved += HUGE_PAGE) {
            memcpy(copy + moved, first + moved, HUGE_PAGE);
            if (mprotect(copy + moved, HUGE_PAGE, PROT_READ) != 0) break;
            if (mremap(copy + moved, HUGE_PAGE, HUGE_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, first + moved) == MAP_FAILED) break;
        }
    }
    munmap(room, copy - static_cast<char *>(room));  // not between them: what lay there may be somebody else's now
    munmap(copy + moved, static_cast<char *>(room) + whole + HUGE_PAGE - (copy + moved));
    return moved;
}
