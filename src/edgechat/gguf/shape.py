"""Model shape: what a header says of the layers, and what that costs in memory and in speed. Pure.

    a layer that attends        keys and values of each token, shared by the heads of a group      kv_bytes
    a layer that recurs         one running state for each sequence, however long it is            state_bytes
    one that does both          both (Falcon-H1)
    a mixture of experts        all of them in memory, a few of them in a token's way              active

Which layer does what is told in a way of its own by each family; source: the readers of hyperparameters in llama.cpp
0.3.36 (src/llama-hparams.cpp, src/models/).
"""

import re
from collections.abc import Sequence

from edgechat.gguf.header import Header, Tensor

KV_BYTES, STATE_BYTES = 2, 4  # of a number in the cache, in a state: 16-bit and 32-bit floats
ALL_RECUR = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
BOTH = frozenset({"falcon-h1"})  # every layer attends and recurs
FEEDS_ALONE = frozenset({"nemotron_h", "nemotron_h_moe"})  # a layer with a feed-forward does neither
EVERY = 4  # layers of which the last one attends, where the header does not tell
WINDOWS = {"gemma2": (2,), "gemma3": (6,), "cohere2": (4,)}  # of so many layers the last one attends to all
FROM_START = {"gemma3n": 20}  # layers with a cache of their own; the others look into theirs
DRAFTS = "nextn_predict_layers"  # the last ones, which predict a token more (MTP): llama.cpp leaves them in the file
_EXPERTS = re.compile(r"_exps\.(weight|bias)$")
_LAYER = re.compile(r"blk\.(\d+)\.")


def depth(header: Header) -> int:
    """How many layers a token goes through; 0 where the header does not tell."""
    return (header.number("block_count") or 0) - (header.number(DRAFTS) or 0)


def loaded(header: Header) -> list[Tensor]:
    """What is loaded: all tensors but those of layers that draft."""
    return [tensor for tensor in header.tensors if not _drafts(header, tensor)]


def _drafts(header: Header, tensor: Tensor) -> bool:
    layer = _LAYER.match(tensor.name)
    return bool(header.number(DRAFTS)) and layer is not None and int(layer[1]) >= depth(header)


def attending(header: Header) -> list[int]:
    """The layers that keep keys and values of each token."""
    layers, family = range(depth(header)), header.architecture
    if family in ALL_RECUR:
        return []
    recurring = set() if family in BOTH else set(recurring_layers(header))
    feeds = _feed_forward(header) if family in FEEDS_ALONE else ()
    shared = header.number("attention.shared_kv_layers") or 0
    last = FROM_START.get(family, len(layers) - shared)
    return [at for at in layers if at not in recurring and at < last and not (feeds and feeds[at])]


def recurring_layers(header: Header) -> list[int]:
    """The layers that keep a running state."""
    layers = range(depth(header))
    if not header.is_recurrent:
        return []
    if header.architecture in ALL_RECUR | BOTH:
        return list(layers)
    told = header.numbers("attention.recurrent_layers")
    if told:
        return [at for at in layers if at < len(told) and told[at]]
    heads = _per_layer(header, "attention.head_count_kv")
    if 0 in heads:
        feeds = _feed_forward(header) if header.architecture in FEEDS_ALONE else ()
        return [at for at in layers if not heads[at] and not (feeds and feeds[at])]
    every = header.number("full_attention_interval") or EVERY
    return [at for at in layers if (at + 1) % every]


def windowed_layers(header: Header) -> list[int]:
    """The layers that attend to a sliding window; all where the header does not tell which."""
    windowed, layers = _windowed(header), attending(header)
    return [at for at in layers if windowed[at]] or layers


def kv_bytes(header: Header, layers: Sequence[int] | None = None) -> int | None:
    """Bytes of a 16-bit KV cache per token, of all or some `layers`, or None where the header does not tell."""
    if header.architecture in ALL_RECUR:
        return 0
    heads, width = _per_layer(header, "attention.head_count"), header.number("embedding_length")
    if not (heads and width and any(heads)):
        return None
    usual = width // (heads[0] or max(heads))
    key = header.number("attention.key_length") or usual
    value = header.number("attention.value_length") or usual
    if header.number("attention.key_length_mla"):
        value = 0  # it is a part of the key
    windowed = _windowed(header)
    inside = (header.number("attention.key_length_swa") or key, header.number("attention.value_length_swa") or value)
    groups = _per_layer(header, "attention.head_count_kv") or heads
    return KV_BYTES * sum(
        groups[at] * sum(inside if windowed[at] else (key, value)) for at in layers or attending(header)
    )


def state_bytes(header: Header) -> int:
    """Bytes of the running state of one sequence; 0 for attention alone."""
    width = header.number("embedding_length") or 0
    if head := header.number("wkv.head_size"):
        one = width * ((header.number("token_shift_count") or 2) + head)
    elif taps := header.number("shortconv.l_cache"):
        one = width * (taps - 1)
    elif head := header.number("kda.head_dim"):
        heads = max(_per_layer(header, "attention.head_count"), default=0)
        one = heads * head * (3 * ((header.number("ssm.conv_kernel") or 4) - 1) + head)
    else:
        inner, state = header.number("ssm.inner_size") or 0, header.number("ssm.state_size") or 0
        channels = inner + 2 * (header.number("ssm.group_count") or 0) * state
        one = max(0, (header.number("ssm.conv_kernel") or 0) - 1) * channels + inner * state
    return STATE_BYTES * one * len(recurring_layers(header))


def active(header: Header, tensor: Tensor) -> float:
    """The share of `tensor` that a token goes through: of a mixture, the experts that are used."""
    if _drafts(header, tensor):
        return 0.0
    count, used = header.number("expert_count") or 0, header.numbers("expert_used_count")
    if not count or not used or not _EXPERTS.search(tensor.name):
        return 1.0
    return min(1.0, max(used) / count)


def inner_width(header: Header) -> int:
    """The widest row that a token has inside a feed-forward or a recurrent layer."""
    experts = max(header.numbers("expert_used_count"), default=0)
    mixed = experts * max(*header.numbers("expert_feed_forward_length"), header.number("embedding_length") or 0, 0)
    inner = header.number("ssm.inner_size") or 0
    state = inner + 2 * (header.number("ssm.group_count") or 0) * (header.number("ssm.state_size") or 0)
    return max(*header.numbers("feed_forward_length"), mixed, state, 0)


def _per_layer(header: Header, key: str) -> Sequence[int]:
    """A number for each layer, where the header has one for all or a list; nothing where it has none."""
    told, layers = header.numbers(key), depth(header)
    return told * layers if len(told) == 1 else told if len(told) >= layers else ()


def _feed_forward(header: Header) -> Sequence[int]:
    return _per_layer(header, "feed_forward_length")


def _windowed(header: Header) -> list[bool]:
    """Which layers attend to a window: their heads may have another size. Their cells are kept like all others."""
    layers, told = depth(header), header.numbers("attention.sliding_window_pattern")
    told = told or WINDOWS.get(header.architecture, ())
    if len(told) == 1 and told[0] > 1:
        return [at % told[0] < told[0] - 1 for at in range(layers)]
    return [bool(told[at]) if at < len(told) else False for at in range(layers)]
