// Tiles of a product of matrices of blocks of 32 weights, for AVX-512 VNNI: sixteen columns, some rows.
//
// The one instruction for it, VPDPBUSD, multiplies unsigned bytes by signed ones and adds four products. Both sides here
// are signed. ggml's own kernels take the activations' absolute values and give their signs to the weights, before every
// product. Here the weights come with 16 or 128 added, which makes them unsigned for nothing, and so many times the sum
// of a block's activations is where its sum begins:
//
//     sum (w + 128) a  -  128 sum a   =   sum w a          in whole numbers: exact
//
// Q4_0 and IQ4_NL are interleaved in memory; Q5_0 and Q8_0 lie as in a file, and sixteen columns are turned into quads
// once for all rows, four of them side by side in a register's quarter:
//
//     column 0    q0 q1 q2 q3 │ q4 q5 q6 q7               quads[0]   column 0 q0 │ column 1 q0 │ … │ column 15 q0
//     …                                          ──►      …
//     column 15   q0 q1 q2 q3 │ q4 q5 q6 q7               quads[7]   column 0 q7 │ column 1 q7 │ … │ column 15 q7

#pragma once

#include "interleaved.h"
#include "kquants_avx512.h"

namespace {

struct UnpackedBlock {  // of sixteen columns
    __m512i quads[BLOCK / 4];
    __m512 scales;
};
template <>
struct Unpacked<Q5_0> : UnpackedBlock {};
template <>
struct Unpacked<Q8_0> : UnpackedBlock {};
template <>
struct Unpacked<Q4_0> : UnpackedBlock {};
template <>
struct Unpacked<IQ4_NL> : UnpackedBlock {};

// The 32 weights of a block without signs: 128 or 16 are added.
inline __m256i raised(const block_q8_0 &block) {
    return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)block.qs), _mm256_set1_epi8(-128));
}

template <class Block>
[[gnu::always_inline]] inline void unpack_block(const Columns &from, UnpackedBlock &into) {
    const auto block = [&](int i) -> const Block & { return *(const Block *)from.at(i, 0); };
    const __m512i quarters = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);  // of the upper and lower four columns …
    const __m512i others = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    __m512i sets[2][4];  // … whose quads q and q + 4 lie side by side
#pragma GCC unroll 2
    for (int set = 0; set < 2; set++) {
        __m512i pairs[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            pairs[i] = _mm512_inserti64x4(_mm512_castsi256_si512(raised(block(4 * set + i))),
                                          raised(block(4 * set + i + 8)), 1);
        const __m512i ab = _mm512_unpacklo_epi32(pairs[0], pairs[1]), cd = _mm512_unpacklo_epi32(pairs[2], pairs[3]);
        const __m512i AB = _mm512_unpackhi_epi32(pairs[0], pairs[1]), CD = _mm512_unpackhi_epi32(pairs[2], pairs[3]);
        sets[set][0] = _mm512_unpacklo_epi64(ab, cd), sets[set][1] = _mm512_unpackhi_epi64(ab, cd);
        sets[set][2] = _mm512_unpacklo_epi64(AB, CD), sets[set][3] = _mm512_unpackhi_epi64(AB, CD);
    }
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
        into.quads[q] = _mm512_permutex2var_epi64(sets[0][q], quarters, sets[1][q]);
        into.quads[q + 4] = _mm512_permutex2var_epi64(sets[0][q], others, sets[1][q]);
    }
    const auto scale = [=](int i) { return (short)block(i).d; };
    into.scales = _mm512_cvtph_ps(_mm256_setr_epi16(scale(0), scale(1), scale(2), scale(3), scale(4), scale(5), scale(6),
                                                    scale(7), scale(8), scale(9), scale(10), scale(11), scale(12),
                                                    scale(13), scale(14), scale(15)));
}

// What four bits stand for, raised.
template <class Kind>
inline __m512i table_of() {
    const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)Kind::VALUES));
    return _mm512_add_epi8(values, _mm512_set1_epi8(Kind::ADDED ? -128 : 16));
}

