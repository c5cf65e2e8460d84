"""One job: an answer being written, from the stored question to the stored answer.

wait for the conversation's former run ─► wait for the model ─► stream ─► log
                                                                  └─► checkpoint, at most a second or 50 pieces old
"""

import asyncio
import time
from asyncio import wrap_future
from collections.abc import Iterable, Mapping
from contextlib import aclosing, suppress
from io import BytesIO

import msgspec
import structlog
from msgspec.structs import replace

from edgechat import types
from edgechat.errors import EdgechatError, Interrupted, NotReady, ServiceError, ShuttingDown, error_of
from edgechat.history import held, turns
from edgechat.history.records import Failure, Node, Outcome, Started, Status, Turn
from edgechat.history.store import History
from edgechat.media.size import size_of
from edgechat.models.library import sampled
from edgechat.prompt.sight import usual
from edgechat.runs import log
from edgechat.runs.log import Log
from edgechat.runtime import Runtime
from edgechat.types import Caller, GenRequest, Message, Model, Sampling, Served, Tokenize

CHECKPOINT_S = 0.8
CHECKPOINT_PIECES = 50  # of text, of about a token each
OWN = "runs"  # the name of those whom runs ask for: beside what the same caller asks by the API
AWAY_S = 0.5  # between looks at an engine that is starting again
COUNT_S = 1.0  # for a stopped answer's tokens to be counted

logger = structlog.get_logger("runs")


