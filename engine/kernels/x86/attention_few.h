// Attention in floats, of few rows most of the time, as when an answer is written: each cell is read once, turned into
// floats, and multiplied with eight of them. Values are fetched while keys are computed, and the next keys with the values:
//
//     keys     ▐ span 0 ▌           ▐ span 1 ▌           ▐ …        64 or 128 cells each
//     values             ▐ span 0 ▌           ▐ span 1 ▌
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
        const Vec one = power(all(before - most)), other = power(all(here - most));
        for (int d = 0; d < of.width; d += LANES) store(sum + d, fma(load(sum + d), one, mul(load(more + d), other)));
        sum[of.width] = most, sum[of.width + 1] = sum[of.width + 1] * first(one) + more[of.width + 1] * first(other);
    }
    static void give(const Attention &of, const float *sum, float *into) {
        const float weight = sum[of.width + 1];  // one at least, unless nothing is seen
        const Vec one = all(weight < 0.5f ? 0 : 1 / weight);
        for (int d = 0; d < of.width; d += LANES) store(into + d, mul(load(sum + d), one));
    }
};

// Cells of a stretch: few enough to be even shares, and so many that their sums cost little.
inline int stretch(const Attention &of, int cells) {
    constexpr int CELLS = 4 * KEYS;               // or a multiple of it
    constexpr int LEAST = 16, NUMBERS = 1 << 16;  // of stretches; of the sums of all
    const int most = std::max(LEAST, NUMBERS / (of.heads * (int)Sum::size(of)));
    return CELLS * std::max(1, (cells + CELLS * most - 1) / (CELLS * most));
}
inline int stretches(const Attention &of, int cells) {
    const int each = stretch(of, cells);
    return std::max(1, (cells + each - 1) / each);
}

template <class Cell>
class Few {
public:
    // Rows of one group or of several, whose sums begin.
    void take(const Attention &of, const Rows *rows, int groups) {
        blocks.clear();
        for (int i = 0; i < groups; i++) {
            const int count = rows[i].count(), parts = (count + TOGETHER - 1) / TOGETHER, most = (count + parts - 1) / parts;
            for (int start = 0; start < count; start += most) blocks.push_back({rows[i], start, std::min(most, count - start)});
        }
        queries.resize(blocks.size() * TOGETHER * 2 * of.depth);
        sums.resize(blocks.size() * TOGETHER * Sum::size(of));
        whole.resize(sums.size());
        each([&](const Block &block, int row, int at) {
            const float *from = of.query(block.rows.token(row), block.rows.head(row));
            const Vec scale = all(of.scale * (float)M_LOG2E);  // weights are powers of two
            float *into = &queries[at / TOGETHER * TOGETHER * 2 * of.depth + at % TOGETHER * LANES];
            for (int d = 0; d < of.depth; d += LANES / 2, into += TOGETHER * LANES) store(into, mul(twice(from + d), scale));
            Sum::clear(of, &whole[at * Sum::size(of)]);
        });
    }

    // Cells of one stretch. `into` has room for the sums of all rows; without it they are added to those before. The first
    // keys of the stretch `after`, which this thread comes to next, are fetched.
    void attend(const Attention &of, const Sight &sight, int part, int after, float *into) {
        each([&](const Block &, int, int at) { Sum::clear(of, &sums[at * Sum::size(of)]); });
        const int cells = (int)sight.cells.size(), length = stretch(of, cells), last = std::min(cells, (part + 1) * length);
        const int span = of.depth > 64 ? KEYS : SPAN;  // keys that leave room in the nearest cache
        for (int cell = part * length; cell < last; cell += span) {
            const int following = cell + span < last ? cell + span : std::min(cells, after * length);
            point(of, sight.cells.data(), cell, std::min(span, cells - cell), following, std::min(span, cells - following));
            for (size_t b = 0; b < blocks.size(); b++) attend(of, sight, cell / KEYS, blocks[b], (int)b * TOGETHER);
        }
        each([&](const Block &, int, int at) {
            const float *sum = &sums[at * Sum::size(of)];
            if (into)
                std::copy_n(sum, Sum::size(of), into), into += Sum::size(of);
            else
                Sum::add_to(of, &whole[at * Sum::size(of)], sum);
        });
    }

