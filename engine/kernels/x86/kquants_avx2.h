// Tiles of a product of matrices of K-quants, for AVX2, and for AVX-VNNI: eight columns of weights, some rows.
//
// AVX2 multiplies bytes and adds two products in 16 bits. As many such sums are added up as fit, and only then multiplied
// by the whole number that scales them, which is that instruction's sister for 16 bits: all exact. What weights have added
// is taken off before the first product: sums on the way may leave the 16 bits, since the last one is back within them.
// With AVX-VNNI a sum of four products is one instruction, and each group is scaled as AVX-512 does it.

#pragma once

#include "kquants.h"

#include <immintrin.h>

namespace {

constexpr int COLUMNS = 8;  // computed at once: the lanes of a register
constexpr int MOST = 6;     // rows of a tile: two registers each, and a few more

#if defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__))
#define VNNI

template <class Kind>
constexpr int LIMIT = Kind::GROUP / 4;  // quads whose products are added up before they are scaled

using Part = __m256;   // of a super-block's sum
using Scale = __m256;  // of a group, times the super-block's

inline __m256i multiply(__m256i dot, __m256i quads, __m256i four) {
#ifdef __AVXVNNI__
    return _mm256_dpbusd_avx_epi32(dot, quads, four);
#else
    return _mm256_dpbusd_epi32(dot, quads, four);
#endif
}
inline Part scaled(__m256i dot, Scale scale, Part part) { return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, part); }
inline Scale scale_of(__m256i whole, __m256 d) { return _mm256_mul_ps(_mm256_cvtepi32_ps(whole), d); }
inline Part nothing() { return _mm256_setzero_ps(); }

#else

template <class Kind>
constexpr int LIMIT = Kind::PAIRS ? 8 : 4;  // of 4, 5 and 6 bits, these without what is added: 30480, 31496, 32512 at most

using Part = __m256i;
using Scale = __m256i;  // of a group, twice in 16 bits

// Compilers that may add up products in another order keep all of them until the end, in memory.
inline __m256i multiply(__m256i dot, __m256i quads, __m256i four) {
    dot = _mm256_add_epi16(dot, _mm256_maddubs_epi16(quads, four));
    asm("" : "+x"(dot));
    return dot;
}
inline Part scaled(__m256i dot, Scale scale, Part part) { return _mm256_add_epi32(part, _mm256_madd_epi16(dot, scale)); }
inline Scale scale_of(__m256i whole, __m256) {
    return _mm256_blend_epi16(whole, _mm256_slli_epi32(whole, 16), 0xAA);
}
inline Part nothing() { return _mm256_setzero_si256(); }

#endif

template <class Kind>
struct Unpacked {  // a super-block of eight columns
    __m256i quads[SUPER / 4];
    Scale scales[SUPER / Kind::GROUP];
    __m256i mins[4];  // of groups 0 and 1, 2 and 3, …: two halves of 16 bits
    __m256 d, least;  // what to multiply sums by, and what mins
};

struct alignas(32) Activations {  // a row's super-block
    int8_t values[SUPER];
    int32_t starts[SUPER / 16];  // -32 times the sums of sixteen; in halves of 16 bits where products are
    int16_t sums[SUPER / 32], sixteens[SUPER / 16];  // of so many
    float scale;
};

struct Columns {  // eight, `stride` bytes apart
    const uint8_t *first;
    size_t stride;
    Columns(const void *first, size_t stride) : first((const uint8_t *)first), stride(stride) {}
    const uint8_t *at(int i, size_t offset) const { return first + i * stride + offset; }
};

