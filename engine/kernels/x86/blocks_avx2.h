// Tiles of a product of matrices of blocks of 32 weights, for AVX2 and for AVX-VNNI: eight columns, some rows; and one.
//
// Weights of eight bits are too large for AVX2 to add two of their products in 16 bits without a sign: their absolute
// values are multiplied instead, and activations get their signs. All is exact.

#pragma once

#include "interleaved.h"
#include "kquants_avx2.h"

namespace {

struct UnpackedBlock {  // of eight columns
    __m256i quads[BLOCK / 4];
    __m256 scales;
};
template <>
struct Unpacked<Q5_0> : UnpackedBlock {};
template <>
struct Unpacked<Q8_0> : UnpackedBlock {};
template <>
struct Unpacked<Q4_0> : UnpackedBlock {};
template <>
struct Unpacked<IQ4_NL> : UnpackedBlock {};

#ifdef VNNI

template <class Kind>
constexpr bool SIGNS = false;  // weights keep theirs; otherwise 16 or 128 are added
inline __m256i unsigned_of(__m256i weights) { return _mm256_xor_si256(weights, _mm256_set1_epi8(-128)); }

#else

template <class Kind>
constexpr bool SIGNS = Kind::ADDED == 1;
inline __m256i unsigned_of(__m256i weights) { return weights; }

#endif

template <class Block>
inline __m256 scales_of(const Columns &from) {
    const auto d = [&](int i) { return (short)((const Block *)from.at(i, 0))->d; };
    return _mm256_cvtph_ps(_mm_setr_epi16(d(0), d(1), d(2), d(3), d(4), d(5), d(6), d(7)));
}

// 16 in each byte whose bit is there: of bytes that hold the bits, one bit each.
inline __m256i sixteens(__m256i bytes, __m256i bit) {
    return bits(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit), 0x10);
}

inline void unpack(const Columns &from, Unpacked<Q5_0> &into) {
    __m256i turned[4];
    turn16(from, offsetof(block_q5_0, qs), turned);
    const auto fifth = [&](int i) {
        int32_t all;
        memcpy(&all, from.at(i, offsetof(block_q5_0, qh)), sizeof all);
        return all;
    };
    const __m256i all = _mm256_setr_epi32(fifth(0), fifth(1), fifth(2), fifth(3), fifth(4), fifth(5), fifth(6), fifth(7));
    const __m256i first = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0C0C0C0C, 0, 0x04040404, 0x08080808, 0x0C0C0C0C);
#pragma GCC unroll 8
    for (int q = 0; q < 8; q++) {
        const __m256i bytes = _mm256_shuffle_epi8(all, _mm256_add_epi8(first, _mm256_set1_epi8((char)(q / 2))));
        const __m256i four = bits(q < 4 ? turned[q] : _mm256_srli_epi32(turned[q - 4], 4), 0x0F);
        into.quads[q] = _mm256_or_si256(four, sixteens(bytes, _mm256_set1_epi32(q % 2 ? (int)0x80402010 : 0x08040201)));
    }
    into.scales = scales_of<block_q5_0>(from);
}

inline void unpack(const Columns &from, Unpacked<Q8_0> &into) {
    turn(from, offsetof(block_q8_0, qs), into.quads);
#pragma GCC unroll 8
    for (int q = 0; q < 8; q++) into.quads[q] = unsigned_of(into.quads[q]);
    into.scales = scales_of<block_q8_0>(from);
}

// What four bits stand for, raised where weights are.
template <class Kind>
inline __m256i table_of() {
    const __m256i values = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)Kind::VALUES));
    return Kind::ADDED ? unsigned_of(values) : _mm256_add_epi8(values, _mm256_set1_epi8(16));
}

