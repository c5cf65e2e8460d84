// Products of matrices and activations, the weights taken as they lie in a file: K-quants (Q3_K to Q6_K; IQ4_XS on
// AVX-512) and blocks of 32 weights (Q5_0, Q8_0); and as ggml interleaves them (Q4_0, IQ4_NL).
//
// ggml turns weights into tiles anew for every few rows. Here a few
// super-blocks of a strip of columns are unpacked into the processor's nearest cache and multiplied with all rows, before
// the next ones come. The sums so far wait beside them:
//
//                                   super-blocks
//      activations   rows   ▐█▐█▐█▐█▐ 1 ▌ 2 ▌ 3 ▌…         ×   strip of columns   ▐█▐█▐█▐█▐ 1 ▌ 2 ▌ 3 ▌ …
//      in eight bits        ▐█▐█▐█▐█▐   ▌   ▌   ▌                                 unpacked
//
// Experts are the same: rows are listed by the expert they go to, whose strips meet those rows alone.
//
// Takes the place of ggml_cpu_extra_compute_forward and ggml_cpu_extra_work_size, which ggml asks first for each operation.

#include "ggml-cpu-impl.h"
#include "steps.h"
#include "traits.h"

extern "C" {
bool stock_ggml_cpu_extra_compute_forward(ggml_compute_params *params, ggml_tensor *op);
bool stock_ggml_cpu_extra_work_size(int threads, const ggml_tensor *op, size_t *size);
}

#include "kquants.h"

#ifdef KQUANTS

#include "kernels.h"
#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include "pairs_avx512.h"
#include "sixteens_avx512.h"
#include "uneven_avx512.h"
#define PAIRS
#else
#include "blocks_avx2.h"
#include "sixteens_avx2.h"
#endif

#include <algorithm>

namespace {

constexpr int STRETCH = 4 * SUPER;  // weights of a column unpacked at once: they stay in the nearest cache
constexpr size_t LINE = 64;         // bytes of a cache's line

struct Row {
    const float *from;
    float *into;
};

// What is multiplied with what, and where things lie in the work buffer.
struct Plan {
    const ggml_tensor *weights, *given, *chosen, *into;
    int columns, supers, rows, experts;
    size_t each;  // bytes of the activations that meet a block

    Plan(const ggml_tensor *op, int span, size_t each)
        : weights(op->src[0]), given(op->src[1]), chosen(op->op == GGML_OP_MUL_MAT_ID ? op->src[2] : nullptr), into(op),
          columns((int)weights->ne[1]), supers((int)weights->ne[0] / span), rows((int)ggml_nrows(op)),
          experts(chosen ? (int)weights->ne[2] : 1), each(each) {}

    static size_t lines(size_t size) { return (size + LINE - 1) / LINE * LINE; }
    size_t shared() const { return lines(each * rows * supers); }
    size_t sums() const { return lines(sizeof(float) * COLUMNS * rows); }
    size_t unpacked() const {
        return std::max({STRETCH / SUPER * sizeof(Unpacked<Q5_K>), STRETCH / SUPER * sizeof(Unpacked<Q6_K>),
                         STRETCH / BLOCK * sizeof(UnpackedBlock)});
    }
    size_t listed() const { return lines(sizeof(Row) * rows); }
    size_t own() const { return sums() + unpacked() + listed() + lines(sizeof(int) * (experts + 1)); }
    size_t size(int threads) const { return LINE + shared() + threads * own(); }