// 16 bytes of each of eight columns: into[d] has their d-th four bytes side by side.
inline void turn16(const Columns &from, size_t offset, __m256i *into) {
    __m256i twos[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        twos[i] = _mm256_loadu2_m128i((const __m128i *)from.at(i + 4, offset), (const __m128i *)from.at(i, offset));
    const __m256i ab = _mm256_unpacklo_epi32(twos[0], twos[1]), cd = _mm256_unpacklo_epi32(twos[2], twos[3]);
    const __m256i AB = _mm256_unpackhi_epi32(twos[0], twos[1]), CD = _mm256_unpackhi_epi32(twos[2], twos[3]);
    into[0] = _mm256_unpacklo_epi64(ab, cd), into[1] = _mm256_unpackhi_epi64(ab, cd);
    into[2] = _mm256_unpacklo_epi64(AB, CD), into[3] = _mm256_unpackhi_epi64(AB, CD);
}

inline void turn(const Columns &from, size_t offset, __m256i *into) {  // 32 bytes
    turn16(from, offset, into);
    turn16(from, offset + 16, into + 4);
}

inline __m256i bits(__m256i x, char mask) { return _mm256_and_si256(x, _mm256_set1_epi8(mask)); }

inline __m256 halves(__m256i words) {  // the lower ones of each 32 bits
    const __m256i packed = _mm256_packus_epi32(_mm256_and_si256(words, _mm256_set1_epi32(0xFFFF)), _mm256_setzero_si256());
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}

inline __m256i byte_of(__m256i x, int at) {  // of each four
    return _mm256_and_si256(_mm256_srli_epi32(x, 8 * at), _mm256_set1_epi32(0xFF));
}

// Six bits each: scales and mins of eight groups, in twelve bytes.
template <class Kind>
inline void unpack_scales(const Columns &from, Unpacked<Kind> &into) {
    __m256i heads[4];
    turn16(from, 0, heads);
    into.d = halves(heads[0]);
    into.least = halves(_mm256_srli_epi32(heads[0], 16));
    const auto both = [](__m256i low, __m256i high) {
        return _mm256_or_si256(bits(low, 0x0F), bits(_mm256_srli_epi32(high, 2), 0x30));
    };
    const __m256i scales[2] = {bits(heads[1], 0x3F), both(heads[3], heads[1])};
    const __m256i mins[2] = {bits(heads[2], 0x3F), both(_mm256_srli_epi32(heads[3], 4), heads[2])};
    for (int g = 0; g < 8; g++) into.scales[g] = scale_of(byte_of(scales[g / 4], g % 4), into.d);
    for (int i = 0; i < 4; i++)
        into.mins[i] = _mm256_or_si256(byte_of(mins[i / 2], i % 2 * 2),
                                       _mm256_slli_epi32(byte_of(mins[i / 2], i % 2 * 2 + 1), 16));
}

inline void unpack(const Columns &from, Unpacked<Q4_K> &into) {
    unpack_scales(from, into);
    __m256i turned[8];
    for (int i = 0; i < 4; i++) {
        turn(from, offsetof(block_q4_K, qs) + 32 * i, turned);
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++) {
            into.quads[16 * i + q] = bits(turned[q], 0x0F);
            into.quads[16 * i + q + 8] = bits(_mm256_srli_epi32(turned[q], 4), 0x0F);
        }
    }
}

inline void unpack(const Columns &from, Unpacked<Q5_K> &into) {
    unpack_scales(from, into);
    __m256i turned[8], fifth[8];
    turn(from, offsetof(block_q5_K, qh), fifth);
    for (int i = 0; i < 4; i++) {
        turn(from, offsetof(block_q5_K, qs) + 32 * i, turned);
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++) {
            const __m256i next = _mm256_slli_epi32(bits(fifth[q], 3), 4);
            into.quads[16 * i + q] = _mm256_or_si256(bits(turned[q], 0x0F), bits(next, 0x10));
            into.quads[16 * i + q + 8] =
                _mm256_or_si256(bits(_mm256_srli_epi32(turned[q], 4), 0x0F), bits(_mm256_srli_epi32(next, 1), 0x10));
            fifth[q] = _mm256_srli_epi32(fifth[q], 2);
        }
    }
}

inline __m256i fours_of(const void *four) {  // bytes: four weights, or two sums
    int32_t all;
    memcpy(&all, four, sizeof all);
    return _mm256_set1_epi32(all);
}

