"""What is on disk: whole or absent, read-only, and never outside the store."""

import errno
import os
import shutil
import stat
from pathlib import Path
from threading import Event

import pytest

from edgechat.errors import ConfigError, HashMismatch, HubError, NoSpace, StorageError
from edgechat.hub.source import File, Manifest
from edgechat.hub.stage import Stage
from edgechat.hub.store import MARGIN, Store, Stored, writing
from tests.hub.conftest import made_up, sha256, tree

CONTENT = made_up(7, 100_000)


def manifest(name: str = "tiny", content: bytes = CONTENT, path: str = "q/tiny.gguf") -> Manifest:
    return Manifest(name, f"modelscope:Qwen/Tiny:{path}", "master", (File(path, len(content), sha256(content)),), "mit")


def staged(store: Store, made: Manifest, content: bytes = CONTENT) -> Stage:
    """A stage that holds `content` as the manifest's file."""
    stage = store.stage(made.source)
    stage.begin(made)
    path = stage.files / made.files[0].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return stage


def published(store: Store, made: Manifest | None = None, content: bytes = CONTENT) -> Stored:
    made = made or manifest()
    return store.publish(staged(store, made, content), made, "asked")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def test_an_empty_store_writes_nothing(store: Store) -> None:
    assert (store.list(), store.find("tiny"), store.by_reference("x")) == ([], None, None)
    assert not store.models.exists()


def test_publishing_makes_a_read_only_blob_and_names_it_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        order.append(target.name)
        return replace(self, target)

    stage = staged(store, manifest())
    monkeypatch.setattr(Path, "replace", watched)
    stored = store.publish(stage, manifest(), "asked")
    assert order == [f"sha256-{sha256(CONTENT)}.gguf", "tiny.json"]
    assert stored.path == store.blobs / order[0]
    assert stored.path.read_bytes() == CONTENT
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o444
    assert (stored.name, stored.size, stored.licence, stored.revision) == ("tiny", 100_000, "mit", "master")
    assert store.find("tiny") == store.by_reference("asked") == store.by_reference(manifest().source) == stored
    assert not stage.root.exists()


def test_what_only_the_bytes_tell_is_recorded(store: Store) -> None:
    open_ = Manifest("tiny", "pypi:tiny==1", "1", (File("tiny.gguf"),))
    stored = published(store, open_)
    assert (stored.sha256, stored.size) == (sha256(CONTENT), len(CONTENT))


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", CONTENT[:-1] + b"\x00", b""])
def test_other_bytes_are_deleted_and_named(store: Store, content: bytes) -> None:
    with pytest.raises(HashMismatch, match=f"{sha256(content)}.*{sha256(CONTENT)}"):
        published(store, content=content)
    assert not [path for path in tree(store.models) if path.endswith((".gguf", ".json"))]


def test_a_missing_file_and_a_link_are_not_taken_in(store: Store, tmp_path: Path) -> None:
    stage = staged(store, manifest())
    path = stage.files / "q" / "tiny.gguf"
    path.unlink()
    with pytest.raises(HubError, match="was not fetched"):
        store.publish(stage, manifest(), "asked")
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(CONTENT)
    path.symlink_to(outside)
    with pytest.raises(HubError, match="was not fetched"):
        store.publish(stage, manifest(), "asked")
    assert outside.exists()


def test_a_manifest_cannot_reach_outside(store: Store, tmp_path: Path) -> None:
    (tmp_path / "outside.gguf").write_bytes(CONTENT)
    bad = manifest(path="../../../../../outside.gguf")
    with pytest.raises(HubError, match="no safe path"):
        store.publish(store.stage("x"), bad, "asked")


def test_checking_can_be_stopped(store: Store) -> None:
    stop = Event()
    stop.set()
    stage = staged(store, manifest())
    with pytest.raises(HubError, match="stopped"):
        store.publish(stage, manifest(), "asked", stop=stop)
    assert store.list() == []
    assert (stage.files / "q" / "tiny.gguf").exists()


def test_a_name_is_not_taken_from_other_bytes(store: Store) -> None:
    first = published(store)
    again = published(store)
    other = published(store, manifest(content=made_up(8)), made_up(8))
    assert again.sha256 == first.sha256
    assert other.name == f"tiny-{sha256(made_up(8))[:8]}"
    assert [model.name for model in store.list()] == ["tiny", other.name]


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


# ── room ──


def test_room_is_checked_with_both_numbers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 1_000_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(free, 0, free))
    fits = Manifest("big", "x", "1", (File("big.gguf", free - MARGIN),))
    store.check_room(fits)
    store.check_room(Manifest("big", "x", "1", (File("big.gguf", free),)), staged=MARGIN)
    with pytest.raises(NoSpace, match=r"big needs 1\.93 GB at .* and 1\.00 GB are free"):
        store.check_room(Manifest("big", "x", "1", fits.files, copies=2))
    with pytest.raises(NoSpace):
        store.check_room(Manifest("big", "x", "1", (File("big.gguf", free - MARGIN + 1),)))


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (errno.ENOSPC, NoSpace, "the disk is full"),
        (errno.EDQUOT, NoSpace, "the disk is full"),
        (errno.EROFS, StorageError, "Read-only file system"),
        (errno.EACCES, StorageError, "Permission denied"),
    ],
)
def test_what_the_disk_refuses_is_said(number: int, error: type[StorageError], says: str) -> None:
    with pytest.raises(error, match=f"/data.*{says}") as caught, writing(Path("/data")):
        raise OSError(number, os.strerror(number))
    assert caught.value.exit_status == 3


# ── a stage ──


def test_a_stage_keeps_the_bytes_of_the_same_manifest_only(store: Store) -> None:
    stage = staged(store, manifest())
    stage.begin(manifest())
    assert stage.staged() == len(CONTENT)
    assert store.stage(manifest().source).manifest() == manifest()
    stage.begin(manifest(content=made_up(9)))
    assert stage.staged() == 0


def test_one_takes_a_stage_at_a_time(store: Store) -> None:
    first, second = store.stage("x"), store.stage("x")
    assert first.take()
    assert not second.take()
    assert store.stage("y").take()
    first.leave()
    assert second.take()
    second.leave()


# ── files that lie elsewhere ──


def test_a_local_file_is_described_where_it_lies(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "Own.gguf"
    path.write_bytes(CONTENT)
    stored = store.local(path)
    assert (stored.name, stored.path, stored.sha256, stored.pulled) == ("own", path, sha256(CONTENT), None)
    assert store.local(path, reserved=["own"]).name == f"own-{sha256(CONTENT)[:8]}"


def test_a_folder_is_no_model(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model file at"):
        store.local(tmp_path)
