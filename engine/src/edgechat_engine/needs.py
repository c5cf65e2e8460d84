"""Which kernels of ours a processor can run (instruction sets).

Each needs instructions that not every processor has, and is compiled only for those. That one is not there where it
cannot be is fine; one that could be and is not makes everything slower in silence, so it is asked for.
"""

import sys
from collections.abc import Set
from pathlib import Path

_AVX2 = frozenset({"avx2", "f16c", "fma"})
_AVX512 = _AVX2 | {"avx512bw", "avx512vl", "avx512_vnni"}

# A kernel, as its row in engine/kernels/ has it, and the instructions that it needs, as Linux names them.
NEEDS = {
    "attention": _AVX2,
    "delta-net": _AVX2,
    "matmul-iq4_nl": _AVX2,
    "matmul-iq4_xs": _AVX512,
    "matmul-q3_k": _AVX2,
    "matmul-q4_0": _AVX2,
    "matmul-q4_k": _AVX2,
    "matmul-q5_0": _AVX2,
    "matmul-q5_k": _AVX2,
    "matmul-q6_k": _AVX2,
    "matmul-q8_0": _AVX2,
    "steps": frozenset({"sse2"}),  # all x86: it computes by the others
}
if sys.platform == "linux":
    NEEDS["lazy-clear"] = frozenset()  # engine/memory.cpp


def possible(flags: Set[str]) -> frozenset[str]:
    """The kernels that a processor with these instructions can run."""
    return frozenset(name for name, needs in NEEDS.items() if needs <= flags)


def flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """This processor's instructions; none where the system does not tell."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())
