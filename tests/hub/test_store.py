"""What is on disk: whole or absent, read-only, and never outside the store."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from threading import Event

import msgspec
import pytest

from edgechat.errors import ConfigError, HashMismatch, HubError, ModelDamaged, NoSpace, StorageError, UnknownName
from edgechat.hub import hashes
from edgechat.hub.disk import MARGIN, writing
from edgechat.hub.source import File, Manifest
from edgechat.hub.stage import Stage
from edgechat.hub.store import Store, Stored
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
        if self.parent != store.models or target.suffix == ".json":
            order.append(target.name)
        return replace(self, target)

    stage = staged(store, manifest())
    monkeypatch.setattr(Path, "replace", watched)
    stored = store.publish(stage, manifest(), "asked")
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


def test_a_folder_with_one_model_is_that_model(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "Some Model"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"no model file at .* no \.gguf file"):
        store.local(folder)
    (folder / "m-00001-of-00002.gguf").write_bytes(CONTENT)
    (folder / "m-00002-of-00002.gguf").write_bytes(NEW)
    (folder / "run.py").write_text("raise SystemExit")
    stored = store.local(folder)
    assert (stored.name, stored.path, stored.size) == ("m", folder / "m-00001-of-00002.gguf", 190_000)
    assert store.local(folder / "m-00001-of-00002.gguf").sha256 == stored.sha256
    (folder / "other.gguf").write_bytes(CONTENT)
    with pytest.raises(ConfigError, match="say which file"):
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


# ── versions ──

NEW = made_up(8, 90_000)


def updated(store: Store) -> Stored:
    """A candidate beside the model `tiny`."""
    published(store)
    made = manifest(content=NEW)
    return store.publish(staged(store, made, NEW), made, "asked", beside="tiny")


def test_a_candidate_stands_beside_until_it_is_promoted(store: Store) -> None:
    candidate = updated(store)
    old = store.find("tiny")
    assert old is not None
    assert old.sha256 == sha256(CONTENT)
    assert store.candidate("tiny") == candidate
    assert [model.name for model in store.list()] == ["tiny"]

    assert store.promote("tiny") == store.find("tiny") == candidate
    assert store.previous("tiny") == old
    assert store.candidate("tiny") is None


def test_a_candidate_that_is_rejected_leaves_nothing_but_its_digest(store: Store) -> None:
    updated(store)
    store.reject("tiny")
    assert store.candidate("tiny") is None
    assert store.marker("tiny").refused == (sha256(NEW),)
    assert [path.name for path in store.blobs.folder.iterdir()] == [f"sha256-{sha256(CONTENT)}.gguf"]


def test_the_same_bytes_again_are_no_candidate(store: Store) -> None:
    first = published(store)
    again = store.publish(staged(store, manifest()), manifest(), "asked", beside="tiny")
    assert again.sha256 == first.sha256
    assert store.candidate("tiny") is None


def test_rollback_returns_and_returns_again(store: Store) -> None:
    updated(store)
    store.promote("tiny")
    assert store.rollback("tiny").sha256 == sha256(CONTENT)
    assert store.marker("tiny").refused == (sha256(NEW),)
    assert store.rollback("tiny").sha256 == sha256(NEW)


def test_there_is_nothing_to_roll_back_to_or_to_promote(store: Store) -> None:
    published(store)
    with pytest.raises(ConfigError, match="no earlier version"):
        store.rollback("tiny")
    with pytest.raises(ConfigError, match="nothing was fetched"):
        store.promote("tiny")
    with pytest.raises(UnknownName, match="did you mean 'tiny'"):
        store.rollback("tinny")


def test_a_damaged_version_is_not_returned_to(store: Store) -> None:
    updated(store)
    store.promote("tiny")
    previous = store.previous("tiny")
    assert previous is not None
    previous.path.unlink()
    with pytest.raises(ModelDamaged, match=r"is missing\. tiny stays as it is"):
        store.rollback("tiny")
    current = store.find("tiny")
    assert current is not None
    assert current.sha256 == sha256(NEW)


def test_only_one_version_back_is_kept(store: Store) -> None:
    updated(store)
    store.promote("tiny")
    third = made_up(9, 80_000)
    store.publish(staged(store, manifest(content=third), third), manifest(content=third), "asked", beside="tiny")
    store.promote("tiny")
    assert {path.name[7:71] for path in store.blobs.folder.iterdir()} == {sha256(NEW), sha256(third)}


def test_a_pin_and_a_look_are_kept(store: Store) -> None:
    published(store)
    store.pin("tiny", True)
    store.note("tiny", sha256(NEW))
    (kept,) = store.kept()
    assert (kept.pinned, kept.newer, kept.wrong) == (True, sha256(NEW), None)
    assert kept.checked is not None
    published(store)  # mended: what was set stays
    assert store.kept()[0].pinned


# ── going ──


def test_removing_frees_what_nothing_else_uses(store: Store) -> None:
    published(store)
    published(store, msgspec.structs.replace(manifest(), name="same"))
    assert store.remove("tiny") == (0, 0)
    assert store.find("same") is not None
    assert store.remove("same") == (len(CONTENT), 0)
    assert list(store.blobs.folder.iterdir()) == []
    with pytest.raises(UnknownName):
        store.remove("same")


def test_what_is_read_goes_when_it_is_let_go(store: Store) -> None:
    stored = published(store)
    assert not store.is_held(stored)
    with store.hold(stored):
        assert store.is_held(stored)
        assert store.remove("tiny") == (0, len(CONTENT))
        assert stored.path.exists()
        assert store.find("tiny") is None
        assert store.gc() == (0, len(CONTENT))
    assert store.gc() == (len(CONTENT), 0)
    with pytest.raises(ModelDamaged, match="not on disk any more"):
        store.hold(stored)


def test_a_hold_in_another_process_counts_and_ends_with_it(store: Store) -> None:
    stored = published(store)
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(1, flush=True); input()"
    command = [sys.executable, "-c", code, str(stored.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert store.is_held(stored)
        assert store.remove("tiny").held == len(CONTENT)
        other.kill()
    assert store.gc().bytes == len(CONTENT)


def test_gc_clears_stages_that_nobody_works_on(store: Store) -> None:
    abandoned, busy = staged(store, manifest()), store.stage("busy")
    assert abandoned.take()
    abandoned.leave()
    assert busy.take()
    busy.begin(manifest())
    (busy.files / "part").write_bytes(b"12345")
    assert store.gc() == (len(CONTENT), 0)
    assert not abandoned.root.exists()
    assert busy.staged() == 5
    busy.leave()


def test_gc_gives_earlier_versions_back_when_asked(store: Store) -> None:
    updated(store)
    store.promote("tiny")
    assert store.gc().bytes == 0
    assert store.gc(previous=True).bytes == len(CONTENT)
    assert store.previous("tiny") is None
    assert store.find("tiny") is not None


def test_gc_of_nothing_writes_nothing(store: Store) -> None:
    assert store.gc() == (0, 0)
    assert not store.models.exists()


# ── models of several files ──


def test_several_files_are_one_model_under_their_own_names(store: Store) -> None:
    contents = {"q/m-00001-of-00002.gguf": CONTENT, "q/m-00002-of-00002.gguf": NEW}
    made = Manifest("m", "x", "1", tuple(File(path, len(data), sha256(data)) for path, data in contents.items()))
    stage = store.stage("x")
    stage.begin(made)
    for path, data in contents.items():
        (stage.files / path).parent.mkdir(exist_ok=True)
        (stage.files / path).write_bytes(data)
    stored = store.publish(stage, made, "x")
    assert (stored.path.name, stored.path.read_bytes()) == ("m-00001-of-00002.gguf", CONTENT)
    assert stored.path.with_name("m-00002-of-00002.gguf").read_bytes() == NEW
    assert stored.size == len(CONTENT) + len(NEW)
    assert stored.sha256 == sha256("".join(f"{sha256(data)}  {path}\n" for path, data in contents.items()).encode())

    stored.files[1].unlink()
    assert store.find("m") is None
    assert store.missing(made) == (made.files[1],)
    assert store.examine("m") == ("q/m-00002-of-00002.gguf is missing",)
    store.remove("m")
    assert list(store.sets.iterdir()) == list(store.blobs.folder.iterdir()) == []


def test_a_snapshot_without_a_gguf_is_its_folder(store: Store) -> None:
    contents = {"config.json": b"{}", "model.safetensors": CONTENT}
    made = Manifest("s", "x", "1", tuple(File(path, len(data), sha256(data)) for path, data in contents.items()))
    stage = store.stage("x")
    stage.begin(made)
    for path, data in contents.items():
        (stage.files / path).write_bytes(data)
    stored = store.publish(stage, made, "x")
    assert stored.path.is_dir()
    assert sorted(path.name for path in stored.path.iterdir()) == sorted(contents)
