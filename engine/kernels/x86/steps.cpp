// Operator fusion: a graph's operations in fewer steps, after each of which all threads wait for each other (a barrier).
//
// ggml lets its threads meet after each operation, and once more within each product of matrices. For one token most
// operations take less time than that. Here the first thread computes small ones one after the other, and turns the
// activations of the next product into eight bits right after them. Products of the same activations are computed together:
//
//     ggml     norm │ q ╎ │ add │ rope │ k ╎ │ add │ rope │ v ╎ │ add │ keep │ keep │          │ ╎  threads meet
//     here     norm ╎ q k v │ add rope add rope add keep keep │
//
// A product that comes later is computed earlier only if nothing between reads or writes where it writes, or writes what
// it reads: ggml uses memory again as soon as a tensor has been read for the last time.
//
// The state of a delta net is changed where it lies, in the cache, if the graph copies it from there for it alone, and
// back to the same place:
//
//     cache ──get_rows──► copy ──► rule ──► state behind the result ──cpy──► cache        ggml
//     cache ◄────────────────────► rule                                                  here
//
// Takes the place of ggml_graph_compute, which gets a graph of fewer nodes; some of those are ours, and are known again by
// ggml_cpu_extra_compute_forward (products.cpp).

#include "steps.h"

#include "binary-ops.h"
#include "ggml-cpu-impl.h"
#include "ggml-cpu.h"
#include "ggml-impl.h"
#include "kernels.h"
#include "ops.h"

#include <algorithm>
#include <deque>
#include <vector>

extern "C" ggml_status stock_ggml_graph_compute(ggml_cgraph *graph, ggml_cplan *plan);

namespace {

const Kernel here("steps");

constexpr int64_t SMALL = 10240;  // numbers that one thread computes sooner than two threads meet
constexpr int AHEAD = 24;         // operations between products that are computed together

struct Small {
    ggml_tensor *op, *by;  // by: the product with a norm, where ggml computes both at once; else null
};

// What all threads do before they meet: the first thread small operations, then all of them some products.
struct Step {
    ggml_tensor node;  // what ggml sees of it
    std::vector<Small> small;
    std::vector<ggml_tensor *> products;
};

using Compute = void (*)(const ggml_compute_params *params, ggml_tensor *op);

// What computes a small operation, without meeting other threads; null for all other operations.
Compute small_one(const ggml_tensor *op) {
    switch (op->op) {
        case GGML_OP_ADD: return ggml_compute_forward_add;
        case GGML_OP_MUL: return ggml_compute_forward_mul;
        case GGML_OP_SCALE: return ggml_compute_forward_scale;
        case GGML_OP_UNARY: return ggml_compute_forward_unary;
        case GGML_OP_GLU: return ggml_compute_forward_glu;
        case GGML_OP_RMS_NORM: return ggml_compute_forward_rms_norm;
        case GGML_OP_L2_NORM: return ggml_compute_forward_l2_norm;
        case GGML_OP_ROPE: return ggml_compute_forward_rope;
        case GGML_OP_SET_ROWS: return ggml_compute_forward_set_rows;
        case GGML_OP_GET_ROWS: return ggml_compute_forward_get_rows;
        case GGML_OP_CPY: return ggml_compute_forward_cpy;
        case GGML_OP_CONT: return ggml_compute_forward_cont;
        case GGML_OP_CONCAT: return ggml_compute_forward_concat;
        case GGML_OP_SSM_CONV: return ggml_compute_forward_ssm_conv;
        default: return nullptr;
    }
}

bool is_small(const ggml_tensor *op) {
    if (!small_one(op)) return false;
    const int64_t numbers = ggml_nelements(op->op == GGML_OP_SET_ROWS ? op->src[0] : op);  // not of the whole cache
    return numbers * (op->op == GGML_OP_ROPE ? 4 : 1) <= SMALL;
}

bool overlap(const ggml_tensor *one, const ggml_tensor *two) {
    const char *first = (const char *)one->data, *second = (const char *)two->data;
    return first < second + ggml_nbytes(two) && second < first + ggml_nbytes(one);
}

bool reads(const ggml_tensor *op, const ggml_tensor *what) {
    for (const ggml_tensor *source : op->src)
        if (source && overlap(source, what)) return true;
    return false;
}

// Whether it makes no difference which of the two is computed first, or both at once.
bool apart(const ggml_tensor *one, const ggml_tensor *two) {
    return !overlap(one, two) && !reads(one, two) && !reads(two, one);
}

bool is_computed(const ggml_tensor *op) {
    return !ggml_op_is_empty(op->op) && !ggml_is_empty(op) && op->flags & GGML_TENSOR_FLAG_COMPUTE;
}

// Whether ggml computes this norm together with the product behind it, and leaves the norm itself out.
bool is_fused(const ggml_cgraph &graph, int at) {
    if (!ggml_can_fuse(&graph, at, {GGML_OP_RMS_NORM, GGML_OP_MUL})) return false;
    const ggml_tensor *norm = graph.nodes[at], *product = graph.nodes[at + 1];
    const ggml_tensor *by = product->src[product->src[0] == norm];
    return norm->src[0]->type == GGML_TYPE_F32 && product->type == GGML_TYPE_F32 && by->type == GGML_TYPE_F32 &&
           by->ne[0] == norm->ne[0] && by->nb[0] == sizeof(float);
}

const ggml_tensor *root_of(const ggml_tensor *tensor) { return tensor->view_src ? tensor->view_src : tensor; }

bool is_plain(const ggml_tensor *tensor) { return tensor->type == GGML_TYPE_F32 && ggml_is_contiguous(tensor); }

int uses(const ggml_cgraph &graph, const ggml_tensor *tensor) {
    const size_t at = ggml_hash_find(&graph.visited_hash_set, tensor);
    return at != GGML_HASHSET_FULL && ggml_bitset_get(graph.visited_hash_set.used, at) ? graph.use_counts[at] : 0;
}

// A delta rule that changes its states where they lie.
struct Rule {
    ggml_tensor op, from;
};

// Looks for the rule whose states the rows of node `at` are, and for what copies them back: their places in the graph.
class InPlace {
public:
    int rule = -1, back = -1;
    ggml_tensor where;  // the rows in the cache

