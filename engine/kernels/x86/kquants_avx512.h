// Tiles of a product of matrices of K-quants, for AVX-512 VNNI: sixteen columns of weights, some rows of activations.

#pragma once

#include "kquants.h"

#include <immintrin.h>

#include <cstddef>
#include <cstring>

namespace {

constexpr int COLUMNS = 16;  // computed at once: the lanes of a register
constexpr int MOST = 16;     // rows of a tile

struct alignas(64) Activations {  // a row's super-block
    int8_t values[SUPER];
    int32_t starts[SUPER / 16];  // -32 times the sums of sixteen: where sums of weights with 32 added begin
    int16_t sums[SUPER / 32];    // for the least values
    float scale;
};

template <class Kind>
struct Unpacked {  // a super-block of sixteen columns
    __m512i quads[Kind::PAIRS ? SUPER / 8 : SUPER / 4];
    __m512 scales[SUPER / Kind::GROUP];
    __m512i mins[4];  // of groups 0 and 1, 2 and 3, …: two halves of 16 bits
    __m512 least;     // what to multiply them by
};

struct Columns {  // sixteen, `stride` bytes apart
    const uint8_t *fours[4];
    size_t stride, thrice;
    Columns(const void *first, size_t stride) : stride(stride), thrice(3 * stride) {
        for (int i = 0; i < 4; i++) fours[i] = (const uint8_t *)first + 4 * i * stride;
    }
    const uint8_t *at(int i, size_t offset) const {
        return fours[i / 4] + (i % 4 == 3 ? thrice : i % 4 * stride) + offset;
    }
};

// 16 bytes of each of sixteen columns: into[d] has their d-th four bytes side by side.
inline void turn16(const Columns &from, size_t offset, __m512i *into) {
    __m512i fours[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const auto pair = [&](int first, int second) {
            return _mm256_loadu2_m128i((const __m128i *)from.at(second, offset), (const __m128i *)from.at(first, offset));
        };
        fours[i] = _mm512_inserti64x4(_mm512_castsi256_si512(pair(i, i + 4)), pair(i + 8, i + 12), 1);
    }
    const __m512i ab = _mm512_unpacklo_epi32(fours[0], fours[1]), cd = _mm512_unpacklo_epi32(fours[2], fours[3]);
    const __m512i AB = _mm512_unpackhi_epi32(fours[0], fours[1]), CD = _mm512_unpackhi_epi32(fours[2], fours[3]);
    into[0] = _mm512_unpacklo_epi64(ab, cd), into[1] = _mm512_unpackhi_epi64(ab, cd);
    into[2] = _mm512_unpacklo_epi64(AB, CD), into[3] = _mm512_unpackhi_epi64(AB, CD);
}

inline void turn(const Columns &from, size_t offset, __m512i *into) {  // 32 bytes
    turn16(from, offset, into);
    turn16(from, offset + 16, into + 4);
}

inline __m512 halves(__m512i words) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words)); }  // the lower ones

// Byte `from` of every four, as byte `to`; the others are zero.
inline __m512i byte_of(__m512i x, int from, int to) {
    const uint32_t lane = ~((uint32_t)0xFF << 8 * to) | (uint32_t)from << 8 * to;
    const __m512i lanes = _mm512_set4_epi32(12 << 8 * to, 8 << 8 * to, 4 << 8 * to, 0);
    return _mm512_shuffle_epi8(x, _mm512_add_epi32(_mm512_set1_epi32((int)lane), lanes));
}