    Row row(int i) const {
        const int64_t inner = into->ne[1], at = i % inner, outer = i / inner;
        const int64_t one = at % given->ne[1], two = outer % given->ne[2], three = outer / given->ne[2];
        return {(const float *)((const char *)given->data + one * given->nb[1] + two * given->nb[2] + three * given->nb[3]),
                (float *)((char *)into->data + (size_t)i * into->nb[1])};
    }
    int expert(int i) const {
        if (!chosen) return 0;
        const int64_t inner = into->ne[1];
        return *(const int32_t *)((const char *)chosen->data + i % inner * chosen->nb[0] + i / inner * chosen->nb[1]);
    }
};

template <int ROWS, class From, class Row>
void rows_of(int count, int supers, const From &columns, const Row *rows, float *into) {
    if (count == ROWS)
        tile<ROWS>(supers, columns, rows, into);
    else if constexpr (ROWS > 1)
        rows_of<ROWS - 1>(count, supers, columns, rows, into);
}

template <class Kind>
class Product {
    using Activations = typename Kind::Row;
    static constexpr int HIGH = Kind::FOR == ONE ? 1 : MOST;

public:
    Product(const ggml_compute_params *params, const Plan &plan) : params(params), plan(plan) {
        char *at = (char *)Plan::lines((size_t)params->wdata);
        activations = (Activations *)at;
        at += plan.shared() + params->ith * plan.own();
        sums = (float *)at;
        unpacked = (Unpacked<Kind> *)(at += plan.sums());
        listed = (Row *)(at += plan.unpacked());
        starts = (int *)(at += plan.listed());
        list();
    }

    // Turns the `part`-th of `parts` of the activations into eight bits.
    void place(int part, int parts) {
        const int64_t count = (int64_t)plan.rows * plan.supers, end = count * (part + 1) / parts;
        for (int64_t i = count * part / parts; i < end;) {
            const int first = (int)(i % plan.supers), some = (int)std::min<int64_t>(plan.supers - first, end - i);
            place_row((int)(i / plan.supers), first, first + some);
            i += some;
        }
    }

    // Computes piece after piece, and returns the first of this thread's that belongs to another product. Pieces are
    // counted through all products of a step: `before` are those of the ones before, and then of this one too.
    int multiply(int piece, int &before) {
        const int strips = (plan.columns + COLUMNS - 1) / COLUMNS;
        const int some = std::max(1, strips / (8 * params->nth)), pieces = (strips + some - 1) / some;
        for (int expert = 0;; piece = ggml_threadpool_chunk_add(params->threadpool, 1)) {
            for (; expert < plan.experts; expert++) {
                const int own = starts[expert] < starts[expert + 1] ? pieces : 0;
                if (piece < before + own) break;
                before += own;
            }
            if (expert == plan.experts) return piece;
            const int first = (piece - before) * some, last = std::min(strips, first + some);
            for (int strip = first; strip < last; strip++)  // the last one may begin within the one before
                compute(expert, std::min(strip * COLUMNS, plan.columns - COLUMNS));
        }
    }

private:
    const ggml_compute_params *params;
    const Plan &plan;
    Activations *activations;
    float *sums;
    Unpacked<Kind> *unpacked;
    Row *listed;  // by experts
    int *starts;  // of each expert's rows

    void list() {
        std::fill_n(starts, plan.experts + 1, 0);
        for (int i = 0; i < plan.rows; i++) starts[plan.expert(i)]++;
        for (int expert = 0, sum = 0; expert <= plan.experts; expert++) sum += starts[expert], starts[expert] = sum;
        for (int i = plan.rows - 1; i >= 0; i--) listed[--starts[plan.expert(i)]] = plan.row(i);
    }

    // Rows of an expert are cut into tiles of about the same size. A tile's rows lie side by side.
    static int tiles(int count) { return (count + HIGH - 1) / HIGH; }
    static int start(int tile, int count) { return (int)((int64_t)count * tile / tiles(count)); }
    Activations *tile_at(int row, int super, int high) const {
        return activations + (size_t)row * plan.supers + (size_t)super * high;
    }

    void place_row(int row, int super, int end) {
        const int expert = (int)(std::upper_bound(starts, starts + plan.experts, row) - starts) - 1;
        const int count = starts[expert + 1] - starts[expert], at = row - starts[expert];
        const int tile = (int)(((int64_t)(at + 1) * tiles(count) - 1) / count), first = start(tile, count);
        const int high = start(tile + 1, count) - first;
        for (; super < end; super++)
            quantise(listed[row].from + super * Kind::SPAN, tile_at(starts[expert] + first, super, high) + at - first);
    }