    InPlace(const ggml_cgraph &graph, int at) : where(*graph.nodes[at]), graph(graph), rows(graph.nodes[at]) {
        const ggml_tensor *cache = rows->src[0], *chosen = rows->src[1];
        if (!is_plain(rows) || !is_plain(cache) || cache->ne[0] != rows->ne[0] || ggml_n_dims(rows) > 2 ||
            chosen->type != GGML_TYPE_I32 || !ggml_is_contiguous(chosen) || root_of(chosen)->op != GGML_OP_NONE)
            return;
        const int32_t *row = (const int32_t *)chosen->data;
        for (int64_t i = 1; i < rows->ne[1]; i++)
            if (row[i] != row[0] + i) return;
        where.data = (char *)cache->data + row[0] * cache->nb[1];
        const int last = std::min(graph.n_nodes, at + FAR);
        int found = -1;
        for (int i = at + 1; i < last && found < 0; i++) {
            const ggml_tensor *op = graph.nodes[i];
            if (!is_computed(op)) continue;
            if (op->op == GGML_OP_GATED_DELTA_NET && op->src[5] && root_of(op->src[5]) == rows) found = i;
            else if (overlap(op, &where) || reads(op, rows)) return;
        }
        if (found < 0 || !is_only_state(graph.nodes[found])) return;
        for (int i = found + 1; i < last; i++) {
            const ggml_tensor *op = graph.nodes[i];
            if (!is_computed(op)) continue;
            if (copies_back(graph.nodes[found], op)) {
                if (is_only_read_by_it(found, i)) rule = found, back = i;
                return;
            }
            if (overlap(op, &where) || reads(op, &where)) return;
        }
    }

private:
    static constexpr int FAR = 64;  // nodes of one layer
    const ggml_cgraph &graph;
    const ggml_tensor *rows;

    static const char *states_of(const ggml_tensor *op) {  // behind what the rule reads from them
        return (const char *)op->data + sizeof(float) * ggml_nelements(op->src[2]);
    }

    bool is_only_state(const ggml_tensor *op) const {
        const ggml_tensor *state = op->src[5];
        return delta_net_takes(op) && ggml_get_op_params_i32(op, 0) == 1 && is_plain(op) && is_plain(state) &&
               state->data == rows->data && ggml_nelements(state) == ggml_nelements(rows) && uses(graph, rows) == 1 &&
               (state == rows || uses(graph, state) == 1) && !(rows->flags & GGML_TENSOR_FLAG_OUTPUT);
    }

    bool copies_back(const ggml_tensor *rule, const ggml_tensor *op) const {
        const ggml_tensor *from = op->src[0], *into = op->src[1];
        return op->op == GGML_OP_CPY && root_of(from) == rule && from->data == states_of(rule) && is_plain(from) &&
               is_plain(into) && into->data == where.data && ggml_nelements(from) == ggml_nelements(rows) &&
               ggml_nelements(into) == ggml_nelements(rows);
    }

