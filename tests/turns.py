"""Who runs when in a run of several processes: real models one after the other, everything else beside them.

    process 1   models ────────────────────────► file ─► file ─►           ─► file
    process 2   file ─► file ─► file ─► file ─► file ─►          alone ─►  ─► file

A model takes every core, so two at once would only wait for each other. What is marked `alone` measures, or fills the
machine: while it runs, no other test does. `make test` has pytest load this (`-p xdist -n 2 -p tests.turns`).
"""

import fcntl
import re
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parent.parent
DOOR, ROOM = Path(__file__), Path(__file__).with_name("conftest.py")  # locks are taken on them; any files would do


@cache
def runs_a_model(nodeid: str) -> bool:
    file = ROOT / nodeid.split("::")[0]
    return bool(re.search(r"\bmark\.model\b", file.read_text(encoding="utf-8")))


class Files(LoadScopeScheduling):  # type: ignore[misc]
    """Gives whole files away, in the order in which they were collected; those that run a model as if they were one."""

    def _split_scope(self, nodeid: str) -> str:
        return "models" if runs_a_model(nodeid) else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Files:
    config.option.loadscopereorder = False
    return Files(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest of all is begun first."""
    items.sort(key=lambda item: not runs_a_model(item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A readers-writer lock. Nobody overtakes one who waits to be alone: it waits in the door."""
    alone = item.get_closest_marker("alone") is not None
    with DOOR.open() as door, ROOM.open() as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # in so many words: a child that was forked may hold the file open