// What the mins of all groups take from a row's sums.
template <class Kind>
inline __m256i less(const Unpacked<Kind> &columns, const Activations &row) {
    __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(columns.mins[i], fours_of(row.sums + 2 * i)));
    return sum;
}

// Where the sum of a group begins, and what all of a super-block's sums come to.
template <class Kind>
inline __m256i start(const Activations &row, int group) {
    return Kind::MINS ? _mm256_setzero_si256() : _mm256_set1_epi32(row.starts[group]);
}
template <class Kind>
inline __m256 total(Part part, const Unpacked<Kind> &columns, const Activations &row) {
#ifdef VNNI
    const __m256 sum = part;
#else
    const __m256 sum = _mm256_mul_ps(_mm256_cvtepi32_ps(part), columns.d);
#endif
    return Kind::MINS ? _mm256_fnmadd_ps(_mm256_cvtepi32_ps(less(columns, row)), columns.least, sum) : sum;
}

// Adds to sums, COLUMNS of each row, what `supers` super-blocks of columns and rows give. The rows lie side by side.
// A function of its own has registers of its own.
template <int ROWS, class Kind>
[[gnu::noinline]] void tile(int supers, const Unpacked<Kind> *columns, const Activations *rows, float *into) {
    for (int b = 0; b < supers; b++, columns++, rows += ROWS) {
        Part part[ROWS];
        for (int row = 0; row < ROWS; row++) part[row] = nothing();
        for (int at = 0; at < SUPER / 4; at += LIMIT<Kind>) {
            const int group = at * 4 / Kind::GROUP;
            __m256i dots[ROWS];
            for (int row = 0; row < ROWS; row++) dots[row] = start<Kind>(rows[row], group);
#pragma GCC unroll 8
            for (int q = 0; q < LIMIT<Kind>; q++) {
                const __m256i quads = columns->quads[at + q];
#pragma GCC unroll 8
                for (int row = 0; row < ROWS; row++)
                    dots[row] = multiply(dots[row], quads, fours_of(rows[row].values + 4 * (at + q)));
            }
#pragma GCC unroll 8
            for (int row = 0; row < ROWS; row++) part[row] = scaled(dots[row], columns->scales[group], part[row]);
        }
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++) {
            float *sum = into + row * COLUMNS;
            const __m256 all = total(part[row], *columns, rows[row]);
            _mm256_storeu_ps(sum, _mm256_fmadd_ps(all, _mm256_set1_ps(rows[row].scale), _mm256_loadu_ps(sum)));
        }
    }
}

// One row waits for the memory, which is read fastest straight on: column by column.
template <class Kind>
struct Column {  // a super-block of one: Q4_K and Q5_K
    const typename Kind::Block &block;
    __m256i scales;  // of eight groups, in 16 bits, twice
    __m128i mins;
    float d, least;

    explicit Column(const typename Kind::Block &block) : block(block) {
        uint32_t head[4];
        memcpy(head, &block, sizeof head);
        const uint32_t six = 0x3F3F3F3F, four = 0x0F0F0F0F, two = 0x30303030;
        const uint64_t of_scales = (head[1] & six) | (uint64_t)((head[3] & four) | (head[1] >> 2 & two)) << 32;
        const uint64_t of_mins = (head[2] & six) | (uint64_t)((head[3] >> 4 & four) | (head[2] >> 2 & two)) << 32;
        scales = _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(_mm_cvtsi64_si128((int64_t)of_scales)));
        mins = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((int64_t)of_mins));
        d = _cvtsh_ss(head[0]), least = _cvtsh_ss(head[0] >> 16);
    }
    __m256i weights(int i) const {  // the i-th 32
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(block.qs + i / 2 * 32));
        bytes = bits(i % 2 ? _mm256_srli_epi32(bytes, 4) : bytes, 0x0F);
        if constexpr (!Kind::PAIRS) {
            const __m256i fifth = _mm256_loadu_si256((const __m256i *)block.qh);
            const __m256i there = i < 4 ? _mm256_slli_epi32(fifth, 4 - i) : _mm256_srli_epi32(fifth, i - 4);
            bytes = _mm256_or_si256(bytes, bits(there, 0x10));
        }
        return bytes;
    }
    __m256i scale(int i) const { return _mm256_shuffle_epi8(scales, _mm256_set1_epi16((int16_t)(0x0100 + 0x0202 * i))); }
    __m256i less(const Activations &row) const {
        return _mm256_zextsi128_si256(_mm_madd_epi16(mins, _mm_loadu_si128((const __m128i *)row.sums)));
    }
};

