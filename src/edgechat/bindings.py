"""llama.cpp's C API, and nothing else of the package that binds it.

The package's own front loads its high-level classes, numpy and a chat-template engine among them: a third of a second
(a whole one on small boards) and 25 MB in every worker, for things that nothing here uses. So its modules are imported
from a package without a front.

A library built for many processors (scripts/engine.py --portable) has its arithmetic in modules, one for each of their
generations. The best that this processor can run is loaded from beside the library, and from nowhere else: left to
itself, the library would look into the current folder, too.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

# The library reads this when it aborts: without it, it tries to start a debugger.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

if "llama_cpp" not in sys.modules and (spec := find_spec("llama_cpp")) is not None:
    package = ModuleType("llama_cpp", spec.origin)
    package.__path__ = list(spec.submodule_search_locations or ())
    package.__spec__ = spec
    sys.modules["llama_cpp"] = package

import llama_cpp.llama_cpp as lib

_folder = Path(lib.__file__).with_name("lib")
if any(_folder.glob("libggml-cpu-*")):
    lib._lib.ggml_backend_load_all_from_path(os.fsencode(_folder))

# Whether a context's memory is taken only as conversations grow: our own build does that (scripts/engine_memory.cpp).
clears_lazily = hasattr(lib._lib, "engine_clear")

__all__ = ["clears_lazily", "lib"]
