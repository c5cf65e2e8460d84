"""PyTorch as an engine: strangers' folders are read and never run, and what a folder lacks is said."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgechat.engine.base import Slice
from edgechat.engine.torch import engine as engines
from edgechat.engine.torch.engine import Transformers
from edgechat.engine.torch.vocabulary import SPACE, _by_letter, _by_word, _letters
from edgechat.errors import ConfigError, ModelFileInvalid
from edgechat.types import Sampling

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:transformers")

END = "<|im_end|>"


@pytest.fixture
def tiny(judge: Any, tmp_path: Path) -> Path:
    """A model of two layers over bytes, with random weights."""
    import tokenizers
    import torch

    torch.manual_seed(1)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = judge.Qwen2Config(**shape, intermediate_size=64, vocab_size=260, eos_token_id=256, bos_token_id=None)
    judge.Qwen2ForCausalLM(config).save_pretrained(tmp_path / "tiny")
    words = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=_letters(), merges=[]))
    words.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = tokenizers.decoders.ByteLevel()
    words.add_special_tokens([END])
    judge.PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END).save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def load(path: Path) -> Transformers:
    return Transformers(path, 64, 0, 1, lambda _: None)


def first_token(path: Path) -> int | None:
    engine = load(path)
    (token,) = engine.step([Slice(0, 0, engine.tokenizer.encode("hello"), engine.sampler(Sampling(temperature=0)))])
    return token


def pickled(path: Path) -> Path:
    """The folder with its weights as PyTorch's own format instead."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    return path


def test_pickled_weights_are_read_as_numbers(tiny: Path) -> None:
    expected = first_token(tiny)
    assert first_token(pickled(tiny)) == expected


class Mine:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


def test_code_in_pickled_weights_is_not_run(tiny: Path, tmp_path: Path) -> None:
    import torch

    torch.save({"lm_head.weight": Mine(tmp_path / "taken")}, pickled(tiny) / "pytorch_model.bin")
    with pytest.raises(ModelFileInvalid, match="transformers does not take tiny") as refused:
        load(tiny)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "taken").exists()


def test_a_model_that_brings_code_is_refused(tiny: Path, tmp_path: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    names = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"}
    (tiny / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": names}))
    (tiny / "modeling_own.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w')\n")
    with pytest.raises(ModelFileInvalid, match="transformers does not take tiny"):
        load(tiny)
    assert not (tmp_path / "taken").exists()


def test_weights_that_do_not_fit_the_shape_are_refused(tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps(config | {"intermediate_size": 65}))
    with pytest.raises(ModelFileInvalid, match="transformers does not take tiny"):
        load(tiny)


def test_weights_that_are_missing_are_not_made_up(tiny: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tiny / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelFileInvalid, match="up_proj"):
        load(tiny)


def test_without_pytorch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    shape = {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8, "vocab_size": 9}
    (tmp_path / "config.json").write_text(json.dumps(shape | {"max_position_embeddings": 64}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"1234")
    with pytest.raises(ConfigError, match=r"pip install '\.\[transformers\]'"):
        load(tmp_path)


def test_every_byte_has_its_letter() -> None:
    """As the vocabularies of GPT-2 and Qwen spell them: Ġ is a space, Ċ a new line."""
    assert sorted(_letters().values()) == list(range(256))
    assert _by_letter("ĠhiĊ") == b" hi\n"
    assert _by_letter("ä½ł") == "你".encode()


def test_words_spell_bytes_and_spaces() -> None:
    assert _by_word("<0x0A>") == b"\n"
    assert _by_word(f"{SPACE}你") == " 你".encode()
