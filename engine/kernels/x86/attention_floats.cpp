// Attention in floats, for models that do not divide the lengths of queries and keys out of their scores (Gemma 4): these are
// so large that 16 bits (attention_many.h) would round them too coarsely. Few rows go key by key, more through tiles whose
// keys are turned around.

#include "ggml-cpu-impl.h"
#include "ggml.h"
#include "attention_floats.h"
#include "vec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#if defined(__FMA__) && defined(__F16C__) && (defined(__AVX2__) || (defined(__AVX512F__) && defined(__AVX512BW__)))

#include <immintrin.h>

namespace {

constexpr int KEYS = 64;         // of a tile
constexpr int ROWS = 64;         // of a tile at most: tokens x heads
constexpr int FEW = 8;           // rows; for fewer it does not pay to turn the keys around
constexpr uint16_t HIDDEN = 0xFC00;  // minus infinity in float16: what a mask says of a key that may not be seen

#if defined(__AVX512F__) && defined(__AVX512BW__)

using Vec = __m512;
constexpr int LANES = 16, HIGH = 6, WIDE = 4;  // a block of sums: 6 rows of 4 registers, which leaves 8 of 32

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec all(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float *at) { return _mm512_loadu_ps(at); }
inline Vec load(const ggml_fp16_t *at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)); }
inline void store(float *at, Vec x) { _mm512_storeu_ps(at, x); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline float sum(Vec x) { return _mm512_reduce_add_ps(x); }
inline float max(Vec x) { return _mm512_reduce_max_ps(x); }

// Which of 32 keys may be seen, a bit for each.
inline uint32_t seen(const ggml_fp16_t *mask) {
    return _mm512_cmpneq_epi16_mask(_mm512_loadu_si512(mask), _mm512_set1_epi16((short)HIDDEN));
}

// The sums of sixteen registers.
inline Vec sums(const Vec *x) {
    Vec fours[4];
    for (int i = 0; i < 4; i++, x += 4) {
        const Vec ab = add(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
        const Vec cd = add(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
        fours[i] = add(_mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))),
                       _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))));
    }
    const auto halved = [](Vec a, Vec b) {
        return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
    };
    return halved(halved(fours[0], fours[1]), halved(fours[2], fours[3]));
}

#else

using Vec = __m256;
constexpr int LANES = 8, HIGH = 6, WIDE = 2;  // 6 rows of 2 registers, which leaves 4 of 16

inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec all(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float *at) { return _mm256_loadu_ps(at); }
inline Vec load(const ggml_fp16_t *at) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at)); }
inline void store(float *at, Vec x) { _mm256_storeu_ps(at, x); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }

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

inline uint32_t seen(const ggml_fp16_t *mask) {
    const __m256i hidden = _mm256_set1_epi16((short)HIDDEN), *at = (const __m256i *)mask;
    const __m256i bytes = _mm256_packs_epi16(_mm256_cmpeq_epi16(_mm256_loadu_si256(at), hidden),
                                             _mm256_cmpeq_epi16(_mm256_loadu_si256(at + 1), hidden));
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(bytes, 0xD8));
}

inline Vec sums(const Vec *x) {
    Vec fours[2];
    for (int i = 0; i < 2; i++, x += 4) {
        const Vec ab = _mm256_hadd_ps(x[0], x[1]), cd = _mm256_hadd_ps(x[2], x[3]);
        fours[i] = _mm256_hadd_ps(ab, cd);
    }
    return add(_mm256_permute2f128_ps(fours[0], fours[1], 0x20), _mm256_permute2f128_ps(fours[0], fours[1], 0x31));
}

#endif

// A product of matrices, which takes the place of what was there or is added to it.
enum class To { replace, add };

