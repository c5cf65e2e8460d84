"""The vocabulary of a real model, without its weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgechat.engine.llama.engine import Vocabulary
from edgechat_engine import lib


@contextmanager
def vocabulary_of(path: Path) -> Iterator[Vocabulary]:
    """The tokenizer of the GGUF at `path`."""
    parameters = lib.llama_model_default_params()
    parameters.vocab_only = True
    model = lib.llama_model_load_from_file(str(path).encode(), parameters)
    assert model
    yield Vocabulary(model)
    lib.llama_model_free(model)
