"""The only way in: every byte checked, nothing half, nothing outside, and named last."""

import errno
import os
import shutil
import stat
from pathlib import Path
from threading import Event

import pytest

from edgechat.errors import HashMismatch, HubError, NoSpace, StorageError
from edgechat.hub import versions
from edgechat.hub.publish import check_room, missing, publish
from edgechat.hub.source import File, Manifest
from edgechat.hub.store import Store
from edgechat.process.disk import MARGIN, writing
from tests.hub.conftest import CONTENT, NEW, made_up, manifest, published, sha256, staged, tree


def test_publishing_makes_a_read_only_blob_and_names_it_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        if self.parent != store.models or target.suffix == ".json":
            order.append(target.name)
        return replace(self, target)

    stage = staged(store, manifest())
    monkeypatch.setattr(Path, "replace", watched)
    stored = publish(store, stage, manifest(), "asked")
    assert order == [f"sha256-{sha256(CONTENT)}.gguf", "tiny.json"]
    assert stored.path == store.blobs.folder / order[0]
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
        publish(store, stage, manifest(), "asked")
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(CONTENT)
    path.symlink_to(outside)
    with pytest.raises(HubError, match="was not fetched"):
        publish(store, stage, manifest(), "asked")
    assert outside.exists()


def test_a_manifest_cannot_reach_outside(store: Store, tmp_path: Path) -> None:
    (tmp_path / "outside.gguf").write_bytes(CONTENT)
    bad = manifest(path="../../../../../outside.gguf")
    with pytest.raises(HubError, match="no safe path"):
        publish(store, store.stage("x"), bad, "asked")


def test_checking_can_be_stopped(store: Store) -> None:
    stop = Event()
    stop.set()
    stage = staged(store, manifest())
    with pytest.raises(HubError, match="stopped"):
        publish(store, stage, manifest(), "asked", stop=stop)
    assert store.list() == []
    assert (stage.files / "q" / "tiny.gguf").exists()


def test_a_name_is_not_taken_from_other_bytes(store: Store) -> None:
    first = published(store)
    again = published(store)
    other = published(store, manifest(content=made_up(8)), made_up(8))
    assert again.sha256 == first.sha256
    assert other.name == f"tiny-{sha256(made_up(8))[:8]}"
    assert [model.name for model in store.list()] == ["tiny", other.name]


# ── room ──


def test_room_is_checked_with_both_numbers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 1_000_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(free, 0, free))
    fits = Manifest("big", "x", "1", (File("big.gguf", free - MARGIN),))
    check_room(store, fits)
    check_room(store, Manifest("big", "x", "1", (File("big.gguf", free),)), staged=MARGIN)
    with pytest.raises(NoSpace, match=r"big needs 1\.93 GB at .* and 1\.00 GB are free"):
        check_room(store, Manifest("big", "x", "1", fits.files, copies=2))
    with pytest.raises(NoSpace):
        check_room(store, Manifest("big", "x", "1", (File("big.gguf", free - MARGIN + 1),)))


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


# ── models of several files ──


def test_several_files_are_one_model_under_their_own_names(store: Store) -> None:
    contents = {"q/m-00001-of-00002.gguf": CONTENT, "q/m-00002-of-00002.gguf": NEW}
    made = Manifest("m", "x", "1", tuple(File(path, len(data), sha256(data)) for path, data in contents.items()))
    stage = store.stage("x")
    stage.begin(made)
    for path, data in contents.items():
        (stage.files / path).parent.mkdir(exist_ok=True)
        (stage.files / path).write_bytes(data)
    stored = publish(store, stage, made, "x")
    assert (stored.path.name, stored.path.read_bytes()) == ("m-00001-of-00002.gguf", CONTENT)
    assert stored.path.with_name("m-00002-of-00002.gguf").read_bytes() == NEW
    assert stored.size == len(CONTENT) + len(NEW)
    assert stored.sha256 == sha256("".join(f"{sha256(data)}  {path}\n" for path, data in contents.items()).encode())

    stored.files[1].unlink()
    assert store.find("m") is None
    assert missing(store, made) == (made.files[1],)
    assert store.examine("m") == ("q/m-00002-of-00002.gguf is missing",)
    versions.remove(store, "m")
    assert list(store.sets.iterdir()) == list(store.blobs.folder.iterdir()) == []


def test_a_snapshot_without_a_gguf_is_its_folder(store: Store) -> None:
    contents = {"config.json": b"{}", "model.safetensors": CONTENT}
    made = Manifest("s", "x", "1", tuple(File(path, len(data), sha256(data)) for path, data in contents.items()))
    stage = store.stage("x")
    stage.begin(made)
    for path, data in contents.items():
        (stage.files / path).write_bytes(data)
    stored = publish(store, stage, made, "x")
    assert stored.path.is_dir()
    assert sorted(path.name for path in stored.path.iterdir()) == sorted(contents)