// Six bits each: scales and mins of eight groups, in twelve bytes.
template <class Kind>
inline void unpack_scales(const __m512i *heads, Unpacked<Kind> &into) {
    const __m512i six = _mm512_set1_epi8(0x3F), four = _mm512_set1_epi8(0x0F), two = _mm512_set1_epi8(0x30);
    const auto both = [=](__m512i low, __m512i high) {
        return _mm512_or_si512(_mm512_and_si512(low, four), _mm512_and_si512(_mm512_srli_epi32(high, 2), two));
    };
    const __m512i scales[2] = {_mm512_and_si512(heads[1], six), both(heads[3], heads[1])};
    const __m512i mins[2] = {_mm512_and_si512(heads[2], six), both(_mm512_srli_epi32(heads[3], 4), heads[2])};
    const __m512 d = halves(heads[0]);
    const __m512 part = _mm512_mul_ps(d, _mm512_set1_ps(Kind::PAIRS ? 0x1p-4f : 1.0f));
    into.least = _mm512_sub_ps(_mm512_setzero_ps(), halves(_mm512_srli_epi32(heads[0], 16)));
    const __m512i pairs = _mm512_set4_epi32((int)0x800D800C, (int)0x80098008, (int)0x80058004, (int)0x80018000);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++)
        into.scales[g] = _mm512_mul_ps(g % 2 ? part : d, _mm512_cvtepi32_ps(byte_of(scales[g / 4], g % 4, 0)));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        into.mins[i] = _mm512_shuffle_epi8(mins[i / 2], _mm512_add_epi8(pairs, _mm512_set1_epi16(i % 2 ? 2 : 0)));
}

inline __m512i low(__m512i x) { return _mm512_and_si512(x, _mm512_set1_epi8(0x0F)); }

// What `mask` has of `high`, beside the lower four bits of `x`.
inline __m512i both(__m512i x, __m512i high, char mask) {
    return _mm512_ternarylogic_epi64(x, _mm512_set1_epi8(0x0F), _mm512_and_si512(high, _mm512_set1_epi8(mask)), 0xEA);
}

inline void unpack(const Columns &from, Unpacked<Q4_K> &into) {
    __m512i heads[4];
    turn16(from, 0, heads);
    unpack_scales(heads, into);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) turn(from, offsetof(block_q4_K, qs) + 32 * i, into.quads + 8 * i);
}

inline void unpack(const Columns &from, Unpacked<Q5_K> &into) {
    __m512i turned[8], fifth[8];
    turn16(from, 0, turned);
    unpack_scales(turned, into);
    turn(from, offsetof(block_q5_K, qh), fifth);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        turn(from, offsetof(block_q5_K, qs) + 32 * i, turned);
        const __m512i even = _mm512_set1_epi32(28 + 2 * i), odd = _mm512_set1_epi32(29 + 2 * i);  // of 32: to the left
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++) {
            into.quads[16 * i + q] = both(turned[q], _mm512_rorv_epi32(fifth[q], even), 0x10);
            into.quads[16 * i + q + 8] = both(_mm512_srli_epi32(turned[q], 4), _mm512_rorv_epi32(fifth[q], odd), 0x10);
        }
    }
}

// The quads of 32 weights.
template <class Kind>
inline void quads_of(const Unpacked<Kind> &from, int step, __m512i *quads) {
    if constexpr (Kind::PAIRS) {
        const __m512i mask = _mm512_set1_epi8(step % 2 ? 0xF0 : 0x0F);
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++) quads[q] = _mm512_and_si512(from.quads[step / 2 * 8 + q], mask);
    } else {
#pragma GCC unroll 8
        for (int q = 0; q < 8; q++) quads[q] = from.quads[step * 8 + q];
    }
}

// dot + products of sixteen columns with the same four bytes, or two numbers of 16 bits, of a row, which are broadcast
// from memory on the way. Compilers spend an instruction and a register on that.
#if defined(__SANITIZE_ADDRESS__)  // which does not see what assembler reads

inline __m512i four_bytes(const void *from) {
    int32_t bits;
    memcpy(&bits, from, sizeof bits);
    return _mm512_set1_epi32(bits);
}
inline __m512i multiply(__m512i dot, __m512i quads, const void *four) {
    return _mm512_dpbusd_epi32(dot, quads, four_bytes(four));
}
inline __m512i multiply_pairs(__m512i dot, __m512i pairs, const void *two) {
    return _mm512_dpwssd_epi32(dot, pairs, four_bytes(two));
}

#else