// The lower halves of bytes are weights 0 to 15 of a block, the upper ones 16 to 31.
template <class Kind>
inline void unpack_interleaved(const Columns &columns, UnpackedBlock &into) {
    const auto &from = *(const block_q4_0x8 *)columns.at(0, 0);
    const __m256i table = table_of<Kind>();
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        const __m256 l = _mm256_loadu_ps((const float *)(from.qs + 64 * half));
        const __m256 r = _mm256_loadu_ps((const float *)(from.qs + 64 * half + 32));
#pragma GCC unroll 2
        for (int q = 0; q < 2; q++) {
            const __m256i two = _mm256_castps_si256(q ? _mm256_shuffle_ps(l, r, 0xDD) : _mm256_shuffle_ps(l, r, 0x88));
            const __m256i bytes = _mm256_permute4x64_epi64(two, 0xD8);  // columns 0 1 4 5 2 3 6 7 in their order
            into.quads[2 * half + q] = _mm256_shuffle_epi8(table, bits(bytes, 0x0F));
            into.quads[2 * half + q + 4] = _mm256_shuffle_epi8(table, bits(_mm256_srli_epi16(bytes, 4), 0x0F));
        }
    }
    into.scales = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from.d));
}

inline void unpack(const Columns &from, Unpacked<Q4_0> &into) { unpack_interleaved<Q4_0>(from, into); }
inline void unpack(const Columns &from, Unpacked<IQ4_NL> &into) { unpack_interleaved<IQ4_NL>(from, into); }

inline __m256i doubled(__m256i dot, __m256i sums) {  // dot + sums of 16 bits, in 32
    return _mm256_add_epi32(dot, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
}

inline __m256i multiply_signed(__m256i dot, __m256i weights, __m256i values) {
    return doubled(dot, _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(values, weights)));
}

template <class Kind>
inline __m256i start(const ForBlock &row) {
    return SIGNS<Kind> ? _mm256_setzero_si256() : _mm256_set1_epi32(row.starts[Kind::ADDED]);
}

// Adds to sums, COLUMNS of each row, what `blocks` blocks of columns and rows give. The rows lie side by side. A
// function of its own has registers of its own.
template <int ROWS, class Kind>
[[gnu::noinline]] void tile(int blocks, const Unpacked<Kind> *columns, const ForBlock *rows, float *into) {
    for (int b = 0; b < blocks; b++, columns++, rows += ROWS) {
        __m256i dots[ROWS];
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++) dots[row] = start<Kind>(rows[row]);
        if constexpr (SIGNS<Kind>) {
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++)
#pragma GCC unroll 8
                for (int row = 0; row < ROWS; row++)
                    dots[row] = multiply_signed(dots[row], columns->quads[q], fours_of(rows[row].values + 4 * q));
        } else {
#ifdef VNNI
#pragma GCC unroll 8
            for (int q = 0; q < 8; q++)
#pragma GCC unroll 8
                for (int row = 0; row < ROWS; row++)
                    dots[row] = multiply(dots[row], columns->quads[q], fours_of(rows[row].values + 4 * q));
#else
#pragma GCC unroll 2
            for (int at = 0; at < 8; at += 4) {  // as many products as fit: 31496 at most
                __m256i sums[ROWS];
#pragma GCC unroll 4
                for (int q = 0; q < 4; q++)
#pragma GCC unroll 8
                    for (int row = 0; row < ROWS; row++)
                        sums[row] = multiply(q ? sums[row] : _mm256_setzero_si256(), columns->quads[at + q],
                                             fours_of(rows[row].values + 4 * (at + q)));
#pragma GCC unroll 8
                for (int row = 0; row < ROWS; row++) dots[row] = doubled(dots[row], sums[row]);
            }
#endif
        }
#pragma GCC unroll 8
        for (int row = 0; row < ROWS; row++) {
            float *sum = into + row * COLUMNS;
            const __m256 scales = _mm256_mul_ps(columns->scales, _mm256_set1_ps(rows[row].scale));
            _mm256_storeu_ps(sum, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[row]), scales, _mm256_loadu_ps(sum)));
        }
    }
}

// One row waits for the memory, which is read fastest straight on: column by column.

inline __m256i weights_of(const block_q5_0 &block) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)block.qs);
    const __m256i four = bits(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes), 0x0F);
    int32_t fifth;
    memcpy(&fifth, block.qh, sizeof fifth);
    const __m256i places = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(fifth), places);
    return _mm256_or_si256(four, sixteens(spread, _mm256_set1_epi64x((int64_t)0x8040201008040201)));
}

