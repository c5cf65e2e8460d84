"""Quantisation recipes: what one is, and which ones a model allows. Pure.

    recipe   IQ4_NL/Q6_K     the layers' matrices (the body) in IQ4_NL, the output matrix (the head) in Q6_K

In a small model with a large vocabulary the head is a quarter of all weights and is read for every token, so its type
decides the speed of decoding nearly as much as the body's. What is left as it is: norms and biases; an embedding that
is not the head at the same time (of which a token reads one row); any tensor whose part in the model is not known here.

A row is whole blocks. The blocks of K types are long: where a few matrices have rows that they do not divide, those get
the type INSTEAD, as llama.cpp does it too; where it would be most of them, the model has no such body.
"""

import re
from dataclasses import replace
from math import prod

from edgechat.gguf.header import TENSOR_TYPES, Header, Tensor
from edgechat.gguf.shape import active, depth
from edgechat.types import Struct

# Bits per weight of the types that are tried, roughest first.
BITS = {"Q4_0": 4.5, "IQ4_NL": 4.5, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625, "Q8_0": 8.5}
# Mean KL divergence that a body of this type usually costs a 0.5B model: decides what is tried first, never what is
# chosen. A finer body is hardly ever worse than a rougher one.
USUAL = {"Q4_0": 0.09, "IQ4_NL": 0.05, "Q4_K": 0.045, "Q5_K": 0.015, "Q6_K": 0.005, "Q8_0": 0.001}
# For a matrix whose rows a K type's blocks do not divide: as fine or finer.
INSTEAD = {"Q4_K": "IQ4_NL", "Q5_K": "Q8_0", "Q6_K": "Q8_0"}
FINE = "Q8_0"  # of the key and value matrices, where they are small
SMALL = 1 / 16  # of a layer's weights: where many query heads share a key, rounding it costs much and saves nothing

BLOCKS = {name: block for name, block, _ in TENSOR_TYPES.values()}

_ATTENDS, _FEEDS = r"attn_(q|k|v|qkv|output)", r"ffn_(gate|up|down)(_exps|_shexp)?"
_RECURS = r"attn_gate|ssm_(in|out)|shortconv\.(in|out)_proj"  # the large ones of a layer that keeps a running state
_BODY = re.compile(rf"blk\.\d+\.({_ATTENDS}|{_FEEDS}|{_RECURS})\.weight")
EMBEDDING, HEAD = "token_embd.weight", "output.weight"
_KEYS = re.compile(r"blk\.\d+\.attn_[kv]\.weight")


class Recipe(Struct, frozen=True):
    """The types of body and head."""

    body: str
    head: str

    def __str__(self) -> str:
        return f"{self.body}/{self.head}"

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """The recipe that was written as BODY/HEAD."""
        body, _, head = text.partition("/")
        return cls(body, head)

    @property
    def usual(self) -> float:
        """Mean KL divergence to expect."""
        return USUAL[self.body] + USUAL[self.head] / 4


def bodies(header: Header) -> list[str]:
    """The types that most of the layers' weights can have, and all others the type instead."""
    matrices = _matrices(header)
    most = sum(prod(tensor.shape) for tensor in matrices) / 2
    return [
        kind
        for kind in BITS
        if matrices
        and all(fitting(tensor.shape[0], kind) for tensor in matrices)
        and sum(prod(tensor.shape) for tensor in matrices if _divides(kind, tensor.shape[0])) > most
    ]


def heads(header: Header) -> list[str]:
    """The types whose blocks divide the rows of the output matrix."""
    rows = [tensor.shape[0] for tensor in header.tensors if tensor.name == head(header)]
    return [kind for kind in BITS if rows and all(_divides(kind, row) for row in rows)]


def recipes(header: Header) -> list[Recipe]:
    """Every pair of a body and a head that the model can have."""
    return [Recipe(body, head) for body in bodies(header) for head in heads(header)]


def kinds(header: Header) -> list[str]:
    """Every type that some recipe has, roughest first."""
    found = {kind for recipe in recipes(header) for kind in (recipe.body, recipe.head)}
    return [kind for kind in BITS if kind in found]