    // What was summed up without `into`.
    void give(const Attention &of) { give(of, nullptr, 0, 0, 1); }

    // What lies in `from`, one stretch after the other: a share of the rows.
    void give(const Attention &of, const float *const *from, int stretches, int share, int shares) {
        int count = 0;
        each([&](const Block &block, int row, int at) {
            const int place = count++;
            if (place % shares != share) return;
            float *sum = &whole[at * Sum::size(of)];
            for (int i = 0; i < stretches; i++) Sum::add_to(of, sum, from[i] + place * Sum::size(of));
            Sum::give(of, sum, of.result(block.rows.token(row), block.rows.head(row)));
        });
    }

private:
    struct Block {  // some rows of a group
        Rows rows;
        int start, count;
    };
    std::vector<Block> blocks;
    std::vector<float> queries;  // [depth / half a register][TOGETHER] of each block: half a register's numbers, twice
    std::vector<float> sums, whole;
    float scores[TOGETHER * SPAN], less[TOGETHER];
    size_t keyed[SPAN], valued[SPAN], coming[SPAN];  // where cells are, of a group: this span's, and the next one's keys
    int count, next;                                 // cells of this span, of the next

    template <class Work>
    void each(Work work) const {
        for (size_t b = 0; b < blocks.size(); b++)
            for (int i = 0; i < blocks[b].count; i++) work(blocks[b], blocks[b].start + i, (int)b * TOGETHER + i);
    }

    void point(const Attention &of, const int *cells, int first, int these, int following, int those) {
        count = these, next = those;
        for (int key = 0; key < (count + LANES - 1) / LANES * LANES; key++) {  // those beyond the end count for nothing
            const size_t cell = cells[first + (key < count ? key : 0)];
            keyed[key] = cell * of.k->nb[1], valued[key] = cell * of.v->nb[1];
        }
        for (int key = 0; key < next; key++) coming[key] = cells[following + key] * of.k->nb[1];
    }

