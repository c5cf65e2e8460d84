// Products of matrices of 4-bit blocks (Q4_0, IQ4_NL) and 8-bit activations, for processors with AVX-512 VNNI.
//
// The formats are those of ggml's repack.h: eight columns are interleaved by eight bytes, four rows of activations too.
// Results are those of ggml's functions of the same names, which overlay.cmake renames to stock_….

#include "ggml.h"
#include "kernels.h"
#include "repack.h"

#define ARGUMENTS int n, float *s, size_t bs, const void *vx, const void *vy, int nr, int nc

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__F16C__)

#include "tile.h"

namespace {

const Kernel here[] = {Kernel("matmul-q4_0"), Kernel("matmul-iq4_nl")};

using Weights = block_q4_0x8;
static_assert(sizeof(Weights) == sizeof(block_iq4_nlx8), "both formats are laid out alike");

// What the sixteen values of four bits stand for. Q4_0 was given the sign of its upper bit when it was interleaved.
constexpr int8_t Q4_0[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
constexpr int8_t IQ4_NL[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

__m512i table(const int8_t *values) {
    const __m512i four = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)values));
    return _mm512_xor_si512(four, _mm512_set1_epi8(BIAS));
}

// One block of sixteen columns, eight from each side. The lower halves of bytes are weights 0 to 15 of a block, the
// upper ones 16 to 31.
inline __m512 unpack(const Weights &left, const Weights &right, __m512i table, __m512i *quads) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const __m512i low = _mm512_set1_epi8(0x0F);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        const __m512i l = _mm512_loadu_si512(left.qs + 64 * half), r = _mm512_loadu_si512(right.qs + 64 * half);
#pragma GCC unroll 2
        for (int q = 0; q < 2; q++) {
            const __m512i bytes = _mm512_permutex2var_epi32(l, q ? odd : even, r);
            quads[2 * half + q] = _mm512_shuffle_epi8(table, _mm512_and_si512(bytes, low));
            quads[2 * half + q + 4] = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low));
        }
    }
    const __m128i l = _mm_loadu_si128((const __m128i *)left.d), r = _mm_loadu_si128((const __m128i *)right.d);
    return _mm512_cvtph_ps(_mm256_set_m128i(r, l));
}

inline __m512i quads_of(const int8_t *eight) {
    int64_t bits;
    memcpy(&bits, eight, sizeof bits);
    return _mm512_set1_epi64(bits);
}

inline void fetch(const Weights &block) {
    const char *at = (const char *)&block;
    _mm_prefetch(at, _MM_HINT_T0);
    _mm_prefetch(at + 64, _MM_HINT_T0);
    _mm_prefetch(at + 128, _MM_HINT_T0);
}

// Sixteen columns that are unpacked on the way. They wait for the memory: so the next ones are asked for meanwhile.
struct Packed {
    int blocks;
    const Weights *left, *right;
    __m512i table;
    __m512 take(int b, __m512i *quads) const {
        fetch(left[b + 2 * blocks]);
        fetch(right[b + 2 * blocks]);
        return unpack(left[b], right[b], table, quads);
    }
};

struct Fours {  // of rows, interleaved
    int blocks;
    const block_q8_0x4 *fours;
    const Known *all;
    const int8_t *quad(int b, int row, int q) const {
        return fours[row / 4 * blocks + b].qs + 32 * (q / 2) + 8 * (row % 4) + 4 * (q % 2);
    }
    const Known &known(int b, int row) const { return all[4 * (row / 4 * blocks + b) + row % 4]; }
};

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
    const block_q8_0x4 *fours = (const block_q8_0x4 *)vy;
    Known *known = room<Known>((size_t)nr * blocks);
    Unpacked *unpacked = room<Unpacked>(many ? blocks : 0);
    for (int i = 0; i < nr / 4 * blocks; i++) know(fours[i], &known[4 * i]);
    for (int x = 0; x < nc; x += COLUMNS) {
        const Weights *left = (const Weights *)vx + x / 8 * blocks, *right = x + 8 < nc ? left + blocks : left;
        const Packed packed = {blocks, left, right, table};
        for (int b = 0; many && b < blocks; b++)
            unpacked[b].scales = unpack(left[b], right[b], table, unpacked[b].quads);
        for (int y = 0, step; y < nr; y += step) {
            step = nr - y >= 16 ? 16 : nr - y >= 8 ? 8 : 4;
            const Fours rows = {blocks, fours + y / 4 * blocks, known + (size_t)y * blocks};
            float *into = s + y * bs + x;
            if (step == 16 && many)
                tile<16>(blocks, Ready{unpacked}, rows, into, bs, nc - x);
            else if (step == 16)
                tile<16>(blocks, packed, rows, into, bs, nc - x);
            else if (step == 8)
                tile<8>(blocks, packed, rows, into, bs, nc - x);
            else
                tile<4>(blocks, packed, rows, into, bs, nc - x);
        }
    }
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
