// K-quants of groups of sixteen weights, without least values, for AVX-512 VNNI: Q6_K; and Q3_K, which has two bits here,
// a third there, and scales of six bits each in twelve bytes.

#pragma once

#include "kquants_avx512.h"

namespace {

// Scales of sixteen groups that have signs: they fill the upper bytes.
template <class Kind>
inline void signed_scales(const __m512i *bytes, __m512 d, Unpacked<Kind> &into) {
    const __m512 part = _mm512_mul_ps(d, _mm512_set1_ps(0x1p-24f));
#pragma GCC unroll 16
    for (int g = 0; g < 16; g++)
        into.scales[g] = _mm512_mul_ps(part, _mm512_cvtepi32_ps(byte_of(bytes[g / 4], g % 4, 3)));
}

inline void unpack(const Columns &from, Unpacked<Q6_K> &into) {
    __m512i turned[8], high[8];
    turn16(from, offsetof(block_q6_K, scales), turned);
    alignas(32) ggml_half halves[COLUMNS];
#pragma GCC unroll 16
    for (int i = 0; i < COLUMNS; i++) memcpy(halves + i, from.at(i, offsetof(block_q6_K, d)), sizeof(ggml_half));
    signed_scales(turned, _mm512_cvtph_ps(*(const __m256i *)halves), into);
    for (int half = 0; half < 2; half++) {
        turn(from, offsetof(block_q6_K, qh) + 32 * half, high);
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            turn(from, offsetof(block_q6_K, ql) + 64 * half + 32 * i, turned);
            __m512i *quads = into.quads + 32 * half + 8 * i;
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++) {
                quads[q] = both(turned[q], _mm512_slli_epi32(high[q], 4 - 2 * i), 0x30);
                quads[q + 16] = both(_mm512_srli_epi32(turned[q], 4), _mm512_srli_epi32(high[q], 2 * i), 0x30);
            }
        }
    }
}

inline __m512i threes(__m512i two, __m512i third) {
    return _mm512_ternarylogic_epi64(_mm512_and_si512(two, _mm512_set1_epi8(3)), third, _mm512_set1_epi8(4), 0xF8);
}

inline void unpack(const Columns &from, Unpacked<Q3_K> &into) {
    __m512i turned[8], third[8], scales[4];
    turn16(from, Q3_K::END, turned);
    const auto shifted = [&](int i) {
        return _mm512_or_si512(_mm512_srli_epi32(turned[i], 16), _mm512_slli_epi32(turned[i + 1], 16));
    };
    const __m512i last = shifted(2);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m512i four = low(i < 2 ? shifted(i) : _mm512_srli_epi32(shifted(i - 2), 4));
        const __m512i two = _mm512_and_si512(_mm512_srli_epi32(last, 2 * i), _mm512_set1_epi8(3));
        scales[i] = _mm512_sub_epi8(_mm512_or_si512(four, _mm512_slli_epi32(two, 4)), _mm512_set1_epi8(32));
    }
    signed_scales(scales, halves(_mm512_srli_epi32(turned[3], 16)), into);
    turn(from, offsetof(block_q3_K, hmask), third);
    for (int half = 0; half < 2; half++) {
        turn(from, offsetof(block_q3_K, qs) + 32 * half, turned);
        for (int i = 0; i < 4; i++) {
            const __m512i right = _mm512_set1_epi32(2 * i), around = _mm512_set1_epi32((4 * half + i + 30) % 32);
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++)
                into.quads[32 * half + 8 * i + q] =
                    _mm512_add_epi8(threes(_mm512_srlv_epi32(turned[q], right), _mm512_rorv_epi32(third[q], around)),
                                    _mm512_set1_epi8(28));  // to the 4 that they have
        }
    }
}

template <int ADDED>
struct SignedScales {  // of sixteen groups; what weights have added
    __m512 scales;

    SignedScales(__m128i bytes, ggml_half d, const Activations &row)
        : scales(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)), _mm512_set1_ps(_cvtsh_ss(d) * row.scale))) {}
    __m512 scale(int i) const { return spread(scales, 4 * i, 2); }
    __m512 start(const Activations &row, __m512 sum) const {
        const __m512 starts = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(row.starts)), _mm512_set1_ps(ADDED / 32.0f));
        return _mm512_fmadd_ps(starts, scales, sum);
    }
};

template <>
struct Column<Q6_K> : SignedScales<32> {
    const block_q6_K &block;

    Column(const block_q6_K &block, const Activations &row)
        : SignedScales(_mm_loadu_si128((const __m128i *)block.scales), block.d, row), block(block) {}
    __m512i weights(int i) const {
        const __m512i low = _mm512_loadu_si512(block.ql + i / 2 * 64), high = twice(block.qh + i / 2 * 32);
        return i % 2 ? both(_mm512_srli_epi32(low, 4), _mm512_srlv_epi32(high, halves_of(0, 2)), 0x30)
                     : both(low, _mm512_sllv_epi32(high, halves_of(4, 2)), 0x30);
    }
};

template <>
struct Column<Q3_K> : SignedScales<4> {
    const block_q3_K &block;

    Column(const block_q3_K &block, const Activations &row)
        : SignedScales(scales_of(block), block.d, row), block(block) {}

    __m512i weights(int i) const {
        const int first = 4 * (i % 2), bit = 4 * (i / 2) + 2 * (i % 2);
        return threes(_mm512_srlv_epi32(twice(block.qs + i / 2 * 32), halves_of(first, first + 2)),
                      _mm512_rorv_epi32(twice(block.hmask), halves_of((bit + 30) % 32, (bit + 31) % 32)));
    }
};

}  // namespace