// Eight columns from each side. The lower halves of bytes are weights 0 to 15 of a block, the upper ones 16 to 31.
template <class Kind>
[[gnu::always_inline]] inline void unpack_interleaved(const Columns &from, UnpackedBlock &into) {
    const auto &left = *(const block_q4_0x8 *)from.at(0, 0), &right = *(const block_q4_0x8 *)from.at(8, 0);
    const __m512i table = table_of<Kind>();
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        const __m512i l = _mm512_loadu_si512(left.qs + 64 * half), r = _mm512_loadu_si512(right.qs + 64 * half);
#pragma GCC unroll 2
        for (int q = 0; q < 2; q++) {
            const __m512i bytes = _mm512_permutex2var_epi32(l, q ? odd : even, r);
            into.quads[2 * half + q] = _mm512_shuffle_epi8(table, low(bytes));
            into.quads[2 * half + q + 4] = _mm512_shuffle_epi8(table, low(_mm512_srli_epi16(bytes, 4)));
        }
    }
    const __m128i l = _mm_loadu_si128((const __m128i *)left.d), r = _mm_loadu_si128((const __m128i *)right.d);
    into.scales = _mm512_cvtph_ps(_mm256_set_m128i(r, l));
}

[[gnu::always_inline]] inline void unpack(const Columns &from, Unpacked<Q4_0> &into) { unpack_interleaved<Q4_0>(from, into); }
[[gnu::always_inline]] inline void unpack(const Columns &from, Unpacked<IQ4_NL> &into) { unpack_interleaved<IQ4_NL>(from, into); }
[[gnu::always_inline]] inline void unpack(const Columns &from, Unpacked<Q5_0> &into) {
    __m512i heads[4], turned[4];  // the scales and fifth bits, and 16 bytes of weights
    turn16(from, 0, heads);
    turn16(from, offsetof(block_q5_0, qs), turned);
    into.scales = halves(heads[0]);
    const __m512i fifth = _mm512_or_si512(_mm512_srli_epi32(heads[0], 16), _mm512_slli_epi32(heads[1], 16));
    const __m512i first = _mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0);
#pragma GCC unroll 8
    for (int q = 0; q < 8; q++) {
        const __m512i four = low(q < 4 ? turned[q] : _mm512_srli_epi32(turned[q - 4], 4));
        const __m512i bytes = _mm512_shuffle_epi8(fifth, _mm512_add_epi8(first, _mm512_set1_epi8((char)(q / 2))));
        const __mmask64 there = _mm512_test_epi8_mask(bytes, _mm512_set1_epi32(q % 2 ? (int)0x80402010 : 0x08040201));
        into.quads[q] = _mm512_mask_add_epi8(four, there, four, _mm512_set1_epi8(16));
    }
}
[[gnu::always_inline]] inline void unpack(const Columns &from, Unpacked<Q8_0> &into) { unpack_block<block_q8_0>(from, into); }

// Columns that are unpacked on the way, for each tile of rows anew: what that takes is free while products are computed. They
// wait for the memory: so the next strip is asked for meanwhile.
template <class Kind>
struct Straight {
    using Block = typename Kind::Block;
    static constexpr size_t LENGTH = COLUMNS * sizeof(Block) / Kind::TOGETHER;
    const char *weights;
    size_t stride;
    Unpacked<Kind> take(int b) const {
        for (size_t at = 0; at < LENGTH; at += 64)
            _mm_prefetch(weights + COLUMNS * stride + b * LENGTH + at, _MM_HINT_T0);
        Unpacked<Kind> one;
        unpack(Columns(weights + b * sizeof(Block), stride), one);
        return one;
    }
};

// Adds to sums, COLUMNS of each row, what `blocks` blocks of columns and rows give. The rows lie side by side.
template <int ROWS, class Kind, class Take>
inline void tile_of(int blocks, Take take, const ForBlock *rows, float *into) {
    __m512 sums[ROWS];
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) sums[row] = _mm512_loadu_ps(into + row * COLUMNS);
    for (int b = 0; b < blocks; b++, rows += ROWS) {
        const UnpackedBlock &columns = take(b);
        const __m512 scales = columns.scales;
        __m512i quads[BLOCK / 4];
#pragma GCC unroll 8
        for (int q = 0; q < BLOCK / 4; q++) quads[q] = columns.quads[q];
#pragma GCC unroll 4
        for (int first = 0; first < ROWS; first += 4) {  // in turns: each product waits for the one before
            const int last = first + 4 < ROWS ? first + 4 : ROWS;
            __m512i dots[4];
#pragma GCC unroll 4
            for (int row = first; row < last; row++) dots[row - first] = _mm512_set1_epi32(rows[row].starts[Kind::ADDED]);
#pragma GCC unroll 8
            for (int q = 0; q < BLOCK / 4; q++)
#pragma GCC unroll 4
                for (int row = first; row < last; row++)
                    dots[row - first] = multiply(dots[row - first], quads[q], rows[row].values + 4 * q);
#pragma GCC unroll 4
            for (int row = first; row < last; row++)
                sums[row] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[row - first]),
                                            _mm512_mul_ps(scales, _mm512_set1_ps(rows[row].scale)), sums[row]);
        }
    }
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) _mm512_storeu_ps(into + row * COLUMNS, sums[row]);
}

