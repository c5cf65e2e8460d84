// Attention of few rows, as when an answer is written: each cell is read once, turned into floats, and multiplied with all
// of them. Memory sets the pace, so values are fetched while keys are computed, and the next keys with the values:
//
//     keys     ▐ tile 0 ▌           ▐ tile 1 ▌           ▐ …        64 cells each
//     values             ▐ tile 0 ▌           ▐ tile 1 ▌
//     fetched  ▐ values 0▌▐ keys 1 ▌▐ values 1▌▐ keys 2 ▌

#pragma once

#include "attention.h"

namespace {

// The sums of one row: its values' numbers, the best score, all weights together.
struct Sum {
    static size_t size(const Attention &of) { return of.width + LANES; }
    static void clear(const Attention &of, float *sum) {
        std::fill_n(sum, of.width, 0.0f);
        sum[of.width] = LOWEST, sum[of.width + 1] = 0;
    }
    // Cells are summed up by stretches, which are added in their order: so it is all the same who computes them.
    static void add_to(const Attention &of, float *sum, const float *more) {
        const float before = sum[of.width], here = more[of.width], most = std::max(before, here);
        const float one = exp2f(before - most), other = exp2f(here - most);
        for (int d = 0; d < of.width; d += LANES) store(sum + d, fma(load(sum + d), all(one), mul(load(more + d), all(other))));
        sum[of.width] = most, sum[of.width + 1] = sum[of.width + 1] * one + more[of.width + 1] * other;
    }
    static void give(const Attention &of, const float *sum, float *into) {
        const float weight = sum[of.width + 1];  // one at least, unless nothing is seen
        const Vec one = all(weight < 0.5f ? 0 : 1 / weight);
        for (int d = 0; d < of.width; d += LANES) store(into + d, mul(load(sum + d), one));
    }
};

template <class Cell>
class Few {
public:
    // Rows of one group or of several, whose sums begin.
    void take(const Attention &of, const Rows *rows, int groups) {
        blocks.clear();
        for (int i = 0; i < groups; i++)
            for (int start = 0; start < rows[i].count(); start += TOGETHER)
                blocks.push_back({rows[i], start, std::min(TOGETHER, rows[i].count() - start)});
        queries.resize(blocks.size() * TOGETHER * of.depth);
        sums.resize(blocks.size() * TOGETHER * Sum::size(of));
        whole.resize(sums.size());
        each([&](const Block &block, int row, int at) {
            const float *from = of.query(block.rows.token(row), block.rows.head(row));
            const Vec scale = all(of.scale * (float)M_LOG2E);  // weights are powers of two
            for (int d = 0; d < of.depth; d += LANES) store(&queries[at * of.depth + d], mul(load(from + d), scale));
            Sum::clear(of, &whole[at * Sum::size(of)]);
        });
    }

    // Cells of one stretch. `into` has room for the sums of all rows; without it they are added to those before.
    void attend(const Attention &of, const Sight &sight, int stretch, float *into) {
        each([&](const Block &, int, int at) { Sum::clear(of, &sums[at * Sum::size(of)]); });
        const int tiles = sight.tiles_of_stretch(), last = std::min(sight.tiles(), (stretch + 1) * tiles);
        for (int tile = stretch * tiles; tile < last; tile++)
            for (size_t b = 0; b < blocks.size(); b++) {
                if (b == 0 || blocks[b].rows.group != blocks[b - 1].rows.group) point(of, sight, blocks[b].rows.group, tile);
                attend(of, sight, tile, blocks[b], (int)b * TOGETHER);
            }
        each([&](const Block &, int, int at) {
            const float *sum = &sums[at * Sum::size(of)];
            if (into)
                std::copy_n(sum, Sum::size(of), into), into += Sum::size(of);
            else
                Sum::add_to(of, &whole[at * Sum::size(of)], sum);
        });
    }

    // What was summed up without `into`, or lies in `from`, a stretch after the other.
    void give(const Attention &of, const float *from = nullptr, int stretches = 0, size_t step = 0) {
        each([&](const Block &block, int row, int at) {
            float *sum = &whole[at * Sum::size(of)];
            for (int i = 0; i < stretches; i++) Sum::add_to(of, sum, from + i * step);
            if (from) from += Sum::size(of);
            Sum::give(of, sum, of.result(block.rows.token(row), block.rows.head(row)));
        });
    }

private:
    struct Block {  // some rows of a group
        Rows rows;
        int start, count;
    };
    std::vector<Block> blocks;
    std::vector<float> queries, sums, whole;
    float scores[TOGETHER * KEYS], less[TOGETHER];
    const char *keyed[KEYS], *valued[KEYS], *coming[KEYS];

    template <class Work>
    void each(Work work) const {
        for (size_t b = 0; b < blocks.size(); b++)
            for (int i = 0; i < blocks[b].count; i++) work(blocks[b], blocks[b].start + i, (int)b * TOGETHER + i);
    }

    void point(const Attention &of, const Sight &sight, int group, int tile) {
        const int *cells = &sight.cells[tile * KEYS], keys = sight.keys(tile), left = (int)sight.cells.size() - tile * KEYS;
        for (int key = 0; key < KEYS; key++) {  // those beyond the end are computed and not counted
            keyed[key] = of.cell(of.k, group, cells[key < keys ? key : 0]);
            valued[key] = of.cell(of.v, group, cells[key < keys ? key : 0]);
            coming[key] = KEYS + key < left ? of.cell(of.k, group, cells[KEYS + key]) : nullptr;
        }
    }

