// The gated delta rule (a linear attention with a state), and the short convolution in front of it, for AVX2 or AVX-512.
//
// Each head keeps a matrix, its state. A token makes it fade by its gate, corrects what it says of the token's key, and
// reads it with the token's query. ggml goes over the state five times for each token. But a row of it knows nothing of
// the others:
//
//     state       key, query
//     ▐ row 0 ▌ × ▐▐▐▐▐▐▐▐▐  of token 0, 1, 2 …     row · key ─► correction     row · query ─► what is read
//     ▐ row 1 ▌
//       …                                            row  ◄── gate * row + correction * key
//
// So two rows are kept in registers (with AVX2, one in the nearest cache) for TOKENS tokens; the state is read and written
// once for all of them, and on the way from where it was to where it goes.
//
// Takes the place of ggml's functions of the same names, which overlay.cmake renames to stock_…, and leaves to them what no
// model here needs to be fast: a gate for each number of a key, other sizes, other types.

#include "ggml-cpu-impl.h"
#include "ggml.h"
#include "kernels.h"
#include "ops.h"
#include "steps.h"

#include <algorithm>
#include <cmath>
#include <cstring>

extern "C" {
void stock_ggml_compute_forward_gated_delta_net(const ggml_compute_params *params, ggml_tensor *dst);
void stock_ggml_compute_forward_ssm_conv(const ggml_compute_params *params, ggml_tensor *dst);
void stock_ggml_compute_forward_concat(const ggml_compute_params *params, ggml_tensor *dst);
}

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>

