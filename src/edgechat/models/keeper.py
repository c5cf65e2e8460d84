"""Keeps models loaded, each in a worker: loads on first use, makes room, divides the cores, lets go of idle ones.

    stream(wanted, request)
      │   leaving? wait until it is gone        not there? bring it in
      ▼
    door (one at a time, in the order of asking) ─► room: whoever is idle longest goes; a busy one after its answers
      ▼
    worker.start ─► Loading … to everybody who waits ─► worker.asked

pool.py holds the books and decides; here it is done.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import ExitStack, suppress

import msgspec
import structlog

from edgechat.errors import ConfigError, EdgechatError, NotReady, failed_of
from edgechat.models import probe
from edgechat.models.measure import tree_bytes
from edgechat.models.pool import Pool
from edgechat.models.resident import Resident, Wanted
from edgechat.models.supervisor import LAST_WORDS_S, Worker
from edgechat.types import AnyEvent, AnyQuestion, Failed, GenRequest, Loading, ModelInfo

SWEEP_S = 1.0  # seconds between two looks for models that stayed long enough
RESTART_S = 10.0  # seconds that a request waits for a worker that is being started again
FAILED_S = 5.0  # seconds for which a model that could not be loaded is not tried again

log = structlog.get_logger("models")


class Keeper:
    """All loaded models of one server."""

    def __init__(self, memory: int, cores: int, changed: Callable[[], None] = lambda: None) -> None:
        """`memory` bytes and `cores` for all models together; `changed` is called whenever something is new."""
        self.pool: Pool[Resident] = Pool(memory, cores)
        self._changed = changed
        self._residents: dict[str, Resident] = {}  # by name; one that leaves stays here until it is gone
        self._door = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def residents(self) -> list[Resident]:
        """Every model that is loaded or on its way in or out, one for each name."""
        return list(self._residents.values())

    def resident(self, name: str) -> Resident | None:
        """The model called `name`, if it is loaded or on its way in or out."""
        return self._residents.get(name)

    # ── asking ──

    async def stream(self, wanted: Wanted, request: GenRequest | AnyQuestion) -> AsyncGenerator[AnyEvent, None]:
        """The events of one answer, `Loading` while the model is brought in.

        Raises what keeps it from answering; after the first event that is a `Failed`.
        """
        resident, begun = await self._ask(wanted), False
        with ExitStack() as held:  # counts as busy, until the worker counts it
            held.callback(self._release, resident)
            try:
                async for loading in self._arrival(resident):
                    begun = True
                    yield loading
                assert resident.worker is not None
                with resident.worker.asked(request) as events:
                    held.close()
                    async for event in events:
                        begun = True
                        yield event
            except EdgechatError as error:
                if not begun:
                    raise
                yield failed_of(error)

    async def load(self, wanted: Wanted) -> ModelInfo:
        """Load the model now. Raises what makes it unservable."""
        resident = await self._ask(wanted)
        try:
            async for _ in self._arrival(resident):
                pass
            assert resident.info is not None
            return resident.info
        finally:
            self._release(resident)

    def keep(self, name: str, seconds: float) -> None:
        """From now on the model stays that long without being asked; 0 lets it go with its last answer."""
        if resident := self._residents.get(name):
            resident.keep = seconds
            self._settle(resident)

    def forget(self, conversation: str) -> None:
        """Nothing of a deleted conversation stays in any engine's memory or among its kept prefixes."""
        for resident in self.pool.tenants:
            if resident.worker is not None:
                resident.worker.forget(conversation)

    async def unload(self, name: str) -> None:
        """Let the model go after its running answers, and wait until it is gone."""
        if resident := self._residents.get(name):
            await self._dismiss(resident)

    async def replace(self, wanted: Wanted, accept: Callable[[], object] = lambda: None) -> None:
        """Let `wanted` take over from the model of its name, which leaves after its answers. No request fails.

        The new one must answer a probe first: beside the old one where memory holds both, else in its place while
        requests wait. `accept` is called before anybody else gets it. Raises what is wrong with it; then the old one
        answers on.
        """
        old, new = self._residents.get(wanted.name), Resident(wanted, self._now())
        if old is not None and old.failure is not None:
            old = None
        new.trial = True
        beside = old is None or self._fits_beside(old, wanted)
        if old is not None:
            new.keep = old.keep
            if not beside:
                old.successor = new
                await self._dismiss(old)
        self._hold(new)
        try:
            await self._bring_in(new, spared=old)
            if new.failure is not None:
                raise new.failure
            assert new.worker is not None
            await probe.answers(new.worker)
            accept()
            self._residents[wanted.name] = new
            if old is not None:
                self._send_off(old)
        except EdgechatError:
            self._send_off(new)
            if old is not None and not beside:
                self._begin(old.wanted)
            raise
        finally:
            new.trial = False
            self._release(new)

    def _fits_beside(self, old: Resident, wanted: Wanted) -> bool:
        try:
            return not wanted.planned(self.pool.memory - old.bytes).notes
        except ConfigError:
            return False

    async def run(self) -> None:
        """Let models go when their time is up, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._sweep()

    def end_answers(self, told: Failed) -> None:
        """Every reader hears `told` now, and the engines stop working for them."""
        for resident in self.pool.tenants:
            if resident.worker is not None:
                resident.worker.end_answers(told)

    async def close(self, last_words_s: float = LAST_WORDS_S) -> None:
        """End all workers; answers that run end with an error event."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(one.worker.stop(last_words_s) for one in self.pool.tenants if one.worker))

    async def _ask(self, wanted: Wanted) -> Resident:
        """The resident for a request, which counts as waiting until `_release`."""
        while True:
            resident = self._residents.get(wanted.name)
            if resident is not None and self.may_try_again(resident):
                resident = None
            if resident is None:
                resident = self._begin(wanted)
            if not (resident.leaving or resident.trial):
                self._hold(resident)
                return resident
            await resident.changed.wait()

    def may_try_again(self, resident: Resident) -> bool:
        """Whether it could not be loaded, and that is some seconds ago."""
        return resident.failure is not None and self._now() - resident.failed_at >= FAILED_S

    def _hold(self, resident: Resident) -> None:
        resident.waiting += 1
        self._settle(resident)

    def _begin(self, wanted: Wanted) -> Resident:
        """Let `wanted` come in under its name."""
        resident = self._residents[wanted.name] = Resident(wanted, self._now())
        resident.arriving = self._spawn(self._bring_in(resident))
        return resident

    def _release(self, resident: Resident) -> None:
        resident.waiting -= 1
        self._settle(resident)

    async def _arrival(self, resident: Resident) -> AsyncGenerator[Loading, None]:
        """How the model comes in, until it is ready. Raises what keeps it out."""
        told, away = None, None
        while not resident.ready:
            if resident.failure is not None:
                raise resident.failure
            if resident.measured:  # it was here: its process died
                away = away or self._now()
                if self._now() - away > RESTART_S:
                    raise NotReady("the engine is starting again: try in a few seconds.")
            changed = resident.changed
            if resident.loading != told:
                yield (told := resident.loading)
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await changed.wait()

    # ── coming and going ──

    async def _bring_in(self, resident: Resident, spared: Resident | None = None) -> None:
        """Make room, start the worker. What goes wrong is the resident's failure."""
        wanted = resident.wanted
        try:
            async with self._door:
                resident.bytes = (await self._room(wanted, spared)).memory
                memory = self.pool.room
                self.pool.enter(resident)
            resident.held = await asyncio.to_thread(wanted.take)
            info = await self._start(resident, memory)
            log.info("loaded", model=wanted.name, megabytes=resident.bytes >> 20, context=info.context)
        except EdgechatError as error:
            self._fail(resident, error)
        except Exception as error:
            log.exception("a bug")
            self._fail(resident, EdgechatError(f"edgechat failed inside ({type(error).__name__}); the log says where."))
        self._settle(resident)

    async def _start(self, resident: Resident, room: int) -> ModelInfo:
        """Load it within `room` bytes. What it really takes counts: if that is more, it is loaded once more with less.

        Raises ConfigError, with the number that would fit, if that does not help.
        """
        memory, over = room, 0
        for _ in range(2):
            load = msgspec.structs.replace(resident.wanted.load, memory=memory, threads=self.pool.cores)
            resident.worker = worker = Worker(load, lambda: self._settle(resident), resident.wanted.check)
            info = await worker.start()
            taken = info.later + (await asyncio.to_thread(tree_bytes, worker.pid) if worker.pid else 0)
            resident.bytes = max(info.memory, taken)
            over = taken - room
            if over <= 0:
                resident.measured = True
                return info
            log.warning(
                "it takes more memory than planned", model=resident.name, megabytes=taken >> 20, room=room >> 20
            )
            await worker.stop()
            memory -= over + over // 4  # two loads never take quite the same
        needed = f"{(self.pool.memory + over) / 1e9:.2f}GB"
        raise ConfigError(
            f"{resident.name} does not fit into the memory that there is for it: it takes --memory {needed}."
        )

    async def _room(self, wanted: Wanted, spared: Resident | None) -> ModelInfo:
        """Unload others until the model fits whole; alone, it may come with a smaller context. Raises ConfigError."""
        wanted.planned(self.pool.memory)  # nobody goes for one that will not fit
        while True:
            with suppress(ConfigError):
                planned = wanted.planned(self.pool.room)
                if not planned.notes:
                    return planned
            victim = self.pool.victim(spared)
            if victim is None:
                return wanted.planned(self.pool.room)
            await self._dismiss(victim)

    def _fail(self, resident: Resident, error: EdgechatError) -> None:
        if resident.failure is not None:
            return
        resident.failure, resident.failed_at = error, self._now()
        self._forget(resident)
        log.error("not loaded", model=resident.name, why=str(error))

    def _forget(self, resident: Resident) -> None:
        """Its process is gone: its memory and its bytes are free."""
        self.pool.leave(resident)
        if resident.held is not None:
            resident.held.release()

    async def _dismiss(self, resident: Resident) -> None:
        """Let nobody new in, wait for the running answers, end the worker."""
        self._send_off(resident)
        while resident in self.pool.tenants or self._residents.get(resident.name) is resident:
            await resident.changed.wait()

    def _send_off(self, resident: Resident) -> None:
        if not resident.leaving:
            resident.leaving = True
            self._spawn(self._see_off(resident))

    async def _see_off(self, resident: Resident) -> None:
        while resident.busy:
            await resident.changed.wait()
        if resident.arriving is not None:
            resident.arriving.cancel()
        if resident.worker is not None:
            await resident.worker.stop()
        self._forget(resident)
        if self._residents.get(resident.name) is resident:
            del self._residents[resident.name]
            if resident.successor is not None:
                self._residents[resident.name] = resident.successor
        log.info("unloaded", model=resident.name)
        self._settle(resident)

    def _sweep(self) -> None:
        """Unload who stayed long enough."""
        for resident in self.pool.expired(self._now()):
            self._send_off(resident)

    # ── the books ──

    def _settle(self, resident: Resident) -> None:
        """Something is new with `resident`: enter it, act on it, tell whoever waits for it."""
        worker, was_busy = resident.worker, resident.busy
        resident.busy = resident.waiting + (worker.open if worker else 0)
        if was_busy or resident.busy:
            resident.used = self._now()
        if worker is not None and worker.failure is not None and resident.failure is None:
            self._fail(resident, worker.failure)
        for one, cores in self.pool.shares():
            if one.worker is not None:
                one.worker.grant(cores)
        if not resident.busy:
            self._sweep()
        resident.changed.set()
        resident.changed = asyncio.Event()
        self._changed()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
