"""Embeddings from llama.cpp: a model whose file says how to pool, in a context of its own.

All tokens of a text are computed at once, because some models read in both directions.
"""

import ctypes
import math
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgechat.engine.base import Progress
from edgechat.engine.fit import ENDLESS
from edgechat.engine.llama.engine import Vocabulary, load_model
from edgechat.engine.llama.memory import Forecast, give_back
from edgechat.errors import EngineFailed
from edgechat.types import Loading
from edgechat_engine import kernels, lib

_AS_THE_FILE_SAYS = -1  # llama_pooling_type


class LlamaEmbedder:
    """`Embedder` of base.py."""

    def __init__(self, path: Path, context: int, memory: int, threads: int, progress: Progress) -> None:
        """Load the GGUF at `path`. Raises what `LlamaCpp` raises."""
        progress(Loading(stage="header"))
        forecast = Forecast(path)
        planned = forecast.plan(context, memory or ENDLESS)
        self._model = load_model(path, progress)
        give_back(forecast.header, path)
        self._context = self._new_context(planned.context, threads, path)
        self._batch = lib.llama_batch_init(planned.context, 0, 1)
        self.tokenizer = Vocabulary(self._model)
        system = lib.llama_print_system_info().decode().strip(" |")
        engine = f"llama.cpp {system}"
        self.info = msgspec.structs.replace(planned, threads=threads, engine=engine, kernels=kernels())
        progress(Loading(stage="warm-up"))
        self.embed(self.tokens("warm"))  # reads every weight once

    def _new_context(self, tokens: int, threads: int, path: Path) -> ctypes.c_void_p:
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = tokens
        parameters.n_seq_max = 1
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.embeddings = True
        parameters.pooling_type = _AS_THE_FILE_SAYS
        parameters.flash_attn_type = 0
        parameters.no_perf = True
        context = lib.llama_init_from_model(self._model, parameters)
        if not context:
            raise EngineFailed(f"llama.cpp finds no memory for {tokens} tokens of {path.name}: try a smaller --memory.")
        return context

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, whole=True)

    def embed(self, tokens: Sequence[int]) -> bytes:
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        for row, token in enumerate(tokens):
            self._batch.token[row] = token
            self._batch.pos[row] = row
            self._batch.n_seq_id[row] = 1
            self._batch.seq_id[row][0] = 0
            self._batch.logits[row] = 1
        self._batch.n_tokens = len(tokens)
        status = lib.llama_decode(self._context, self._batch)
        vector = lib.llama_get_embeddings_seq(self._context, 0)
        if status or not vector:
            raise EngineFailed(f"llama.cpp could not compute a vector (status {status}).")
        values = vector[: self.info.dimensions]
        length = math.hypot(*values) or 1.0
        return struct.pack(f"<{len(values)}f", *(value / length for value in values))

    def set_threads(self, count: int) -> None:
        lib.llama_set_n_threads(self._context, count, count)
