"""Architectures that write no answer token by token are refused before anything is loaded, each in one line."""

import pytest

from edgechat.engine.llama import memory, unsupported
from edgechat.errors import ModelUnsupported
from edgechat.gguf.header import Header
from edgechat.i18n import speaking, t


def header(name: str, **more: int) -> Header:
    keys = {"context_length": 512, "block_count": 2, "embedding_length": 64, "attention.head_count": 2} | more
    return Header({"general.architecture": name, **{f"{name}.{key}": value for key, value in keys.items()}}, ())


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        *((name, {}, "diffusion") for name in sorted(unsupported.DIFFUSE)),
        *((name, {"pooling_type": 1}, "an encoder") for name in sorted(unsupported.ENCODE_FIRST)),
        *((name, {}, "both directions") for name in sorted(unsupported.ONLY_READ)),
        *((name, {}, "part of another") for name in sorted(unsupported.PARTS)),
        ("llama", {"attention.causal": False}, "both directions"),
    ],
)
def test_what_writes_otherwise_is_refused(name: str, more: dict[str, int], why: str) -> None:
    with pytest.raises(ModelUnsupported, match=f"architecture {name} are not served: .*{why}") as refused:
        memory.plan(header(name, **more), 0, 1 << 30)
    told = str(refused.value)
    assert "\n" not in told
    with speaking("zh"):
        assert t(told) != told


@pytest.mark.parametrize("name", [*sorted(unsupported.ONLY_READ), "llama"])
def test_what_gives_vectors_is_served(name: str) -> None:
    assert memory.plan(header(name, **{"pooling_type": 1, "attention.causal": False}), 0, 1 << 30).context


def test_what_writes_token_by_token_is_served() -> None:
    assert memory.plan(header("llama", **{"attention.causal": True}), 0, 1 << 30).context
