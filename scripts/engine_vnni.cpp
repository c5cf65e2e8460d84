// Products of matrices of 4-bit blocks (Q4_0, IQ4_NL) and 8-bit activations, for processors with AVX-512 VNNI.
//
// The one instruction for it, VPDPBUSD, multiplies unsigned bytes by signed ones and adds four products. Both sides here
// are signed. ggml's own kernel takes the activations' absolute values and gives their signs to the weights, before every
// product, and brings both sides into place by shuffles. Here the weights are looked up with 128 added, which makes them
// unsigned for nothing, and 128 times the sum of a block's activations is where its sum begins:
//
//     sum (w + 128) a  -  128 sum a   =   sum w a          in whole numbers: exact
//
// The activations come as broadcasts from memory, which are free, too:
//
//     quads[q]   w k..k+3 of column 0 │ of column 1 │ … │ of column 15      8 registers: a block of 32 weights, 16 columns
//                     ×                     ×                    ×
//                a k..k+3 of one row  │ the same    │ … │ the same
//
// Results are those of ggml's functions of the same names, which engine.cmake renames to stock_…; its formats are in
// repack.h: eight columns are interleaved by eight bytes, four rows of activations too.

#include "ggml-common.h"
#include "ggml-cpu-impl.h"
#include "ggml.h"
#include "repack.h"

#define ARGUMENTS int n, float *s, size_t bs, const void *vx, const void *vy, int nr, int nc

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__F16C__)

#include <immintrin.h>

#include <cstring>
#include <vector>

namespace {

constexpr int BLOCK = 32;    // weights that share a scale
constexpr int QUADS = 8;     // in a block
constexpr int COLUMNS = 16;  // computed at once: the lanes of a register
constexpr char BIAS = -128;  // as an unsigned byte: 128

using Weights = block_q4_0x8;
static_assert(sizeof(Weights) == sizeof(block_iq4_nlx8), "both formats are laid out alike");

// What the sixteen values of four bits stand for. Q4_0 was given the sign of its upper bit when it was interleaved.
constexpr int8_t Q4_0[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
constexpr int8_t IQ4_NL[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct Known {  // of one row's block of activations
    int32_t start;  // -128 times their sum
    float scale;
};

struct Quads {  // a block of sixteen columns, unpacked
    __m512i quads[QUADS];
};

__m512i table(const int8_t *values) {
    const __m512i four = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)values));
    return _mm512_xor_si512(four, _mm512_set1_epi8(BIAS));
}

// One block of sixteen columns, eight from each side. The lower halves of bytes are weights 0 to 15 of a block, the
// upper ones 16 to 31.
inline void unpack(const Weights &left, const Weights &right, __m512i table, __m512i *quads) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const __m512i low = _mm512_set1_epi8(0x0F);
    for (int half = 0; half < 2; half++) {
        const __m512i l = _mm512_loadu_si512(left.qs + 64 * half), r = _mm512_loadu_si512(right.qs + 64 * half);
        for (int q = 0; q < 2; q++) {
            const __m512i bytes = _mm512_permutex2var_epi32(l, q ? odd : even, r);
            quads[2 * half + q] = _mm512_shuffle_epi8(table, _mm512_and_si512(bytes, low));
            quads[2 * half + q + 4] = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low));
        }
    }
}

inline __m512 scales(const Weights &left, const Weights &right) {
    const __m128i l = _mm_loadu_si128((const __m128i *)left.d), r = _mm_loadu_si128((const __m128i *)right.d);
    return _mm512_cvtph_ps(_mm256_set_m128i(r, l));
}

// dot + the products of sixteen columns' quads with one of a row, which is broadcast from memory on the way. Compilers
// spend an instruction and a register on that.
inline __m512i multiply(__m512i dot, __m512i quads, const int8_t *four) {
    asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(quads), "m"(*(const int32_t *)four));
    return dot;
}

inline __m512i quads_of(const int8_t *eight) {
    int64_t bits;
    memcpy(&bits, eight, sizeof bits);
    return _mm512_set1_epi64(bits);
}

