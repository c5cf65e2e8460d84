// Between a step's operations (steps.cpp), the products of matrices among them (products.cpp) and states (deltanet.cpp).

#pragma once

struct ggml_compute_params;
struct ggml_tensor;

// Whether the product is computed by products.cpp.
bool products_take(const ggml_tensor *op);

// Whether both take the same activations in the same eight bits, so that products_compute may have them together.
bool products_share(const ggml_tensor *one, const ggml_tensor *two);

// Computes `count` products that share their activations; `alone`: the first thread turns those into eight bits.
void products_compute(const ggml_compute_params *params, ggml_tensor *const *ops, int count, bool alone);

// Whether the gated delta rule is computed by deltanet.cpp, which writes states into src[6] where there is one.
bool delta_net_takes(const ggml_tensor *op);

// Computes `op` if it is one of steps.cpp's; false if not.
bool step_compute(const ggml_compute_params *params, const ggml_tensor *op);
