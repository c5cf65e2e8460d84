# Read by CMake right after `project(llama_cpp)`. The Python package forces llama.cpp's helper library for its command
# line tools into the build; nothing here uses it, and without it the build takes half the time. A normal variable wins
# over the forced cache entry (CMake policies CMP0077 and CMP0126, both new since the package asks for 3.21).
set(LLAMA_BUILD_COMMON OFF)
