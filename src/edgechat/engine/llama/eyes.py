"""A projector in llama.cpp's libmtmd (multimodal encoder): pixels in, views out.

    pixels ─► scaled and padded ─► chunks: tokens · picture · tokens ─► the picture's vectors and places
              └ as the model was taught, all of it the library's own ┘

The projector is for one model, of which only the vocabulary is read here: what stands around a picture is tokens.
"""

import array
import ctypes
import os
import re
from collections.abc import Callable
from pathlib import Path

from edgechat.engine.base import Pixels, digest_of, made_up
from edgechat.errors import EngineFailed, ModelFileInvalid, ModelUnsupported
from edgechat.gguf.header import read_header
from edgechat.prompt.sight import SHARPEST, Sight, View
from edgechat_engine import lib, mtmd
from edgechat_engine.library import function

BLOCK = re.compile(rb"-(\d+)")  # in a node's name: the block of the tower that it belongs to
SCALED = "qwen"  # kinds of projectors that see a picture of any size whole
LOOK = 32  # steps of the encoder's graph from one question to the next: some milliseconds

_name_of = function("ggml_get_name", ctypes.c_char_p, ctypes.c_void_p)


class LlamaEyes:
    """`Eyes` of base.py."""

    def __init__(self, model: Path, projector: Path, digest: str, most: int = SHARPEST) -> None:
        """Load the GGUF at `projector`, whose SHA-256 is `digest`, for the model at `model`.

        Qwen's scale larger pictures down to `most` tokens. Raises ModelFileInvalid for what is no projector,
        ModelUnsupported for one that reads in both directions.
        """
        lib.llama_backend_init()
        words = lib.llama_model_default_params()
        words.no_alloc, words.load_mode = True, 0
        self._model = lib.llama_model_load_from_file(os.fsencode(model), words)
        if not self._model:
            raise ModelFileInvalid(f"llama.cpp does not take {model.name}: its vocabulary cannot be read.")
        self._watch = mtmd.ggml_backend_sched_eval_callback(self._step)
        wanted = mtmd.mtmd_context_params_default()
        wanted.use_gpu = wanted.warmup = False
        about = read_header(projector).metadata
        if str(about.get("clip.vision.projector_type") or about.get("clip.projector_type")).startswith(SCALED):
            wanted.image_max_tokens = most  # others cut a picture into tiles, as many cells each as they were taught
        wanted.flash_attn_type = 1  # in one pass, as in its warm-up: less memory, and a quarter of the time saved
        wanted.cb_eval = self._watch
        self._context = mtmd.mtmd_init_from_file(os.fsencode(projector), self._model, wanted)
        if not self._context or not mtmd.mtmd_support_vision(self._context):
            raise ModelFileInvalid(f"llama.cpp takes no pictures with {projector.name}.")
        if mtmd.mtmd_decode_use_non_causal(self._context, None):
            raise ModelUnsupported(
                f"{projector.name} makes pictures that are read in both directions at once: they are not served."
            )
        self._digest = digest
        self._goes_on: Callable[[float | None], bool] = lambda _: True
        self._blocks = about.get("clip.vision.block_count")
        self._steps, self._stopped = 0, False
        self._share: float | None = None  # done of the picture
        self._before, self._views = 0, 1

    def see(self, pixels: Pixels, threads: int, goes_on: Callable[[float | None], bool]) -> Sight | None:
        mtmd.engine_encode_threads(threads)
        self._goes_on, self._stopped = goes_on, False
        chunks = self._chunks(pixels)
        key = f"{self._digest} {digest_of(pixels)}"
        try:
            seen: list[tuple[int, ...] | View] = []
            found = [
                mtmd.mtmd_input_chunks_get(chunks, number) for number in range(mtmd.mtmd_input_chunks_size(chunks))
            ]
            are_text = [mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.TEXT for chunk in found]
            self._before, self._views = 0, are_text.count(False)
            for number, (chunk, is_text) in enumerate(zip(found, are_text, strict=True)):
                if is_text:
                    seen.append(_words(chunk))
                elif (view := self._view(chunk, f"{key} {number}")) is not None:
                    seen.append(view)
                else:
                    return None
            return tuple(seen)
        finally:
            mtmd.mtmd_input_chunks_free(chunks)

    def _chunks(self, pixels: Pixels) -> ctypes.c_void_p:
        """The picture as the model wants it, with what stands around it."""
        chunks: ctypes.c_void_p = mtmd.mtmd_input_chunks_init()
        bitmap = mtmd.mtmd_bitmap_init(pixels.width, pixels.height, pixels.rgb)
        mark = mtmd.mtmd_default_marker()
        text = mtmd.mtmd_input_text(mark, len(mark), False, True)
        try:
            pictures = (ctypes.c_void_p * 1)(bitmap)
            status = mtmd.mtmd_tokenize(self._context, chunks, ctypes.byref(text), pictures, 1)
        finally:
            mtmd.mtmd_bitmap_free(bitmap)
        if status:
            mtmd.mtmd_input_chunks_free(chunks)
            raise EngineFailed(f"the projector takes no picture of {pixels.width} × {pixels.height} (status {status}).")
        return chunks

    def _view(self, chunk: ctypes.c_void_p, key: str) -> View | None:
        """The picture of `chunk`, encoded; None where `goes_on` said no."""
        self._steps, self._share = 0, self._before / self._views if self._before else None
        status = mtmd.mtmd_encode_chunk(self._context, chunk)
        if self._stopped:
            return None
        self._before += 1
        count = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        vectors = mtmd.mtmd_get_output_embd(self._context)
        if status or not vectors:
            raise EngineFailed(f"the projector could not encode the picture (status {status}).")
        picture = mtmd.mtmd_input_chunk_get_tokens_image(chunk)
        places = array.array("i")
        for cell in range(count):
            at = mtmd.mtmd_image_tokens_get_decoder_pos(picture, 0, cell)
            places.extend((at.t, at.x, at.y))
        return View(
            cells=tuple(made_up(key, count)),
            positions=mtmd.mtmd_input_chunk_get_n_pos(chunk),
            places=places.tobytes(),
            vectors=ctypes.string_at(vectors, 4 * count * lib.llama_model_n_embd_inp(self._model)),
        )

    def _step(self, node: int, asked: bool, _data: int) -> bool:
        """Called before a node of the graph, whether to be told after it; and after such a node, whether to go on."""
        if asked:
            self._steps += 1
            if isinstance(self._blocks, int) and (block := BLOCK.search(_name_of(node))):
                self._share = (self._before + min(1.0, int(block[1]) / self._blocks)) / self._views
            return self._steps % LOOK == 0
        self._stopped = not self._goes_on(self._share)
        return not self._stopped


def _words(chunk: ctypes.c_void_p) -> tuple[int, ...]:
    """The tokens of `chunk`. Raises ModelUnsupported where the model has none of a name that the library asked for."""
    count = ctypes.c_size_t()
    tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
    words = tuple(tokens[: count.value])
    if min(words, default=0) < 0:
        raise ModelUnsupported("the projector marks pictures with tokens that this model does not have.")
    return words
