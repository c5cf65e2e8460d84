// The list of what is ours in this module of the library. Every file here has rows for its functions, in the branch that
// is compiled only where the processor's instructions are there; so the list is what the module really holds.
//
//     static const Kernel here("attention");

#pragma once

struct Kernel {
    const char *name;  // as edgechat_engine's NEEDS has it
    const Kernel *before;
    explicit Kernel(const char *name);
    Kernel(const Kernel &) = delete;
};