inline __m512 scaled(__m512i dot, __m512 columns, float row, __m512 sum) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(columns, _mm512_set1_ps(row)), sum);
}

inline void store(float *s, __m512 sum, int columns) {
    _mm512_mask_storeu_ps(s, columns < COLUMNS ? 0x00FF : 0xFFFF, sum);
}

inline void fetch(const Weights &block) {
    const char *at = (const char *)&block;
    _mm_prefetch(at, _MM_HINT_T0);
    _mm_prefetch(at + 64, _MM_HINT_T0);
    _mm_prefetch(at + 128, _MM_HINT_T0);
}

// Sixteen columns of ROWS rows; sums stay in registers. Weights are unpacked on the way, or READY in their quads.
template <int ROWS, bool READY>
void tile(int blocks, const Weights *left, const Weights *right, const Quads *ready, const block_q8_0x4 *rows,
          const Known *known, __m512i table, float *s, size_t bs, int columns) {
    __m512 sums[ROWS];
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) sums[row] = _mm512_setzero_ps();
    for (int b = 0; b < blocks; b++) {
        if (ROWS < 16) {  // few rows wait for the memory: ask for the next columns meanwhile
            fetch(left[b + 2 * blocks]);
            fetch(right[b + 2 * blocks]);
        }
        __m512i quads[QUADS];
        if (READY)
            for (int q = 0; q < QUADS; q++) quads[q] = ready[b].quads[q];
        else
            unpack(left[b], right[b], table, quads);
        const __m512 scale = scales(left[b], right[b]);
#pragma GCC unroll 4
        for (int four = 0; four < ROWS / 4; four++) {  // in turns, since each product waits for the one before
            const int at = four * blocks + b;
            __m512i dots[4];
#pragma GCC unroll 4
            for (int row = 0; row < 4; row++) dots[row] = _mm512_set1_epi32(known[4 * at + row].start);
#pragma GCC unroll 8
            for (int q = 0; q < QUADS; q++)
#pragma GCC unroll 4
                for (int row = 0; row < 4; row++)
                    dots[row] = multiply(dots[row], quads[q], rows[at].qs + 32 * (q / 2) + 8 * row + 4 * (q % 2));
#pragma GCC unroll 4
            for (int row = 0; row < 4; row++)
                sums[4 * four + row] = scaled(dots[row], scale, known[4 * at + row].scale, sums[4 * four + row]);
        }
    }
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) store(s + row * bs, sums[row], columns);
}

template <class Kept>
Kept *room(size_t count) {  // a thread's own, kept from call to call
    static thread_local std::vector<Kept> kept;
    if (kept.size() < count) kept.resize(count);
    return kept.data();
}

void know(const block_q8_0x4 &block, Known *known) {
    __m256i sum = _mm256_setzero_si256();
    for (int part = 0; part < 4; part++)
        sum = _mm256_dpbusd_epi32(sum, _mm256_set1_epi8(BIAS), _mm256_loadu_si256((const __m256i *)block.qs + part));
    int32_t pairs[8];
    _mm256_storeu_si256((__m256i *)pairs, sum);
    float scale[4];
    _mm_storeu_ps(scale, _mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)block.d)));
    for (int row = 0; row < 4; row++) known[row] = {-pairs[2 * row] - pairs[2 * row + 1], scale[row]};
}

void gemm(ARGUMENTS, __m512i table) {
    const int blocks = n / BLOCK;
    const bool many = nr >= 2 * COLUMNS;  // rows: then the weights of sixteen columns are unpacked once for all of them
    const block_q8_0x4 *rows = (const block_q8_0x4 *)vy;
    Known *known = room<Known>((size_t)nr * blocks);
    Quads *ready = room<Quads>(many ? blocks : 0);
    for (int i = 0; i < nr / 4 * blocks; i++) know(rows[i], &known[4 * i]);
    for (int x = 0; x < nc; x += COLUMNS) {
        const Weights *left = (const Weights *)vx + x / 8 * blocks, *right = x + 8 < nc ? left + blocks : left;
        for (int b = 0; many && b < blocks; b++) unpack(left[b], right[b], table, ready[b].quads);
        for (int y = 0, step; y < nr; y += step) {
            step = nr - y >= 16 ? 16 : nr - y >= 8 ? 8 : 4;
            const auto several = many ? tile<16, true> : tile<16, false>;
            const auto compute = step == 16 ? several : step == 8 ? tile<8, false> : tile<4, false>;
            compute(blocks, left, right, ready, rows + y / 4 * blocks, &known[(size_t)y * blocks], table,
                    s + y * bs + x, bs, nc - x);
        }
    }
}

