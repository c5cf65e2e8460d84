// Attention over cells in float16 where scores are large (attention_floats.cpp).

#pragma once

#include "ggml-cpu-impl.h"
#include "ggml.h"

void attend_in_floats(const ggml_compute_params *params, ggml_tensor *dst);
