"""What tuning found, kept under the home folder; and what it may be used for.

tuned/<digest of the model>.json     the result; of another machine, engine or model it is none
      work-<digest>/                 a tuning under way: journal.json, rows.npy, <recipe>.gguf

A result holds for one model file, one processor with as many cores granted, and one build of the engine.
"""

import hashlib
import shutil
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import msgspec
from filelock import FileLock

from edgechat import machine
from edgechat.hub.store import Store
from edgechat.hub.stored import Stored
from edgechat.process import atomic
from edgechat.process.cached import Cached
from edgechat.process.disk import writing
from edgechat.tune.choice import Candidate, QualityName
from edgechat.tune.quality import Row
from edgechat.tune.speed import Cost, Pair
from edgechat.types import Struct


class Counts(Struct, frozen=True):
    """How the chosen recipe runs best: threads for steps of one token per writer, threads and tokens for prompts."""

    decode_threads: int
    prefill_threads: int
    slice: int
    flash: bool = False  # attention in one pass over keys and values


class Tuned(Struct, frozen=True):
    """One result."""

    model: str  # SHA-256 of the file that was tuned
    machine: str  # fingerprint
    quality: QualityName
    source: str  # what divergence was measured against
    baseline: Candidate
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    counts: Counts
    file: str  # the name that the chosen file has in the store; empty where nothing was really faster
    sha256: str  # of the file to serve
    seconds: float
    streamed: int = 0  # bytes of the chosen file that every written token reads
    bandwidth: float = 0.0  # bytes per second that the memory gave; 0 where it was not measured

    @property
    def roof(self) -> float | None:
        """The share of the memory's bandwidth that writing takes: 1 would be the physical limit."""
        return self.streamed * self.chosen.speed.decode / self.bandwidth if self.bandwidth else None

    @property
    def gain(self) -> float:
        """How many times as fast a usual turn is as with the file as it is."""
        return self.baseline.speed.turn / self.chosen.speed.turn


class Journal(msgspec.Struct):
    """What a tuning under way has measured: enough to go on from. Names of recipes are keys."""

    machine: str
    source: str  # SHA-256 of what divergence is measured against
    costs: dict[str, Cost] = {}
    rows: dict[str, list[Row]] = {}
    flash: bool | None = None  # None: not known yet
    races: dict[str, Pair] = {}
    seconds: float = 0.0


@cache
def engine_build() -> str:
    """A digest of the installed engine's libraries: another build has other bytes."""
    try:
        files = (distribution("edgechat-engine").read_text("RECORD") or "").splitlines()
    except PackageNotFoundError:
        files = []
    libraries = sorted(line for line in files if line.startswith("edgechat_engine/native/"))
    return hashlib.sha256("\n".join(libraries).encode()).hexdigest()


@cache
def processor() -> str:
    """The processor, with its instructions."""
    name, flags = machine.processor()
    return " ".join((name, *sorted(flags)))


def fingerprint() -> str:
    """What a measurement holds for: processor, cores granted, engine build."""
    parts = (processor(), machine.cores(), engine_build())
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


class Records:
    """The results under one home folder."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "tuned"
        self._cached = Cached(msgspec.json.Decoder(Tuned).decode)

    def find(self, sha256: str, machine: str | None = None) -> Tuned | None:
        """The result for the model with that digest, if it was measured here with this engine.

        `machine`: the fingerprint, where it is known.
        """
        found = self._read(sha256)
        return found if found and found.machine == (machine or fingerprint()) else None

    def is_outdated(self, sha256: str) -> bool:
        """Whether the model with that digest was tuned, but on another machine or by another build of the engine."""
        found = self._read(sha256)
        return found is not None and found.machine != fingerprint()

    def _read(self, sha256: str) -> Tuned | None:
        try:
            found = self._cached.read(self._path(sha256))
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.model == sha256 else None

    def serving(self, model: Stored, store: Store, machine: str | None = None) -> tuple[Tuned, Stored] | None:
        """The result for `model` and the file to serve in its place, if both are here and whole."""
        found = self.find(model.sha256, machine)
        if found is None:
            return None
        file = store.find(found.file) if found.file else model
        return (found, file) if file and file.sha256 == found.sha256 else None

    def write(self, found: Tuned) -> None:
        """Keep `found` for good."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic.replace(self._path(found.model), msgspec.json.encode(found))

    def forget(self, sha256: str) -> None:
        """The result for that model is none any more."""
        with writing(self.folder):
            self._path(sha256).unlink(missing_ok=True)

    def work(self, sha256: str) -> "Work":
        """The folder of a tuning under way."""
        return Work(self.folder / f"work-{sha256[:24]}")

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.json"


class Work:
    """The folder of one tuning. It outlives the process, so that the next one goes on from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = folder / "rows.npy"
        self.lock = FileLock(folder.with_suffix(".lock"))

    def begin(self, source: str) -> Journal:
        """The journal of an earlier try with the same machine and source; else a new one in an empty folder."""
        journal = self._read()
        if journal is None or (journal.machine, journal.source) != (fingerprint(), source):
            self.clear()
            journal = Journal(fingerprint(), source)
        self.folder.mkdir(parents=True, exist_ok=True)
        return journal

    def write(self, journal: Journal) -> None:
        """Keep what was measured so far."""
        with writing(self.folder):
            atomic.replace(self.folder / "journal.json", msgspec.json.encode(journal))

    def file(self, recipe: str) -> Path:
        """Where the model in `recipe` lies while it is tried."""
        return self.folder / f"{recipe.replace('/', '-')}.gguf"

    def clear(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> Journal | None:
        try:
            return msgspec.json.decode((self.folder / "journal.json").read_bytes(), type=Journal)
        except (OSError, msgspec.DecodeError):
            return None