inline __m512i multiply(__m512i dot, __m512i quads, const void *four) {
    asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(quads), "m"(*(const int32_t *)four));
    return dot;
}
inline __m512i multiply_pairs(__m512i dot, __m512i pairs, const void *two) {
    asm("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(pairs), "m"(*(const int32_t *)two));
    return dot;
}

#endif

// Where the sum of a group begins.
template <class Kind>
inline __m512i start(const Activations &row, int group) {
    return Kind::MINS ? _mm512_setzero_si512() : _mm512_set1_epi32(row.starts[group]);
}

// Adds to sums, COLUMNS of each row, what `supers` super-blocks of columns and rows give. The rows lie side by side.
template <int ROWS, class Kind>
void tile(int supers, const Unpacked<Kind> *columns, const Activations *rows, float *into) {
    constexpr int QUADS = Kind::GROUP / 4;
    __m512 sums[ROWS];
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) sums[row] = _mm512_loadu_ps(into + row * COLUMNS);
    for (int b = 0; b < supers; b++, columns++, rows += ROWS) {
        __m512 part[ROWS];
#pragma GCC unroll 16
        for (int row = 0; row < ROWS; row++) {
            part[row] = _mm512_setzero_ps();
            if constexpr (Kind::MINS) {
                __m512i dot = _mm512_setzero_si512();
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++) dot = multiply_pairs(dot, columns->mins[i], rows[row].sums + 2 * i);
                part[row] = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), columns->least);
            }
        }
        for (int step = 0; step < 8; step++) {
            __m512i quads[8];
            quads_of(*columns, step, quads);
#pragma GCC unroll 2
            for (int g = 0; g < 8 / QUADS; g++) {
                const int group = step * 8 / QUADS + g;
#pragma GCC unroll 4
                for (int first = 0; first < ROWS; first += 4) {  // in turns: each product waits for the one before
                    const int last = first + 4 < ROWS ? first + 4 : ROWS;
                    __m512i dots[4];
#pragma GCC unroll 4
                    for (int row = first; row < last; row++)
                        dots[row - first] = start<Kind>(rows[row], group);
#pragma GCC unroll 8
                    for (int q = 0; q < QUADS; q++)
#pragma GCC unroll 4
                        for (int row = first; row < last; row++)
                            dots[row - first] = multiply(dots[row - first], quads[g * QUADS + q],
                                                         rows[row].values + Kind::GROUP * group + 4 * q);
#pragma GCC unroll 4
                    for (int row = first; row < last; row++)
                        part[row] =
                            _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[row - first]), columns->scales[group], part[row]);
                }
            }
        }
#pragma GCC unroll 16
        for (int row = 0; row < ROWS; row++)
            sums[row] = _mm512_fmadd_ps(part[row], _mm512_set1_ps(rows[row].scale), sums[row]);
    }
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) _mm512_storeu_ps(into + row * COLUMNS, sums[row]);
}

// One row waits for the memory, which is read fastest straight on: column by column, 64 weights at a time.

// A value of each pair or four of lanes.
inline __m512 spread(__m512 x, int first, int lanes) {
    const __m512i at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_permutexvar_ps(_mm512_add_epi32(_mm512_srli_epi32(at, lanes), _mm512_set1_epi32(first)), x);
}

inline __m512i twice(const void *bytes) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)bytes));
}

inline __m512i halves_of(int lower, int upper) {  // numbers of 32 bits
    return _mm512_inserti64x4(_mm512_set1_epi32(lower), _mm256_set1_epi32(upper), 1);
}

template <class Kind>
struct Column {  // a super-block of one: Q4_K and Q5_K; what it is scaled by has the row's scale in it
    const typename Kind::Block &block;
    __m512 scales;
    __m128i mins;
    __m128 ends;  // the super-block's scale, and that of its mins

