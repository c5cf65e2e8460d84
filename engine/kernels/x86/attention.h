// What attention's two ways share: the operation, how cells are read, which cells some tokens see.

#pragma once

#include "ggml-cpu-impl.h"
#include "ggml.h"
#include "lanes.h"
#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <vector>

namespace {

constexpr int KEYS = 64;          // of a tile
constexpr int SPAN = 2 * KEYS;    // cells whose weights are found at once, of few rows: at most
constexpr float LOWEST = -1e20f;  // below any score, and still a number when multiplied

// Numbers of a cell, LANES of them from the d-th on; of two cells, half as many of each.
struct Half {
    static constexpr ggml_type TYPE = GGML_TYPE_F16;
    static Vec load(const char *cell, int d) { return load_half(cell + 2 * d); }
    static Vec load(const char *lower, const char *upper, int d) { return load_halves(lower + 2 * d, upper + 2 * d); }
};

struct Eight {
    static constexpr ggml_type TYPE = GGML_TYPE_Q8_0;
    static Vec load(const char *cell, int d) {
        const block_q8_0 &block = ((const block_q8_0 *)cell)[d / QK8_0];
        return mul(load_bytes(block.qs + d % QK8_0), all(_cvtsh_ss(block.d)));
    }
    static Vec load(const char *lower, const char *upper, int d) {
        const block_q8_0 &one = ((const block_q8_0 *)lower)[d / QK8_0], &other = ((const block_q8_0 *)upper)[d / QK8_0];
        return mul(load_bytes(one.qs + d % QK8_0, other.qs + d % QK8_0), all(_cvtsh_ss(one.d), _cvtsh_ss(other.d)));
    }
};

// softmax(scale q k + mask) v, of which k and v are cells, q and what comes out rows: one for each token and head.
struct Attention {
    const ggml_tensor *into, *q, *k, *v, *mask;
    int cells, depth, width, tokens, heads, groups, shared;  // depth: numbers of a key, width: of a value
    float scale;

    explicit Attention(const ggml_tensor *into)
        : into(into), q(into->src[0]), k(into->src[1]), v(into->src[2]), mask(into->src[3]), cells((int)k->ne[1]),
          depth((int)k->ne[0]), width((int)v->ne[0]), tokens((int)q->ne[1]), heads((int)q->ne[2]), groups((int)k->ne[2]),
          shared(heads / groups) {
        memcpy(&scale, into->op_params, sizeof scale);
    }
    // Whether the lengths of queries and keys are divided out of their scores, which are rounded in proportion to them.
    bool divided() const { return scale * std::sqrt((float)depth) < 2; }
    const float *query(int token, int head) const {
        return (const float *)((const char *)q->data + token * q->nb[1] + head * q->nb[2]);
    }
    float *result(int token, int head) const {
        return (float *)((char *)into->data + (head + (size_t)token * heads) * into->nb[1]);
    }
    const uint16_t *mask_of(int token) const { return (const uint16_t *)((const char *)mask->data + token * mask->nb[1]); }
    static const char *cell(const ggml_tensor *of, int group, int at) {
        return (const char *)of->data + group * of->nb[2] + at * of->nb[1];
    }
    size_t key_size() const { return ggml_row_size(k->type, depth); }
    size_t value_size() const { return ggml_row_size(v->type, width); }
};

// Rows that are computed together: some heads that share their keys, for some tokens that see mostly the same cells.
struct Rows {
    int group, first_head, heads, first, tokens;
    int count() const { return heads * tokens; }
    int head(int row) const { return first_head + row % heads; }
    int token(int row) const { return first + row / heads; }
};

// Which cells some tokens see. The cells of all conversations lie in one buffer, so those of these are a list:
//
//     buffer     │ │a│a│b│a│b│b│ │a│ …        list   │a│a│a│a│ …
//                                             seen   │1│1│1│0│ …   by a token, a bit for each
class Sight {
public:
    std::vector<int> cells;
    bool plain;  // the mask says nothing but yes and no

    // Looks at tokens from `first` on, and at their neighbours.
    void look(const Attention &of, int first, int tokens) {
        words = (of.cells + 63) / 64;
        begin = std::max(0, first - 1), end = std::min(of.tokens, first + tokens + 1);
        visible.resize((size_t)(end - begin) * words);
        plain = true;
        for (int token = begin; token < end; token++) look(of, token, &visible[(size_t)(token - begin) * words]);
    }

