// One row of activations and blocks of 32 weights (Q5_0, Q8_0) as they lie in a file, for AVX-512 VNNI: two at a time.
//
//     two blocks    d │ fifth bits │ four bits … │ d │ fifth bits │ four bits …       Q5_0: 22 words of 16 bits
//                        │               │
//                        ▼               ▼
//     64 weights    w 0 … 15 │ w 16 … 31 │ w 32 … 47 │ w 48 … 63                    times 64 activations
//     16 scales     d d d d d d d d           │ d d d d d d d d                       of the sums of fours

#pragma once

#include "blocks_avx512.h"

namespace {

struct Pair {  // activations of two blocks of weights
    int8_t values[64];
    int32_t starts[2][16];  // where the sums of fours begin: the 16 or 128 that were added to weights are taken off
    float scales[16];
};

template <class Kept>
struct Two {
    Kept blocks[2];
};

template <class Kind>
struct InPairs {
    using Block = Two<typename Kind::Block>;
    using Row = Pair;
    static constexpr int SPAN = 2 * BLOCK, TOGETHER = 1, ADDED = Kind::ADDED;
    static constexpr Rows FOR = ONE;
};

struct Taken {
    __m512i weights;
    __m512 scales;
};

inline Taken take(const Two<block_q5_0> &two) {
    const auto twice = [](const uint8_t *bytes) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)bytes)); };
    __m512i four = _mm512_castsi256_si512(twice(two.blocks[0].qs));
    four = _mm512_inserti64x4(four, twice(two.blocks[1].qs), 1);
    four = low(_mm512_mask_srli_epi16(four, 0xFF00FF00, four, 4));
    uint32_t fifth[2];
    memcpy(fifth, two.blocks[0].qh, sizeof *fifth), memcpy(fifth + 1, two.blocks[1].qh, sizeof *fifth);
    const __mmask64 there = _cvtu64_mask64(fifth[0] | (uint64_t)fifth[1] << 32);
    const __m256i words = _mm256_loadu_si256((const __m256i *)&two);
    const __m256i d = _mm256_permutexvar_epi16(_mm256_set_m128i(_mm_set1_epi16(11), _mm_setzero_si128()), words);
    return {_mm512_mask_add_epi8(four, there, four, _mm512_set1_epi8(16)), _mm512_cvtph_ps(d)};
}

inline Taken take(const Two<block_q8_0> &two) {
    const __m256i first = _mm256_loadu_si256((const __m256i *)two.blocks[0].qs);
    const __m256i second = _mm256_loadu_si256((const __m256i *)two.blocks[1].qs);
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
    const __m256i d = _mm256_set_m128i(_mm_set1_epi16((short)two.blocks[1].d), _mm_set1_epi16((short)two.blocks[0].d));
    return {_mm512_xor_si512(both, _mm512_set1_epi8(-128)), _mm512_cvtph_ps(d)};
}

// The sums of a strip's columns for one row.
template <class Kind>
void strip(int pairs, const char *columns, size_t stride, const Pair *row, float *into) {
    __m512 sums[COLUMNS];
    for (int column = 0; column < COLUMNS; column++) {
        const typename Kind::Block *blocks = (const typename Kind::Block *)(columns + column * stride);
        __m512 sum = _mm512_setzero_ps();
        for (int b = 0; b < pairs; b++) {
            const Taken taken = take(blocks[b]);
            const __m512i start = _mm512_loadu_si512(row[b].starts[Kind::ADDED]);
            const __m512i dots = _mm512_dpbusd_epi32(start, taken.weights, _mm512_loadu_si512(row[b].values));
            const __m512 scales = _mm512_mul_ps(taken.scales, _mm512_loadu_ps(row[b].scales));
            sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scales, sum);
        }
        sums[column] = sum;
    }
    _mm512_storeu_ps(into, sums_of(sums));
}

// 64 numbers in eight bits.
inline void quantise(const float *from, Pair *into) {
    const Rounded first = rounded(from), second = rounded(from + BLOCK);
    const __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(first.values), second.values, 1);
    _mm512_storeu_si512(into->values, all);
    _mm256_storeu_ps(into->scales, _mm256_set1_ps(first.scale));
    _mm256_storeu_ps(into->scales + 8, _mm256_set1_ps(second.scale));
    const __m512i zero = _mm512_setzero_si512();
    const __m512i start = _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(16), all));
    _mm512_storeu_si512(into->starts[0], start);
    _mm512_storeu_si512(into->starts[1], _mm512_slli_epi32(start, 3));
}

}  // namespace