    Column(const typename Kind::Block &block, const Activations &row) : block(block) {
        uint32_t first;
        uint64_t rest;
        memcpy(&first, block.scales, sizeof first), memcpy(&rest, block.scales + 4, sizeof rest);
        const uint32_t second = (uint32_t)rest, third = (uint32_t)(rest >> 32);
        const uint32_t six = 0x3F3F3F3F, four = 0x0F0F0F0F, two = 0x30303030;
        const uint64_t of_scales = (first & six) | (uint64_t)((third & four) | (first >> 2 & two)) << 32;
        const uint64_t of_mins = (second & six) | (uint64_t)((third >> 4 & four) | (second >> 2 & two)) << 32;
        mins = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((int64_t)of_mins));
        ends = _mm_mul_ps(_mm_cvtph_ps(_mm_loadu_si128((const __m128i *)&block)), _mm_set1_ps(row.scale));
        const __m256 part = _mm256_mul_ps(_mm256_setr_ps(1, PART, 1, PART, 1, PART, 1, PART), _mm256_broadcastss_ps(ends));
        const __m256 eight = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)of_scales)));
        scales = _mm512_castps256_ps512(_mm256_mul_ps(eight, part));
    }
    static constexpr float PART = Kind::PAIRS ? 0x1p-4f : 1.0f;

    __m512i weights(int i) const {
        const __m512i bytes = twice(block.qs + 32 * i);
        if constexpr (Kind::PAIRS) return _mm512_and_si512(bytes, halves_of(0x0F0F0F0F, (int)0xF0F0F0F0));
        else return both(_mm512_srlv_epi32(bytes, halves_of(0, 4)),
                            _mm512_rorv_epi32(twice(block.qh), halves_of(28 + 2 * i, 29 + 2 * i)), 0x10);
    }
    __m512 scale(int i) const { return spread(scales, 2 * i, 3); }
    __m512 start(const Activations &row, __m512 sum) const {
        const __m128i dot = _mm_madd_epi16(mins, _mm_loadu_si128((const __m128i *)row.sums));
        return _mm512_sub_ps(sum, _mm512_zextps128_ps512(_mm_mul_ps(_mm_cvtepi32_ps(dot), _mm_shuffle_ps(ends, ends, 0x55))));
    }
};

// Where the sums of fours begin, of 64 weights.
template <class Kind>
inline __m512i starts(__m512i) { return _mm512_setzero_si512(); }

// The sums of sixteen registers.
inline __m512 sums_of(const __m512 *x) {
    const auto add = [](__m512 a, __m512 b) { return _mm512_add_ps(a, b); };
    __m512 fours[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++, x += 4) {
        const __m512 ab = add(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
        const __m512 cd = add(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
        fours[i] = add(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
    }
    const auto halved = [=](__m512 a, __m512 b) {
        return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
    };
    return halved(halved(fours[0], fours[1]), halved(fours[2], fours[3]));
}

// The sums of a strip's columns for one row.
template <class Kind>
void strip(int supers, const char *columns, size_t stride, const Activations *row, float *into) {
    __m512 sums[COLUMNS];
    for (int column = 0; column < COLUMNS; column++) {
        const typename Kind::Block *block = (const typename Kind::Block *)(columns + column * stride);
        __m512 parts[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};  // none waits for another
        for (int b = 0; b < supers; b++) {
            const Column<Kind> one(block[b], row[b]);
            parts[0] = one.start(row[b], parts[0]);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                const __m512i values = _mm512_loadu_si512(row[b].values + 64 * i);
                const __m512i dots = _mm512_dpbusd_epi32(starts<Kind>(values), one.weights(i), values);
                parts[i % 2] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), one.scale(i), parts[i % 2]);
            }
        }
        sums[column] = _mm512_add_ps(parts[0], parts[1]);
    }
    _mm512_storeu_ps(into, sums_of(sums));
}

// 256 numbers in eight bits. Their scale is no number if one of them is none.
inline void quantise(const float *from, Activations *into) {
    __m512i most = _mm512_setzero_si512();
    for (int i = 0; i < SUPER; i += 16)
        most = _mm512_max_epi32(most, _mm512_and_si512(_mm512_loadu_si512(from + i), _mm512_set1_epi32(0x7FFFFFFF)));
    const float inverse = inverse_of(_mm512_reduce_max_epi32(most));
    for (int i = 0; i < SUPER; i += 64) {
        const auto sixteen = [&](int at) {
            const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(from + i + at), _mm512_set1_ps(inverse));
            return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x));
        };
        const __m256i lower = _mm256_set_m128i(sixteen(16), sixteen(0)), upper = _mm256_set_m128i(sixteen(48), sixteen(32));
        const __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(lower), upper, 1);
        _mm512_storeu_si512(into->values + i, all);
        __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), all);
        sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_CDAB));
        sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_BADC));
        const __m128i four = _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x1111, sums));
        _mm_storeu_si128((__m128i *)(into->starts + i / 16), _mm_slli_epi32(_mm_sub_epi32(_mm_setzero_si128(), four), 5));
        const __m128i two = _mm_hadd_epi32(four, four);
        _mm_storeu_si32(into->sums + i / 32, _mm_packs_epi32(two, two));
    }
    into->scale = 1 / inverse;
}

}  // namespace
