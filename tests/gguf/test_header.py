import os
import random
import struct
from pathlib import Path

import pytest

from edgechat.errors import ModelFileInvalid
from edgechat.gguf.header import MAX_KEPT, MAX_KEYS, MAX_TENSORS, _Reader, read_header
from edgechat.gguf.shape import kv_bytes
from tests import ggufs

QWEN = {
    "general.architecture": "qwen2",
    "general.name": "Tiny",
    "qwen2.context_length": 32768,
    "qwen2.block_count": 24,
    "qwen2.embedding_length": 896,
    "qwen2.attention.head_count": 14,
    "qwen2.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["a", "bc", ""],
    "tokenizer.chat_template": "{{ messages }}",
}


def test_a_header_tells_shape_template_and_cost_of_context(tmp_path: Path) -> None:
    header = read_header(ggufs.write(tmp_path / "m.gguf", ggufs.gguf(QWEN)))
    assert (header.architecture, header.name, header.context) == ("qwen2", "Tiny", 32768)
    assert header.template == "{{ messages }}"
    assert header.metadata["tokenizer.ggml.tokens"] == 3  # arrays are kept as their length
    assert kv_bytes(header) == 12_288  # Qwen2.5-0.5B's, measured
    assert header.quantisation == "F32"
    assert header.tensors[0].size == 32


@pytest.mark.parametrize(("kind", "label"), [(15, "Q4_K_M"), (7, "Q8_0"), (999, "F32"), ("15", "F32")])
def test_a_file_is_called_what_people_call_it(tmp_path: Path, kind: object, label: str) -> None:
    header = read_header(ggufs.write(tmp_path / "m.gguf", ggufs.gguf(QWEN | {"general.file_type": kind})))
    assert header.label == label


def test_a_file_cut_anywhere_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = ggufs.gguf(QWEN)
    for length in range(len(whole) - 1):
        with pytest.raises(ModelFileInvalid) as caught:
            read_header(ggufs.write(tmp_path / "cut.gguf", whole[:length]))
        assert "\n" not in str(caught.value)
        assert "cut.gguf" in str(caught.value)