    void attend(const Attention &of, const Sight &sight, int tile, const Block &block, int at) {
        const char *keys = of.cell(of.k, block.rows.group, 0), *values = of.cell(of.v, block.rows.group, 0);
        const float *query = &queries[at * 2 * of.depth];
        float *sum = &sums[at * Sum::size(of)];
        with(block.count, [&](auto many) { score<many>(of, query, keys, values); });
        for (int row = 0; row < block.count; row++) {
            hide(of, sight, block.rows.first, (block.start + row) / block.rows.heads, tile, row);
            soften(row, sum + row * Sum::size(of) + of.width);
        }
        with(block.count, [&](auto many) { value<many>(of, keys, values, sum); });
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

    // A register holds half as many numbers of two keys, so that less is left to be added up:
    //
    //     key 0 … │ key 4 …   ×   query … │ query …        and 1 with 5, 2 with 6, 3 with 7
    template <int COUNT>
    void score(const Attention &of, const float *queries, const char *keys, const char *values) {
        const size_t size = of.value_size();
        const int depth = of.depth;
        for (int key = 0; key < count; key += LANES) {
            Vec fours[COUNT][LANES / 8];
#pragma GCC unroll 2
            for (int eight = 0; eight < LANES / 8; eight++) {
                Vec twos[2][COUNT];
#pragma GCC unroll 2
                for (int two = 0; two < 2; two++) {
                    const size_t *at = keyed + key + 8 * eight + 2 * two, *fetched = valued + key + 8 * eight + 4 * two;
                    for (int i = 0; i < 4; i++) prefetch(values + fetched[i], size);
                    Vec a[COUNT], b[COUNT];
#pragma GCC unroll 8
                    for (int row = 0; row < COUNT; row++) a[row] = b[row] = zero();
                    const float *query = queries;
                    for (int d = 0; d < depth; d += LANES / 2, query += TOGETHER * LANES) {
                        const Vec x = Cell::load(keys + at[0], keys + at[4], d), y = Cell::load(keys + at[1], keys + at[5], d);
#pragma GCC unroll 8
                        for (int row = 0; row < COUNT; row++) {
                            const Vec one = held(load(query + row * LANES));
                            a[row] = fma(one, x, a[row]), b[row] = fma(one, y, b[row]);
                        }
                    }
#pragma GCC unroll 8
                    for (int row = 0; row < COUNT; row++) twos[two][row] = halves(a[row], b[row]);
                }
#pragma GCC unroll 8
                for (int row = 0; row < COUNT; row++) fours[row][eight] = quarters(twos[0][row], twos[1][row]);
            }
            for (int row = 0; row < COUNT; row++) store(scores + row * SPAN + key, eighths(fours[row]));
        }
    }

    // What a token's mask says of these keys.
    void hide(const Attention &of, const Sight &sight, int first, int token, int tile, int row) {
        for (int start = 0; start < count; start += KEYS, tile++) {
            const uint64_t bits = sight.bits(token, tile);
            if (!~bits && sight.plain) continue;
            for (int key = start; key < std::min(start + KEYS, (count + LANES - 1) / LANES * LANES); key++) {
                float &score = scores[row * SPAN + key];
                if (~bits >> (key - start) & 1)
                    score = -INFINITY;
                else if (!sight.plain)
                    score += (float)M_LOG2E * _cvtsh_ss(of.mask_of(first + token)[sight.cells[tile * KEYS + key - start]]);
            }
        }
    }

    // Scores of a row become its weights for the values; what was summed up before waits to be brought to the same scale.
    void soften(int row, float *best_and_weight) {
        float *at = scores + row * SPAN, &best = best_and_weight[0], &weight = best_and_weight[1];
        Vec top = all(best), total = zero();
        for (int key = 0; key < count; key += LANES) top = max(load(at + key), top);
        const float most = max(top);
        for (int key = 0; key < count; key += LANES) {
            const Vec x = power(sub(load(at + key), all(most)));
            store(at + key, x);
            total = add(total, x);
        }
        less[row] = first(power(all(best - most)));
        weight = weight * less[row] + sum(total);
        best = most;
    }

    template <int COUNT>
    void value(const Attention &of, const char *keys, const char *values, float *sum) {
        constexpr int WIDEST = 4 * (COUNT + 1) <= ROOM ? 4 : 2;  // the sums and a cell's numbers stay in registers
        for (int d = 0; d < of.width;) {
            const int left = (of.width - d) / LANES, width = left >= WIDEST ? WIDEST : left >= 2 ? 2 : 1;
            if (width == WIDEST)
                value<COUNT, WIDEST>(of, keys, values, d, sum);
            else if (width == 2)
                value<COUNT, 2>(of, keys, values, d, sum);
            else
                value<COUNT, 1>(of, keys, values, d, sum);
            d += width * LANES;
        }
    }

    template <int COUNT, int WIDTH>
    void value(const Attention &of, const char *keys, const char *values, int d, float *into) {
        // The next keys are fetched by the way, some bytes of each with each piece of the values, where that takes little time
        // with the first half of them.
        constexpr int SOON = LANES / 8;
        const size_t size = Sum::size(of), bytes = of.key_size();
        const size_t begin = (SOON * bytes * d / of.width + 63) / 64 * 64;
        const size_t end = std::min(bytes, SOON * bytes * (d + WIDTH * LANES) / of.width);
        Vec sums[COUNT][WIDTH];
#pragma GCC unroll 8
        for (int row = 0; row < COUNT; row++)
#pragma GCC unroll 4
            for (int w = 0; w < WIDTH; w++) sums[row][w] = mul(load(into + row * size + d + w * LANES), all(less[row]));
        for (int key = 0; key < count; key++) {
            if (key < next && begin < end) prefetch(keys + coming[key] + begin, end - begin);
            Vec x[WIDTH];
#pragma GCC unroll 4
            for (int w = 0; w < WIDTH; w++) x[w] = Cell::load(values + valued[key], d + w * LANES);
#pragma GCC unroll 8
            for (int row = 0; row < COUNT; row++) {
                const Every one(scores + row * SPAN + key);
#pragma GCC unroll 4
                for (int w = 0; w < WIDTH; w++) sums[row][w] = fma(one, x[w], sums[row][w]);
            }
        }
#pragma GCC unroll 8
        for (int row = 0; row < COUNT; row++)
#pragma GCC unroll 4
            for (int w = 0; w < WIDTH; w++) store(into + row * size + d + w * LANES, sums[row][w]);
    }
};

}  // namespace
