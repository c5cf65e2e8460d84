"""llama.cpp, through its C API (edgechat_engine).

Only the C API gives what a scheduler needs: sequences, batches of our own making, samplers, states. Nearly all of a
step's time is spent in C, so a loop in Python costs nothing.

Choices, each measured on two cores: flash attention on, unless tuning found it slower (near the beginning of a
conversation a step is a sixth shorter, and a small model's conversation takes a third less memory; far into one, a
writer's step beside a newcomer's prompt is a tenth longer); logits only where a token is drawn (they would take 300 MB
for a full batch of Qwen's vocabulary); 16-bit KV.
"""

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from edgechat.engine.base import Cuts, Guide, Progress, Slice, uncuttable
from edgechat.engine.draw import Draw
from edgechat.engine.llama import huge, show, states
from edgechat.engine.llama import memory as memory_plan
from edgechat.engine.llama.memory import UBATCH
from edgechat.engine.llama.places import Places
from edgechat.errors import EngineFailed, ModelFileInvalid
from edgechat.gguf.header import Header, read_header
from edgechat.prompt.tokenizer import Tokenizer
from edgechat.types import Loading, ModelInfo, Sampling
from edgechat_engine import clears_lazily, kernels, lib

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPARED = 1024  # cells; Engine.spared of base.py
MAX_BATCH = 512  # tokens the library is set up to take in one step
_CONTROL, _USER_DEFINED = 8, 16  # llama_token_attr


