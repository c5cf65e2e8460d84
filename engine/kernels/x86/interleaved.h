// Blocks of Q4_0 and IQ4_NL as ggml lays them out in memory (repack.h): eight columns of them, eight bytes of each in turns.

#pragma once

#include "kquants.h"
#include "repack.h"

namespace {

struct Interleaved : OfBlocks {
    using Block = block_q4_0x8;
    static constexpr int TOGETHER = 8;
};
static_assert(sizeof(block_q4_0x8) == sizeof(block_iq4_nlx8), "both formats are laid out alike");

// VALUES: what the sixteen of four bits stand for. Q4_0 was given the sign of its upper bit when it was interleaved.
struct Q4_0 : Interleaved {
    static constexpr int ADDED = 0;
    static constexpr int8_t VALUES[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
};

struct IQ4_NL : Interleaved {
    static constexpr int ADDED = 1;
    static constexpr int8_t VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
};

}  // namespace