    void compute(int expert, int column) {
        const size_t stride = plan.weights->nb[1];
        const char *weights = (const char *)plan.weights->data + expert * plan.weights->nb[2] + column * stride;
        const int count = starts[expert + 1] - starts[expert];
        if constexpr (Kind::FOR != ONE) {
            if (count > 1) multiply(weights, starts[expert], count);
        }
        if (count == 1 || Kind::FOR == ONE)
            for (int row = 0; row < count; row++)
                strip<Kind>(plan.supers, weights, stride, tile_at(starts[expert] + row, 0, 1), sums + row * COLUMNS);
        for (int row = 0; row < count; row++)
            memcpy(listed[starts[expert] + row].into + column, sums + row * COLUMNS, COLUMNS * sizeof(float));
    }

    // A strip of columns with the rows of an expert.
    void multiply(const char *weights, int begin, int count) {
        constexpr size_t SIZE = sizeof(typename Kind::Block);
        constexpr int SOME = STRETCH / Kind::SPAN;
        constexpr size_t LENGTH = COLUMNS * SIZE / Kind::TOGETHER;  // bytes of a strip's blocks
        const size_t stride = plan.weights->nb[1];
        std::fill_n(sums, count * COLUMNS, 0.0f);
#ifdef PAIRS
        if constexpr (Kind::TOGETHER > 1) {  // unpacked beside the products, which take another unit
            for (int tile = 0; tile < tiles(count); tile++) {
                const int first = start(tile, count), high = start(tile + 1, count) - first;
                const Straight<Kind> columns{weights, stride};
                rows_of<MOST>(high, plan.supers, columns, tile_at(begin + first, 0, high), sums + first * COLUMNS);
            }
            return;
        }
#endif
        for (int super = 0; super < plan.supers; super += SOME) {
            const int supers = std::min(SOME, plan.supers - super);
            for (int b = 0; b < supers; b++) {
                const char *next = weights + COLUMNS * stride + (super + b) * LENGTH;  // strips follow one another
                for (size_t at = 0; at < LENGTH; at += LINE) _mm_prefetch(next + at, _MM_HINT_T1);
                unpack(Columns(weights + (super + b) * SIZE, stride), unpacked[b]);
            }
            for (int tile = 0; tile < tiles(count); tile++) {
                const int first = start(tile, count), high = start(tile + 1, count) - first;
                rows_of<MOST>(high, supers, (const Unpacked<Kind> *)unpacked, tile_at(begin + first, super, high), sums + first * COLUMNS);
            }
        }
    }
};

template <class Kind>
void place(const ggml_compute_params *params, const Plan &plan, int part, int parts) {
    Product<Kind>(params, plan).place(part, parts);
}

template <class Kind>
int multiply(const ggml_compute_params *params, const Plan &plan, int piece, int &before) {
    return Product<Kind>(params, plan).multiply(piece, before);
}

// The types of weights that are ours: another one is another row.
struct Type {
    ggml_type weights;
    decltype(&place<Q4_K>) place;
    decltype(&multiply<Q4_K>) multiply;
    int span;
    size_t each;
    Rows rows;
    bool interleaved;
};

template <class Kind>
constexpr Type type_of(ggml_type weights) {
    return {weights, place<Kind>, multiply<Kind>, Kind::SPAN, sizeof(typename Kind::Row), Kind::FOR, Kind::TOGETHER > 1};
}

const Type TYPES[] = {
    type_of<Q3_K>(GGML_TYPE_Q3_K), type_of<Q4_K>(GGML_TYPE_Q4_K), type_of<Q5_K>(GGML_TYPE_Q5_K),
    type_of<Q6_K>(GGML_TYPE_Q6_K),
#ifdef PAIRS
    type_of<IQ4_XS>(GGML_TYPE_IQ4_XS), type_of<InPairs<Q5_0>>(GGML_TYPE_Q5_0), type_of<InPairs<Q8_0>>(GGML_TYPE_Q8_0),
#endif
    type_of<Q5_0>(GGML_TYPE_Q5_0), type_of<Q8_0>(GGML_TYPE_Q8_0), type_of<Q4_0>(GGML_TYPE_Q4_0),
    type_of<IQ4_NL>(GGML_TYPE_IQ4_NL),
};
const Kernel KERNELS[] = {
    Kernel("matmul-q3_k"), Kernel("matmul-q4_k"), Kernel("matmul-q5_k"), Kernel("matmul-q6_k"),
    Kernel("matmul-q5_0"), Kernel("matmul-q8_0"), Kernel("matmul-q4_0"), Kernel("matmul-iq4_nl"),
#ifdef PAIRS
    Kernel("matmul-iq4_xs"),
#endif
};

const Type *ours(const ggml_tensor *op) {
    if (op->op != GGML_OP_MUL_MAT && op->op != GGML_OP_MUL_MAT_ID) return nullptr;
    const ggml_tensor *weights = op->src[0], *given = op->src[1];
    const bool interleaved = weights->extra && weights->buffer->buft == ggml_backend_cpu_repack_buffer_type();
    const bool laid = (!weights->extra || interleaved) && weights->nb[0] == ggml_type_size(weights->type) && ggml_is_contiguous(op) &&
                      weights->ne[3] == 1 && (weights->ne[2] == 1 || op->op == GGML_OP_MUL_MAT_ID);
    if (!laid || weights->ne[1] < COLUMNS || given->type != GGML_TYPE_F32 || given->nb[0] != sizeof(float)) return nullptr;
    const bool one = op->op == GGML_OP_MUL_MAT_ID ? op->ne[2] == 1 : ggml_nrows(op) == 1;  // token
    for (const Type &type : TYPES)
        if (type.weights == weights->type && type.interleaved == interleaved && weights->ne[0] % type.span == 0 &&
            (one || type.rows != ONE))
            return &type;
    return nullptr;
}

}  // namespace