    void attend(const Attention &of, const Sight &sight, int tile, const Block &block, int at) {
        const int keys = sight.keys(tile);
        const float *query = &queries[at * of.depth];
        float *sum = &sums[at * Sum::size(of)];
        with(block.count, [&](auto many) { score<many>(of, query, keys); });
        for (int row = 0; row < block.count; row++) {
            const int token = (block.start + row) / block.rows.heads;
            if (~sight.bits(token, tile) || !sight.plain) hide(of, sight, block.rows.first, token, tile, row);
            soften(row, sum + row * Sum::size(of) + of.width);
        }
        with(block.count, [&](auto many) { value<many>(of, keys, sum); });
    }

    template <int COUNT>
    struct Count {
        constexpr operator int() const { return COUNT; }
    };
    template <int COUNT = TOGETHER, class Work>
    static void with(int count, Work work) {
        if (count == COUNT)
            work(Count<COUNT>());
        else if constexpr (COUNT > 1)
            with<COUNT - 1>(count, work);
    }

    template <int COUNT>
    void score(const Attention &of, const float *queries, int keys) {
        const size_t size = of.value_size();
        const int depth = of.depth;
        for (int key = 0; key < keys; key += LANES) {
            Vec fours[COUNT][LANES / 4];
            for (int four = 0; four < LANES / 4; four++) {
                Vec twos[2][COUNT];
#pragma GCC unroll 2
                for (int two = 0; two < 2; two++) {
                    const int at = key + 4 * four + 2 * two;
                    const char *one = keyed[at], *other = keyed[at + 1];
                    prefetch(valued[at], size);
                    prefetch(valued[at + 1], size);
                    Vec a[COUNT], b[COUNT];
#pragma GCC unroll 8
                    for (int row = 0; row < COUNT; row++) a[row] = b[row] = zero();
                    for (int d = 0; d < depth; d += LANES) {
                        const Vec x = Cell::load(one, d), y = Cell::load(other, d);
#pragma GCC unroll 8
                        for (int row = 0; row < COUNT; row++) {
                            const Vec query = held(load(queries + row * depth + d));
                            a[row] = fma(query, x, a[row]), b[row] = fma(query, y, b[row]);
                        }
                    }
#pragma GCC unroll 8
                    for (int row = 0; row < COUNT; row++) twos[two][row] = halves(a[row], b[row]);
                }
#pragma GCC unroll 8
                for (int row = 0; row < COUNT; row++) fours[row][four] = quarters(twos[0][row], twos[1][row]);
            }
            for (int row = 0; row < COUNT; row++) store(scores + row * KEYS + key, wholes(fours[row]));
        }
    }

    // What a token's mask says of these keys.
    void hide(const Attention &of, const Sight &sight, int first, int token, int tile, int row) {
        const uint64_t bits = sight.bits(token, tile);
        for (int key = 0; key < KEYS; key++) {
            float &score = scores[row * KEYS + key];
            if (~bits >> key & 1)
                score = -INFINITY;
            else if (!sight.plain)
                score += (float)M_LOG2E * _cvtsh_ss(of.mask_of(first + token)[sight.cells[tile * KEYS + key]]);
        }
    }

    // Scores of a row become its weights for the values; what was summed up before waits to be brought to the same scale.
    void soften(int row, float *best_and_weight) {
        float *at = scores + row * KEYS, &best = best_and_weight[0], &weight = best_and_weight[1];
        Vec top = all(best), total = zero();
        for (int key = 0; key < KEYS; key += LANES) top = max(load(at + key), top);
        const float most = max(top);
        for (int key = 0; key < KEYS; key += LANES) {
            const Vec x = power(sub(load(at + key), all(most)));
            store(at + key, x);
            total = add(total, x);
        }
        less[row] = most > best ? exp2f(best - most) : 1;
        weight = weight * less[row] + sum(total);
        best = most;
    }

    template <int COUNT>
    void value(const Attention &of, int keys, float *sum) {
        for (int d = 0; d < of.width; d += 2 * LANES) {
            if (d + LANES < of.width)
                value<COUNT, 2>(of, keys, d, sum);
            else
                value<COUNT, 1>(of, keys, d, sum);
        }
    }

    template <int COUNT, int WIDTH>
    void value(const Attention &of, int keys, int d, float *into) {
        const size_t size = Sum::size(of), coming_size = of.key_size();
        Vec sums[COUNT][WIDTH];
#pragma GCC unroll 8
        for (int row = 0; row < COUNT; row++)
#pragma GCC unroll 2
            for (int w = 0; w < WIDTH; w++) sums[row][w] = mul(load(into + row * size + d + w * LANES), all(less[row]));
        for (int key = 0; key < keys; key++) {
            if (d == 0 && coming[key]) prefetch(coming[key], coming_size);
            Vec x[WIDTH];
#pragma GCC unroll 2
            for (int w = 0; w < WIDTH; w++) x[w] = Cell::load(valued[key], d + w * LANES);
#pragma GCC unroll 8
            for (int row = 0; row < COUNT; row++) {
                const Vec one = all(scores[row * KEYS + key]);
#pragma GCC unroll 2
                for (int w = 0; w < WIDTH; w++) sums[row][w] = fma(one, x[w], sums[row][w]);
            }
        }
#pragma GCC unroll 8
        for (int row = 0; row < COUNT; row++)
#pragma GCC unroll 2
            for (int w = 0; w < WIDTH; w++) store(into + row * size + d + w * LANES, sums[row][w]);
    }
};

}  // namespace
