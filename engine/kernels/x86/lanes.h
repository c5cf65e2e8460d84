// Registers of floats and of whole numbers as attention uses them, as wide as the processor has them (SIMD): AVX2 or
// AVX-512.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace {

#if defined(__AVX512F__) && defined(__AVX512BW__)

using Vec = __m512;
using Ints = __m512i;                          // of 32 bits, or pairs of 16
constexpr int LANES = 16, HIGH = 6, WIDE = 4;  // a block of sums: 6 rows of 4 registers, which leaves 8 of 32
constexpr int TOGETHER = 8;                    // query rows whose sums for two keys stay in registers
constexpr int ROOM = 32;                       // registers for sums, and for what is multiplied with a number of all lanes

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec all(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float *at) { return _mm512_loadu_ps(at); }
inline Vec load_half(const void *at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)); }
inline Vec load_bytes(const void *at) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)at))); }
inline Vec load_halves(const void *lower, const void *upper) {  // half a register of each
    return _mm512_cvtph_ps(_mm256_loadu2_m128i((const __m128i *)upper, (const __m128i *)lower));
}
inline Vec load_bytes(const void *lower, const void *upper) {
    const __m128i both = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)lower), _mm_loadl_epi64((const __m128i *)upper));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(both));
}
inline Vec all(float lower, float upper) { return _mm512_mask_blend_ps(0xFF00, all(lower), all(upper)); }
inline Vec twice(const float *at) { return _mm512_broadcast_f32x8(_mm256_loadu_ps(at)); }
inline void store(float *at, Vec x) { _mm512_storeu_ps(at, x); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec fms(Vec a, Vec b, Vec c) { return _mm512_fmsub_ps(a, b, c); }

// A number of all lanes, which the instruction takes from memory. Compilers would spend a register on it.
struct Every {
    const float *at;
    explicit Every(const float *at) : at(at) {}
};
inline Vec fma(Every a, Vec b, Vec c) {
    asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(c) : "v"(b), "m"(*a.at));
    return c;
}

inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline float sum(Vec x) { return _mm512_reduce_add_ps(x); }
inline float max(Vec x) { return _mm512_reduce_max_ps(x); }
inline float first(Vec x) { return _mm512_cvtss_f32(x); }
inline Ints load(const int32_t *at) { return _mm512_loadu_si512(at); }
inline void store(int32_t *at, Ints x) { _mm512_storeu_si512(at, x); }
inline void store_short(int16_t *at, Ints x) { _mm256_storeu_si256((__m256i *)at, _mm512_cvtepi32_epi16(x)); }
inline Ints none() { return _mm512_setzero_si512(); }
inline Ints every(int32_t x) { return _mm512_set1_epi32(x); }
inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline Ints max(Ints a, Ints b) { return _mm512_max_epi32(a, b); }
inline int32_t max(Ints x) { return _mm512_reduce_max_epi32(x); }
inline Ints up(Ints x) { return _mm512_slli_epi32(x, 23); }  // to a float's exponent
inline Ints bits(Vec x) { return _mm512_castps_si512(x); }
inline Vec number(Ints x) { return _mm512_castsi512_ps(x); }  // of these bits
inline Ints whole(Vec x) { return _mm512_cvtps_epi32(x); }
inline Vec real(Ints x) { return _mm512_cvtepi32_ps(x); }
inline Ints positive(Vec x) { return _mm512_and_si512(bits(x), every(0x7FFFFFFF)); }
inline Ints pairs(Ints low, Ints high) { return _mm512_mask_blend_epi16(0xAAAAAAAA, low, _mm512_slli_epi32(high, 16)); }

// sum + the products of pairs of 16-bit numbers, added up. Compilers move sums about between the instructions of their own.
inline Ints dot(Ints sum, Ints a, Ints b) {
#ifdef __AVX512VNNI__
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#else
    return add(sum, _mm512_madd_epi16(a, b));
#endif
}

// Which of 32 masked keys may be seen, a bit for each; and whether any has a number of its own.
inline uint32_t seen(const uint16_t *mask) {
    return _mm512_cmpneq_epi16_mask(_mm512_loadu_si512(mask), _mm512_set1_epi16((short)0xFC00));
}
inline uint32_t biased(const uint16_t *mask) {
    return seen(mask) & _mm512_test_epi16_mask(_mm512_loadu_si512(mask), _mm512_set1_epi16(0x7FFF));
}

// The sums of registers' halves, step by step: of two registers, of four, and where there are more of eight. The lower half
// of the first is followed by that of the second.
inline Vec halves(Vec a, Vec b) { return add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); }
inline Vec quarters(Vec ab, Vec cd) {
    const __m512d one = _mm512_castps_pd(ab), two = _mm512_castps_pd(cd);
    return add(_mm512_castpd_ps(_mm512_unpacklo_pd(one, two)), _mm512_castpd_ps(_mm512_unpackhi_pd(one, two)));
}
inline Vec eighths(const Vec *fours) {
    return add(_mm512_shuffle_f32x4(fours[0], fours[1], 0x88), _mm512_shuffle_f32x4(fours[0], fours[1], 0xDD));
}

#else