class Vocabulary:
    """Tokenizer over the model's vocabulary. Reading it is safe from any thread."""

    def __init__(self, model: ctypes.c_void_p) -> None:
        self._vocab = lib.llama_model_get_vocab(model)
        self.size = int(lib.llama_vocab_n_tokens(self._vocab))
        kinds = [lib.llama_vocab_get_attr(self._vocab, token) for token in range(self.size)]
        self.specials = self._with(_CONTROL, kinds)
        self.added = self._with(_USER_DEFINED, kinds)
        adds_bos = lib.llama_vocab_get_add_bos(self._vocab)
        self.bos: int | None = int(lib.llama_vocab_bos(self._vocab)) if adds_bos else None

    def _with(self, attribute: int, kinds: Sequence[int]) -> dict[str, int]:
        return {
            lib.llama_vocab_get_text(self._vocab, token).decode(errors="replace"): token
            for token, kind in enumerate(kinds)
            if kind & attribute
        }

    def encode(self, text: str, whole: bool = False) -> list[int]:
        """Ids of `text` as plain content; `whole` puts the control tokens around it that the model expects."""
        data = text.encode()
        most = len(data) + 8
        ids = (lib.llama_token * most)()
        count = lib.llama_tokenize(self._vocab, data, len(data), ids, most, whole, False)
        if count < 0:
            raise EngineFailed("the text could not be turned into tokens.")
        return ids[:count]

    def piece(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = lib.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def is_end(self, token: int) -> bool:
        return bool(lib.llama_vocab_is_eog(self._vocab, token))


def load_model(path: Path, progress: Progress) -> ctypes.c_void_p:
    """The weights at `path`. Raises ModelFileInvalid when llama.cpp does not take them."""
    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()

    @lib.llama_progress_callback
    def told(fraction: float, _data: ctypes.c_void_p) -> bool:
        progress(Loading(stage="weights", fraction=round(fraction, 2)))
        return True

    parameters.progress_callback = told
    model = lib.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise ModelFileInvalid(
            f"llama.cpp does not take {path.name}: its architecture is unknown or its tensors do not fit."
        )
    return model


class LlamaCpp:
    """A GGUF model in llama.cpp; `Engine` of base.py."""

    max_batch = MAX_BATCH

    def __init__(
        self,
        path: Path,
        context: int,
        memory: int,
        threads: int,
        progress: Progress,
        ubatch: int = UBATCH,
        flash: bool = True,
    ) -> None:
        """Load the GGUF at `path`: `context` tokens a conversation, all within `memory` bytes (0: see memory.py).

        `ubatch` tokens, at most UBATCH, are computed at once; `flash` computes attention in one pass.

        Raises ModelFileInvalid when the file is no whole GGUF, ModelUnsupported when the model's memory cannot be cut,
        ConfigError when it does not fit, EngineFailed when llama.cpp refuses it.
        """
        progress(Loading(stage="header"))
        header = read_header(path)
        planned = memory_plan.plan(header, context, memory, flash)
        self.sequences, self.checkpoints = planned.room
        self.template, self._flash = header.template, flash
        with ThreadPoolExecutor(1) as pool:  # each takes a tenth of a second, and the library leaves Python alone
            pool.submit(import_module, "numpy")  # nobody's first answer waits for it
            self._model = load_model(path, progress)
            self._set_cuts(header, planned.context)
            memory_plan.give_back(header, path)
            vocabulary = pool.submit(Vocabulary, self._model)
            self._context = self._new_context(planned.cells, path, min(ubatch, UBATCH), flash)
            self._ahead, self._blanks = huge.Ahead(huge.caches()), states.Blanks()
            self._memory = lib.llama_get_memory(self._context)
            self._places, self._shape = Places(), show.shape_of(self._model)
            self._batch = lib.llama_batch_init(MAX_BATCH, 0, 1)
            progress(Loading(stage="warm-up"))
            before = psutil.Process().memory_info().rss
            self.step([Slice(0, 0, [0])])  # reads every weight once: the first writer need not wait for the disk
            touched = psutil.Process().memory_info().rss - before  # of the cache, most of all: its pages may be large
            self.trim(0)
            self.tokenizer: Tokenizer = vocabulary.result()
        self._enlarging = memory_plan.enlarge(header, path)
        self.set_threads(threads)
        self.info = ModelInfo(
            context=planned.context,
            cells=planned.cells,
            memory=planned.bytes,
            later=max(0, memory_plan.growing(header, planned) - touched) if clears_lazily else 0,
            notes=planned.notes,
            vocabulary=self.tokenizer.size,
            parameters=int(lib.llama_model_n_params(self._model)),
            recipe=header.label,
            threads=threads,
            engine=f"llama.cpp{' with flash attention' * flash} {lib.llama_print_system_info().decode().strip(' |')}",
            kernels=kernels(),
            family=header.architecture,
        )
        if self.checkpoints and not states.branches(self):
            raise uncuttable(header.architecture)

    @property
    def spared(self) -> int:
        """All, where attention passes over what no row of a step looks at.

        A running state that must be put away with its cells is as large as thousands, and few layers look at cells.
        """
        passes = self._flash and "attention" in self.info.kernels
        return self.info.cells if passes else SPARED if self.checkpoints else 0

    def _set_cuts(self, header: Header, context: int) -> None:
        """Note where memory can be cut, by the library's word. Raises ModelUnsupported where the plan had none."""
        self._window, has_states = int(lib.llama_model_n_swa(self._model)), states.has_states(self._model)
        self.cuts: Cuts = "checkpoints" if has_states or 0 < self._window < context else "anywhere"
        if self.cuts == "anywhere":
            self.checkpoints = 0
        elif not self.checkpoints or (has_states and self._window):  # of the two, nobody knows which one is cut
            raise uncuttable(header.architecture)

    def _new_context(self, cells: int, path: Path, ubatch: int, flash: bool) -> ctypes.c_void_p:
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = cells
        parameters.n_batch = MAX_BATCH
        parameters.n_ubatch = ubatch
        parameters.n_seq_max = self.sequences
        parameters.n_outputs_max = self.sequences
        parameters.n_threads = parameters.n_threads_batch = 1  # for the warm-up: others use the cores, too
        parameters.flash_attn_type = int(flash)
        parameters.kv_unified = True
        parameters.no_perf = True
        context = lib.llama_init_from_model(self._model, parameters)
        if not context:
            raise EngineFailed(f"llama.cpp finds no memory for {cells} tokens of {path.name}: try a smaller --memory.")
        return context

    def sampler(self, sampling: Sampling, guide: Guide | None = None, top: int | None = None) -> Draw:
        return Draw(sampling, self.tokenizer, guide, top)

    def step(self, batch: Sequence[Slice]) -> list[int | None]:
        self._check_states(batch)
        drawn: dict[int, int | None] = {}
        spoken = [at for at, part in enumerate(batch) if part.glance is None]
        shown = [at for at, part in enumerate(batch) if part.glance is not None]
        for places in filter(None, (spoken, shown)):  # it takes no vectors beside tokens
            parts = [batch[at] for at in places]
            status, rows = self._decode_tokens(parts) if places is spoken else self._decode_vectors(parts)
            if status:
                raise EngineFailed(f"llama.cpp could not compute a step (status {status}).")
            for at, part, row in zip(places, parts, rows, strict=True):
                drawn[at] = part.sampler.draw(self._logits(row)) if isinstance(part.sampler, Draw) else None
        self._ahead.grew(sum(len(part.tokens) for part in batch))
        return [drawn[at] for at in range(len(batch))]

    def _decode_tokens(self, batch: Sequence[Slice]) -> tuple[int, list[int]]:
        rows = self._fill(batch)
        return lib.llama_decode(self._context, self._batch), rows

    def _decode_vectors(self, batch: Sequence[Slice]) -> tuple[int, list[int]]:
        for part in batch:
            if part.glance is not None and not part.glance.first:
                self._places.show(part.seq, part.start, part.glance.view)
        return show.decode(self._context, batch, self._places, self._shape)

    def _logits(self, row: int) -> "NDArray[np.float32]":
        """(vocabulary,) logits after the batch's row `row`, in the library's memory: the next step writes over them."""
        import numpy as np

        return np.ctypeslib.as_array(lib.llama_get_logits_ith(self._context, row), (self.info.vocabulary,))

    def _check_states(self, batch: Sequence[Slice]) -> None:
        """A running state of another place would be gone on from without a word. Raises EngineFailed."""
        for part in batch if self.checkpoints else ():
            at = self._places.position(part.seq, part.start - 1) + 1 if part.start else 0
            if not states.goes_on(self._memory, part.seq, at, self._window):
                raise EngineFailed(f"the running state of sequence {part.seq} is not that of {part.start} tokens.")

    def _fill(self, batch: Sequence[Slice]) -> list[int]:
        """Write `batch` into the C structure; returns the row of each slice's last token."""
        into, row, rows = self._batch, 0, []
        for part in batch:
            for position, token in enumerate(part.tokens, self._places.position(part.seq, part.start)):
                into.token[row] = token
                into.pos[row] = position
                into.n_seq_id[row] = 1
                into.seq_id[row][0] = part.seq
                into.logits[row] = 0
                row += 1
            into.logits[row - 1] = part.sampler is not None
            rows.append(row - 1)
        into.n_tokens = row
        return rows

    def logits(self, seq: int, start: int, tokens: Sequence[int]) -> "NDArray[np.float32]":
        import numpy as np

        self._check_states([Slice(seq, start, tokens)])
        (row,) = self._fill([Slice(seq, start, tokens)])
        for each in range(row + 1):
            self._batch.logits[each] = 1
        status = lib.llama_decode(self._context, self._batch)
        if status:
            raise EngineFailed(f"llama.cpp could not compute a step (status {status}).")
        held = np.ctypeslib.as_array(lib.llama_get_logits(self._context), (row + 1, self.info.vocabulary))
        return held.copy()  # the next step writes over it

    def trim(self, seq: int, start: int = 0, end: int | None = None) -> None:
        first, last = self._places.cut(seq, start), -1 if end is None else self._places.cut(seq, end)
        if not lib.llama_memory_seq_rm(self._memory, seq, first, last):
            raise EngineFailed(f"llama.cpp does not cut sequence {seq} from {start} to {end}.")
        self._places.trim(seq, start, end)

    def share(self, source: int, target: int, start: int, end: int, checkpoint: bytes | None = None) -> None:
        # It says nothing; but a step that goes on from positions that are not there is refused.
        first, last = self._places.cut(source, start), self._places.cut(source, end)
        lib.llama_memory_seq_cp(self._memory, source, target, first, last)
        self._places.share(source, target, start, end)
        if checkpoint is not None:
            states.put(self._context, target, checkpoint)

    def checkpoint(self, seq: int) -> bytes:
        if not self.checkpoints:
            raise EngineFailed(f"sequence {seq} has keys and values, and no running state.")
        return states.take(self._context, seq, room=self._blanks.take)

    def save(self, seq: int) -> bytes:
        return states.take(self._context, seq, states.WHOLE, self._places.saved(seq))

    def restore(self, seq: int, state: bytes) -> bool:
        head = self._places.restore(seq, state)
        if head is None:
            return False
        try:
            states.put(self._context, seq, state, states.WHOLE, head)
        except EngineFailed:
            return False
        return True

    def set_threads(self, count: int) -> None:
        lib.llama_set_n_threads(self._context, count, count)  # its own line is drawn at one token, not at prompts

    def settle(self) -> None:
        self._enlarging.wait()

    def close(self) -> None:
        self._enlarging.end()
        self._ahead.end()
        self._blanks.end()
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._context)
        lib.llama_model_free(self._model)
