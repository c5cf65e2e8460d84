// Clears the keys and values of a new context, and its outputs, without touching them.
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
// overlay.cmake has llama.cpp call this in place of ggml_backend_buffer_clear, on Linux.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "ggml-backend.h"

extern "C" {
GGML_API void engine_clear(ggml_backend_buffer_t buffer, uint8_t value);
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
