// Which layouts in memory ggml may use: those that pay.
//
// ggml interleaves Q4_K when a model is loaded, for products of its own. Ours take it as it lies in the file, mapped.

#include "kquants.h"
#include "repack.h"
#include "traits.h"

ggml_backend_buffer_type_t stock_ggml_backend_cpu_repack_buffer_type();

#ifdef KQUANTS

namespace {

struct Layouts : ggml::cpu::extra_buffer_type {
    ggml::cpu::extra_buffer_type *stock;

    explicit Layouts(void *stock) : stock((ggml::cpu::extra_buffer_type *)stock) {}
    bool supports_op(ggml_backend_dev_t device, const ggml_tensor *op) override {
        return op->src[0] && op->src[0]->type != GGML_TYPE_Q4_K && stock->supports_op(device, op);
    }
    ggml::cpu::tensor_traits *get_tensor_traits(const ggml_tensor *op) override { return stock->get_tensor_traits(op); }
};

}  // namespace

ggml_backend_buffer_type_t ggml_backend_cpu_repack_buffer_type() {
    static const ggml_backend_buffer_type_t type = [] {
        const ggml_backend_buffer_type_t stock = stock_ggml_backend_cpu_repack_buffer_type();
        stock->context = new Layouts(stock->context);
        return stock;
    }();
    return type;
}

#else

ggml_backend_buffer_type_t ggml_backend_cpu_repack_buffer_type() { return stock_ggml_backend_cpu_repack_buffer_type(); }

#endif