template <int ROWS, class Kind>
void tile(int blocks, const Unpacked<Kind> *columns, const ForBlock *rows, float *into) {
    tile_of<ROWS, Kind>(blocks, [=](int b) -> const UnpackedBlock & { return columns[b]; }, rows, into);
}

template <int ROWS, class Kind>
void tile(int blocks, const Straight<Kind> &columns, const ForBlock *rows, float *into) {
    tile_of<ROWS, Kind>(blocks, [=](int b) { return columns.take(b); }, rows, into);
}

// Eight columns that are interleaved, for one row. The memory is what is waited for, so it is read straight on: each column
// takes two lanes, for two neighbouring quads of a block, which are added before the scale.
template <class Kind>
void strip_interleaved(int blocks, const char *columns, const ForBlock *row, float *into) {
    const block_q4_0x8 *from = (const block_q4_0x8 *)columns;
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), table = table_of<Kind>();
    __m512 sum = _mm512_setzero_ps();
    for (int b = 0; b < blocks; b++, from++, row++) {
        __m512i dots[2] = {_mm512_maskz_set1_epi32(0x5555, row->starts[Kind::ADDED]), _mm512_setzero_si512()};
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            const __m512i bytes = _mm512_loadu_si512(from->qs + 64 * half);
#pragma GCC unroll 2
            for (int upper = 0; upper < 2; upper++) {
                int64_t eight;
                memcpy(&eight, row->values + 8 * half + 16 * upper, sizeof eight);
                const __m512i weights = _mm512_shuffle_epi8(table, low(upper ? _mm512_srli_epi16(bytes, 4) : bytes));
                dots[upper] = _mm512_dpbusd_epi32(dots[upper], weights, _mm512_set1_epi64(eight));
            }
        }
        const __m512i both = _mm512_add_epi32(dots[0], dots[1]);
        const __m512i pairs = _mm512_add_epi32(both, _mm512_shuffle_epi32(both, _MM_PERM_CDAB));
        const __m512 d = _mm512_castps256_ps512(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from->d)));
        const __m512 scales = _mm512_mul_ps(_mm512_permutexvar_ps(twice, d), _mm512_set1_ps(row->scale));
        sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(pairs), scales, sum);
    }
    _mm512_mask_compressstoreu_ps(into, 0x5555, sum);
}

// The sums of a strip's columns for one row. Those of Q5_0 and Q8_0 come in pairs of blocks, but where their number is odd.
template <class Kind>
void strip(int blocks, const char *columns, size_t stride, const ForBlock *row, float *into) {
    if constexpr (Kind::TOGETHER > 1) {
        for (int first = 0; first < COLUMNS; first += Kind::TOGETHER)
            strip_interleaved<Kind>(blocks, columns + first * stride, row, into + first);
    } else {
        _mm512_storeu_ps(into, _mm512_setzero_ps());
        tile<1>(blocks, Straight<Kind>{columns, stride}, row, into);
    }
}

struct Rounded {
    __m256i values;
    float scale;
};

// 32 numbers in eight bits. Their scale is no number if one of them is none.
inline Rounded rounded(const float *from) {
    const __m512 lower = _mm512_loadu_ps(from), upper = _mm512_loadu_ps(from + 16);
    const auto positive = [](__m512 x) { return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF)); };
    const float inverse = inverse_of(_mm512_reduce_max_epi32(_mm512_max_epi32(positive(lower), positive(upper))));
    const auto whole = [=](__m512 x) {
        return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse))));
    };
    return {_mm256_set_m128i(whole(upper), whole(lower)), 1 / inverse};
}

inline void quantise(const float *from, ForBlock *into) {
    const Rounded all = rounded(from);
    _mm256_storeu_si256((__m256i *)into->values, all.values);
    const __m256i fours = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), all.values);
    const int sum = _mm512_reduce_add_epi32(_mm512_zextsi256_si512(fours));
    into->starts[0] = -16 * sum, into->starts[1] = -128 * sum;
    into->scale = all.scale;
}

}  // namespace
