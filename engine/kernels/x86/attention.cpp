// Attention over keys and values in float16 or Q8_0, for processors with AVX2 or AVX-512 (flash attention).
//
// ggml walks over one key after the other for each query, unless 64 or more tokens are read at once: then it computes
// tiles, and turns numbers around one by one. Here everything is a tile. Query heads that share their keys (grouped
// queries) and neighbouring tokens of one conversation are the rows of one:
//
//      queries                keys it may see              values
//    ┌─────────┐            ┌──┬──┬──┬─ … ─┐            ┌───────────┐
//    │ t0 h0   │            │  │  │  │     │            │ k0        │
//    │ t0 h1   │     ×      │k0│k1│k2│     │  softmax × │ k1        │   64 keys at a time, the sums so far being
//    │ t1 h0   │            │  │  │  │     │            │ …         │   scaled down whenever a larger score turns up
//    │ …       │            └──┴──┴──┴─ … ─┘            └───────────┘
//    └─────────┘
//
// The cells of all conversations lie in one buffer, so the keys are a list: those that any of the rows may see. Tokens
// whose lists have little in common (of two conversations) are not put into one tile. Few rows are computed in floats
// (attention_few.h), many in whole numbers of 16 bits (attention_many.h); in floats also where scores are so large that 16
// bits would round them too coarsely: models that do not divide the lengths of queries and keys out of them (Gemma 4).
//
// Takes the place of ggml's function of the same name, which overlay.cmake renames to stock_…, and leaves to it what no
// model here needs to be fast: other types, biases, sinks.

#include "ggml-cpu-impl.h"
#include "ggml.h"
#include "kernels.h"
#include "ops.h"

extern "C" void stock_ggml_compute_forward_flash_attn_ext(const ggml_compute_params *params, ggml_tensor *dst);

#if defined(__FMA__) && defined(__F16C__) && (defined(__AVX2__) || (defined(__AVX512F__) && defined(__AVX512BW__)))

#include "attention_few.h"
#include "attention_many.h"

#include <memory>

namespace {

const Kernel here("attention");

// How the work is cut: by tokens, by groups of heads, and, where that gives too few pieces, within the groups.
struct Cut {
    int length, stretches;  // tokens of a piece; pieces of the tokens
    int size, parts;        // heads of a piece; pieces of a group

    Cut(const Attention &of, int most, int threads) {
        constexpr int WORTH = 128;  // rows: for fewer it does not pay to turn keys and values into other numbers
        const auto split = [](int count, int by) { return (count + by - 1) / by; };
        const int each = split(threads, of.groups);  // so many make a piece for each thread, and twice as many even shares
        const int wanted = std::max(each, std::min(2 * each, of.tokens * of.shared / WORTH));
        length = std::max(1, std::min(most / of.shared, split(of.tokens, wanted)));
        stretches = split(of.tokens, length);
        size = split(of.shared, std::min(of.shared, split(threads, of.groups * stretches)));
        parts = split(of.shared, size);
    }
    int pieces(const Attention &of) const { return stretches * parts * of.groups; }
    // Late tokens see most: theirs come first, and what is left for the end is small.
    int first(const Attention &of, int piece) const { return (stretches - 1 - piece / (parts * of.groups)) * length; }
    int group(const Attention &of, int piece) const { return piece / parts % of.groups; }
    int part(int piece) const { return piece % parts * size; }
};

// Calls work(piece) until all are done, by whichever thread is free.
template <class Work>
void share(const ggml_compute_params *params, int pieces, Work work) {
    if (pieces <= params->nth) {
        if (params->ith < pieces) work(params->ith);
        return;
    }
    if (params->ith == 0) ggml_threadpool_chunk_set(params->threadpool, params->nth);
    ggml_barrier(params->threadpool);
    for (int piece = params->ith; piece < pieces; piece = ggml_threadpool_chunk_add(params->threadpool, 1)) work(piece);
}

// A step of few tokens, each of a conversation of its own, is cut by cells: keys and values of all groups lie side by
// side, and each is brought from memory once.
struct Reader {
    int token, stretches, piece;  // piece: the first of its own
};

template <class Cell>
class Step {
public:
    void compute(const ggml_compute_params *params, const Attention &of) {
        if (!of_few(of) || !by_cells(params, of)) by_rows(params, of);
    }

private:
    static constexpr int READERS = 16;  // at most: all threads look at all of them
    static constexpr int FEW = 16;      // heads that share their keys, at most
    static constexpr int FLOATS = 64;   // rows of a piece that is computed in floats, which stay in a near cache
    Sight sight;
    Few<Cell> few;
    Many<Cell> many;
    std::vector<Reader> readers;
    std::vector<Rows> groups;
    std::unique_ptr<float[]> room;  // pages that are not touched cost nothing
    size_t roomy = 0;
    int pieces;

    // Lists the readers, if there are no others.
    bool of_few(const Attention &of) {
        if (of.tokens > READERS || of.shared > FEW) return false;
        sight.look(of, 0, of.tokens);
        readers.clear();
        pieces = 0;
        for (int token = 0; token < of.tokens; token++) {
            if (!sight.lone(token)) return false;
            readers.push_back({token, stretches(of, sight.count(token)), pieces});
            pieces += readers.back().stretches;
        }
        return true;
    }

