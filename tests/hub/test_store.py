"""What is on disk: whole or absent, and looked at without a byte being read twice."""

import os
import shutil
from pathlib import Path
from threading import Event

import pytest

from edgechat.errors import ConfigError
from edgechat.hub import hashes
from edgechat.hub.store import Store
from tests.hub.conftest import CONTENT, NEW, made_up, published, sha256


def test_an_empty_store_writes_nothing(store: Store) -> None:
    assert (store.list(), store.find("tiny"), store.by_reference("x")) == ([], None, None)
    assert not store.models.exists()


@pytest.mark.parametrize(
    "name", ["../tiny", "..", "", "tiny/../tiny", "blobs", "staging", "/etc/passwd", "tiny\x00", "tiny\n", "TINY"]
)
def test_other_names_find_nothing(store: Store, name: str) -> None:
    published(store)
    assert store.find(name) is None


def test_a_model_that_is_not_whole_is_not_there(store: Store, tmp_path: Path) -> None:
    stored = published(store)
    stored.path.chmod(0o644)
    os.truncate(stored.path, 10)
    assert store.find("tiny") is None

    stored = published(store)
    assert store.find("tiny") == stored  # a pull mends it

    outside = tmp_path / "outside.gguf"
    shutil.move(stored.path, outside)
    assert store.find("tiny") is None
    stored.path.symlink_to(outside)
    assert store.find("tiny") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"manifest":{},"asked":"","pulled":""}', b"\xff"])
def test_a_damaged_marker_counts_as_none(store: Store, content: bytes) -> None:
    published(store)
    (store.models / "tiny.json").write_bytes(content)
    assert store.find("tiny") is None
    assert store.list() == []


def test_a_marker_under_another_name_or_with_a_made_up_hash_counts_as_none(store: Store) -> None:
    published(store)
    marker = (store.models / "tiny.json").read_bytes()
    (store.models / "other.json").write_bytes(marker)
    assert store.find("other") is None
    (store.models / "tiny.json").write_bytes(marker.replace(sha256(CONTENT).encode(), b"../../x"))
    assert store.find("tiny") is None


# ── files that lie elsewhere ──


def test_a_local_file_is_described_where_it_lies(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "Own.gguf"
    path.write_bytes(CONTENT)
    stored = store.local(path)
    assert (stored.name, stored.path, stored.sha256, stored.pulled) == ("own", path, sha256(CONTENT), None)
    assert store.local(path, reserved=["own"]).name == f"own-{sha256(CONTENT)[:8]}"


def test_a_folder_with_one_model_is_that_model(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "Some Model"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"no model in the folder .*Some Model: no \.gguf file, and no snapshot"):
        store.local(folder)
    (folder / "m-00001-of-00002.gguf").write_bytes(CONTENT)
    (folder / "m-00002-of-00002.gguf").write_bytes(NEW)
    (folder / "run.py").write_text("raise SystemExit")
    stored = store.local(folder)
    assert (stored.name, stored.path, stored.size) == ("m", folder / "m-00001-of-00002.gguf", 190_000)
    assert store.local(folder / "m-00001-of-00002.gguf").sha256 == stored.sha256
    (folder / "other.gguf").write_bytes(CONTENT)
    with pytest.raises(
        ConfigError, match=r"Some Model holds several models: name one of them, such as .*/Some Model/m-0"
    ):
        store.local(folder)


def test_a_snapshot_on_disk_is_its_folder(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(CONTENT)
    assert (store.local(folder).path, store.local(folder).name) == (folder, "snapshot")


def test_a_local_file_is_read_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(CONTENT)
    first = store.local(path)
    read: list[Path] = []

    def watched(path: Path, stop: Event | None) -> str:
        read.append(path)
        return sha256(path.read_bytes())

    monkeypatch.setattr(hashes, "digest", watched)
    assert store.local(path) == first
    assert Store(store.models.parent).local(path) == first
    assert not read
    path.write_bytes(made_up(8, 100_000))
    assert store.local(path).sha256 == sha256(made_up(8, 100_000))
    assert read == [path]