def fitting(row: int, kind: str) -> str | None:
    """`kind`, or what a matrix with such rows gets instead; None where that does not divide them either."""
    return next((one for one in (kind, INSTEAD.get(kind)) if one and _divides(one, row)), None)


def cast(tensor: Tensor, kind: str) -> str | None:
    """The type of `tensor` where body and head are of one `kind`; None for what no recipe touches."""
    is_cast = _BODY.fullmatch(tensor.name) or tensor.name in (EMBEDDING, HEAD)
    return fitting(tensor.shape[0], kind) if is_cast else None


def types(header: Header, recipe: Recipe) -> dict[str, str]:
    """The new type of each tensor that gets one."""
    body = {tensor.name: fitting(tensor.shape[0], recipe.body) or tensor.type for tensor in _matrices(header)}
    if _keys_are_small(header):
        body |= {name: FINE for name in body if _KEYS.fullmatch(name)}
    return body | {head(header): recipe.head}


def head(header: Header) -> str:
    """The name of the output matrix; a model without one of its own uses the embedding."""
    names = {tensor.name for tensor in header.tensors}
    return HEAD if HEAD in names else EMBEDDING


def applied(header: Header, recipe: Recipe) -> Header:
    """The header of the model written by `recipe`."""
    new = types(header, recipe)
    return replace(header, tensors=tuple(_retyped(one, new.get(one.name, one.type)) for one in header.tensors))


def size(header: Header) -> int:
    """Bytes of all weights."""
    return sum(tensor.size or 0 for tensor in header.tensors)


def streamed(header: Header) -> int:
    """Bytes that every written token reads: all weights but an embedding that is not the head, and idle experts."""
    return sum(
        int((tensor.size or 0) * active(header, tensor))
        for tensor in header.tensors
        if tensor.name != EMBEDDING or tensor.name == head(header)
    )


def as_it_is(header: Header) -> str:
    """What the file has now, written like a recipe."""
    types = {tensor.name: tensor.type for tensor in header.tensors}
    most = replace(header, tensors=tuple(_matrices(header))).quantisation
    return f"{most}/{types.get(head(header), 'unknown')}"


def layers_share(header: Header, count: int) -> float:
    """The share of a token's weights that `count` layers have, in a model of so many layers and the head."""
    weights = {tensor.name: prod(tensor.shape) * active(header, tensor) for tensor in header.tensors}
    one = sum(number for name, number in weights.items() if _BODY.fullmatch(name)) / max(1, depth(header))
    return count * one / (count * one + weights[head(header)])


def same_model(one: Header, other: Header) -> bool:
    """Whether two files hold one model, perhaps in other types."""
    shapes = [{t.name: t.shape for t in header.tensors} for header in (one, other)]
    return (one.architecture, one.name, shapes[0]) == (other.architecture, other.name, shapes[1])


def fineness(header: Header) -> float:
    """Bytes per weight: of two files of one model, the one with more is nearer to the original."""
    return size(header) / max(1, sum(prod(tensor.shape) for tensor in header.tensors))


def _matrices(header: Header) -> list[Tensor]:
    """The layers' matrices."""
    return [tensor for tensor in header.tensors if _BODY.fullmatch(tensor.name)]


def _divides(kind: str, row: int) -> bool:
    return row % BLOCKS[kind] == 0


def _keys_are_small(header: Header) -> bool:
    weights = {tensor.name: prod(tensor.shape) for tensor in _matrices(header)}
    keys = sum(count for name, count in weights.items() if _KEYS.fullmatch(name))
    return 0 < keys <= SMALL * sum(weights.values())


def _retyped(tensor: Tensor, kind: str) -> Tensor:
    sizes = {name: (block, width) for name, block, width in TENSOR_TYPES.values()}
    if kind == tensor.type:
        return tensor
    block, width = sizes[kind]
    return replace(tensor, type=kind, size=prod(tensor.shape) // block * width)
