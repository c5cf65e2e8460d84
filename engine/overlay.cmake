# What is ours in llama.cpp. No file of it is changed: a function that is replaced gets another name in its own file, and
# ours, in kernels/, takes the old one. replaced.py makes sure that it is called.
#
#     ggml-cpu.c ── ggml_compute_forward_flash_attn_ext ──► kernels/x86/attention.cpp
#                                                              │ what it does not take
#     ggml-cpu/ops.cpp: stock_ggml_compute_forward_flash_attn_ext

# The functions after `file`, which is ggml's, are compiled as stock_….
function(replace file)
    list(TRANSFORM ARGN REPLACE "(.+)" "\\1=stock_\\1" OUTPUT_VARIABLE renamed)
    set_source_files_properties(
        "${llama}/ggml/src/${file}" DIRECTORY "${llama}/ggml/src" PROPERTIES COMPILE_DEFINITIONS "${renamed}"
    )
    set(replaced ${replaced} ${ARGN} PARENT_SCOPE)
endfunction()

# Fails the build unless replaced.py finds all of it in the target's object files.
function(check target)
    set(stamp "${CMAKE_BINARY_DIR}/${target}.checked")
    add_custom_command(
        OUTPUT "${stamp}"
        COMMAND "${Python_EXECUTABLE}" "${CMAKE_SOURCE_DIR}/replaced.py" "${CMAKE_NM}" ${ARGN} -- "$<TARGET_OBJECTS:${target}>"
        COMMAND "${CMAKE_COMMAND}" -E touch "${stamp}"
        DEPENDS ${target} "${CMAKE_SOURCE_DIR}/replaced.py" COMMAND_EXPAND_LISTS VERBATIM
    )
    set(checked ${checked} "${stamp}" PARENT_SCOPE)
endfunction()

set(kernels kernels/kernels.cpp)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    foreach(operation flash_attn_ext gated_delta_net ssm_conv concat)
        list(APPEND operations ggml_compute_forward_${operation})
    endforeach()
    replace(ggml-cpu/ops.cpp ${operations})
    replace(ggml-cpu/ggml-cpu.c ggml_graph_compute)
    replace(ggml-cpu/traits.cpp ggml_cpu_extra_compute_forward ggml_cpu_extra_work_size)
    replace(ggml-cpu/repack.cpp ggml_backend_cpu_repack_buffer_type)
    foreach(kind products steps layouts attention deltanet)
        list(APPEND kernels kernels/x86/${kind}.cpp)
    endforeach()
endif()
list(TRANSFORM kernels PREPEND "${CMAKE_SOURCE_DIR}/")

get_property(processors DIRECTORY "${llama}/ggml/src" PROPERTY BUILDSYSTEM_TARGETS)
list(FILTER processors INCLUDE REGEX "^ggml-cpu(-|$)") # one, or one for each generation of processors
list(FILTER processors EXCLUDE REGEX "-feats$")
foreach(target ${processors})
    target_sources(${target} PRIVATE ${kernels})
    target_include_directories(${target} PRIVATE kernels)
    if(replaced)
        check(${target} ${replaced})
    endif()
endforeach()

# The memory of a new context is cleared without being touched (memory.cpp).
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    foreach(pair kv-cache:engine_clear_cells context:engine_clear)
        string(REPLACE ":" ";" pair ${pair})
        list(GET pair 0 file)
        list(GET pair 1 clear)
        set_source_files_properties(
            "${llama}/src/llama-${file}.cpp" DIRECTORY "${llama}/src" PROPERTIES
            COMPILE_DEFINITIONS "ggml_backend_buffer_clear=${clear}"
        )
        list(APPEND clears llama-${file}.cpp:${clear})
    endforeach()
    target_sources(llama PRIVATE "${CMAKE_SOURCE_DIR}/memory.cpp")
    check(llama ${clears})
endif()

# How many threads encode a picture is told each time, not once for all (senses.cpp).
set_source_files_properties(
    "${llama}/tools/mtmd/mtmd.cpp" DIRECTORY "${llama}/tools/mtmd" PROPERTIES
    COMPILE_DEFINITIONS "clip_image_batch_encode=engine_encode"
)
target_sources(mtmd PRIVATE "${CMAKE_SOURCE_DIR}/senses.cpp")
check(mtmd mtmd.cpp:engine_encode)

# The bindings' structures are laid out as llama.h, ggml.h and mtmd.h have them, or these files of assertions do not compile.
set(structures "${CMAKE_SOURCE_DIR}/src/edgechat_engine/structures.py")
foreach(target llama mtmd)
    set(layout "${CMAKE_BINARY_DIR}/layout-${target}.cpp")
    execute_process(
        COMMAND "${Python_EXECUTABLE}" "${structures}" ${target} OUTPUT_FILE "${layout}" COMMAND_ERROR_IS_FATAL ANY
    )
    target_sources(${target} PRIVATE "${layout}")
    set_source_files_properties("${layout}" TARGET_DIRECTORY ${target} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${structures}")
set_source_files_properties(
    "${CMAKE_SOURCE_DIR}/memory.cpp" TARGET_DIRECTORY llama PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON
)

# AddressSanitizer over all of ggml, since it is ggml's memory that the kernels read and write.
if(EDGECHAT_SANITIZE)
    set(undefined -fsanitize=undefined -fno-sanitize-recover=undefined)
    set_source_files_properties(${kernels} TARGET_DIRECTORY ${processors} PROPERTIES COMPILE_OPTIONS "${undefined}")
    set_source_files_properties(
        "${CMAKE_SOURCE_DIR}/memory.cpp" TARGET_DIRECTORY llama PROPERTIES COMPILE_OPTIONS "-fsanitize=address;${undefined}"
    )
    foreach(target ggml-base ${processors})
        target_compile_options(${target} PRIVATE -fsanitize=address -fno-omit-frame-pointer -O1 -g -UNDEBUG)
    endforeach()
    foreach(target llama mtmd ggml-base ${processors})
        target_link_options(${target} PRIVATE -fsanitize=address,undefined)
    endforeach()
endif()
