# Read by CMake right after `project(llama_cpp)`. The Python package forces llama.cpp's helper library for its command
# line tools into the build; nothing here uses it, and without it the build takes half the time. A normal variable wins
# over the forced cache entry (CMake policies CMP0077 and CMP0126, both new since the package asks for 3.21).
set(LLAMA_BUILD_COMMON OFF)

# Products of matrices (engine_interleaved.cpp, engine_blocks.cpp) and attention (engine_attention.cpp) are ours, where the
# processor has what they need; ggml's functions stay under another name. Called at the end of the configuration, when
# ggml's targets are there.
function(replace_functions)
    if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
        return()
    endif()
    set(ggml "${CMAKE_SOURCE_DIR}/vendor/llama.cpp/ggml/src")
    foreach(name gemv_q4_0 gemm_q4_0 gemv_iq4_nl gemm_iq4_nl)
        list(APPEND renamed "ggml_${name}_8x8_q8_0=stock_ggml_${name}_8x8_q8_0")
    endforeach()
    set_source_files_properties(
        "${ggml}/ggml-cpu/arch/x86/repack.cpp" DIRECTORY "${ggml}" PROPERTIES COMPILE_DEFINITIONS "${renamed}"
    )
    set_source_files_properties(
        "${ggml}/ggml-cpu/ops.cpp" DIRECTORY "${ggml}" PROPERTIES
        COMPILE_DEFINITIONS "ggml_compute_forward_flash_attn_ext=stock_ggml_compute_forward_flash_attn_ext"
    )
    set_source_files_properties(
        "${ggml}/ggml-cpu/llamafile/sgemm.cpp" DIRECTORY "${ggml}" PROPERTIES
        COMPILE_DEFINITIONS "llamafile_sgemm=stock_llamafile_sgemm"
    )
    get_property(targets DIRECTORY "${ggml}" PROPERTY BUILDSYSTEM_TARGETS)
    list(FILTER targets INCLUDE REGEX "^ggml-cpu(-|$)") # one, or one for each generation of processors
    foreach(target ${targets})
        get_target_property(sources ${target} SOURCES)
        if("${sources}" MATCHES "arch/x86/repack.cpp")
            foreach(ours interleaved blocks attention)
                target_sources(${target} PRIVATE "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/engine_${ours}.cpp")
            endforeach()
        endif()
    endforeach()
endfunction()
cmake_language(DEFER CALL replace_functions)

# The memory of a new context is cleared without being touched (engine_memory.cpp).
function(replace_clearing)
    if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
        return()
    endif()
    set(llama "${CMAKE_SOURCE_DIR}/vendor/llama.cpp/src")
    set_source_files_properties(
        "${llama}/llama-kv-cache.cpp" "${llama}/llama-context.cpp" DIRECTORY "${llama}" PROPERTIES
        COMPILE_DEFINITIONS "ggml_backend_buffer_clear=engine_clear"
    )
    target_sources(llama PRIVATE "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/engine_memory.cpp")
endfunction()
cmake_language(DEFER CALL replace_clearing)
