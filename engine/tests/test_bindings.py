"""The C API comes alone, and from this folder only."""

import os
import subprocess
import sys
from pathlib import Path

from edgechat_engine import lib, mtmd
from edgechat_engine.library import FOLDER

SCRIPT = "import sys; from edgechat_engine import lib; lib.llama_backend_init(); print(*sorted(sys.modules))"


def test_the_bindings_bring_nothing_heavy() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    modules = set(run.stdout.split())
    assert "edgechat_engine.lib" in modules
    assert not modules & {"numpy", "jinja2", "typing_extensions", "llama_cpp", "json"}


def test_every_library_is_ours() -> None:
    maps = Path("/proc/self/maps")
    if maps.exists():
        mapped = {line.split()[-1] for line in maps.read_text().splitlines() if "libggml" in line or "libllama" in line}
        assert mapped
        assert all(Path(path).parent == FOLDER for path in mapped)


def test_defaults_arrive_where_they_belong() -> None:
    """The compiler holds the structures to the headers; this holds the functions to returning them."""
    model, context = lib.llama_model_default_params(), lib.llama_context_default_params()
    assert model.use_extra_bufts
    assert not model.vocab_only
    assert context.n_batch == 2048
    assert context.no_perf
    assert not context.embeddings
    assert lib.llama_model_quantize_default_params().quantize_output_tensor


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.gguf"
    path.write_bytes(b"GGUF" + bytes(60))

    assert not lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())


def test_what_is_no_projector_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mmproj-no.gguf"
    path.write_bytes(b"GGUF" + bytes(60))
    wanted = mtmd.mtmd_context_params_default()

    assert wanted.media_marker == mtmd.mtmd_default_marker() == b"<__media__>"
    assert not mtmd.mtmd_init_from_file(os.fsencode(path), None, wanted)


def test_pictures_cost_those_nothing_who_see_none() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert "edgechat_engine.mtmd" not in run.stdout
