"""Updates, returns and removals: one version back is kept, and what somebody reads stays until they let go."""

import subprocess
import sys

import msgspec
import pytest

from edgechat.errors import ConfigError, ModelDamaged, UnknownName
from edgechat.hub import versions
from edgechat.hub.publish import publish
from edgechat.hub.store import Store, Stored
from tests.hub.conftest import CONTENT, NEW, made_up, manifest, published, sha256, staged


def updated(store: Store) -> Stored:
    """A candidate beside the model `tiny`."""
    published(store)
    made = manifest(content=NEW)
    return publish(store, staged(store, made, NEW), made, "asked", beside="tiny")


def test_a_candidate_stands_beside_until_it_is_promoted(store: Store) -> None:
    candidate = updated(store)
    old = store.find("tiny")
    assert old is not None
    assert old.sha256 == sha256(CONTENT)
    assert store.candidate("tiny") == candidate
    assert [model.name for model in store.list()] == ["tiny"]

    assert versions.promote(store, "tiny") == store.find("tiny") == candidate
    assert store.previous("tiny") == old
    assert store.candidate("tiny") is None


def test_a_candidate_that_is_rejected_leaves_nothing_but_its_digest(store: Store) -> None:
    updated(store)
    versions.reject(store, "tiny")
    assert store.candidate("tiny") is None
    assert store.marker("tiny").refused == (sha256(NEW),)
    assert [path.name for path in store.blobs.folder.iterdir()] == [f"sha256-{sha256(CONTENT)}.gguf"]


def test_the_same_bytes_again_are_no_candidate(store: Store) -> None:
    first = published(store)
    again = publish(store, staged(store, manifest()), manifest(), "asked", beside="tiny")
    assert again.sha256 == first.sha256
    assert store.candidate("tiny") is None


def test_rollback_returns_and_returns_again(store: Store) -> None:
    updated(store)
    versions.promote(store, "tiny")
    assert versions.rollback(store, "tiny").sha256 == sha256(CONTENT)
    assert store.marker("tiny").refused == (sha256(NEW),)
    assert versions.rollback(store, "tiny").sha256 == sha256(NEW)


def test_there_is_nothing_to_roll_back_to_or_to_promote(store: Store) -> None:
    published(store)
    with pytest.raises(ConfigError, match="no earlier version"):
        versions.rollback(store, "tiny")
    with pytest.raises(ConfigError, match="nothing was fetched"):
        versions.promote(store, "tiny")
    with pytest.raises(UnknownName, match="did you mean 'tiny'"):
        versions.rollback(store, "tinny")


def test_a_damaged_version_is_not_returned_to(store: Store) -> None:
    updated(store)
    versions.promote(store, "tiny")
    previous = store.previous("tiny")
    assert previous is not None
    previous.path.unlink()
    with pytest.raises(ModelDamaged, match=r"is missing\. tiny stays as it is"):
        versions.rollback(store, "tiny")
    current = store.find("tiny")
    assert current is not None
    assert current.sha256 == sha256(NEW)


def test_only_one_version_back_is_kept(store: Store) -> None:
    updated(store)
    versions.promote(store, "tiny")
    third = made_up(9, 80_000)
    publish(store, staged(store, manifest(content=third), third), manifest(content=third), "asked", beside="tiny")
    versions.promote(store, "tiny")
    assert {path.name[7:71] for path in store.blobs.folder.iterdir()} == {sha256(NEW), sha256(third)}


def test_a_pin_and_a_look_are_kept(store: Store) -> None:
    published(store)
    versions.pin(store, "tiny", True)
    versions.note(store, "tiny", sha256(NEW))
    (kept,) = store.kept()
    assert (kept.pinned, kept.newer, kept.wrong) == (True, sha256(NEW), None)
    assert kept.checked is not None
    published(store)  # mended: what was set stays
    assert store.kept()[0].pinned


# ── going ──


def test_removing_frees_what_nothing_else_uses(store: Store) -> None:
    published(store)
    published(store, msgspec.structs.replace(manifest(), name="same"))
    assert versions.remove(store, "tiny") == (0, 0)
    assert store.find("same") is not None
    assert versions.remove(store, "same") == (len(CONTENT), 0)
    assert list(store.blobs.folder.iterdir()) == []
    with pytest.raises(UnknownName):
        versions.remove(store, "same")


def test_what_is_read_goes_when_it_is_let_go(store: Store) -> None:
    stored = published(store)
    assert not store.is_held(stored)
    with store.hold(stored):
        assert store.is_held(stored)
        assert versions.remove(store, "tiny") == (0, len(CONTENT))
        assert stored.path.exists()
        assert store.find("tiny") is None
        assert versions.gc(store) == (0, len(CONTENT))
    assert versions.gc(store) == (len(CONTENT), 0)
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
        assert versions.remove(store, "tiny").held == len(CONTENT)
        other.kill()
    assert versions.gc(store).bytes == len(CONTENT)


def test_gc_clears_stages_that_nobody_works_on(store: Store) -> None:
    abandoned, busy = staged(store, manifest()), store.stage("busy")
    assert abandoned.take()
    abandoned.leave()
    assert busy.take()
    busy.begin(manifest())
    (busy.files / "part").write_bytes(b"12345")
    assert versions.gc(store) == (len(CONTENT), 0)
    assert not abandoned.root.exists()
    assert busy.staged() == 5
    busy.leave()


def test_gc_gives_earlier_versions_back_when_asked(store: Store) -> None:
    updated(store)
    versions.promote(store, "tiny")
    assert versions.gc(store).bytes == 0
    assert versions.gc(store, previous=True).bytes == len(CONTENT)
    assert store.previous("tiny") is None
    assert store.find("tiny") is not None


def test_gc_of_nothing_writes_nothing(store: Store) -> None:
    assert versions.gc(store) == (0, 0)
    assert not store.models.exists()
