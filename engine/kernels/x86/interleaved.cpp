// One row of 8-bit activations and a matrix of 4-bit blocks (Q4_0, IQ4_NL), for processors with AVX-512 VNNI. Products
// with several rows are in products.cpp.
//
// The formats are those of ggml's repack.h. Results are those of ggml's functions of the same names, which overlay.cmake
// renames to stock_….

#include "interleaved.h"

#include "ggml.h"
#include "kernels.h"

#define ARGUMENTS int n, float *s, size_t bs, const void *vx, const void *vy, int nr, int nc

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__F16C__)

#include <immintrin.h>

#include <vector>

namespace {

constexpr char BIAS = -128;  // as an unsigned byte: 128

struct Known {  // of a block of activations
    int32_t start;  // -128 times their sum: weights have 128 added, which makes them unsigned
    float scale;
};

inline Known know(const block_q8_0 &block) {
    const __m256i eight = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(BIAS),
                                              _mm256_loadu_si256((const __m256i *)block.qs));
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    sum = _mm_hadd_epi32(sum, sum);
    sum = _mm_hadd_epi32(sum, sum);
    return {-_mm_cvtsi128_si32(sum), _cvtsh_ss(block.d)};
}

inline __m512i quads_of(const int8_t *eight) {
    int64_t bits;
    memcpy(&bits, eight, sizeof bits);
    return _mm512_set1_epi64(bits);
}

// The memory is what is waited for, so it is read straight on, eight columns after the other: each takes two lanes, for
// two neighbouring quads of a block, which are added before the scale.
template <class Kind>
void gemv(ARGUMENTS) {
    const __m512i low = _mm512_set1_epi8(0x0F);
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)Kind::VALUES));
    const __m512i table = _mm512_xor_si512(values, _mm512_set1_epi8(BIAS));
    const int blocks = n / BLOCK;
    static thread_local std::vector<Known> known;  // kept from call to call
    if ((int)known.size() < blocks) known.resize(blocks);
    for (int y = 0; y < nr; y++) {
        const block_q8_0 *row = (const block_q8_0 *)vy + y * blocks;
        for (int b = 0; b < blocks; b++) known[b] = know(row[b]);
        const block_q4_0x8 *weights = (const block_q4_0x8 *)vx;
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
                const __m512i pairs = _mm512_add_epi32(both, _mm512_shuffle_epi32(both, _MM_PERM_CDAB));
                const __m512 scale = _mm512_castps256_ps512(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)weights[b].d)));
                const __m512 scales = _mm512_mul_ps(_mm512_permutexvar_ps(twice, scale), _mm512_set1_ps(known[b].scale));
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(pairs), scales, sum);
            }
            _mm512_mask_compressstoreu_ps(s + y * bs + x, 0x5555, sum);
        }
    }
}

}  // namespace

extern "C" {
void ggml_gemv_q4_0_8x8_q8_0(ARGUMENTS) { gemv<Q4_0>(n, s, bs, vx, vy, nr, nc); }
void ggml_gemv_iq4_nl_8x8_q8_0(ARGUMENTS) { gemv<IQ4_NL>(n, s, bs, vx, vy, nr, nc); }
}

#else  // without those instructions, ggml's own functions keep their work

#define STOCK(name)                \
    void stock_##name(ARGUMENTS);  \
    void name(ARGUMENTS) { stock_##name(n, s, bs, vx, vy, nr, nc); }

extern "C" {
STOCK(ggml_gemv_q4_0_8x8_q8_0)
STOCK(ggml_gemv_iq4_nl_8x8_q8_0)
}

#endif