using Vec = __m256;
using Ints = __m256i;
constexpr int LANES = 8, HIGH = 6, WIDE = 2;  // 6 rows of 2 registers, which leaves 4 of 16
constexpr int TOGETHER = 6;
constexpr int ROOM = 15;  // one holds that number

inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec all(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float *at) { return _mm256_loadu_ps(at); }
inline Vec load_half(const void *at) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at)); }
inline Vec load_bytes(const void *at) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at))); }
inline Vec load_halves(const void *lower, const void *upper) {
    return _mm256_cvtph_ps(_mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)lower), _mm_loadl_epi64((const __m128i *)upper)));
}
inline Vec load_bytes(const void *lower, const void *upper) {
    int32_t low, high;
    memcpy(&low, lower, sizeof low), memcpy(&high, upper, sizeof high);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_set_epi32(0, 0, high, low)));
}
inline Vec all(float lower, float upper) { return _mm256_blend_ps(all(lower), all(upper), 0xF0); }
inline Vec twice(const float *at) { return _mm256_broadcast_ps((const __m128 *)at); }
inline void store(float *at, Vec x) { _mm256_storeu_ps(at, x); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec fms(Vec a, Vec b, Vec c) { return _mm256_fmsub_ps(a, b, c); }

struct Every {
    Vec x;
    explicit Every(const float *at) : x(all(*at)) {}
};
inline Vec fma(Every a, Vec b, Vec c) { return fma(a.x, b, c); }

inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }

inline float sum(Vec x) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

inline float max(Vec x) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
inline float first(Vec x) { return _mm256_cvtss_f32(x); }
inline Ints load(const int32_t *at) { return _mm256_loadu_si256((const __m256i *)at); }
inline void store(int32_t *at, Ints x) { _mm256_storeu_si256((__m256i *)at, x); }
inline void store_short(int16_t *at, Ints x) {
    _mm_storeu_si128((__m128i *)at, _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}
inline Ints none() { return _mm256_setzero_si256(); }
inline Ints every(int32_t x) { return _mm256_set1_epi32(x); }
inline Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
inline Ints max(Ints a, Ints b) { return _mm256_max_epi32(a, b); }

inline int32_t max(Ints x) {
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}

inline Ints up(Ints x) { return _mm256_slli_epi32(x, 23); }
inline Ints bits(Vec x) { return _mm256_castps_si256(x); }
inline Vec number(Ints x) { return _mm256_castsi256_ps(x); }
inline Ints whole(Vec x) { return _mm256_cvtps_epi32(x); }
inline Vec real(Ints x) { return _mm256_cvtepi32_ps(x); }
inline Ints positive(Vec x) { return _mm256_and_si256(bits(x), every(0x7FFFFFFF)); }
inline Ints pairs(Ints low, Ints high) { return _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA); }

inline Ints dot(Ints sum, Ints a, Ints b) {
#ifdef __AVXVNNI__
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
#else
    return add(sum, _mm256_madd_epi16(a, b));
#endif
}

inline uint32_t equal(const uint16_t *mask, short to, short of) {  // a bit for each of 32
    const auto sixteen = [=](const uint16_t *at) {
        const __m256i x = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)at), _mm256_set1_epi16(of));
        return _mm256_cmpeq_epi16(x, _mm256_set1_epi16(to));
    };
    const __m256i bytes = _mm256_packs_epi16(sixteen(mask), sixteen(mask + 16));
    return _mm256_movemask_epi8(_mm256_permute4x64_epi64(bytes, 0xD8));
}
inline uint32_t seen(const uint16_t *mask) { return ~equal(mask, (short)0xFC00, -1); }
inline uint32_t biased(const uint16_t *mask) { return seen(mask) & ~equal(mask, 0, 0x7FFF); }

inline Vec halves(Vec a, Vec b) { return _mm256_hadd_ps(a, b); }
inline Vec quarters(Vec ab, Vec cd) { return _mm256_hadd_ps(ab, cd); }
inline Vec eighths(const Vec *fours) { return *fours; }

#endif

// 2^x for x <= 0, within a ten-millionth of it; 2^-100 for all below. No number stays none.
inline Vec power(Vec x) {
    constexpr float NEAREST = 0x1.8p23f;  // what is added to it loses what is behind the point
    x = max(all(-100), x);
    const Vec rounded = add(x, all(NEAREST)), rest = sub(x, sub(rounded, all(NEAREST)));
    Vec y = fma(all(0.00132647272f), rest, all(0.00967151281f));
    y = fma(y, rest, all(0.0555073374f));
    y = fma(y, rest, all(0.240222421f));
    y = fma(y, rest, all(0.693146978f));
    y = fma(y, rest, all(1));
    return number(add(bits(y), up(bits(rounded))));
}

// In a register. Compilers read what is used twice from memory twice, if an instruction can.
inline Vec held(Vec x) {
#ifdef __AVX512F__
    asm("" : "+v"(x));
#else
    asm("" : "+x"(x));
#endif
    return x;
}

// To the second cache: rows lie so far apart that they would push each other out of the first.
inline void prefetch(const void *from, size_t size) {
    for (size_t at = 0; at < size; at += 64) _mm_prefetch((const char *)from + at, _MM_HINT_T1);
}

}  // namespace
