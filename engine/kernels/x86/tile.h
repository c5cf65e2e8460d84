// One tile of a product of matrices: sixteen columns of weights, some rows of 8-bit activations (AVX-512 VNNI).
//
// The one instruction for it, VPDPBUSD, multiplies unsigned bytes by signed ones and adds four products. Both sides here
// are signed. ggml's own kernels take the activations' absolute values and give their signs to the weights, before every
// product, and bring both sides into place by shuffles. Here the weights come with 128 added, which makes them unsigned
// for nothing, and 128 times the sum of a block's activations is where its sum begins:
//
//     sum (w + 128) a  -  128 sum a   =   sum w a          in whole numbers: exact
//
// The activations come as broadcasts from memory, which are free, too:
//
//     quads[q]   w k..k+3 of column 0 │ of column 1 │ … │ of column 15      8 registers: a block of 32 weights, 16 columns
//                     ×                     ×                    ×
//                a k..k+3 of one row  │ the same    │ … │ the same

#pragma once

#include "ggml-cpu-impl.h"
#include "repack.h"

#include <immintrin.h>

#include <cstring>
#include <vector>

namespace {

constexpr int BLOCK = 32;    // weights that share a scale
constexpr int QUADS = 8;     // in a block
constexpr int COLUMNS = 16;  // computed at once: the lanes of a register
constexpr char BIAS = -128;  // as an unsigned byte: 128

struct Unpacked {  // a block of sixteen columns
    __m512i quads[QUADS];
    __m512 scales;
};

struct Known {  // of one row's block of activations
    int32_t start;  // -128 times their sum
    float scale;
};

inline void know(const block_q8_0 &block, Known *known) {
    const __m256i eight = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(BIAS),
                                              _mm256_loadu_si256((const __m256i *)block.qs));
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    sum = _mm_hadd_epi32(sum, sum);
    sum = _mm_hadd_epi32(sum, sum);
    *known = {-_mm_cvtsi128_si32(sum), _cvtsh_ss(block.d)};
}

template <class Kept>
Kept *room(size_t count) {  // a thread's own, kept from call to call
    static thread_local std::vector<Kept> kept;
    if (kept.size() < count) kept.resize(count);
    return kept.data();
}

// dot + the products of sixteen columns' quads with one of a row, which is broadcast from memory on the way. Compilers
// spend an instruction and a register on that.
inline __m512i multiply(__m512i dot, __m512i quads, const int8_t *four) {
#if defined(__SANITIZE_ADDRESS__)  // which does not see what assembler reads
    int32_t bits;
    memcpy(&bits, four, sizeof bits);
    return _mm512_dpbusd_epi32(dot, quads, _mm512_set1_epi32(bits));
#endif
    asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(quads), "m"(*(const int32_t *)four));
    return dot;
}

inline __m512 scaled(__m512i dot, __m512 columns, float row, __m512 sum) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(columns, _mm512_set1_ps(row)), sum);
}

// ROWS rows, whose sums stay in registers. columns.take(b, quads) gives the quads of a block and its scales;
// rows.quad(b, row, q) points to four activations, rows.known(b, row) is what is known of their block.
template <int ROWS, class Columns, class Rows>
void tile(int blocks, Columns columns, Rows rows, float *s, size_t bs, int count) {
    __m512 sums[ROWS];
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) sums[row] = _mm512_setzero_ps();
    for (int b = 0; b < blocks; b++) {
        __m512i quads[QUADS];
        const __m512 scales = columns.take(b, quads);
#pragma GCC unroll 4
        for (int first = 0; first < ROWS; first += 4) {  // in turns, since each product waits for the one before
            const int last = first + 4 < ROWS ? first + 4 : ROWS;
            __m512i dots[4];
#pragma GCC unroll 4
            for (int row = first; row < last; row++) dots[row - first] = _mm512_set1_epi32(rows.known(b, row).start);
#pragma GCC unroll 8
            for (int q = 0; q < QUADS; q++)
#pragma GCC unroll 4
                for (int row = first; row < last; row++)
                    dots[row - first] = multiply(dots[row - first], quads[q], rows.quad(b, row, q));
#pragma GCC unroll 4
            for (int row = first; row < last; row++)
                sums[row] = scaled(dots[row - first], scales, rows.known(b, row).scale, sums[row]);
        }
    }
    const __mmask16 mask = count < COLUMNS ? (1 << count) - 1 : 0xFFFF;
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) _mm512_mask_storeu_ps(s + row * bs, mask, sums[row]);
}

struct Ready {  // blocks that were unpacked before
    const Unpacked *blocks;
    __m512 take(int b, __m512i *quads) const {
#pragma GCC unroll 8
        for (int q = 0; q < QUADS; q++) quads[q] = blocks[b].quads[q];
        return blocks[b].scales;
    }
};

}  // namespace