    // Whether no neighbour sees mostly the same cells.
    bool lone(int token) {
        return (token == begin || alike(token - 1, token + 1) == 1) && (token + 1 == end || alike(token, token + 2) == 1);
    }

    // How many cells a token sees.
    int count(int token) {
        alike(token, token + 1);
        int count = 0;
        for (uint64_t word : together) count += __builtin_popcountll(word);
        return count;
    }

    // How many of the tokens from `first` to `last` see mostly the same cells. Lists the cells.
    int list(int first, int last) {
        const int count = alike(first, last);
        cells.clear();
        for (int w = 0; w < words; w++) {
            if (together[w] == ~(uint64_t)0) {
                const size_t at = cells.size();
                cells.resize(at + 64);
                for (int i = 0; i < 64; i++) cells[at + i] = 64 * w + i;
            } else {
                for (uint64_t bits = together[w]; bits; bits &= bits - 1) cells.push_back(64 * w + __builtin_ctzll(bits));
            }
        }
        seen.assign((size_t)count * tiles(), 0);
        for (int t = 0; t < count; t++) pack(&visible[(size_t)(first - begin + t) * words], &seen[(size_t)t * tiles()]);
        return count;
    }
    int tiles() const { return (int)(cells.size() + KEYS - 1) / KEYS; }
    int keys(int tile) const { return std::min(KEYS, (int)cells.size() - tile * KEYS); }
    uint64_t bits(int token, int tile) const { return seen[(size_t)token * tiles() + tile]; }

private:
    int words, begin, end;
    std::vector<uint64_t> visible, together, seen;  // of cells, of cells, of what is listed

    void look(const Attention &of, int token, uint64_t *bits) {
        constexpr uint16_t HIDDEN = 0xFC00;  // minus infinity in float16
        for (int w = 0; w < words; w++) {
            const int left = std::min(64, of.cells - 64 * w);
            uint64_t word = left < 64 ? ((uint64_t)1 << left) - 1 : ~(uint64_t)0;
            const uint16_t *at = of.mask ? of.mask_of(token) + 64 * w : nullptr;
            if (at && left == 64) {
                word = ::seen(at) | (uint64_t)::seen(at + 32) << 32;
                plain &= !(biased(at) | biased(at + 32));
            } else if (at) {
                for (int i = 0; i < left; i++) {
                    if (at[i] == HIDDEN) word &= ~((uint64_t)1 << i);
                    plain &= at[i] == HIDDEN || (at[i] & 0x7FFF) == 0;
                }
            }
            bits[w] = word;
        }
    }

    // Those that any of the tokens sees are then in `together`.
    int alike(int first, int last) {
        const uint64_t *bits = &visible[(size_t)(first - begin) * words];
        const int tokens = last - first;
        together.resize(words);
        int count = 1;
        int64_t of_all = 0;
        for (int w = 0; w < words; w++) of_all += __builtin_popcountll(together[w] = bits[w]);
        for (; count < tokens; count++) {
            const uint64_t *next = bits + (size_t)count * words;
            int64_t own = 0, any = 0;
            for (int w = 0; w < words; w++) {
                own += __builtin_popcountll(next[w]);
                any += __builtin_popcountll(together[w] | next[w]);
            }
            if (2 * (of_all + own) <= (count + 1) * any) break;  // half of the tile would be empty
            of_all += own;
            for (int w = 0; w < words; w++) together[w] |= next[w];
        }
        return count;
    }

    // A bit for each cell becomes one for each that is listed.
    void pack(const uint64_t *of_cells, uint64_t *of_listed) const {
        int at = 0;
        for (int w = 0; w < words; w++) {
            if (!together[w]) continue;
            uint64_t packed = of_cells[w];
            if (~together[w]) {
                packed = 0;
                int i = 0;
                for (uint64_t bits = together[w]; bits; bits &= bits - 1, i++)
                    packed |= (of_cells[w] >> __builtin_ctzll(bits) & 1) << i;
            }
            of_listed[at / 64] |= packed << at % 64;
            const int count = __builtin_popcountll(together[w]);
            if (at % 64 + count > 64) of_listed[at / 64 + 1] |= packed >> (64 - at % 64);
            at += count;
        }
    }
};

}  // namespace