inline float sum_of(__m256 x) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

// The sums of a strip's columns for one row.
template <class Kind>
void strip(int supers, const char *columns, size_t stride, const Activations *row, float *into) {
    for (int column = 0; column < COLUMNS; column++) {
        const typename Kind::Block *block = (const typename Kind::Block *)(columns + column * stride);
        __m256 sum = _mm256_setzero_ps();
        for (int b = 0; b < supers; b++) {
            const Column<Kind> one(block[b]);
            __m256i dot = _mm256_setzero_si256();
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) {
                const __m256i values = _mm256_loadu_si256((const __m256i *)(row[b].values + 32 * i));
                dot = _mm256_add_epi32(dot, _mm256_madd_epi16(_mm256_maddubs_epi16(one.weights(i), values), one.scale(i)));
            }
            __m256 all;
            if constexpr (Kind::MINS) {
                const __m256 less = _mm256_mul_ps(_mm256_cvtepi32_ps(one.less(row[b])), _mm256_set1_ps(one.least));
                all = _mm256_fmsub_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(one.d), less);
            } else {
                all = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(dot, one.less(row[b]))), _mm256_set1_ps(one.d));
            }
            sum = _mm256_fmadd_ps(all, _mm256_set1_ps(row[b].scale), sum);
        }
        into[column] = sum_of(sum);
    }
}

// The bits, without signs, of the largest of COUNT numbers; those of no number are the largest of all.
template <int COUNT>
inline int32_t largest(const float *from) {
    __m256i most = _mm256_setzero_si256();
    for (int i = 0; i < COUNT; i += 8) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(from + i));
        most = _mm256_max_epi32(most, _mm256_and_si256(x, _mm256_set1_epi32(0x7FFFFFFF)));
    }
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1));
    return _mm_cvtsi128_si32(four);
}

// 32 numbers times another one, as whole ones in bytes.
inline __m256i whole(const float *from, float inverse) {
    const auto eight = [=](int at) {
        return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from + at), _mm256_set1_ps(inverse)));
    };
    const __m256i ab = _mm256_packs_epi32(eight(0), eight(8)), cd = _mm256_packs_epi32(eight(16), eight(24));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd), order);
}

// 256 numbers in eight bits. Their scale is no number if one of them is none.
inline void quantise(const float *from, Activations *into) {
    const float inverse = inverse_of(largest<SUPER>(from));
    for (int i = 0; i < SUPER; i += 32) {
        const __m256i all = whole(from + i, inverse);
        _mm256_storeu_si256((__m256i *)(into->values + i), all);
        __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), all);  // of every other two
        sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0x4E));
        sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0xB1));
        const __m256i both = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
        const int first = _mm256_cvtsi256_si32(both), second = _mm256_extract_epi32(both, 4);
#ifdef VNNI
        into->starts[i / 16] = -32 * first, into->starts[i / 16 + 1] = -32 * second;
#else
        const __m256i starts = _mm256_slli_epi16(_mm256_sub_epi16(_mm256_setzero_si256(), sums), 5);
        into->starts[i / 16] = _mm256_cvtsi256_si32(starts), into->starts[i / 16 + 1] = _mm256_extract_epi32(starts, 4);
#endif
        into->sixteens[i / 16] = (int16_t)first, into->sixteens[i / 16 + 1] = (int16_t)second;
        into->sums[i / 32] = (int16_t)(first + second);
    }
    into->scale = 1 / inverse;
}

}  // namespace
