"""PyTorch by way of transformers: a folder of safetensors, float32, on the processor. The extra `transformers`.

It is a yardstick: how most people run such a model first, and the judge of whether llama.cpp computes the same. Nothing
is quantised, and each part of a step is a forward pass of its own. What it has in common with every engine here: keys
and values stay between the turns of a conversation.

A folder is a stranger's. Its code is never run (a model that needs some is refused), pickled weights are read by
`weights_only`, and nothing is fetched.
"""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgechat.engine.base import Cuts, Guide, Progress, Slice, uncuttable
from edgechat.engine.draw import Draw
from edgechat.engine.torch import snapshot
from edgechat.engine.torch.vocabulary import Vocabulary
from edgechat.errors import ConfigError, EngineFailed, ModelFileInvalid
from edgechat.types import Loading, ModelInfo, Sampling

Floats = NDArray[np.float32]
MISSING = (
    "--engine transformers needs PyTorch in a build for the processor, then "
    "pip install '.[transformers]' in edgechat's folder; "
    "or leave --engine away."
)
KINDS = ("keys", "values")  # what a layer holds of every token


class Transformers:
    """A model of transformers; `Engine` and `Scorer` of base.py. Each sequence has a cache of its own."""

    max_batch = snapshot.PIECE
    cuts: Cuts = "anywhere"
    checkpoints = 0
    spared = 0

    def __init__(self, path: Path, context: int, memory: int, threads: int, progress: Progress) -> None:
        """Load the folder at `path`: `context` tokens a conversation, all within `memory` bytes (0: see memory.py).

        Raises ModelFileInvalid when it is no such model, ModelUnsupported when its memory cannot be cut, ConfigError
        when it does not fit or PyTorch is not there.
        """
        progress(Loading(stage="header"))
        headers = snapshot.read(path)
        planned = headers.plan(context, memory)
        self._torch, transformers = _libraries()
        self._torch.set_num_threads(threads)
        progress(Loading(stage="weights"))
        where = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **where)
            self._model, found = transformers.AutoModelForCausalLM.from_pretrained(
                path,
                dtype=self._torch.float32,
                use_safetensors=headers.safe,
                weights_only=True,
                output_loading_info=True,
                **where,
            )
        except Exception as error:  # the folder is foreign: anything may come out of it
            raise ModelFileInvalid(f"transformers does not take {path.name}: {_line(error)}") from error
        if found["missing_keys"]:  # they would be random numbers
            raise ModelFileInvalid(f"{path.name} lacks weights, such as {min(found['missing_keys'])}.")
        self._model.eval()
        self._new_cache = transformers.DynamicCache
        takes = signature(self._model.forward).parameters
        self._keeps = "cache" if "cache" in takes else "past_key_values"  # its name before transformers 5.24
        self._caches: dict[int, Any] = {}
        self.sequences = max(2, planned.cells // planned.context)  # each may hold a whole conversation
        self.template: str | None = _template(tokenizer.chat_template)
        self.tokenizer = Vocabulary(tokenizer, self._model)
        engine = f"transformers {version('transformers')}, torch {self._torch.__version__}, float32"
        self.info: ModelInfo = snapshot.info(headers, planned, threads, engine)
        progress(Loading(stage="warm-up"))
        self.step([Slice(0, 0, [0])])
        self._check_cache()
        self.trim(0)

    def _check_cache(self) -> None:
        """A model that keeps a state instead of keys and values can be neither shared nor trimmed."""
        held = [getattr(layer, "keys", None) for layer in self._caches[0].layers]
        if len(held) != self._model.config.num_hidden_layers or any(one is None or one.ndim != 4 for one in held):
            raise uncuttable(self._model.config.model_type)

    def sampler(self, sampling: Sampling, guide: Guide | None = None, top: int | None = None) -> Draw:
        return Draw(sampling, self.tokenizer, guide, top)

    def step(self, batch: Sequence[Slice]) -> list[int | None]:
        if sum(len(part.tokens) for part in batch) > self.max_batch:
            raise EngineFailed("the step is larger than the engine takes.")
        drawn: list[int | None] = []
        for part in batch:
            (row,) = self._forward(part.seq, part.start, part.tokens, 1)
            drawn.append(part.sampler.draw(row) if isinstance(part.sampler, Draw) else None)
        return drawn

    def logits(self, seq: int, start: int, tokens: Sequence[int]) -> Floats:
        return self._forward(seq, start, tokens, len(tokens))

    def _forward(self, seq: int, start: int, tokens: Sequence[int], rows: int) -> Floats:
        """Feed `tokens` to `seq` from `start`; the logits of the last `rows` of them, (rows, vocabulary)."""
        cache = self._caches.setdefault(seq, self._new_cache())
        if cache.get_seq_length() != start:
            raise EngineFailed(f"sequence {seq} has {cache.get_seq_length()} tokens, the slice starts at {start}.")
        try:
            with self._torch.inference_mode():
                ids = self._torch.tensor([list(tokens)])
                kept = {self._keeps: cache, "use_cache": True}
                found = self._model(ids, logits_to_keep=rows, **kept).logits[0]
        except (RuntimeError, IndexError) as error:
            raise EngineFailed(f"PyTorch could not compute a step: {_line(error)}") from error
        logits: Floats = found.float().numpy().copy()  # tensors of inference mode cannot be written to
        return logits

    def trim(self, seq: int, start: int = 0, end: int | None = None) -> None:
        """As in base.py. What lies in the middle stays: this sequence's own copy, until `share` writes over it."""
        cache = self._caches.get(seq)
        if cache is None or (end is not None and end < cache.get_seq_length()) or start >= cache.get_seq_length():
            return
        if start == 0:
            del self._caches[seq]
        else:
            self._caches[seq] = self._joined([(cache, 0, start)])

    def share(self, source: int, target: int, start: int, end: int, checkpoint: bytes | None = None) -> None:
        del checkpoint  # nobody has one
        held, into = self._caches.get(source), self._caches.get(target)
        if held is None or held.get_seq_length() < end:
            raise EngineFailed(f"sequence {source} does not hold {start} to {end}.")
        length = into.get_seq_length() if into is not None else 0
        if length < start:
            raise EngineFailed(f"sequence {target} has {length} tokens, none from there to {start}.")
        self._caches[target] = self._joined([(into, 0, start), (held, start, end), (into, end, length)])

    def checkpoint(self, seq: int) -> bytes:
        raise EngineFailed(f"sequence {seq} has keys and values, and no running state.")

    def _joined(self, spans: Sequence[tuple[Any, int, int]]) -> Any:
        """A new cache of the positions [start, end) of each (cache, start, end), empty ones left out."""
        whole = [(cache, start, end) for cache, start, end in spans if start < end]
        joined = self._new_cache()
        for layer in range(len(whole[0][0].layers)):
            keys, values = (
                self._torch.cat([getattr(cache.layers[layer], kind)[:, :, start:end] for cache, start, end in whole], 2)
                for kind in ("keys", "values")
            )
            joined.update(keys, values, layer)
        return joined

    def save(self, seq: int) -> bytes:
        from safetensors.numpy import save

        cache = self._caches.get(seq)
        layers = cache.layers if cache is not None else []
        return bytes(
            save({f"{n}.{kind}": getattr(one, kind).numpy() for n, one in enumerate(layers) for kind in KINDS})
        )

    def restore(self, seq: int, state: bytes) -> bool:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            held = load(state)
        except SafetensorError:
            return False
        layers = self._model.config.num_hidden_layers
        if held.keys() != {f"{n}.{kind}" for n in range(layers) for kind in KINDS}:
            return False
        cache = self._new_cache()
        for layer in range(layers):
            keys, values = (self._torch.from_numpy(np.array(held[f"{layer}.{kind}"])) for kind in KINDS)
            cache.update(keys, values, layer)
        self._caches[seq] = cache
        return True

    def set_threads(self, count: int) -> None:
        if count != self._torch.get_num_threads():
            self._torch.set_num_threads(count)

    def close(self) -> None:
        self._caches.clear()
        del self._model


def _libraries() -> tuple[Any, Any]:
    """(torch, transformers). Raises ConfigError where they are not installed."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise ConfigError(MISSING)
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers


def _template(found: Any) -> str | None:
    """The chat template; of several, the one for everyday."""
    return found.get("default") if isinstance(found, dict) else found


def _line(error: Exception) -> str:
    """The first line of a complaint."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".") + "."
