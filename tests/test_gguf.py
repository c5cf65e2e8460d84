import struct
from pathlib import Path

import pytest

from edgechat import gguf
from edgechat.errors import ModelFileInvalid
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
    header = gguf.read_header(ggufs.write(tmp_path / "m.gguf", ggufs.gguf(QWEN)))
    assert (header.architecture, header.name, header.context) == ("qwen2", "Tiny", 32768)
    assert header.template == "{{ messages }}"
    assert header.metadata["tokenizer.ggml.tokens"] == 3  # arrays are kept as their length
    assert header.kv_bytes_per_token == 12_288  # Qwen2.5-0.5B's, measured
    assert header.quantisation == "F32"
    assert header.tensors[0].size == 32


def test_a_file_cut_anywhere_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = ggufs.gguf(QWEN)
    for length in range(len(whole) - 1):
        with pytest.raises(ModelFileInvalid) as caught:
            gguf.read_header(ggufs.write(tmp_path / "cut.gguf", whole[:length]))
        assert "\n" not in str(caught.value)
        assert "cut.gguf" in str(caught.value)


def bad(kind: str) -> bytes:
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
        "five dimensions": ggufs.gguf(tensors={"w": (1, 1, 1, 1, 1)}),
        "overflowing shape": ggufs.gguf(tensors={"w": (4,)}).replace(
            struct.pack("<Q", 4), struct.pack("<Q", endless), 1
        ),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "another format",
        "a page",
        "version 9",
        "endless keys",
        "endless tensors",
        "endless key",
        "endless text",
        "endless array",
        "array of arrays",
        "unknown type",
        "odd alignment",
        "no alignment",
        "five dimensions",
        "overflowing shape",
    ],
)
def test_a_forged_file_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ModelFileInvalid, match=r"m\.gguf is not a usable GGUF model"):
        gguf.read_header(ggufs.write(tmp_path / "m.gguf", bad(kind)))


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileInvalid, match="cannot be read"):
        gguf.read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelFileInvalid):
        gguf.read_header(ggufs.write(tmp_path / "empty.gguf", b""))
