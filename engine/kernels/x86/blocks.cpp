// Products of matrices of Q8_0 and Q5_0 blocks with several rows of 8-bit activations, for AVX-512 VNNI.
//
// The blocks are taken as they lie in a file: ggml interleaves neither type on these processors. Sixteen columns are
// turned into quads once for all rows, four of them side by side in a register's quarter:
//
//     column 0    q0 q1 q2 q3 │ q4 q5 q6 q7               quads[0]   column 0 q0 │ column 1 q0 │ … │ column 15 q0
//     …                                          ──►      …
//     column 15   q0 q1 q2 q3 │ q4 q5 q6 q7               quads[7]   column 0 q7 │ column 1 q7 │ … │ column 15 q7
//
// Takes the place of ggml's function of the same name, which overlay.cmake renames to stock_…, for these two types.

#include "ggml-cpu-impl.h"
#include "ggml.h"
#include "kernels.h"
#include "llamafile/sgemm.h"

#define ARGUMENTS                                                                                                    \
    const ggml_compute_params *params, int64_t m, int64_t n, int64_t k, const void *A, int64_t lda, const void *B,   \
        int64_t ldb, void *C, int64_t ldc, int Atype, int Btype, int Ctype

extern "C" bool stock_llamafile_sgemm(ARGUMENTS);

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__F16C__)

#include "tile.h"

#include <algorithm>

namespace {

// The 32 weights of a block, 128 added.
inline __m256i biased(const block_q8_0 &block) {
    return _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)block.qs), _mm256_set1_epi8(BIAS));
}

inline __m256i biased(const block_q5_0 &block) {  // 16 was added already
    uint32_t fifth;
    memcpy(&fifth, block.qh, sizeof fifth);
    const __m128i bytes = _mm_loadu_si128((const __m128i *)block.qs);
    const __m256i four = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes), _mm256_set1_epi8(0x0F));
    const __m256i most = _mm256_add_epi8(four, _mm256_set1_epi8(112));
    return _mm256_mask_add_epi8(most, fifth, most, _mm256_set1_epi8(16));
}

// One block of each of sixteen columns.
template <class Block>
inline void unpack(const Block *const *column, int b, Unpacked &into) {
    const __m512i quarters = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);  // of the upper and lower four columns …
    const __m512i others = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    __m512i sets[2][4];  // … whose quads q and q + 4 lie side by side
#pragma GCC unroll 2
    for (int set = 0; set < 2; set++) {
        __m512i pairs[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            pairs[i] = _mm512_inserti64x4(_mm512_castsi256_si512(biased(column[4 * set + i][b])),
                                          biased(column[4 * set + i + 8][b]), 1);
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
    const auto scale = [=](int i) { return (short)column[i][b].d; };
    into.scales = _mm512_cvtph_ps(_mm256_setr_epi16(scale(0), scale(1), scale(2), scale(3), scale(4), scale(5), scale(6),
                                                    scale(7), scale(8), scale(9), scale(10), scale(11), scale(12),
                                                    scale(13), scale(14), scale(15)));
}

// Sixteen columns, which follow one another in memory; the last counts for those that there are too few of. The next
// ones are asked for meanwhile.
template <class Block>
void unpack(const Block *first, int64_t stride, int count, int blocks, Unpacked *into) {
    const Block *column[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) column[i] = first + std::min(i, count - 1) * stride;
    const char *next = (const char *)(first + COLUMNS * stride);
    for (int b = 0; b < blocks; b++) {
        for (size_t at = 0; at < COLUMNS * sizeof(Block); at += 64) _mm_prefetch(next + at, _MM_HINT_T1);
        next += COLUMNS * sizeof(Block);
        unpack(column, b, into[b]);
    }
}

struct Rows {  // as ggml lays them out: one after the other
    int64_t stride, blocks;
    const block_q8_0 *first;
    const Known *all;
    const int8_t *quad(int b, int row, int q) const { return first[row * stride + b].qs + 4 * q; }
    const Known &known(int b, int row) const { return all[row * blocks + b]; }
};

template <int ROWS>
void rows_of(int count, int blocks, Ready columns, const Rows &rows, float *s, size_t bs, int width) {
    if (count == ROWS)
        tile<ROWS>(blocks, columns, rows, s, bs, width);
    else if constexpr (ROWS > 1)
        rows_of<(ROWS > 4 ? ROWS - 4 : ROWS - 1)>(count, blocks, columns, rows, s, bs, width);
}

template <class Block>
void multiply(const ggml_compute_params *params, int m, int n, int k, const void *blocks, int64_t lda,
              const block_q8_0 *rows, int64_t ldb, float *into, int64_t ldc) {
    const Block *weights = (const Block *)blocks;
    Known *known = room<Known>((size_t)n * k);
    for (int row = 0; row < n; row++)
        for (int b = 0; b < k; b++) know(rows[row * ldb + b], &known[(size_t)row * k + b]);
    Unpacked *unpacked = room<Unpacked>(k);
    const int strips = (m + COLUMNS - 1) / COLUMNS;
    const int first = strips * params->ith / params->nth, last = strips * (params->ith + 1) / params->nth;
    for (int x = first * COLUMNS; x < last * COLUMNS; x += COLUMNS) {
        unpack(weights + x * lda, lda, m - x, k, unpacked);
        for (int y = 0, step; y < n; y += step) {
            step = n - y >= 4 ? std::min(16, (n - y) / 4 * 4) : n - y;
            const Rows some = {ldb, k, rows + y * ldb, known + (size_t)y * k};
            rows_of<16>(step, k, Ready{unpacked}, some, into + y * ldc + x, ldc, m - x);
        }
    }
}

// The types of weights that are ours: another one is another row.
struct Type {
    ggml_type weights;
    decltype(&multiply<block_q8_0>) multiply;
    Kernel kernel;
};
const Type TYPES[] = {
    {GGML_TYPE_Q8_0, multiply<block_q8_0>, Kernel("matmul-q8_0")},
    {GGML_TYPE_Q5_0, multiply<block_q5_0>, Kernel("matmul-q5_0")},
};

}  // namespace

bool llamafile_sgemm(ARGUMENTS) {
    if (n >= 2 && Btype == GGML_TYPE_Q8_0 && Ctype == GGML_TYPE_F32)
        for (const Type &type : TYPES)
            if (type.weights == Atype)
                return type.multiply(params, m, n, k, A, lda, (const block_q8_0 *)B, ldb, (float *)C, ldc), true;
    return stock_llamafile_sgemm(params, m, n, k, A, lda, B, ldb, C, ldc, Atype, Btype, Ctype);
}

#else  // without those instructions, ggml's own function keeps its work

bool llamafile_sgemm(ARGUMENTS) {
    return stock_llamafile_sgemm(params, m, n, k, A, lda, B, ldb, C, ldc, Atype, Btype, Ctype);
}

#endif
