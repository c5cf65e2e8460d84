"""The shared libraries beside this file, loaded.

A library built for many processors has its arithmetic in modules, one for each of their generations:

    libllama ─► libggml ─► libggml-base
                   └─ loads the best of ─► libggml-cpu-haswell, libggml-cpu-zen4, …       (built for one: libggml-cpu)

It is loaded from beside the library, and from nowhere else: left to itself, the library would look into the current
folder, too.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from edgechat_engine.structures import llama_log_callback

_ERROR = 4  # ggml_log_level
FOLDER = Path(__file__).with_name("native")

# The library reads this when it aborts: without it, it tries to start a debugger.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

library = ctypes.CDLL(os.fspath(next(FOLDER.glob("libllama.*"))))


def function(name: str, result: Any, *arguments: Any, of: ctypes.CDLL = library) -> Callable[..., Any]:
    """The function `name` of a library or of one that it needs, with its C types."""
    found = of[name]
    found.restype, found.argtypes = result, arguments
    return found


@llama_log_callback
def log(level: int, text: bytes, _data: int) -> None:
    """Pass on what matters: the library's chatter stays inside."""
    if level == _ERROR:
        sys.stderr.write(text.decode(errors="replace"))


function("llama_log_set", None, llama_log_callback, ctypes.c_void_p)(log, None)
if any(FOLDER.glob("libggml-cpu-*")):
    function("ggml_backend_load_all_from_path", None, ctypes.c_char_p)(os.fsencode(FOLDER))

# Whether a context's memory is taken only as conversations grow: engine/memory.cpp does that.
clears_lazily = hasattr(library, "engine_clear")


class _Place(ctypes.Structure):
    """Dl_info: what dladdr tells of an address."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def processor_module() -> ctypes.CDLL:
    """The library that computes: of several, the one that was loaded. Raises OSError if none was."""
    registry = function("ggml_backend_reg_by_name", ctypes.c_void_p, ctypes.c_char_p)(b"CPU")
    if not registry:
        raise OSError(f"none of the modules in {FOLDER} runs on this processor")
    ask = function("ggml_backend_reg_get_proc_address", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    place = _Place()
    ctypes.CDLL(None).dladdr(ctypes.c_void_p(ask(registry, b"ggml_backend_get_features")), ctypes.byref(place))
    return ctypes.CDLL(os.fsdecode(place.file))


def kernels() -> tuple[str, ...]:
    """The kernels of ours in the library that computes here, by its own word; sorted, named as in needs.py."""
    module, found = processor_module(), {"lazy-clear"} if clears_lazily else set()
    if hasattr(module, "edgechat_kernel"):
        module.edgechat_kernel.restype = ctypes.c_char_p
        found |= {name.decode() for name in takewhile(bool, map(module.edgechat_kernel, count()))}
    return tuple(sorted(found))
