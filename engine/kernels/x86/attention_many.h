// Attention of many rows, as when a prompt is read, in whole numbers of 16 bits: the processor multiplies and adds two
// pairs of them where it does one pair of floats. Rows lie side by side, a lane for each, so that nothing is turned
// around: neither scores nor weights nor sums.
//
//     queries     64 rows              scores     64 rows             weights     64 rows           result   64 rows
//     n 0, 1    ▐ ▐ ▐ … ▐            key 0      ▐ ▐ ▐ … ▐            key 0, 1    ▐ ▐ ▐ … ▐           n 0    ▐ ▐ ▐ … ▐
//     n 2, 3    ▐ ▐ ▐ … ▐   × key ─► key 1      ▐ ▐ ▐ … ▐  softmax ► key 2, 3    ▐ ▐ ▐ … ▐ × value ► n 1    ▐ ▐ ▐ … ▐
//     …                              …                               …                              …
//
// A tile of cells is turned into whole numbers once for all rows, each cell with a scale of its own. No sum can overflow:
//
//     |query · key|       <=  LENGTH * LENGTH          the lengths of the two vectors (Cauchy, Schwarz)
//     |weights · values|  <=  WEIGHTS * VALUE          of all weights together, of the largest value
//
// Numbers are rounded so more finely than float16 rounds them (test_attend.py).

#pragma once

#include "attention.h"

namespace {

template <class Cell>
class Many {
    static constexpr int GROUP = WIDE * LANES;  // rows side by side
    static constexpr int LENGTH = 46000, WEIGHTS = 131000, VALUE = 16383, SHORT = 32767;
    static constexpr float LEAST = 1e-12f;  // what is divided by; no number in half precision but 0 is worth less

public:
    // How many rows stay in a near cache, with what is summed up for them.
    static int most(const Attention &of) { return std::max(GROUP, (192 << 10) / (2 * of.depth + 4 * of.width)); }

    void attend(const Attention &of, const Sight &sight, const Rows &rows) {
        const int count = rows.count(), groups = (count + GROUP - 1) / GROUP;
        keys.resize(KEYS * of.depth / 2);
        values.resize(KEYS / 2 * of.width);
        queries.assign(groups * GROUP * of.depth / 2, 0);
        result.assign(groups * GROUP * of.width, 0);
        units.assign(groups * GROUP, LEAST);
        best.assign(groups * GROUP, LOWEST);
        weight.assign(groups * GROUP, 0);
        for (int row = 0; row < count; row++) take(of, rows, row);
        for (int tile = 0; tile < sight.tiles(); tile++) {
            convert(of, sight, rows.group, tile);
            for (int start = 0; start < count; start += GROUP) {
                const int last = std::min(count, start + GROUP) - 1;
                uint64_t any = 0;
                for (int token = start / rows.heads; token <= last / rows.heads; token++)
                    any |= sight.bits(token, tile);
                if (any) with((last - start) / LANES + 1, [&](auto wide) {
                    score<wide>(of, sight.keys(tile), start);
                    hide(sight, rows, tile, start, last);
                    for (int lane = 0; lane < wide * LANES; lane += LANES) soften(start, lane);
                    value<wide>(of, sight.keys(tile), start);
                });
            }
        }
        for (int row = 0; row < count; row += 4) give(of, rows, row, std::min(4, count - row));
    }

private:
    std::vector<int32_t> queries;              // [depth / 2][GROUP] of each group; pairs of numbers, as all here
    std::vector<int32_t> keys, values;         // [KEYS][depth / 2], [KEYS / 2][width]
        std::vector<float> result;                 // [width][GROUP] of each group
    std::vector<float> units, best, weight;    // of each row: what 1 is worth, as a power of 2; the best score; all weights
    float key_unit[KEYS], value_unit[KEYS];    // what 1 is worth
    float scores[KEYS * GROUP], largest[GROUP], less[GROUP], part[GROUP];  // largest: of the value units that a row sees
    int32_t weights[KEYS / 2 * GROUP];

    template <int WIDTH>
    struct Wide {
        constexpr operator int() const { return WIDTH; }
    };
    template <int WIDTH = WIDE, class Work>
    static void with(int width, Work work) {
        if (width == WIDTH)
            work(Wide<WIDTH>());
        else if constexpr (WIDTH > 1)
            with<WIDTH - 1>(width, work);
    }

    void take(const Attention &of, const Rows &rows, int row) {
        const float *from = of.query(rows.token(row), rows.head(row));
        const float unit = length(of.depth, [=](int d) { return load(from + d); });
        units[row] = unit * of.scale * (float)M_LOG2E;
        int32_t *into = &queries[row / GROUP * GROUP * of.depth / 2 + row % GROUP];
        for (int d = 0; d < of.depth; d += LANES) {
            int32_t some[LANES / 2];
            store_short((int16_t *)some, whole(mul(load(from + d), all(1 / unit))));
            for (int i = 0; i < LANES / 2; i++, into += GROUP) *into = some[i];
        }
    }

