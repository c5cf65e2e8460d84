"""Pulls that are killed anywhere: afterwards the model is whole or absent, and the next pull finishes."""

import asyncio
import os
import random
import signal
import sys
import warnings
from pathlib import Path

import pytest

from edgechat.hub import versions
from edgechat.hub.publish import publish
from edgechat.hub.store import Store
from tests.hub.conftest import CONTENT, NEW, TINY, Bench, made_up, manifest, published, sha256, staged
from tests.hub.test_resume import puller

KILLS = 200 if os.environ.get("EDGECHAT_TORTURE") else 20
AT_ONCE = 4
MUTATIONS = frozenset(
    {"open", "os.rename", "os.chmod", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate"}
)


def whole_or_absent(store: Store) -> bool:
    """Whether the one model is there; if it is, every byte is right."""
    stored = store.list()
    for model in stored:
        assert store.examine(model.name) == ()
        assert sha256(model.path.read_bytes()) == model.sha256
    return bool(stored)


async def test_kill_9_at_random_moments_of_a_pull(bench: Bench, tmp_path: Path) -> None:
    draw = random.Random(17)

    async def kill_some(home: Path, count: int) -> int:
        store, finished = Store(home), 0
        mine = Bench(bench.hub, bench.settings.model_copy(update={"home": home}), store)
        for _ in range(count):
            with puller(mine, TINY) as process:
                await asyncio.sleep(draw.uniform(0.2, 2.5))
                process.send_signal(signal.SIGKILL)
            if whole_or_absent(store):
                finished += 1
                versions.remove(store, store.list()[0].name)
        assert (await mine.pull(TINY)).sha256 == sha256(made_up())
        assert whole_or_absent(store)
        return finished

    homes = [tmp_path / f"home-{i}" for i in range(AT_ONCE)]
    await asyncio.gather(*(kill_some(home, KILLS // AT_ONCE) for home in homes))


@pytest.mark.parametrize(
    ("step", "old", "new"),
    [
        ("publish", None, CONTENT),
        ("update", CONTENT, CONTENT),  # beside it, until it is promoted
        ("promote", CONTENT, NEW),
        ("rollback", NEW, CONTENT),
        ("remove", CONTENT, None),
    ],
)
def test_a_death_before_every_change_of_the_disk_leaves_the_old_or_the_new(
    tmp_path: Path, step: str, old: bytes | None, new: bytes | None
) -> None:
    deaths = 0
    while not die_at(deaths, store := before(tmp_path / str(deaths), step), step):
        deaths += 1
        again = Store(store.models.parent)
        assert content(again) in (old, new)
        do(again, step)  # nothing that was left behind is in the way
        assert content(again) == new
        versions.gc(again)
        named = {path.name for model in again.kept() for one in (model.model, model.previous, model.candidate) if one
                 for path in one.files}  # fmt: skip
        assert {path.name for path in again.blobs.folder.iterdir()} == named
    assert deaths > 3


def before(home: Path, step: str) -> Store:
    """A store in which the step can be done."""
    store = Store(home)
    if step != "publish":
        published(store)
    if step in ("promote", "rollback"):
        stage = staged(store, manifest(content=NEW), NEW)
        publish(store, stage, manifest(content=NEW), "asked", beside="tiny")
    if step == "rollback":
        versions.promote(store, "tiny")
    return store


def content(store: Store) -> bytes | None:
    """Of the one model."""
    return store.list()[0].path.read_bytes() if whole_or_absent(store) else None


def do(store: Store, step: str) -> None:
    """The step, as a person would try it again."""
    if step == "publish":
        published(store)
    elif step == "update":
        stage = staged(store, manifest(content=NEW), NEW)
        publish(store, stage, manifest(content=NEW), "asked", beside="tiny")
    elif step == "promote" and store.candidate("tiny"):
        versions.promote(store, "tiny")
    elif step == "rollback":
        versions.rollback(store, "tiny")
    elif step == "remove" and store.names():
        versions.remove(store, "tiny")


def die_at(number: int, store: Store, step: str) -> bool:
    """Do `step` in a process that dies before its change `number`; whether it got to the end first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads: the child touches none
        child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in MUTATIONS and not (event == "open" and not _writes(arguments)):
                if seen == number:
                    os._exit(9)
                seen += 1

        sys.addaudithook(count)
        do(store, step)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
