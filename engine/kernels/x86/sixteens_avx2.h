// K-quants of groups of sixteen weights, without least values, for AVX2 and for AVX-VNNI: Q6_K; and Q3_K, which has two
// bits here, a third there, and scales of six bits each in twelve bytes.

#pragma once

#include "kquants_avx2.h"

namespace {

// Scales of sixteen groups that have signs.
template <class Kind>
inline void signed_scales(const __m256i *bytes, Unpacked<Kind> &into) {
#pragma GCC unroll 16
    for (int g = 0; g < 16; g++)
        into.scales[g] =
            scale_of(_mm256_srai_epi32(_mm256_slli_epi32(bytes[g / 4], 24 - 8 * (g % 4)), 24), into.d);
}

inline void unpack(const Columns &from, Unpacked<Q6_K> &into) {
    __m256i turned[8], high[8];
    alignas(16) ggml_half d[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) memcpy(d + i, from.at(i, offsetof(block_q6_K, d)), sizeof(ggml_half));
    into.d = into.least = _mm256_cvtph_ps(*(const __m128i *)d);
    turn16(from, offsetof(block_q6_K, scales), turned);
    signed_scales(turned, into);
    for (int half = 0; half < 2; half++) {
        turn(from, offsetof(block_q6_K, qh) + 32 * half, high);
        for (int i = 0; i < 2; i++) {
            turn(from, offsetof(block_q6_K, ql) + 64 * half + 32 * i, turned);
            __m256i *quads = into.quads + 32 * half + 8 * i;
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++) {
                quads[q] = _mm256_or_si256(bits(turned[q], 0x0F), bits(_mm256_slli_epi32(high[q], 4), 0x30));
                quads[q + 16] = _mm256_or_si256(bits(_mm256_srli_epi32(turned[q], 4), 0x0F), bits(high[q], 0x30));
                high[q] = _mm256_srli_epi32(high[q], 2);
            }
        }
    }
}

inline __m256i threes(__m256i two, __m256i third) { return _mm256_or_si256(bits(two, 3), bits(third, 4)); }

inline __m256i to_third(__m256i x, int bit) {  // of a byte's bits
    return bit < 2 ? _mm256_slli_epi32(x, 2 - bit) : _mm256_srli_epi32(x, bit - 2);
}

inline void unpack(const Columns &from, Unpacked<Q3_K> &into) {
    __m256i turned[8], third[8], scales[4];
    turn16(from, Q3_K::END, turned);
    const auto shifted = [&](int i) {
        return _mm256_or_si256(_mm256_srli_epi32(turned[i], 16), _mm256_slli_epi32(turned[i + 1], 16));
    };
    const __m256i last = shifted(2);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m256i four = bits(i < 2 ? shifted(i) : _mm256_srli_epi32(shifted(i - 2), 4), 0x0F);
        const __m256i two = _mm256_slli_epi32(bits(_mm256_srli_epi32(last, 2 * i), 3), 4);
        scales[i] = _mm256_sub_epi8(_mm256_or_si256(four, two), _mm256_set1_epi8(32));
    }
    into.d = into.least = halves(_mm256_srli_epi32(turned[3], 16));
    signed_scales(scales, into);
    turn(from, offsetof(block_q3_K, hmask), third);
    for (int half = 0; half < 2; half++) {
        turn(from, offsetof(block_q3_K, qs) + 32 * half, turned);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++)
                into.quads[32 * half + 8 * i + q] =
                    _mm256_add_epi8(threes(_mm256_srli_epi32(turned[q], 2 * i), to_third(third[q], 4 * half + i)),
                                    _mm256_set1_epi8(28));  // to the 4 that they have
    }
}

template <int BITS>
struct SignedScales {  // of sixteen groups; weights have 1 << BITS added
    __m256i scales;
    float d;

    SignedScales(__m128i bytes, ggml_half half) : scales(_mm256_cvtepi8_epi16(bytes)), d(_cvtsh_ss(half)) {}
    __m256i scale(int i) const {  // one for each half
        const __m128i eight = i < 4 ? _mm256_castsi256_si128(scales) : _mm256_extracti128_si256(scales, 1);
        const __m256i half = _mm256_broadcastsi128_si256(eight);
        const __m256i first = _mm256_inserti128_si256(_mm256_setzero_si256(), _mm_set1_epi16(0x0202), 1);
        return _mm256_shuffle_epi8(half, _mm256_add_epi8(first, _mm256_set1_epi16((int16_t)(0x0100 + 0x0404 * (i % 4)))));
    }
    __m256i less(const Activations &row) const {
        const __m256i sums = _mm256_loadu_si256((const __m256i *)row.sixteens);
        return _mm256_slli_epi32(_mm256_madd_epi16(scales, sums), BITS);
    }
};

template <>
struct Column<Q6_K> : SignedScales<5> {
    const block_q6_K &block;

    explicit Column(const block_q6_K &block)
        : SignedScales(_mm_loadu_si128((const __m128i *)block.scales), block.d), block(block) {}
    __m256i weights(int i) const {
        const __m256i low = _mm256_loadu_si256((const __m256i *)(block.ql + i / 4 * 64 + i % 2 * 32));
        const __m256i high = _mm256_loadu_si256((const __m256i *)(block.qh + i / 4 * 32));
        const int turn = i % 4;
        const __m256i there = turn < 2 ? _mm256_slli_epi32(high, 4 - 2 * turn) : _mm256_srli_epi32(high, 2 * turn - 4);
        return _mm256_or_si256(bits(turn < 2 ? low : _mm256_srli_epi32(low, 4), 0x0F), bits(there, 0x30));
    }
};

template <>
struct Column<Q3_K> : SignedScales<2> {
    const block_q3_K &block;

    explicit Column(const block_q3_K &block) : SignedScales(scales_of(block), block.d), block(block) {}
    __m256i weights(int i) const {
        const __m256i two = _mm256_loadu_si256((const __m256i *)(block.qs + i / 4 * 32));
        const __m256i third = _mm256_loadu_si256((const __m256i *)block.hmask);
        return threes(_mm256_srli_epi32(two, i % 4 * 2), to_third(third, i));
    }
};

}  // namespace