def bad() -> dict[str, bytes]:
    """Files that break one rule each."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    endless = 1 << 62
    return {
        "another format": b"PK\x03\x04" + bytes(64),
        "a page": b"<!doctype html><title>Log in</title>" + bytes(64),
        "version 9": b"GGUF" + struct.pack("<IQQ", 9, 0, 0) + bytes(64),
        "endless keys": b"GGUF" + struct.pack("<IQQ", 3, 0, endless) + bytes(64),
        "endless tensors": b"GGUF" + struct.pack("<IQQ", 3, endless, 0) + bytes(64),
        "endless key": head + struct.pack("<Q", endless) + bytes(64),
        "endless text": head + ggufs.text("k") + struct.pack("<IQ", 8, endless) + bytes(64),
        "endless array": head + ggufs.text("k") + struct.pack("<IIQ", 9, 4, endless) + bytes(64),
        "array of arrays": head + ggufs.text("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(64),
        "unknown type": head + ggufs.text("k") + struct.pack("<I", 77) + bytes(64),
        "odd alignment": ggufs.gguf({"general.alignment": 33}),
        "no alignment": ggufs.gguf({"general.alignment": 0}),
        "endless alignment": ggufs.gguf({"general.alignment": 1 << 30}),
        "truth for an alignment": ggufs.gguf({"general.alignment": True}),
        "a key twice": b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * (ggufs.text("k") + ggufs.value(1)) + bytes(64),
        "a key without a name": ggufs.gguf({"": 1}),
        "a tensor twice": ggufs.gguf(tensors={"w": (4,), "v": (4,)}).replace(ggufs.text("v"), ggufs.text("w")),
        "a long tensor name": ggufs.gguf(tensors={"w" * 64: (4,)}),
        "a tensor without a name": ggufs.gguf(tensors={"": (4,)}),
        "a side of nothing": ggufs.gguf(tensors={"w": (0, 4)}),
        "a negative side": ggufs.gguf(tensors={"w": (4,)}).replace(struct.pack("<Q", 4), struct.pack("<q", -4), 1),
        "an unknown type beyond the end": ggufs.gguf(tensors={"w": (4,)}).replace(
            struct.pack("<QIQ", 4, 0, 0), struct.pack("<QIQ", 4, 99, 1 << 40)
        ),
        "numbers beyond the end": head + ggufs.text("k") + struct.pack("<IIQ", 9, 4, 9_999_999) + bytes(64),
        "texts beyond the end": head + ggufs.text("k") + struct.pack("<IIQ", 9, 8, 1_999_999) + bytes(64),
        "too many texts": head + ggufs.text("k") + struct.pack("<IIQ", 9, 8, 2_000_001) + bytes(64),
        "version 0": b"GGUF" + struct.pack("<IQQ", 0, 0, 0) + bytes(64),
        "version 1": b"GGUF" + struct.pack("<IQQ", 1, 0, 0) + bytes(64),
        "another byte order": b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(64),
        "text for an alignment": ggufs.gguf({"general.alignment": "32"}),
        "a tensor between two places": ggufs.gguf(tensors={"w": (4,)}).replace(
            struct.pack("<QIQ", 4, 0, 0), struct.pack("<QIQ", 4, 0, 4)
        ),
        "sides whose product overflows": ggufs.gguf(tensors={"w": (4, 2)}).replace(
            struct.pack("<QQI", 4, 2, 0), struct.pack("<QQI", 2, 0x7FFFFFFFFFFFFFC0, 24)
        ),
        "five dimensions": ggufs.gguf(tensors={"w": (1, 1, 1, 1, 1)}),
        "overflowing shape": ggufs.gguf(tensors={"w": (4,)}).replace(
            struct.pack("<Q", 4), struct.pack("<Q", endless), 1
        ),
    }


BAD = bad()


@pytest.mark.parametrize("kind", BAD)
def test_a_forged_file_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ModelFileInvalid, match=r"m\.gguf is not a usable GGUF model"):
        read_header(ggufs.write(tmp_path / "m.gguf", BAD[kind]))


def test_a_folder_is_for_another_engine(tmp_path: Path) -> None:
    with pytest.raises(ModelFileInvalid, match="try --engine transformers"):
        read_header(tmp_path)


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileInvalid, match="cannot be read"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelFileInvalid):
        read_header(ggufs.write(tmp_path / "empty.gguf", b""))


def test_bytes_changed_anywhere_never_do_more_than_be_refused(tmp_path: Path) -> None:
    """Every answer is a header or one line; nothing else gets out, however the numbers are made up."""
    whole, draw = ggufs.gguf(QWEN), random.Random(5)
    kinds = [b"\xff" * 8, struct.pack("<Q", 1 << 60), struct.pack("<Q", (1 << 31) - 1), bytes(8)]
    for _ in range(20_000 if os.environ.get("EDGECHAT_TORTURE") else 1000):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            at, news = draw.randrange(len(data)), draw.choice([draw.randbytes(draw.randint(1, 9)), *kinds])
            data[at : at + len(news)] = news
        try:
            read_header(ggufs.write(tmp_path / "m.gguf", bytes(data)))
        except ModelFileInvalid as error:
            assert "\n" not in str(error)


def test_the_dearest_header_is_bounded_by_what_it_holds(tmp_path: Path) -> None:
    """As many keys as are allowed, each claiming as much as is allowed: refused at the first that does not hold."""
    head = b"GGUF" + struct.pack("<IQQ", 3, MAX_TENSORS, MAX_KEYS)
    keys = b"".join(ggufs.text(f"k{i}") + struct.pack("<IIQ", 9, 8, 300) + bytes(8 * 300) for i in range(3400))
    with pytest.raises(ModelFileInvalid, match="more than 1,000,000 texts"):
        read_header(ggufs.write(tmp_path / "m.gguf", head + keys))


@pytest.mark.parametrize("kind", ["keys", "tensors", "texts in one array"])
def test_a_claim_that_the_file_cannot_hold_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Each count is within its bound, and more than the bytes that follow could be."""
    claims = {
        "keys": struct.pack("<IQQ", 3, 0, 4000),
        "tensors": struct.pack("<IQQ", 3, 9000, 0),
        "texts in one array": struct.pack("<IQQ", 3, 0, 1) + ggufs.text("k") + struct.pack("<IIQ", 9, 8, 900_000),
    }
    monkeypatch.setattr(_Reader, "skip_texts", None)
    monkeypatch.setattr(_Reader, "tensor_info", None)
    with pytest.raises(ModelFileInvalid, match=f"it claims [0-9]+ {kind}"):
        read_header(ggufs.write(tmp_path / "m.gguf", b"GGUF" + claims[kind] + bytes(5000)))


def test_a_model_in_parts_is_one_header(tmp_path: Path) -> None:
    ggufs.write(tmp_path / "m-00001-of-00002.gguf", ggufs.gguf(QWEN, {"a": (4, 2)}))
    with pytest.raises(ModelFileInvalid, match=r"m-00002-of-00002\.gguf cannot be read"):
        read_header(tmp_path / "m-00001-of-00002.gguf")
    ggufs.write(tmp_path / "m-00002-of-00002.gguf", ggufs.gguf({"split.no": 1}, {"b": (4, 2)}))
    header = read_header(tmp_path / "m-00001-of-00002.gguf")
    assert (header.name, [(tensor.name, tensor.part) for tensor in header.tensors]) == ("Tiny", [("a", 0), ("b", 1)])
    with pytest.raises(ModelFileInvalid, match="part 2 of 2: name the first"):
        read_header(tmp_path / "m-00002-of-00002.gguf")


def test_a_model_is_never_half_a_million_parts(tmp_path: Path) -> None:
    with pytest.raises(ModelFileInvalid, match="part 1 of 99999"):
        read_header(ggufs.write(tmp_path / "m-00001-of-99999.gguf", ggufs.gguf(QWEN)))


def test_whole_numbers_of_layers_are_kept_and_nothing_else_of_arrays(tmp_path: Path) -> None:
    keys = {"general.architecture": "lfm2", "lfm2.attention.head_count_kv": [0, 8, 0], "lfm2.block_count": 3}
    keys |= {"tokenizer.ggml.token_type": [1] * (MAX_KEPT + 1)}
    header = read_header(ggufs.write(tmp_path / "m.gguf", ggufs.gguf(keys)))
    assert header.numbers("attention.head_count_kv") == (0, 8, 0)
    assert header.numbers("block_count") == (3,)
    assert header.numbers("none") == ()
    assert header.number("attention.head_count_kv") is None
    assert header.metadata["tokenizer.ggml.token_type"] == MAX_KEPT + 1