// left x right: HEIGHT rows of WIDTH registers. A row of `right` is what right(i) points to.
template <To TO, int HEIGHT, int WIDTH, class Right>
inline void block(int inner, const float *left, int left_row, Right right, float *into, int into_row) {
    Vec sum[HEIGHT][WIDTH];
#pragma GCC unroll 6
    for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 4
        for (int w = 0; w < WIDTH; w++) sum[r][w] = TO == To::add ? load(into + r * into_row + w * LANES) : zero();
    for (int i = 0; i < inner; i++) {
        const auto *at = right(i);
        Vec x[WIDTH];
        for (int w = 0; w < WIDTH; w++) x[w] = load(at + w * LANES);
        for (int r = 0; r < HEIGHT; r++) {
            const Vec one = all(left[r * left_row + i]);
            for (int w = 0; w < WIDTH; w++) sum[r][w] = fma(one, x[w], sum[r][w]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 4
        for (int w = 0; w < WIDTH; w++) store(into + r * into_row + w * LANES, sum[r][w]);
}

template <To TO, int HEIGHT, int WIDTH, class Right>
inline void rows_of(int rows, int inner, const float *left, int left_row, Right right, float *into, int into_row) {
    if (rows == HEIGHT)
        block<TO, HEIGHT, WIDTH>(inner, left, left_row, right, into, into_row);
    else if constexpr (HEIGHT > 1)
        rows_of<TO, HEIGHT - 1, WIDTH>(rows, inner, left, left_row, right, into, into_row);
}

template <To TO, class Right>
void multiply(int rows, int columns, int inner, const float *left, int left_row, Right right, float *into,
              int into_row) {
    for (int c = 0; c < columns;) {
        const bool wide = columns - c >= WIDE * LANES;
        const auto from = [&](int i) { return right(i) + c; };
        for (int r = 0; r < rows; r += HIGH) {
            const int height = std::min(HIGH, rows - r);
            const float *a = left + r * left_row;
            float *s = into + r * into_row + c;
            if (wide)
                rows_of<TO, HIGH, WIDE>(height, inner, a, left_row, from, s, into_row);
            else
                rows_of<TO, HIGH, 1>(height, inner, a, left_row, from, s, into_row);
        }
        c += wide ? WIDE * LANES : LANES;
    }
}

// What a thread needs for it, kept from call to call.
struct Room {
    std::vector<float> queries, result, turned;
    std::vector<uint64_t> visible, together;  // a bit for each cell: of each token, of a tile
    std::vector<int> cells;                   // of a tile
    float scores[ROWS * KEYS], bias[ROWS * KEYS], best[ROWS], weight[ROWS];
    const ggml_fp16_t *rows[KEYS];
};

class Tile : Room {
public:
    void take(const ggml_tensor *of) {
        dst = of, q = dst->src[0], k = dst->src[1], v = dst->src[2], mask = dst->src[3];
        memcpy(&scale, dst->op_params, sizeof scale);
        words = (int)(k->ne[1] + 63) / 64, depth = (int)k->ne[0], width = (int)v->ne[0];
        queries.resize(ROWS * depth);
        result.resize(ROWS * width);
        turned.resize(KEYS * depth);
        visible.resize(ROWS * words);
        together.resize(words);
    }

    // Some heads that share their keys, for some tokens: in as few tiles as their masks allow.
    void compute(int first_head, int heads, int first, int tokens) {
        for (int t = 0; t < tokens; t++) look(first + t, &visible[t * words]);
        for (int t = 0, count; t < tokens; t += count) {
            count = alike(&visible[t * words], tokens - t);
            list();
            attend(first_head, heads, first + t, count);
        }
    }

private:
    const ggml_tensor *dst, *q, *k, *v, *mask;
    int words, depth, width;
    float scale;

    const ggml_fp16_t *mask_of(int token) const {
        return (const ggml_fp16_t *)((const char *)mask->data + token * mask->nb[1]);
    }

    void look(int token, uint64_t *bits) const {
        const int count = (int)k->ne[1];
        for (int w = 0; w < words; w++) {
            const int left = std::min(64, count - 64 * w);
            uint64_t word = left < 64 ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0;
            if (mask && left == 64) {
                const ggml_fp16_t *at = mask_of(token) + 64 * w;
                word = seen(at) | (uint64_t)seen(at + 32) << 32;
            } else if (mask) {
                for (int i = 0; i < left; i++)
                    if (mask_of(token)[64 * w + i] == HIDDEN) word &= ~((uint64_t)1 << i);
            }
            bits[w] = word;
        }
    }

    // How many of the next tokens see mostly the same cells; those that any of them sees are then in `together`.
    int alike(const uint64_t *bits, int tokens) {
        int count = 1;
        int64_t of_all = 0;
        for (int w = 0; w < words; w++) of_all += __builtin_popcountll(together[w] = bits[w]);
        for (; count < tokens; count++) {
            const uint64_t *next = bits + count * words;
            int64_t own = 0, any = 0;
            for (int w = 0; w < words; w++) {
                own += __builtin_popcountll(next[w]);
                any += __builtin_popcountll(together[w] | next[w]);
            }
            if (2 * (of_all + own) < (count + 1) * any) break;  // more than half of the tile would be empty
            of_all += own;
            for (int w = 0; w < words; w++) together[w] |= next[w];
        }
        return count;
    }

    void list() {
        cells.clear();
        for (int w = 0; w < words; w++)
            for (uint64_t bits = together[w]; bits; bits &= bits - 1) cells.push_back(64 * w + __builtin_ctzll(bits));
    }

    void attend(int first_head, int heads, int first, int tokens) {
        const int count = tokens * heads;
        for (int row = 0; row < count; row++) {
            const float *from = (const float *)((const char *)q->data + (first + row / heads) * q->nb[1] +
                                                (first_head + row % heads) * q->nb[2]);
            for (int d = 0; d < depth; d += LANES) store(&queries[row * depth + d], mul(load(from + d), all(scale)));
            best[row] = -INFINITY, weight[row] = 0;
        }
        std::fill_n(result.begin(), count * width, 0.0f);
        const int group = first_head / (int)(q->ne[2] / k->ne[2]);
        for (size_t at = 0; at < cells.size(); at += KEYS) {
            const int keys = std::min(KEYS, (int)(cells.size() - at));
            point(k, group, at, keys);
            score(count, keys);
            hide(first, tokens, at, keys);
            for (int row = 0; row < count; row++) soften(row, row / heads, keys);
            point(v, group, at, keys);
            const auto right = [this](int key) { return rows[key]; };
            multiply<To::add>(count, width, keys, scores, KEYS, right, result.data(), width);
        }
        for (int row = 0; row < count; row++) {
            float *into = (float *)((char *)dst->data +
                                    (first_head + row % heads + (first + row / heads) * q->ne[2]) * dst->nb[1]);
            const Vec one = all(weight[row] > 0 ? 1 / weight[row] : 0);
            for (int d = 0; d < width; d += LANES) store(into + d, mul(load(&result[row * width + d]), one));
        }
    }

    void point(const ggml_tensor *of, int group, size_t at, int keys) {
        const char *from = (const char *)of->data + group * of->nb[2];
        for (int key = 0; key < keys; key++) rows[key] = (const ggml_fp16_t *)(from + cells[at + key] * of->nb[1]);
        for (int key = keys; key < KEYS; key++) rows[key] = rows[0];  // computed and not counted
    }

    void score(int count, int keys) {
        if (count < FEW) {
            for (int row = 0; row < count; row++)
                for (int key = 0; key < keys; key += LANES) {
                    Vec parts[LANES];
                    for (Vec &part : parts) part = zero();
                    for (int d = 0; d < depth; d += LANES) {
                        const Vec query = load(&queries[row * depth + d]);
                        for (int i = 0; i < LANES; i++) parts[i] = fma(query, load(rows[key + i] + d), parts[i]);
                    }
                    store(scores + row * KEYS + key, sums(parts));
                }
            return;
        }
        for (int key = 0; key < KEYS; key++) {
            float numbers[LANES];
            for (int d = 0; d < depth; d += LANES) {
                store(numbers, load(rows[key] + d));
                for (int i = 0; i < LANES; i++) turned[(d + i) * KEYS + key] = numbers[i];
            }
        }
        const auto right = [from = turned.data()](int d) { return from + d * KEYS; };
        multiply<To::replace>(count, KEYS, depth, queries.data(), depth, right, scores, KEYS);
    }

    // What the mask adds to the scores of these keys, for each token.
    void hide(int first, int tokens, size_t at, int keys) {
        for (int t = 0; t < tokens; t++) {
            float *into = bias + t * KEYS;
            if (mask && keys == KEYS && cells[at + KEYS - 1] - cells[at] == KEYS - 1) {  // one run of cells
                const ggml_fp16_t *from = mask_of(first + t) + cells[at];
                for (int key = 0; key < KEYS; key += LANES) store(into + key, load(from + key));
            } else {
                for (int key = 0; key < keys; key++)
                    into[key] = mask ? GGML_CPU_FP16_TO_FP32(mask_of(first + t)[cells[at + key]]) : 0;
                for (int key = keys; key < KEYS; key++) into[key] = -INFINITY;
            }
        }
    }

    // Scores of a row become its weights for the values; what was summed up before is brought to the same scale.
    void soften(int row, int token, int keys) {
        float *at = scores + row * KEYS;
        const float *hidden = bias + token * KEYS;
        const int end = (keys + LANES - 1) / LANES * LANES;
        Vec top = all(-INFINITY);
        for (int key = 0; key < end; key += LANES) {
            const Vec x = add(load(at + key), load(hidden + key));
            store(at + key, x);
            top = max(top, x);
        }
        const float most = std::max(best[row], max(top));
        if (most == -INFINITY) {  // it sees none of these
            std::fill_n(at, end, 0.0f);
            return;
        }
        if (most > best[row]) {
            const float less = expf(best[row] - most);
            weight[row] *= less;
            for (int d = 0; d < width; d += LANES)
                store(&result[row * width + d], mul(load(&result[row * width + d]), all(less)));
            best[row] = most;
        }
        Vec total = zero();
        for (int key = 0; key < end; key += LANES) {
            const Vec x = ggml_v_expf(add(load(at + key), all(-most)));
            store(at + key, x);
            total = add(total, x);
        }
        weight[row] += sum(total);
    }
};

}  // namespace

void attend_in_floats(const ggml_compute_params *params, ggml_tensor *dst) {
    const int tokens = (int)dst->src[0]->ne[1], heads = (int)dst->src[0]->ne[2], groups = (int)dst->src[1]->ne[2];
    const int shared = heads / groups, threads = params->nth;
    // The work is cut by groups of heads, by tokens, and, where that gives too few pieces, within the groups.
    const int length = std::max(1, ROWS / shared), stretches = (tokens + length - 1) / length;
    const int cuts = std::min(shared, (threads + groups * stretches - 1) / (groups * stretches));
    const int size = std::min(ROWS, (shared + cuts - 1) / cuts), parts = (shared + size - 1) / size;
    if (params->ith == 0) ggml_threadpool_chunk_set(params->threadpool, threads);
    ggml_barrier(params->threadpool);
    static thread_local Tile tile;
    tile.take(dst);
    for (int piece = params->ith; piece < groups * parts * stretches;
         piece = ggml_threadpool_chunk_add(params->threadpool, 1)) {
        const int first = piece % stretches * length, part = piece / stretches % parts * size;
        const int group = piece / stretches / parts * shared;
        tile.compute(group + part, std::min(size, shared - part), first, std::min(length, tokens - first));
    }
}

#endif
