// What all processors' products share: the kinds of weights, K-quants and blocks of 32 as they lie in a file.

#pragma once

#if (defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__F16C__)) || \
    (defined(__AVX2__) && defined(__FMA__) && defined(__F16C__))
#define KQUANTS  // this processor has what they need
#endif

#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"

#ifdef KQUANTS
#include <immintrin.h>
#endif

#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

constexpr int SUPER = 256;  // weights of a super-block
constexpr int BLOCK = 32;   // of a block

struct Activations;  // of a row: as many as a super-block has weights

struct ForBlock {  // or as many as a block has
    int8_t values[BLOCK];
    int32_t starts[2];  // where sums begin: the 16 or 128 that were added to weights are taken off
    float scale;
};

enum Rows { ONE, ANY };

struct KQuant {
    using Row = Activations;
    static constexpr int SPAN = SUPER;  // weights of a column in a Block, activations of a Row
    static constexpr int TOGETHER = 1;  // columns of a Block
    static constexpr Rows FOR = ANY;
};

struct OfBlocks {
    using Row = ForBlock;
    static constexpr int SPAN = BLOCK, TOGETHER = 1;
    static constexpr Rows FOR = ANY;
};

struct Q5_0 : OfBlocks {
    using Block = block_q5_0;
    static constexpr int ADDED = 0;  // which of the starts
};

struct Q8_0 : OfBlocks {
    using Block = block_q8_0;
    static constexpr int ADDED = 1;
};

struct Q4_K : KQuant {
    using Block = block_q4_K;
    static constexpr int GROUP = 32;     // weights that share a scale
    static constexpr bool MINS = true;   // each group has a least value, which is subtracted
    static constexpr bool PAIRS = true;  // two weights stay in one byte
};

struct Q5_K : KQuant {
    using Block = block_q5_K;
    static constexpr int GROUP = 32;
    static constexpr bool MINS = true, PAIRS = false;
};

struct Q3_K : KQuant {
    using Block = block_q3_K;
    static constexpr int GROUP = 16;
    static constexpr bool MINS = false, PAIRS = false;  // but all weights have 32 added
    static constexpr size_t END = offsetof(block_q3_K, d) - 14;  // 16 bytes: two others, all scales, the super-block's
};

struct Q6_K : KQuant {
    using Block = block_q6_K;
    static constexpr int GROUP = 16;
    static constexpr bool MINS = false, PAIRS = false;  // but all weights have 32 added
};

// 127 over the largest of some numbers, whose bits without the sign are given; no number if that is none. In front of
// denormals it stays finite.
inline float inverse_of(int32_t bits) {
    float most;
    memcpy(&most, &bits, sizeof most);
    const float inverse = 127 / most;
    return inverse > FLT_MAX ? FLT_MAX : inverse;
}

#ifdef KQUANTS

// Of Q3_K: as bytes with signs.
inline __m128i scales_of(const block_q3_K &block) {
    uint64_t fours;
    uint32_t twos;
    memcpy(&fours, block.scales, sizeof fours), memcpy(&twos, block.scales + 8, sizeof twos);
    const auto eight = [=](int shift) {
        const uint64_t upper = (twos >> shift & 0x03030303) | (uint64_t)(twos >> (shift + 2) & 0x03030303) << 32;
        return (int64_t)((fours >> shift & 0x0F0F0F0F0F0F0F0F) | upper << 4);
    };
    return _mm_sub_epi8(_mm_set_epi64x(eight(4), eight(0)), _mm_set1_epi8(32));
}

#endif

}  // namespace