namespace {

const Kernel here("delta-net");

constexpr int TOKENS = 32;  // at once: their keys and queries stay in a near cache
constexpr int ROWS = 2;     // of a state at once

#ifdef __AVX512F__

using Vec = __m512;
constexpr int LANES = 16;

inline Vec all(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float *at) { return _mm512_loadu_ps(at); }
inline void store(float *at, Vec x) { _mm512_storeu_ps(at, x); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline __m256 half(Vec x) {
    const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
    return _mm256_add_ps(_mm512_castps512_ps256(x), upper);
}

#else

using Vec = __m256;
constexpr int LANES = 8;

inline Vec all(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float *at) { return _mm256_loadu_ps(at); }
inline void store(float *at, Vec x) { _mm256_storeu_ps(at, x); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline __m256 half(Vec x) { return x; }

#endif

// The sums of four registers.
inline __m128 sums_of(Vec a, Vec b, Vec c, Vec d) {
    const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(half(a), half(b)), _mm256_hadd_ps(half(c), half(d)));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

struct Token {
    const float *key, *query, *value;
    float *read;
    float gate, beta, match;  // match: key · query
    float *kept;              // where the state goes after it, if it does
};

// Rows `row` and the next one of a state, through all of `tokens`.
template <int SIZE>
inline void pass(const float *from, int row, const Token *tokens, int count, float *last) {
    constexpr int VECS = SIZE / LANES;
    const Vec zero = all(0);
    const __m128 scale = _mm_set1_ps(1 / std::sqrt((float)SIZE));
    Vec state[ROWS][VECS];
    const auto write = [&](float *into) {
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < VECS; i++) store(into + (row + r) * SIZE + LANES * i, state[r][i]);
    };
#pragma GCC unroll 2
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 16
        for (int i = 0; i < VECS; i++) state[r][i] = load(from + (row + r) * SIZE + LANES * i);
    for (const Token *token = tokens; token < tokens + count; token++) {
        Vec keyed[ROWS] = {zero, zero}, asked[ROWS] = {zero, zero};
#pragma GCC unroll 16
        for (int i = 0; i < VECS; i++) {
            const Vec key = load(token->key + LANES * i), query = load(token->query + LANES * i);
#pragma GCC unroll 2
            for (int r = 0; r < ROWS; r++)
                keyed[r] = fma(state[r][i], key, keyed[r]), asked[r] = fma(state[r][i], query, asked[r]);
        }
        const __m128 sums = _mm_mul_ps(sums_of(keyed[0], keyed[1], asked[0], asked[1]), _mm_set1_ps(token->gate));
        const __m128 value = _mm_castpd_ps(_mm_load_sd((const double *)(token->value + row)));
        const __m128 correction = _mm_mul_ps(_mm_sub_ps(value, sums), _mm_set1_ps(token->beta));
        const __m128 read = _mm_fmadd_ps(correction, _mm_set1_ps(token->match), _mm_movehl_ps(sums, sums));
        _mm_storel_pi((__m64 *)(token->read + row), _mm_mul_ps(read, scale));
        const Vec gate = all(token->gate);
        const Vec of[ROWS] = {all(_mm_cvtss_f32(correction)), all(_mm_cvtss_f32(_mm_movehdup_ps(correction)))};
#pragma GCC unroll 16
        for (int i = 0; i < VECS; i++) {
            const Vec key = load(token->key + LANES * i);
#pragma GCC unroll 2
            for (int r = 0; r < ROWS; r++) state[r][i] = fma(of[r], key, mul(state[r][i], gate));
        }
        if (token->kept) write(token->kept);
    }
    if (last) write(last);
}

const float *at(const ggml_tensor *tensor, int64_t one, int64_t two = 0, int64_t three = 0) {
    const size_t *step = tensor->nb;
    return (const float *)((const char *)tensor->data + one * step[1] + two * step[2] + three * step[3]);
}

// All tokens of one head of a sequence.
template <int SIZE>
void rule(const ggml_tensor *op, int64_t head, int64_t sequence) {
    const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *g = op->src[3], *beta = op->src[4], *s = op->src[5];
    const int64_t heads = v->ne[1], tokens = v->ne[2], sequences = v->ne[3], keep = ggml_get_op_params_i32(op, 0);
    float *const out = (float *)op->data;  // and the states behind it, unless steps.cpp has another place for them
    float *const states = op->src[6] ? (float *)op->src[6]->data : out + SIZE * heads * tokens * sequences;
    const auto slot = [=](int64_t back) {  // the state after the token so many before the last one
        return states + ((back * sequences + sequence) * heads + head) * SIZE * SIZE;
    };
    const float *from = at(s, 0, head, sequence);
    for (int64_t first = 0; first < tokens; first += TOKENS) {
        Token some[TOKENS];
        const int count = (int)std::min<int64_t>(TOKENS, tokens - first);
        for (int i = 0; i < count; i++) {
            const int64_t token = first + i, back = tokens - 1 - token;
            const float *key = at(k, head % k->ne[1], token, sequence / (v->ne[3] / k->ne[3]));
            const float *query = at(q, head % q->ne[1], token, sequence / (v->ne[3] / q->ne[3]));
            Vec match = all(0);
            for (int n = 0; n < SIZE; n += LANES) match = fma(load(key + n), load(query + n), match);
            some[i] = {key, query, at(v, head, token, sequence),
                       out + ((sequence * tokens + token) * heads + head) * SIZE,
                       std::exp(*at(g, head, token, sequence)), *at(beta, head, token, sequence),
                       _mm_cvtss_f32(sums_of(match, match, match, match)), back < keep ? slot(back) : nullptr};
        }
        const bool whole = first + count == tokens;  // the last one's slot is the newest
        for (int row = 0; row < SIZE; row += ROWS) pass<SIZE>(from, row, some, count, whole ? nullptr : slot(0));
        from = slot(0);
    }
}

bool ours(const ggml_tensor *op) {
    const ggml_tensor *v = op->src[2], *s = op->src[5];
    return (v->ne[0] == 64 || v->ne[0] == 128) && op->src[3]->ne[0] == 1 && op->src[0]->type == GGML_TYPE_F32 &&
           op->src[0]->ne[0] == v->ne[0] && op->src[1]->ne[0] == v->ne[0] && ggml_is_contiguous(s);
}

// A convolution of WIDE numbers along each channel, and its turn: channels lie side by side afterwards.
template <int WIDE>
void convolve(const ggml_tensor *op, int64_t channel, int64_t sequence) {
    constexpr int CHANNELS = 16, SOME = 64;
    const ggml_tensor *x = op->src[0], *c = op->src[1];
    const int64_t tokens = op->ne[1], count = std::min<int64_t>(CHANNELS, op->ne[0] - channel);
    for (int64_t first = 0; first < tokens; first += SOME) {
        const int64_t some = std::min<int64_t>(SOME, tokens - first);
        float sums[CHANNELS][SOME];
        for (int64_t i = 0; i < count; i++) {
            const float *in = at(x, channel + i, sequence) + first, *by = at(c, channel + i);
            for (int64_t t = 0; t < some; t++) {
                float sum = 0;
                for (int n = 0; n < WIDE; n++) sum += in[t + n] * by[n];
                sums[i][t] = sum;
            }
        }
        for (int64_t t = 0; t < some; t++) {
            float *into = (float *)((char *)op->data + (first + t) * op->nb[1] + sequence * op->nb[2]) + channel;
            for (int64_t i = 0; i < count; i++) into[i] = sums[i][t];
        }
    }
}

// Rows that begin with one tensor's numbers and go on with another's. Where those lie across, four by four are turned around.
void join(const ggml_tensor *op, int64_t first, int64_t last, int64_t sequence) {
    constexpr int FOUR = 4;
    const auto copy = [=](const ggml_tensor *from, int64_t start) {
        const auto in = [=](int64_t row, int64_t i) {
            return (const float *)((const char *)from->data + i * from->nb[0] + row * from->nb[1] + sequence * from->nb[2]);
        };
        const auto into = [=](int64_t row, int64_t i) {
            return (float *)((char *)op->data + row * op->nb[1] + sequence * op->nb[2]) + start + i;
        };
        const bool across = from->nb[1] == sizeof(float);
        const int64_t turned = across ? from->ne[0] / FOUR * FOUR : 0, whole = across ? (last - first) / FOUR * FOUR : 0;
        for (int64_t i = 0; i < turned; i += FOUR) {
            for (int64_t row = first; row < first + whole; row += FOUR) {
                __m128 x[FOUR];
                for (int n = 0; n < FOUR; n++) x[n] = _mm_loadu_ps(in(row, i + n));
                _MM_TRANSPOSE4_PS(x[0], x[1], x[2], x[3]);
                for (int n = 0; n < FOUR; n++) _mm_storeu_ps(into(row + n, i), x[n]);
            }
        }
        for (int64_t row = first; row < last; row++)
            for (int64_t i = row < first + whole ? turned : 0; i < from->ne[0]; i++) *into(row, i) = *in(row, i);
    };
    copy(op->src[0], 0);
    copy(op->src[1], op->src[0]->ne[0]);
}

// Calls `work` with this thread's part of `count` pieces.
template <class Work>
void share(const ggml_compute_params *params, int64_t count, Work work) {
    const int64_t last = count * (params->ith + 1) / params->nth;
    for (int64_t piece = count * params->ith / params->nth; piece < last; piece++) work(piece);
}

}  // namespace

bool delta_net_takes(const ggml_tensor *op) { return ours(op); }

void ggml_compute_forward_gated_delta_net(const ggml_compute_params *params, ggml_tensor *op) {
    if (params->use_ref || !ours(op)) return stock_ggml_compute_forward_gated_delta_net(params, op);
    const int64_t heads = op->src[2]->ne[1];
    share(params, heads * op->src[2]->ne[3], [=](int64_t piece) {
        (op->src[2]->ne[0] == 64 ? rule<64> : rule<128>)(op, piece % heads, piece / heads);
    });
}

void ggml_compute_forward_ssm_conv(const ggml_compute_params *params, ggml_tensor *op) {
    if (params->use_ref || op->src[1]->ne[0] != 4 || op->nb[0] != sizeof(float) || op->src[0]->nb[0] != sizeof(float))
        return stock_ggml_compute_forward_ssm_conv(params, op);
    const int64_t strips = (op->ne[0] + 15) / 16;
    share(params, strips * op->ne[2], [=](int64_t piece) { convolve<4>(op, piece % strips * 16, piece / strips); });
}

void ggml_compute_forward_concat(const ggml_compute_params *params, ggml_tensor *op) {
    if (params->use_ref || op->type != GGML_TYPE_F32 || ggml_get_op_params_i32(op, 0) != 0 || op->ne[3] != 1 ||
        op->nb[0] != sizeof(float))
        return stock_ggml_compute_forward_concat(params, op);
    constexpr int64_t ROWS = 64;  // whole lines of memory
    const int64_t strips = (op->ne[1] + ROWS - 1) / ROWS;
    share(params, strips * op->ne[2], [=](int64_t piece) {
        const int64_t row = piece % strips * ROWS;
        join(op, row, std::min(row + ROWS, op->ne[1]), piece / strips);
    });
}

#else  // on other processors ggml's own functions keep their work

bool delta_net_takes(const ggml_tensor *) { return false; }

void ggml_compute_forward_gated_delta_net(const ggml_compute_params *params, ggml_tensor *op) {
    stock_ggml_compute_forward_gated_delta_net(params, op);
}

void ggml_compute_forward_ssm_conv(const ggml_compute_params *params, ggml_tensor *op) {
    stock_ggml_compute_forward_ssm_conv(params, op);
}

void ggml_compute_forward_concat(const ggml_compute_params *params, ggml_tensor *op) {
    stock_ggml_compute_forward_concat(params, op);
}

#endif
