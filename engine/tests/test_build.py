"""How the engine is built: sources as pinned, nothing replaced that nobody calls."""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ENGINE = Path(__file__).parent.parent
sys.path.insert(0, str(ENGINE))

import fetch  # noqa: E402
import replaced  # noqa: E402

OBJECTS = """\
ggml-cpu.c.o:                  U product
repack.cpp.o: 0000000000000000 T stock_product
ours.cpp.o:   0000000000000040 T product
kv.cpp.o:                      U _ours
"""
NAMES = ["product", "kv.cpp:ours"]


def test_all_is_called() -> None:
    assert replaced.faults(OBJECTS, NAMES) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("T stock_product", "llama.cpp has no function product any more"),
        ("T product", "product is not among our functions"),
        ("U product", "nobody calls product any more"),
        ("U _ours", "kv.cpp no longer calls what ours replaces"),
    ],
)
def test_a_function_of_another_name_is_told(line: str, said: str) -> None:
    renamed = OBJECTS.replace(line, f"{line}_v2")
    assert replaced.faults(renamed, NAMES) == [said]


def test_the_version_is_llama_cpps_and_ours() -> None:
    name, _ = fetch.pinned(fetch.PIN.read_text())
    version = tomllib.loads((ENGINE / "pyproject.toml").read_text())["project"]["version"]
    found = re.fullmatch(r"llama_cpp_python-(.+)\.tar\.gz", name)
    assert found is not None
    assert re.fullmatch(re.escape(found[1]) + r"\.\d+", version)


def archive(path: Path, *names: str) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))


def test_only_what_a_build_needs_is_unpacked(tmp_path: Path) -> None:
    inside = "llama-1/vendor/llama.cpp"
    archive(
        tmp_path / "a.tar.gz", f"{inside}/src/a.cpp", f"{inside}/models/a.gguf", "llama-1/setup.py", f"{inside}/LICENSE"
    )
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "old.cpp").touch()
    fetch.unpack(tmp_path / "a.tar.gz", tmp_path / "to")
    assert sorted(str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*.*")) == ["src/a.cpp"]
    assert (tmp_path / "to" / "LICENSE").exists()


@pytest.mark.parametrize("brought", [b"good", b"other"])
def test_other_bytes_are_not_taken(brought: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the cache is held to the hash, and so is what pip brings."""
    kept, pin = tmp_path / "llama-1.0.tar.gz", tmp_path / "pin.txt"
    pin.write_text(f"llama==1.0 --hash=sha256:{hashlib.sha256(b'good').hexdigest()}\n")
    kept.write_bytes(b"bad")

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        Path(command[command.index("--dest") + 1], kept.name).write_bytes(brought)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(fetch, "PIN", pin)
    monkeypatch.setattr(subprocess, "run", pip)
    if brought == b"good":
        assert fetch.distribution(tmp_path).read_bytes() == b"good"
    else:
        with pytest.raises(ValueError, match="is pinned"):
            fetch.distribution(tmp_path)
        assert kept.read_bytes() == b"bad"
