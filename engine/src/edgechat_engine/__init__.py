"""edgechat's engine: llama.cpp with kernels of our own in it, and its C API.

    native/          the shared libraries, as engine/CMakeLists.txt builds them
    library.py       … loaded, and which kernels of ours are in them
    needs.py         … and which could be, on a processor
    structures.py    what llama.h and mtmd.h pass about
    lib.py           llama.h's functions, as far as edgechat uses them
    mtmd.py          mtmd.h's: pictures

`python -m edgechat_engine` tells what it is. Importing it loads the library: one for another processor may end the
process.
"""

from edgechat_engine.library import clears_lazily, kernels
from edgechat_engine.needs import possible

__all__ = ["clears_lazily", "kernels", "possible"]