    static float number_of(int32_t bits) {
        float x;
        memcpy(&x, &bits, sizeof x);
        return x;
    }

    // What 1 is worth where a vector is no longer than LENGTH, and none of its numbers larger than SHORT. It is no number if
    // one of them is none.
    template <class At>
    static float length(int count, At at) {
        Vec squares = zero();
        Ints most = none();
        for (int d = 0; d < count; d += LANES) {
            const Vec x = at(d);
            squares = fma(x, x, squares), most = max(most, positive(x));
        }
        const float x = std::max(std::sqrt(sum(squares)) / LENGTH, number_of(max(most)) / SHORT);
        return x < LEAST ? LEAST : x;
    }

    // The same where the largest of a cell's numbers is VALUE.
    static float height(const char *cell, int count) {
        Ints most = none();
        for (int d = 0; d < count; d += LANES) most = max(most, positive(Cell::load(cell, d)));
        const float x = number_of(max(most)) / VALUE;
        return x < LEAST ? LEAST : x;
    }

    void convert(const Attention &of, const Sight &sight, int group, int tile) {
        const int count = sight.keys(tile), *cells = &sight.cells[tile * KEYS];
        std::fill_n(value_unit, KEYS, LEAST);
        for (int key = 0; key < count; key++) {
            const char *cell = of.cell(of.k, group, cells[key]);
            prefetch(of.cell(of.v, group, cells[key]), of.value_size());
            key_unit[key] = length(of.depth, [=](int d) { return Cell::load(cell, d); });
            const Vec one = all(1 / key_unit[key]);
            for (int d = 0; d < of.depth; d += LANES) store_short((int16_t *)&keys[(key * of.depth + d) / 2], whole(mul(Cell::load(cell, d), one)));
        }
        for (int key = 0; key < count; key += 2) {
            const char *cell = of.cell(of.v, group, cells[key]), *next = of.cell(of.v, group, cells[std::min(key + 1, count - 1)]);
            value_unit[key] = height(cell, of.width), value_unit[key + 1] = height(next, of.width);
            const Vec one = all(1 / value_unit[key]), other = all(1 / value_unit[key + 1]);
            for (int d = 0; d < of.width; d += LANES)
                store(&values[key / 2 * of.width + d],
                      pairs(whole(mul(Cell::load(cell, d), one)), whole(mul(Cell::load(next, d), other))));
        }
    }

    // HEIGHT rows of WIDTH registers: of each row of `left`, pairs of numbers, the products with those of `right`.
    template <int HEIGHT, int WIDTH, class Take>
    static inline void block(int inner, const int32_t *left, int row, int step, const int32_t *right, Take take) {
        Ints sum[HEIGHT][WIDTH];
#pragma GCC unroll 6
        for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 4
            for (int w = 0; w < WIDTH; w++) sum[r][w] = none();
        for (int i = 0; i < inner; i++, left += step, right += GROUP) {
            Ints x[WIDTH];
#pragma GCC unroll 4
            for (int w = 0; w < WIDTH; w++) x[w] = load(right + w * LANES);
#pragma GCC unroll 6
            for (int r = 0; r < HEIGHT; r++) {
                const Ints one = every(left[r * row]);
#pragma GCC unroll 4
                for (int w = 0; w < WIDTH; w++) sum[r][w] = dot(sum[r][w], x[w], one);
            }
        }
#pragma GCC unroll 6
        for (int r = 0; r < HEIGHT; r++)
#pragma GCC unroll 4
            for (int w = 0; w < WIDTH; w++) take(r, w * LANES, real(sum[r][w]));
    }

    template <int HEIGHT, int WIDTH, class Take>
    static void rows_of(int rows, int inner, const int32_t *left, int row, int step, const int32_t *right, Take take) {
        if (rows == HEIGHT)
            block<HEIGHT, WIDTH>(inner, left, row, step, right, take);
        else if constexpr (HEIGHT > 1)
            rows_of<HEIGHT - 1, WIDTH>(rows, inner, left, row, step, right, take);
    }

    template <int WIDTH>
    void score(const Attention &of, int count, int start) {
        const int pairs = of.depth / 2;
        for (int key = 0; key < count; key += HIGH)
            rows_of<HIGH, WIDTH>(std::min(HIGH, count - key), pairs, &keys[key * pairs], pairs, 1,
                                 &queries[start * pairs], [&](int r, int lane, Vec sum) {
                                     store(scores + (key + r) * GROUP + lane, mul(sum, all(key_unit[key + r])));
                                 });
    }

