"""Memory of ggml's, for tests."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from edgechat_engine.library import function


@contextmanager
def buffer(size: int) -> Iterator[tuple[int, int]]:
    """A buffer of ggml's for the processor, and the address of its bytes."""
    pointer = ctypes.c_void_p
    kind = function("ggml_backend_cpu_buffer_type", pointer)()
    held = function("ggml_backend_buft_alloc_buffer", pointer, pointer, ctypes.c_size_t)(kind, size)
    try:
        yield held, function("ggml_backend_buffer_get_base", pointer, pointer)(held)
    finally:
        function("ggml_backend_buffer_free", None, pointer)(held)