inline __m256i weights_of(const block_q8_0 &block) {
    return unsigned_of(_mm256_loadu_si256((const __m256i *)block.qs));
}

// Eight columns that are interleaved: eight weights of each of four fill a register.
//
//     sums          of columns 0 0 1 1 2 2 3 3     4 4 5 5 6 6 7 7     added up:   0 1 4 5 2 3 6 7
template <class Kind>
void strip_interleaved(int blocks, const block_q4_0x8 *from, const ForBlock *row, float *into) {
    const __m256i table = table_of<Kind>();
    __m256 sum = _mm256_setzero_ps();
    for (int b = 0; b < blocks; b++, from++, row++) {
        __m256i dots[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const __m256i bytes = _mm256_loadu_si256((const __m256i *)(from->qs + 32 * i));
#pragma GCC unroll 2
            for (int upper = 0; upper < 2; upper++) {
                const __m256i four = bits(upper ? _mm256_srli_epi16(bytes, 4) : bytes, 0x0F);
                int64_t eight;
                memcpy(&eight, row->values + 8 * (i / 2) + 16 * upper, sizeof eight);
                const __m256i weights = _mm256_shuffle_epi8(table, four), values = _mm256_set1_epi64x(eight);
                if constexpr (SIGNS<Kind>) dots[i % 2] = multiply_signed(dots[i % 2], weights, values);
                else dots[i % 2] = multiply(dots[i % 2], weights, values);  // 23368 at most
            }
        }
#ifndef VNNI
        if constexpr (!SIGNS<Kind>)
            for (int i = 0; i < 2; i++) dots[i] = doubled(_mm256_setzero_si256(), dots[i]);
#endif
        const __m256i dot = _mm256_add_epi32(start<Kind>(*row), _mm256_hadd_epi32(dots[0], dots[1]));
        const __m128i d = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)from->d), 0xD8);
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(_mm256_cvtph_ps(d), _mm256_set1_ps(row->scale)), sum);
    }
    _mm256_storeu_ps(into, _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(sum), 0xD8)));
}

// The sums of a strip's columns for one row.
template <class Kind>
void strip(int blocks, const char *columns, size_t stride, const ForBlock *row, float *into) {
    if constexpr (Kind::TOGETHER > 1) strip_interleaved<Kind>(blocks, (const block_q4_0x8 *)columns, row, into);
    else for (int column = 0; column < COLUMNS; column++) {
        const typename Kind::Block *block = (const typename Kind::Block *)(columns + column * stride);
        __m256 sum = _mm256_setzero_ps();
        for (int b = 0; b < blocks; b++) {
            const __m256i weights = weights_of(block[b]), values = _mm256_loadu_si256((const __m256i *)row[b].values);
            const __m256i first = _mm256_zextsi128_si256(_mm_cvtsi32_si128(row[b].starts[Kind::ADDED]));
            __m256i dot;
            if constexpr (SIGNS<Kind>) dot = multiply_signed(_mm256_setzero_si256(), weights, values);
#ifdef VNNI
            else dot = multiply(first, weights, values);
#else
            else dot = doubled(first, _mm256_maddubs_epi16(weights, values));
#endif
            sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(_cvtsh_ss(block[b].d) * row[b].scale), sum);
        }
        into[column] = sum_of(sum);
    }
}

// 32 numbers in eight bits. Their scale is no number if one of them is none.
inline void quantise(const float *from, ForBlock *into) {
    const float inverse = inverse_of(largest<BLOCK>(from));
    const __m256i values = whole(from, inverse);
    _mm256_storeu_si256((__m256i *)into->values, values);
    const __m256i sums = doubled(_mm256_setzero_si256(), _mm256_maddubs_epi16(_mm256_set1_epi8(1), values));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    four = _mm_hadd_epi32(four, four);
    const int sum = _mm_cvtsi128_si32(_mm_hadd_epi32(four, four));
    into->starts[0] = -16 * sum, into->starts[1] = -128 * sum;
    into->scale = 1 / inverse;
}

}  // namespace