class Run:
    """One answer, its log and its way into the store. `produce` once; `stop` at any time."""

    def __init__(
        self, runtime: Runtime, history: History, started: Started, turn: Turn, caller: Caller, begun: Node | None
    ) -> None:
        """`begun`: the answer that this goes on with, as it is."""
        self.started = started
        self.caller = caller
        self.owner = caller.realm
        self.log = Log()
        self.outcome: Outcome | None = None
        self._runtime = runtime
        self._history = history
        self.turn = turn
        self._begun = time.monotonic()
        self._begun_with = begun
        if begun is not None:
            self.log.append(log.Snapshot(begun.content, begun.reasoning))
        self._first: float | None = None  # when the first piece of text came
        self._last = 0.0  # and the last one
        self._read: types.Prefill | None = None  # the prompt
        self._fresh = 0  # pieces of text since the last checkpoint
        self._due = asyncio.Event()  # there are enough of them for the next one
        self._served: Served | None = None
        self.media: dict[str, bytes] = {}  # of the conversation, until nobody needs it any more
        self._usage: log.Usage | None = None
        self._work: asyncio.Task[types.Done] | None = None
        self._stopped = False

    @property
    def saved(self) -> bool:
        """Whether the store has the end of it."""
        return self.outcome is not None

    # ── from outside ──

    def stop(self) -> None:
        """End early, at somebody's wish: what is there is kept."""
        self._stopped = True
        self.cancel()

    def cancel(self) -> None:
        """End early, because the server does."""
        if self._work is not None:
            self._work.cancel()

    async def produce(self, former: "Run | None") -> None:
        """Answer, and store the answer. Errors become its outcome; nothing is raised."""
        self._work = asyncio.create_task(self._answer(former))
        keeping = asyncio.create_task(self._keep())
        await asyncio.wait({self._work})
        keeping.cancel()
        await asyncio.wait({keeping})
        if self._stopped:
            self._usage = await self._counted()
        outcome = self._outcome(self._work)
        await self._settle(outcome)

    # ── the answer ──

    async def _answer(self, former: "Run | None") -> types.Done:
        if self._stopped:
            raise asyncio.CancelledError
        if former is not None and not former.log.ended.is_set():
            self.log.append(log.Queued(position=1))
            await former.log.ended.wait()
        messages = await wrap_future(self._history.read(turns.path, self.started.message_id))
        if begun := self._begun_with:
            said = (begun.content,) if begun.content else ()
            messages.append(Message("assistant", said, reasoning=begun.reasoning))
        self.media = await asyncio.to_thread(held.contents, self._history, self.owner, messages)
        model = await self._ready()
        self._served = model.served
        looking, reading = _Reading(), _Reading()
        async with aclosing(model.stream(self._request(messages, model.served))) as events:
            async for event in events:
                match event:
                    case types.Done():
                        return event
                    case types.Failed():
                        raise error_of(event)
                    case types.Delta(text=text):
                        self._text(log.Delta(text))
                    case types.Reasoning(text=text):
                        self._text(log.Reasoning(text))
                    case types.Media(sha256=sha256, stage=stage, done=done, total=total):
                        self.log.append(log.Media(sha256, stage, done, total, looking.eta_s(done, total)))
                    case types.Prefill(done=done, total=total):
                        self._read = event
                        self.log.append(log.Prefill(done, total, reading.eta_s(done, total)))
                    case types.Queued(position=position, eta_s=eta_s):
                        self.log.append(log.Queued(position, eta_s))
                    case types.Loading(stage=stage, fraction=fraction):
                        self.log.append(log.Loading(stage, _percent(fraction)))
        raise AssertionError("an answer ends with Done or Failed")

    async def _ready(self) -> Model:
        """The model; the default is waited for. Raises ModelNotFound, and NotReady where there never will be one."""
        while True:
            changed, readiness = self._runtime.changed, self._runtime.readiness
            if readiness.state in ("ready", "paused") or self.turn.model:  # this one was begun before the pause
                return self._runtime.find(self.turn.model, self.caller)
            if readiness.state == "failed":
                raise NotReady(f"no model answers here: {readiness.why}")
            self.log.append(log.Loading(readiness.state, _percent(readiness.progress)))
            await _within(AWAY_S, changed)

    def _request(self, messages: list[Message], served: Served) -> GenRequest:
        params = self.turn.params
        if system := params.get("system"):
            messages = [Message.of("system", system), *(one for one in messages if one.role != "system")]
        return GenRequest(
            messages=tuple(messages),
            goes_on=self._begun_with is not None,
            media=self.media,
            picture_tokens=sharpness(messages, self.media, served.info.patch),
            sampling=sampled(served.sampling, **{name: params.get(name) for name in Sampling.__struct_fields__}),
            max_tokens=params.get("max_tokens"),
            context=params.get("context"),
            stop=tuple(params.get("stop") or ()),
            thinking=params.get("thinking"),
            conversation=self.started.conversation_id,
            user=OWN,
        )

    def _text(self, piece: log.Delta | log.Reasoning) -> None:
        self._last = time.monotonic()
        self._first = self._first or self._last
        self.log.append(piece)
        self._fresh += 1
        if self._fresh >= CHECKPOINT_PIECES:
            self._due.set()

    # ── the store ──

    async def _keep(self) -> None:
        """Checkpoint what came since the last one, while it is less than a second old and less than 50 pieces."""
        told = False
        while True:
            await _within(CHECKPOINT_S, self._due)
            self._due.clear()
            if not self._fresh:
                continue
            self._fresh = 0
            assert self._served is not None
            kept = self.log.text(), self.log.text(log.Reasoning), self._served.name
            try:
                await wrap_future(self._history.write(turns.checkpoint, self.started.answer_id, *kept))
            except EdgechatError as error:
                if not told:
                    self.log.append(log.Unsaved(error.code, str(error)))
                told = True

    def _outcome(self, work: "asyncio.Task[types.Done]") -> Outcome:
        """How it ended, with the text that is there."""
        model = self._served.name if self._served else None
        before = self._begun_with.usage if self._begun_with else None
        told = Outcome("complete", self.log.text(), self.log.text(log.Reasoning), model, usage=before)
        if work.cancelled() and self._stopped:
            usage = log.payload(self._usage) if self._usage else before
            return replace(told, status="stopped", finish_reason="stopped", usage=usage)
        if work.cancelled():
            ending = ShuttingDown("the server is being stopped: ask again soon.")
            return replace(told, status="interrupted", error=failure_of(ending))
        if error := work.exception():
            if not isinstance(error, EdgechatError):
                logger.error("a bug", exc_info=error)
            status: Status = "interrupted" if isinstance(error, ShuttingDown) else "error"
            return replace(told, status=status, error=failure_of(error))
        done = work.result()
        self._usage = self._measured(done.usage, done.timing.decode_tok_s, done.dropped_messages)
        reason = "loop" if done.stop_reason == "loop" else done.finish_reason  # the dialects know no word for it
        return replace(told, finish_reason=reason, usage=log.payload(self._usage))

    async def _counted(self) -> log.Usage | None:
        """What a stopped answer took: the engine tells that of whole ones only. Its text is counted again."""
        if self._served is None or self._read is None or self._first is None:
            return None
        begun = self._begun_with
        new = self.log.text(log.Reasoning)[len(begun.reasoning) if begun else 0 :]
        new += self.log.text()[len(begun.content) if begun else 0 :]
        try:
            async with asyncio.timeout(COUNT_S):
                found = await self._runtime.find(self.turn.model, self.caller).ask(Tokenize(new))
        except (EdgechatError, TimeoutError):
            return None
        usage = types.Usage(self._read.total, len(found.tokens), self._read.cached)
        seconds = self._last - self._first
        return self._measured(usage, round((len(found.tokens) - 1) / seconds, 2) if seconds else None, None)

    def _measured(self, usage: types.Usage, speed: float | None, dropped: int | None) -> log.Usage:
        """The figures of the whole answer: where it was gone on with, tokens of all its parts, the first one's wait."""
        assert self._served is not None
        context = self._served.info.context
        measured = log.Usage(
            prompt=usage.prompt_tokens,
            cached=usage.cached_tokens,
            completion=usage.completion_tokens,
            ttft_ms=round((self._first - self._begun) * 1000, 1) if self._first else None,
            tps=speed,
            ctx_used=usage.total_tokens,
            ctx_max=min(context, self.turn.params.get("context") or context),
            dropped=dropped,
        )
        if self._begun_with is None or not self._begun_with.usage:
            return measured
        before = log.Usage(**self._begun_with.usage)
        completion = before.completion + measured.completion
        return replace(measured, completion=completion, ttft_ms=before.ttft_ms)

    async def _settle(self, outcome: Outcome) -> None:
        """Store the end, then tell it. A disk that does not take it is asked again until it does."""
        pause, told = 1.0, False
        kept = outcome
        if self._begun_with and outcome.error and self._first is None:
            kept = _as_it_was(self._begun_with)
        while True:
            try:
                await wrap_future(self._history.write(turns.finish, self.started.answer_id, kept))
            except EdgechatError:
                if not told:
                    self._tell(outcome, saved=False)
                told = True
                await asyncio.sleep(pause)
                pause = min(2 * pause, 30.0)
            except Exception:
                logger.exception("a bug")
                self._tell(outcome, saved=False)
                return
            else:
                self.outcome = outcome
                if not told:
                    self._tell(outcome, saved=True)
                return

    def _tell(self, outcome: Outcome, saved: bool) -> None:
        if self._usage is not None:
            self.log.append(self._usage)
        self.log.append(ending(outcome, saved))


