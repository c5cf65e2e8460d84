// K-quants of groups of 32 whose four bits stand for uneven numbers, those of IQ4_NL, for AVX-512 VNNI: IQ4_XS.

#pragma once

#include "blocks_avx512.h"

namespace {

struct IQ4_XS : KQuant {
    using Block = block_iq4_xs;
    static constexpr int GROUP = 32;
    static constexpr bool MINS = false, PAIRS = false;  // but all weights have 128 added
};

// What was added is taken off in whole numbers: it is so much that floats would lose a bit more than they have to.
template <>
inline __m512i start<IQ4_XS>(const Activations &row, int group) {
    return _mm512_set1_epi32(-128 * row.sums[group]);
}
template <>
inline __m512i starts<IQ4_XS>(__m512i values) {
    const __m512i zero = _mm512_setzero_si512();
    return _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(-128), values));
}

inline void unpack(const Columns &from, Unpacked<IQ4_XS> &into) {
    const __m512i table = table_of<IQ4_NL>();
    __m512i turned[4];
    turn16(from, 0, turned);  // the super-block's scale, two bits of each group's, and four
    const __m512 d = halves(turned[0]);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        const __m512i four = _mm512_and_si512(_mm512_srli_epi32(turned[1], 4 * g), _mm512_set1_epi32(15));
        const __m512i two = _mm512_and_si512(_mm512_srli_epi32(turned[0], 16 + 2 * g), _mm512_set1_epi32(3));
        const __m512i six = _mm512_or_si512(four, _mm512_slli_epi32(two, 4));
        into.scales[g] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_sub_epi32(six, _mm512_set1_epi32(32))));
    }
    for (int g = 0; g < 8; g++) {
        turn16(from, offsetof(block_iq4_xs, qs) + 16 * g, turned);
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            into.quads[8 * g + q] = _mm512_shuffle_epi8(table, low(turned[q]));
            into.quads[8 * g + q + 4] = _mm512_shuffle_epi8(table, low(_mm512_srli_epi32(turned[q], 4)));
        }
    }
}

template <>
struct Column<IQ4_XS> {
    const block_iq4_xs &block;
    __m256 scales;

    Column(const block_iq4_xs &block, const Activations &row) : block(block) {
        uint32_t fours;
        memcpy(&fours, block.scales_l, sizeof fours);
        const __m256i at = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
        const __m256i four = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)fours), at), _mm256_set1_epi32(15));
        const __m256i two = _mm256_srlv_epi32(_mm256_set1_epi32(block.scales_h), _mm256_srli_epi32(at, 1));
        const __m256i six = _mm256_or_si256(four, _mm256_slli_epi32(_mm256_and_si256(two, _mm256_set1_epi32(3)), 4));
        const __m256 whole = _mm256_cvtepi32_ps(_mm256_sub_epi32(six, _mm256_set1_epi32(32)));
        scales = _mm256_mul_ps(whole, _mm256_set1_ps(_cvtsh_ss(block.d) * row.scale));
    }
    __m512i weights(int i) const {  // each group's lower halves of bytes, then its upper ones
        const __m512i bytes = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(block.qs + 32 * i)));
        const __m512i twice = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), bytes);
        return _mm512_shuffle_epi8(table_of<IQ4_NL>(), low(_mm512_mask_srli_epi16(twice, 0xFF00FF00, twice, 4)));
    }
    __m512 scale(int i) const { return spread(_mm512_castps256_ps512(scales), 2 * i, 3); }
    __m512 start(const Activations &, __m512 sum) const { return sum; }
};

}  // namespace
