"""A projector in eight bits (quantisation): the matrices of its tower and of what joins it to the model.

Kernels that look at pixels, positions, norms and biases stay as they are: they are small, or no products of matrices.
"""

from pathlib import Path

from edgechat.errors import ModelUnsupported
from edgechat.gguf.header import Header, read_header
from edgechat.gguf.recast import recast

KIND = "Q8_0"
BLOCK = 32  # numbers that share a scale: a row has whole ones
# Activations become eight bits where weights are. Qwen2.5-VL's have outliers that all others of their block vanish
# beside: whole pictures are seen wrong.
FRAGILE = frozenset({"qwen2.5vl_merger"})


def kind_of(header: Header) -> str:
    """What sort of projector it is, by libmtmd's name."""
    return str(header.metadata.get("clip.vision.projector_type") or header.metadata.get("clip.projector_type"))


def check(source: Path) -> None:
    """Raise ModelUnsupported where the projector at `source` is known to see wrong in eight bits, or has no more."""
    header = read_header(source)
    if kind_of(header) in FRAGILE:
        raise ModelUnsupported(f"projectors of the kind {kind_of(header)} see wrong in eight bits")
    if not _larger(header):
        raise ModelUnsupported("it has eight bits or less already")


def shrink(source: Path, target: Path, threads: int) -> None:
    """Write the projector at `source` to `target` in eight bits. Raises as `check` and `recast`."""
    check(source)
    recast(source, target, dict.fromkeys(_larger(read_header(source)), KIND), threads)


def _larger(header: Header) -> list[str]:
    """The matrices that can become smaller."""
    return [
        tensor.name
        for tensor in header.tensors
        if len(tensor.shape) == 2
        and tensor.shape[0] % BLOCK == 0
        and tensor.type in ("F32", "F16", "BF16")
        and not tensor.name.startswith(("v.position_embd", "v.class_embd"))
    ]