class _Reading:
    """How long the rest of the prompt takes, from how long the first part took."""

    def __init__(self) -> None:
        self._start: tuple[int, float] | None = None

    def eta_s(self, done: int, total: int) -> float | None:
        """Seconds until `total`, once there are two looks to compare."""
        now = time.monotonic()
        if self._start is None:
            self._start = done, now
        first, since = self._start
        return round((total - done) * (now - since) / (done - first), 1) if done > first else None


def ending(outcome: Outcome, saved: bool = True) -> log.Done | log.Error:
    """The last event that goes with an outcome."""
    if outcome.error is not None:
        return log.Error(**msgspec.structs.asdict(outcome.error), saved=saved)
    return log.Done(outcome.finish_reason or "stop", saved)


def _as_it_was(answer: Node) -> Outcome:
    """The end that an answer had before it was to go on, and could not."""
    reason, error = answer.finish_reason, answer.error
    status: Status = "stopped" if reason == "stopped" else "complete"
    if error is not None:
        status = "interrupted" if error.code in (Interrupted.code, ShuttingDown.code) else "error"
    return Outcome(status, answer.content, answer.reasoning, answer.model, reason, answer.usage, error)


def failure_of(error: BaseException) -> Failure:
    """What ended an answer, for its reader; a bug says so and no more."""
    if not isinstance(error, EdgechatError):
        return Failure(EdgechatError.code, "edgechat failed inside; the log says where.")
    retryable = isinstance(error, ServiceError)
    return Failure(error.code, str(error), retryable, getattr(error, "retry_after_s", None))


def sharpness(messages: Iterable[Message], media: Mapping[str, bytes], patch: int) -> dict[str, int]:
    """How many cells of `patch` × `patch` pixels the pictures of a conversation may have, by SHA-256."""
    parts = {part.sha256: part.media_type for message in messages for part in message.attachments}
    sizes = {sha256: size_of(BytesIO(media[sha256]), kind) for sha256, kind in parts.items() if sha256 in media}
    return {sha256: usual(*size, patch) for sha256, size in sizes.items() if size and patch}


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for `event`, but not longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 1)
