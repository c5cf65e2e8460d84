// What all processors' products of K-quants share: the kinds of weights.

#pragma once

#if (defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__F16C__)) || \
    (defined(__AVX2__) && defined(__FMA__) && defined(__F16C__))
#define KQUANTS  // this processor has what they need
#endif

#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"

#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

constexpr int SUPER = 256;  // weights of a super-block

struct Activations;  // as many of a row

struct KQuant {
    using Row = Activations;
    static constexpr int SPAN = SUPER;   // weights of a Block, activations of a Row
    static constexpr bool TILES = true;  // there are tiles of several rows
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

}  // namespace