void know(const block_q8_0 &block, Known *known) {
    const __m256i eight = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(BIAS),
                                              _mm256_loadu_si256((const __m256i *)block.qs));
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    sum = _mm_hadd_epi32(sum, sum);
    sum = _mm_hadd_epi32(sum, sum);
    *known = {-_mm_cvtsi128_si32(sum), _cvtsh_ss(block.d)};
}

// One row. Here the memory is what is waited for, so it is read straight on, eight columns after the other: each takes
// two lanes, for two neighbouring quads of a block, which are added before the scale.
void gemv(ARGUMENTS, __m512i table) {
    const __m512i low = _mm512_set1_epi8(0x0F);
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const int blocks = n / BLOCK;
    Known *known = room<Known>(blocks);
    for (int y = 0; y < nr; y++) {
        const block_q8_0 *row = (const block_q8_0 *)vy + y * blocks;
        for (int b = 0; b < blocks; b++) know(row[b], &known[b]);
        const Weights *weights = (const Weights *)vx;
        for (int x = 0; x < nc; x += 8, weights += blocks) {
            __m512 sum = _mm512_setzero_ps();
            for (int b = 0; b < blocks; b++) {
                __m512i dots[2] = {_mm512_maskz_set1_epi32(0x5555, known[b].start), _mm512_setzero_si512()};
                for (int half = 0; half < 2; half++) {
                    const __m512i bytes = _mm512_loadu_si512(weights[b].qs + 64 * half);
                    const __m512i lower = _mm512_shuffle_epi8(table, _mm512_and_si512(bytes, low));
                    const __m512i upper = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low));
                    dots[0] = _mm512_dpbusd_epi32(dots[0], lower, quads_of(row[b].qs + 8 * half));
                    dots[1] = _mm512_dpbusd_epi32(dots[1], upper, quads_of(row[b].qs + 8 * half + 16));
                }
                const __m512i both = _mm512_add_epi32(dots[0], dots[1]);
                const __m512 scale = _mm512_castps256_ps512(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)weights[b].d)));
                sum = scaled(_mm512_add_epi32(both, _mm512_shuffle_epi32(both, _MM_PERM_CDAB)),
                             _mm512_permutexvar_ps(twice, scale), known[b].scale, sum);
            }
            _mm512_mask_compressstoreu_ps(s + y * bs + x, 0x5555, sum);
        }
    }
}

}  // namespace

extern "C" {
void ggml_gemv_q4_0_8x8_q8_0(ARGUMENTS) { gemv(n, s, bs, vx, vy, nr, nc, table(Q4_0)); }
void ggml_gemm_q4_0_8x8_q8_0(ARGUMENTS) { gemm(n, s, bs, vx, vy, nr, nc, table(Q4_0)); }
void ggml_gemv_iq4_nl_8x8_q8_0(ARGUMENTS) { gemv(n, s, bs, vx, vy, nr, nc, table(IQ4_NL)); }
void ggml_gemm_iq4_nl_8x8_q8_0(ARGUMENTS) { gemm(n, s, bs, vx, vy, nr, nc, table(IQ4_NL)); }
}

#else  // without those instructions, ggml's own functions keep their work

#define STOCK(name)                \
    void stock_##name(ARGUMENTS);  \
    void name(ARGUMENTS) { stock_##name(n, s, bs, vx, vy, nr, nc); }

extern "C" {
STOCK(ggml_gemv_q4_0_8x8_q8_0)
STOCK(ggml_gemm_q4_0_8x8_q8_0)
STOCK(ggml_gemv_iq4_nl_8x8_q8_0)
STOCK(ggml_gemm_iq4_nl_8x8_q8_0)
}

#endif
