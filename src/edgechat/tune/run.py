"""Autotuning from one end to the other. What was measured is written down at once: stopped, it goes on from there.

costs ─► pairs ─► source read ─► round 1 ─► round 2 ─► attention, race ─► threads, slice ─► published, written
         choice.py               make, judge  judge    against the file as it is
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog
from filelock import Timeout

from edgechat import machine
from edgechat.engine.llama import memory as memory_plan
from edgechat.errors import ConfigError, EngineFailed
from edgechat.gguf.header import Header, read_header
from edgechat.gguf.shape import depth
from edgechat.hub.store import Store
from edgechat.hub.stored import Stored
from edgechat.process.disk import writing
from edgechat.tune import choice, letters, recipes, speed
from edgechat.tune.choice import FLOORS, Candidate, QualityName
from edgechat.tune.lab import Asks
from edgechat.tune.letters import FEW, PASSAGES, SCORED
from edgechat.tune.progress import Progress, Step
from edgechat.tune.publish import publish
from edgechat.tune.quality import Quality, Row
from edgechat.tune.recipes import Recipe
from edgechat.tune.record import Counts, Records, Tuned, Work, fingerprint

AS_IT_IS = ""  # the file as it is, where recipes are keys
PROJECTOR = "mmproj"  # how the file of a projector is called

Eyes = Callable[[Path], None]

log = structlog.get_logger("tune")


class Wish(NamedTuple):
    """What the person asked for. `memory` 0 is no limit; `threads` 0 what the machine grants."""

    quality: QualityName = "balanced"
    memory: int = 0
    threads: int = 0


async def tune(
    model: Stored,
    store: Store,
    records: Records,
    lab: Asks,
    wish: Wish,
    tell: Callable[[Step], None],
    eyes: Eyes | None = None,
) -> Tuned:
    """Find, publish and remember the fastest recipe for `model` within the floor.

    `eyes` writes the model's projector, where it has one, to a path.

    Cancelled, it can be called again and goes on. Raises ConfigError when another process tunes the model or its
    matrices are not known here, or the cores granted change meanwhile; NoSpace, EngineFailed, ModelFileInvalid.
    """
    work = records.work(model.sha256)
    with writing(records.folder):
        records.folder.mkdir(parents=True, exist_ok=True)
    try:
        with work.lock.acquire(blocking=False):
            return await _Run(model, store, lab, wish, work, Progress(tell, time.monotonic), eyes).run(records)
    except Timeout:
        raise ConfigError(f"{model.name} is being tuned by another process already.") from None


class _Run:
    """One tuning."""

    def __init__(
        self, model: Stored, store: Store, lab: Asks, wish: Wish, work: Work, progress: Progress, eyes: Eyes | None
    ) -> None:
        self.eyes = eyes
        self.model, self.store, self.lab, self.work, self.progress = model, store, lab, work, progress
        self.wish, self.floor = wish, FLOORS[wish.quality]
        self.threads = wish.threads or machine.cores()
        self.header = read_header(model.path)
        self.kinds = recipes.kinds(self.header)
        if not self.kinds:
            raise ConfigError(f"{model.name} is a {self.header.architecture}: its matrices are not known here.")
        self.source, self.source_header = _best_source(model, self.header, store)
        with writing(work.folder):
            self.journal = work.begin(self.source.sha256)

    async def run(self, records: Records) -> Tuned:
        began, earlier = time.monotonic(), self.journal.seconds
        try:
            speeds = await self._predict()
            candidates = await self._narrow(speeds)
            baseline, candidates = await self._raced(candidates)
            chosen = choice.choose(baseline, candidates, self.floor)
            settled = await self._settle(chosen is not baseline, chosen)
            if fingerprint() != self.journal.machine:
                raise ConfigError("the machine grants other cores than when this tuning began: tune again.")
            stored = await self._publish(chosen) if chosen is not baseline else self.model
        finally:
            self.journal.seconds = earlier + time.monotonic() - began
            self._note()
        found = Tuned(
            model=self.model.sha256,
            machine=self.journal.machine,
            quality=self.wish.quality,
            source=self.source.name,
            baseline=baseline,
            chosen=chosen,
            candidates=tuple(sorted(candidates, key=lambda one: one.speed.turn)),
            counts=Counts(settled.decode_threads, settled.prefill_threads, settled.slice, bool(self.journal.flash)),
            file=stored.name if chosen is not baseline else "",
            sha256=stored.sha256,
            seconds=round(self.journal.seconds, 1),
            streamed=recipes.streamed(self._header(chosen) if chosen is not baseline else self.header),
            bandwidth=settled.bandwidth,
        )
        records.write(found)
        self.work.clear()
        return found

    # ── the rounds ──

    async def _predict(self) -> dict[Recipe, speed.Speed]:
        """The speed of every recipe that fits into memory, from twins of a few layers."""
        self._expect(choice.MOST)
        with self.progress.doing("timing types", "costs") as told:
            if set(self.journal.costs) != set(self.kinds):
                order = letters.Costs(str(self.model.path), str(self.work.folder), tuple(self.kinds), self.threads)
                self.journal.costs = (await self.lab.ask(order, letters.Costed, told)).costs
                self._note()
        layers = depth(self.header)
        return {
            recipe: speed.predicted(recipe, self.journal.costs, layers)
            for recipe in recipes.recipes(self.header)
            if self._fits(recipes.applied(self.source_header, recipe))
        }

    def _expect(self, tried: int) -> None:
        half, quarter = (tried + 1) // 2, (tried + 3) // 4
        self.progress.expect(
            read=1, make=tried, judge=tried, judge_more=half, attend=1, race=quarter, settle=1, publish=1
        )

    def _fits(self, header: Header) -> bool:
        """Whether the wished memory holds these weights and the shortest conversation."""
        try:
            return not self.wish.memory or bool(memory_plan.plan(header, 0, self.wish.memory))
        except ConfigError:
            return False

    async def _narrow(self, speeds: dict[Recipe, speed.Speed]) -> list[Candidate]:
        """Two rounds of quality. Whoever leaves keeps what is known, and loses the file."""
        tried = choice.hopefuls(speeds, self.floor)
        self._expect(len(tried))
        await self._read_source()
        known = {one.recipe: one for recipe in tried if (one := await self._judged(recipe, speeds[recipe], FEW))}
        second = choice.half(list(known.values()), self.floor)
        self._keep_only(second)
        for recipe in [Recipe.parse(one.recipe) for one in second]:
            if one := await self._judged(recipe, speeds[recipe], SCORED):
                known[one.recipe] = one
        last = choice.finer(speeds, list(known.values()), self.floor)
        if last and (one := await self._judged(last, speeds[last], SCORED)):
            known[one.recipe] = one
        return list(known.values())

    async def _read_source(self) -> None:
        with self.progress.doing("reading with the source", "read") as told:
            if not self.work.rows.exists():
                order = letters.Read(str(self.source.path), str(self.work.rows), self.threads)
                await self.lab.ask(order, letters.Done, told)
        if self.source.sha256 != self.model.sha256:
            await self._judge(AS_IT_IS, str(self.model.path), SCORED)

    async def _judged(self, recipe: Recipe, predicted: speed.Speed, rows: int) -> Candidate | None:
        """`recipe` with what is known after so many rows of every passage; None if it does not work."""
        name = str(recipe)
        try:
            if len(self.journal.rows.get(name, [])) < len(PASSAGES) * rows:
                await self._make(recipe)
            await self._judge(name, str(self.work.file(name)), rows)
        except EngineFailed as error:
            log.warning("a recipe does not work", recipe=name, why=str(error))
            self.work.file(name).unlink(missing_ok=True)
            return None
        size = recipes.size(recipes.applied(self.source_header, recipe))
        return Candidate(name, size, predicted, Quality.of(self.journal.rows[name]))

    async def _make(self, recipe: Recipe) -> None:
        target = self.work.file(str(recipe))
        with self.progress.doing(f"making {recipe}", "make") as told:
            if target.exists():
                return
            relatives = tuple(str(path) for path in sorted(self.work.folder.glob("*.gguf")))
            types = recipes.types(self.source_header, recipe)
            order = letters.Recast(str(self.source.path), str(target), types, relatives, machine.cores())
            await self.lab.ask(order, letters.Done, told)

    async def _judge(self, name: str, path: str, rows: int) -> None:
        """Compare the first `rows` of every passage with the source, unless they are known."""
        known = self.journal.rows.setdefault(name, [])
        start = len(known) // len(PASSAGES)
        kind = "judge" if rows <= FEW else "judge more"
        with self.progress.doing(f"comparing {name or 'the file as it is'}", kind) as told:
            if start < rows:
                order = letters.Judge(path, str(self.work.rows), start, rows, self.threads)
                known += (await self.lab.ask(order, letters.Judged, told)).rows
                self._note()

    async def _raced(self, candidates: Sequence[Candidate]) -> tuple[Candidate, list[Candidate]]:
        """The file as it is and all candidates; the best half of those with all rows timed as whole models."""
        whole = [one for one in candidates if one.quality and one.quality.rows >= len(PASSAGES) * SCORED]
        racing = choice.half(whole, self.floor) if whole else []
        for one in racing:
            await self._make(Recipe.parse(one.recipe))
        await self._attend(self.work.file(racing[0].recipe) if racing else self.model.path)
        for one in racing:
            await self._race(one.recipe, self.work.file(one.recipe))
        if not self.journal.races:
            await self._race(AS_IT_IS, self.model.path)
        races = self.journal.races
        usual = speed.usual(races.values())
        quality = Quality.of(self.journal.rows.get(AS_IT_IS) or [Row(0.0, True)])  # else it is the source itself
        baseline = Candidate(recipes.as_it_is(self.header), self.model.size, usual, quality, measured=True)
        timed = {name: speed.beside(pair, usual) for name, pair in races.items()}
        return baseline, [
            Candidate(one.recipe, one.size, timed[one.recipe], one.quality, measured=True)
            if one.recipe in timed
            else one
            for one in candidates
        ]

    async def _attend(self, path: Path) -> None:
        """Which attention is the faster one, once for all: recipes have the same keys and values."""
        with self.progress.doing("timing attention", "attend") as told:
            if self.journal.flash is None:
                order = letters.Attend(str(path), self.threads)
                self.journal.flash = (await self.lab.ask(order, letters.Attended, told)).flash
                self._note()

    async def _race(self, name: str, path: Path) -> None:
        """Time it as it would be served, beside the file as it is served untuned."""
        with self.progress.doing(f"timing {name or 'the file as it is'}", "race") as told:
            if name not in self.journal.races:
                order = letters.Race(str(self.model.path), str(path), bool(self.journal.flash), self.threads)
                self.journal.races[name] = (await self.lab.ask(order, letters.Raced, told)).pair
                self._note()

    async def _settle(self, is_new: bool, chosen: Candidate) -> letters.Settled:
        """Threads and slice for the chosen file."""
        path = self.work.file(chosen.recipe) if is_new else self.model.path
        with self.progress.doing("finding threads and slice", "settle") as told:
            return await self.lab.ask(
                letters.Settle(str(path), bool(self.journal.flash), self.threads), letters.Settled, told
            )

    def _header(self, made: Candidate) -> Header:
        return recipes.applied(self.source_header, Recipe.parse(made.recipe))

    async def _publish(self, chosen: Candidate) -> Stored:
        with self.progress.doing("checking every byte", "publish"):
            files = [self.work.file(chosen.recipe)]
            if self.eyes is not None:
                files.append(self.work.folder / f"{PROJECTOR}.gguf")
                await asyncio.to_thread(self.eyes, files[-1])
            return await publish(self.model, chosen.recipe, files, self.store)

    # ── the folder ──

    def _keep_only(self, candidates: Sequence[Candidate]) -> None:
        """Delete the files of all others: they take hundreds of megabytes each."""
        kept = {self.work.file(one.recipe) for one in candidates}
        for path in self.work.folder.glob("*.gguf"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def _note(self) -> None:
        self.work.write(self.journal)


def _best_source(model: Stored, header: Header, store: Store) -> tuple[Stored, Header]:
    """The finest file of the same model that is on disk: what recipes are made from and compared with."""
    best, best_header = model, header
    for other in store.list():
        if other.made_from is None and other.path.suffix == ".gguf":
            read = read_header(other.path)
            if recipes.same_model(read, header) and recipes.fineness(read) > recipes.fineness(best_header):
                best, best_header = other, read
    return best, best_header