    // Whether nobody else looks at the states behind the rule's result.
    bool is_only_read_by_it(int rule, int back) const {
        const ggml_tensor *op = graph.nodes[rule], *from = graph.nodes[back]->src[0];
        if (uses(graph, op) != 2 || uses(graph, from) != 1 || uses(graph, graph.nodes[back]) != 0 ||
            op->flags & GGML_TENSOR_FLAG_OUTPUT)
            return false;
        for (int i = rule + 1; i < graph.n_nodes; i++) {
            const ggml_tensor *other = graph.nodes[i];
            if (other != from && other->op == GGML_OP_VIEW && other->src[0] == op)
                return (const char *)other->data + ggml_nbytes(other) <= states_of(op);
        }
        return false;
    }
};

class Steps {
public:
    // The graph in fewer nodes, which stay until the next one.
    ggml_cgraph of(const ggml_cgraph &graph) {
        count = 0, nodes.clear(), small.clear(), rules.clear();
        taken.assign(graph.n_nodes, false), changed.assign(graph.n_nodes, nullptr);
        for (int i = 0; i < graph.n_nodes; i++) {
            ggml_tensor *op = changed[i] ? changed[i] : graph.nodes[i];
            if (taken[i] || !is_computed(op)) continue;
            if (op->op == GGML_OP_GET_ROWS && change_in_place(graph, i)) continue;
            if (is_small(op)) {
                const bool fused = is_fused(graph, i);
                small.push_back({op, fused ? graph.nodes[i + 1] : nullptr});
                i += fused;
                continue;
            }
            products.clear();
            if (products_take(op)) gather(graph, i);
            add();
            if (products.empty()) nodes.push_back(op);
        }
        products.clear();
        add();
        ggml_cgraph fewer = graph;
        fewer.nodes = nodes.data(), fewer.n_nodes = (int)nodes.size();
        return fewer;
    }

private:
    std::deque<Step> steps;  // the first `count` of them; they stay where they are
    size_t count;
    std::vector<Small> small;                    // operations so far
    std::vector<ggml_tensor *> products, nodes;  // the ones behind them; the graph's
    std::vector<char> taken;             // of the graph's old nodes: is computed earlier, or not at all
    std::vector<ggml_tensor *> changed;  // of them too: by what they are replaced
    std::deque<Rule> rules;

    // Leaves out node `at` and what copies back what the rule made of it, if it is the copy of a rule's states.
    bool change_in_place(const ggml_cgraph &graph, int at) {
        const InPlace found(graph, at);
        if (found.rule < 0) return false;
        rules.push_back({*graph.nodes[found.rule], *graph.nodes[found.rule]->src[5]});
        Rule &rule = rules.back();
        rule.from.data = found.where.data;
        rule.op.src[5] = &rule.from, rule.op.src[6] = graph.nodes[found.back]->src[1];
        changed[found.rule] = &rule.op;
        taken[found.back] = true;
        return true;
    }

    // Node `at` and those behind it that can be computed together with it.
    void gather(const ggml_cgraph &graph, int at) {
        products.push_back(graph.nodes[at]);
        for (int i = at + 1; i < std::min(graph.n_nodes, at + AHEAD); i++) {
            if (taken[i] || !products_share(graph.nodes[at], graph.nodes[i]) || !is_free(graph, at, i)) continue;
            products.push_back(graph.nodes[i]);
            taken[i] = true;
        }
    }

    // Whether node `later` may be computed together with node `at`, before all between them.
    static bool is_free(const ggml_cgraph &graph, int at, int later) {
        for (int i = at; i < later; i++)
            if (is_computed(graph.nodes[i]) && !apart(graph.nodes[i], graph.nodes[later])) return false;
        return true;
    }

    // A node for what was found so far.
    void add() {
        if (small.empty() && products.empty()) return;
        if (count == steps.size()) steps.emplace_back();
        Step &step = steps[count++];
        step.small.swap(small), step.products = products;
        step.node.op = GGML_OP_CUSTOM, step.node.flags = GGML_TENSOR_FLAG_COMPUTE, step.node.extra = &step;
        std::fill_n(step.node.ne, GGML_MAX_DIMS, 1);
        nodes.push_back(&step.node);
        small.clear();
    }
};

void compute_small(ggml_compute_params params, const std::vector<Small> &all) {
    params.ith = 0, params.nth = 1;
    for (const Small &one : all) {
        if (one.by) ggml_compute_forward_rms_norm_mul_fused(&params, one.op, one.by);
        else small_one(one.op)(&params, one.op);
    }
}

}  // namespace

bool step_compute(const ggml_compute_params *params, const ggml_tensor *op) {
    if (op->op != GGML_OP_CUSTOM || !op->extra) return false;
    const Step &step = *(const Step *)op->extra;
    const bool alone = !step.products.empty() && ggml_nelements(step.products[0]->src[1]) <= SMALL;
    if (params->ith == 0) compute_small(*params, step.small);
    if (step.products.empty()) return true;
    if (!alone && !step.small.empty()) ggml_barrier(params->threadpool);
    products_compute(params, step.products.data(), (int)step.products.size(), alone);
    return true;
}

ggml_status ggml_graph_compute(ggml_cgraph *graph, ggml_cplan *plan) {
    if (plan->use_ref) return stock_ggml_graph_compute(graph, plan);
    static thread_local Steps steps;
    ggml_cgraph fewer = steps.of(*graph);
    return stock_ggml_graph_compute(&fewer, plan);
}
