"""The real model's weights as a folder of safetensors: what PyTorch reads."""

import warnings
from pathlib import Path
from typing import Any

import pytest

WHY = "PyTorch is not installed: pip install torch==2.13.0, then transformers accelerate gguf"


@pytest.fixture(scope="session")
def judge() -> Any:
    """The library `transformers`, where it and PyTorch are installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch", reason=WHY)
        pytest.importorskip("gguf", reason=WHY)
        pytest.importorskip("accelerate", reason=WHY)
        return pytest.importorskip("transformers", reason=WHY)


@pytest.fixture(scope="session")
def smollm2_folder(smollm2: Path, judge: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2's tensors, read by transformers' own reader of GGUF, with their tokenizer and template."""
    import torch

    folder, where = tmp_path_factory.mktemp("snapshot") / "smollm2", {"gguf_file": smollm2.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = judge.AutoModelForCausalLM.from_pretrained(smollm2.parent, dtype=torch.float32, **where)
        model.hf_quantizer = None  # the tensors are plain numbers now
        del model.config.quantization_config
        model.save_pretrained(folder)
        judge.AutoTokenizer.from_pretrained(smollm2.parent, **where).save_pretrained(folder)
    return folder