    bool by_cells(const ggml_compute_params *params, const Attention &of) {
        constexpr int ENOUGH = 4;  // pieces for each thread: then their shares are even
        const bool even = (int)readers.size() >= ENOUGH * params->nth;
        const bool cut = params->nth > 1 && !even && pieces * sizeof(float *) <= params->wsize;
        if (!cut) pieces = (int)readers.size();
        if (params->nth > 1 && pieces < ENOUGH * params->nth) return false;
        const size_t step = of.heads * Sum::size(of);  // what a piece sums up
        float **const summed = (float **)params->wdata, *room = cut ? room_for(pieces * step) : nullptr;
        const Reader *listed = nullptr;
        share(params, pieces, [&](int piece) {
            const Reader *reader = cut ? of_piece(piece) : &readers[piece];
            if (listed != reader) {
                listed = reader;
                sight.list(reader->token, reader->token + 1);
                take(of, *reader);
            }
            if (cut) {
                const int part = piece - reader->piece, after = part + params->nth;  // threads take turns, most of the time
                few.attend(of, sight, part, after, summed[piece] = room);
                room += step;
                return;
            }
            for (int part = 0; part < reader->stretches; part++) few.attend(of, sight, part, part + 1, nullptr);
            few.give(of);
        });
        if (!cut) return true;
        ggml_barrier(params->threadpool);
        for (const Reader &reader : readers) {
            take(of, reader);
            few.give(of, summed + reader.piece, reader.stretches, params->ith, params->nth);
        }
        return true;
    }

    // Numbers of this thread's, which others read until all have met.
    float *room_for(size_t count) {
        if (roomy < count) room.reset(new float[roomy = count]);
        return room.get();
    }

    const Reader *of_piece(int piece) const {
        const Reader *reader = readers.data();
        while (piece >= reader->piece + reader->stretches) reader++;
        return reader;
    }

    void take(const Attention &of, const Reader &reader) {
        groups.clear();
        for (int group = 0; group < of.groups; group++)
            groups.push_back({group, group * of.shared, of.shared, reader.token, 1});
        few.take(of, groups.data(), of.groups);
    }

    void by_rows(const ggml_compute_params *params, const Attention &of) {
        const Cut cut(of, of.divided() ? many.most(of) : FLOATS, params->nth);
        share(params, cut.pieces(of), [&](int piece) {
            const int first = cut.first(of, piece), tokens = std::min(cut.length, of.tokens - first);
            const int group = cut.group(of, piece), part = cut.part(piece), heads = std::min(cut.size, of.shared - part);
            sight.look(of, first, tokens);
            for (int token = first, count; token < first + tokens; token += count) {
                const bool lone = sight.lone(token) && of.shared <= FEW;
                count = sight.list(token, first + tokens);
                const Rows rows{group, group * of.shared + part, heads, token, count};
                if (sight.plain && of.divided() && !lone) {
                    many.attend(of, sight, rows);
                } else {
                    few.take(of, &rows, 1);
                    for (int i = 0; i < stretches(of, (int)sight.cells.size()); i++) few.attend(of, sight, i, i + 1, nullptr);
                    few.give(of);
                }
            }
        });
    }
};

template <class Cell>
void compute(const ggml_compute_params *params, const Attention &of) {
    static thread_local Step<Cell> step;
    step.compute(params, of);
}

bool ours(const ggml_compute_params *params, const ggml_tensor *dst) {
    const ggml_tensor *q = dst->src[0], *k = dst->src[1], *v = dst->src[2], *mask = dst->src[3];
    float bias, softcap;
    memcpy(&bias, (const float *)dst->op_params + 1, sizeof bias);
    memcpy(&softcap, (const float *)dst->op_params + 2, sizeof softcap);
    return !params->use_ref && bias == 0 && softcap == 0 && !dst->src[4] && q->type == GGML_TYPE_F32 &&
           (k->type == Half::TYPE || k->type == Eight::TYPE) && v->type == k->type && q->ne[3] == 1 &&
           k->ne[2] == v->ne[2] && k->ne[0] % LANES == 0 && v->ne[0] % LANES == 0 && k->ne[1] > 0 &&
           (!mask || (mask->type == GGML_TYPE_F16 && mask->ne[2] == 1 && mask->ne[3] == 1));
}

}  // namespace

void ggml_compute_forward_flash_attn_ext(const ggml_compute_params *params, ggml_tensor *dst) {
    if (!ours(params, dst)) return stock_ggml_compute_forward_flash_attn_ext(params, dst);
    const Attention of(dst);
    (dst->src[1]->type == Half::TYPE ? compute<Half> : compute<Eight>)(params, of);
}

#else  // on other processors ggml's own function keeps its work

void ggml_compute_forward_flash_attn_ext(const ggml_compute_params *params, ggml_tensor *dst) {
    stock_ggml_compute_forward_flash_attn_ext(params, dst);
}

#endif