    // What a row does not see counts for nothing, nor for how finely the rest is rounded: so it is all the same what else
    // is computed beside it.
    void hide(const Sight &sight, const Rows &rows, int tile, int start, int last) {
        for (int token = start / rows.heads; token <= last / rows.heads; token++) {
            const int first = std::max(start, token * rows.heads) - start;
            const int end = std::min(last, token * rows.heads + rows.heads - 1) - start + 1;
            const uint64_t seen = sight.bits(token, tile);
            for (uint64_t hidden = ~seen; hidden; hidden &= hidden - 1)
                std::fill(&scores[__builtin_ctzll(hidden) * GROUP + first], &scores[__builtin_ctzll(hidden) * GROUP + end], -INFINITY);
            std::fill(&largest[first], &largest[end], largest_of(seen));
        }
    }

    float largest_of(uint64_t seen) const {  // no number if one of them is none
        Ints most = bits(all(LEAST));
        if (!~seen) {
            for (int key = 0; key < KEYS; key += LANES) most = max(most, bits(load(value_unit + key)));
        } else {
            for (; seen; seen &= seen - 1) most = max(most, bits(all(value_unit[__builtin_ctzll(seen)])));
        }
        return number_of(max(most));
    }

    // Scores of a register's rows become weights for the values, those of a row in this tile being WEIGHTS together, or the best one SHORT.
    void soften(int start, int lane) {
        constexpr int TURNS = 4;  // of keys, so that none waits for the one before
        const float *from = scores + lane;
        Vec tops[TURNS];
        for (Vec &top : tops) top = all(LOWEST);
        for (int key = 0; key < KEYS; key += TURNS)
#pragma GCC unroll 4
            for (int i = 0; i < TURNS; i++) tops[i] = max(load(from + (key + i) * GROUP), tops[i]);
        const Vec top = max(max(tops[0], tops[1]), max(tops[2], tops[3])), unit = load(&units[start + lane]);
        const Vec base = mul(top, unit);
        Vec total = zero();
#pragma GCC unroll 2
        for (int key = 0; key < KEYS; key += 2) {
            const Vec x = power(fms(load(from + key * GROUP), unit, base));
            const Vec y = power(fms(load(from + (key + 1) * GROUP), unit, base));
            total = add(total, add(x, y));
            store(scores + lane + key * GROUP, x);
            store(scores + lane + (key + 1) * GROUP, y);
        }
        const Vec finest = min(div(all(WEIGHTS), total), all(SHORT)), unit_of_all = div(load(largest + lane), finest);
        const Vec to = div(finest, load(largest + lane));
#pragma GCC unroll 2
        for (int key = 0; key < KEYS; key += 2) {
            const Ints ones = whole(mul(load(from + key * GROUP), mul(all(value_unit[key]), to)));
            const Ints others = whole(mul(load(from + (key + 1) * GROUP), mul(all(value_unit[key + 1]), to)));
            store(weights + key / 2 * GROUP + lane, pairs(ones, others));
        }
        float *before = &best[start + lane], *sum = &weight[start + lane];
        const Vec most = max(load(before), top), mine = power(mul(sub(top, most), unit));
        const Vec others = power(mul(sub(load(before), most), unit));
        store(sum, fma(load(sum), others, mul(total, mine)));
        store(before, most);
        store(less + lane, others);
        store(part + lane, mul(mine, unit_of_all));
    }

    template <int WIDTH>
    void value(const Attention &of, int count, int start) {
        for (int d = 0; d < of.width; d += HIGH)
            rows_of<HIGH, WIDTH>(std::min(HIGH, of.width - d), (count + 1) / 2, &values[d], 1, of.width, weights,
                                 [&](int r, int lane, Vec sum) {
                                     float *into = &result[start * of.width + (d + r) * GROUP + lane];
                                     store(into, fma(sum, load(part + lane), mul(load(into), load(less + lane))));
                                 });
    }

    // Four rows from `row` on, of which so many are there.
    void give(const Attention &of, const Rows &rows, int row, int count) {
        const float *from = &result[row / GROUP * GROUP * of.width + row % GROUP];
        const __m128 one = _mm_div_ps(_mm_set1_ps(1), _mm_loadu_ps(&weight[row]));
        float *into[4];
        for (int i = 0; i < count; i++) into[i] = of.result(rows.token(row + i), rows.head(row + i));
        for (int d = 0; d < of.width; d += 4, from += 4 * GROUP) {
            __m128 x[4];
            for (int i = 0; i < 4; i++) x[i] = _mm_mul_ps(_mm_loadu_ps(from + i * GROUP), one);
            _MM_TRANSPOSE4_PS(x[0], x[1], x[2], x[3]);
            for (int i = 0; i < count; i++) _mm_storeu_ps(into[i] + d, x[i]);
        }
    }
};

}  // namespace