bool products_take(const ggml_tensor *op) { return ours(op) != nullptr; }

bool products_share(const ggml_tensor *one, const ggml_tensor *two) {
    const Type *first = ours(one), *second = ours(two);
    return first && second && one->op == GGML_OP_MUL_MAT && two->op == GGML_OP_MUL_MAT && one->src[1] == two->src[1] &&
           first->span == second->span && first->each == second->each;
}

void products_compute(const ggml_compute_params *params, ggml_tensor *const *ops, int count, bool alone) {
    const auto plan_of = [](const Type &type, const ggml_tensor *op) { return Plan(op, type.span, type.each); };
    const Type &first = *ours(ops[0]);
    if (!alone) first.place(params, plan_of(first, ops[0]), params->ith, params->nth);
    else if (params->ith == 0) first.place(params, plan_of(first, ops[0]), 0, 1);
    if (params->ith == 0) ggml_threadpool_chunk_set(params->threadpool, params->nth);
    ggml_barrier(params->threadpool);
    int piece = params->ith, before = 0;
    for (int i = 0; i < count; i++) {
        const Type &type = *ours(ops[i]);
        piece = type.multiply(params, plan_of(type, ops[i]), piece, before);
    }
}

bool ggml_cpu_extra_compute_forward(ggml_compute_params *params, ggml_tensor *op) {
    if (step_compute(params, op)) return true;
    if (params->use_ref || !ours(op)) return stock_ggml_cpu_extra_compute_forward(params, op);
    products_compute(params, &op, 1, false);
    return true;
}

bool ggml_cpu_extra_work_size(int threads, const ggml_tensor *op, size_t *size) {
    const Type *type = ours(op);
    if (!type) return stock_ggml_cpu_extra_work_size(threads, op, size);
    *size = Plan(op, type->span, type->each).size(threads);
    return true;
}

#else  // without those instructions ggml's own functions keep their work

bool products_take(const ggml_tensor *) { return false; }
bool products_share(const ggml_tensor *, const ggml_tensor *) { return false; }
void products_compute(const ggml_compute_params *, ggml_tensor *const *, int, bool) {}

bool ggml_cpu_extra_compute_forward(ggml_compute_params *params, ggml_tensor *op) {
    return step_compute(params, op) || stock_ggml_cpu_extra_compute_forward(params, op);
}

bool ggml_cpu_extra_work_size(int threads, const ggml_tensor *op, size_t *size) {
    return stock_ggml_cpu_extra_work_size(threads, op, size);
}

#endif
