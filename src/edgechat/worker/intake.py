"""Preprocessing: requests on their way in, made into prompts and grammars, so that a bad one is refused while others
are answered.

Generate ─► prompt ─► loop                      at once, in the thread that reads the letters
         ├► long prompt ─► loop                 in a thread of its own: 4 MB of one letter take seconds
         ├► prompt, grammar ─► loop             in another: a grammar may take a while
         └► pictures ─► prompt, grammar ─► loop   looked at in another one, fairly (looking.py)
Ask      ─► answer                              in another: a text may be long, and no request waits behind it
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec

from edgechat.errors import EdgechatError, failed_of
from edgechat.letters import Ask, Cancel, Forget, Generate
from edgechat.prompt.budget import SHORT
from edgechat.prompt.sight import Sight, tokens_of
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.constrain import Constrainer, constrained
from edgechat.scheduler.loop import Loop, Submit, Tell
from edgechat.types import Encoded, GenRequest, Media, Read
from edgechat.worker.album import Album, Key
from edgechat.worker.looking import Looker, pictures_of

MOST_CLIENTS = 1024  # whose time is remembered when they are away

T = TypeVar("T")


class Looked(NamedTuple):
    """A request's pictures as the model reads them, by SHA-256, and what is told of them."""

    sights: Mapping[str, Sight]
    media: tuple[Encoded, ...]


BLIND = Looked({}, ())


def fatal(work: Callable[[T], None]) -> Callable[[T], None]:
    """`work`, but an exception that nobody expected ends the process: whoever waits hears of it, another is started.

    Left in its thread it would leave them waiting. For want of memory, even a traceback may be too much.
    """

    def working(letter: T) -> None:
        try:
            work(letter)
        except BaseException as error:
            os.write(2, f"{type(error).__name__} in the intake\n".encode())
            os._exit(1)

    return working


class Intake:
    """The door of one worker's loop."""

    def __init__(
        self,
        prompter: Prompter,
        constrainer: Constrainer,
        loop: Loop,
        tell: Tell,
        looker: Looker | None = None,
        album: Album | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`looker`: where the model takes pictures; `album` has those that it took before."""
        self._prompter = prompter
        self._constrainer = constrainer
        self._loop = loop
        self._tell = tell
        self._looker = looker
        self._clock = clock
        self._lock = threading.Lock()
        self._coming: set[int] = set()  # ids that are long, whose grammar is being made or pictures are looked at
        self._later = ThreadPoolExecutor(1, "grammars")
        self._long = ThreadPoolExecutor(1, "prompts")
        self._aside = ThreadPoolExecutor(1, "questions")
        self._looks = Looks()
        self._album = album or Album()
        if looker is not None:
            threading.Thread(target=fatal(self._look_on), args=(looker,), daemon=True).start()

    def take(self, letter: Generate) -> None:
        """Bring a request to the loop, or tell why not."""
        looks, long = self._looker is not None and bool(pictures_of(letter.request)), _length(letter.request) > SHORT
        if not (looks or long or constrained(letter.request)):
            self._loop_or_refuse(letter)
            return
        with self._lock:
            self._coming.add(letter.id)
        if looks:
            self._looks.put(letter.request.client, letter)
        else:
            (self._long if long else self._later).submit(fatal(partial(self._loop_or_refuse, later=True)), letter)

    def cancel(self, letter: Cancel) -> None:
        """Nobody reads the answer any more, wherever its request is now."""
        with self._lock:
            self._coming.discard(letter.id)
            self._loop.post(letter)
        if self._looker is not None:
            self._looker.stop(letter.id)

    def forget(self, letter: Forget) -> None:
        """Nothing of a deleted conversation stays, neither its tokens nor its pictures."""
        self._album.forget(letter.conversation)
        self._loop.post(letter)

    def answer(self, letter: Ask) -> None:
        """Answer a question about tokens."""
        if self._looker is not None and isinstance(letter.question, Read) and pictures_of(letter.question.request):
            with self._lock:
                self._coming.add(letter.id)
            self._looks.put(letter.question.request.client, letter)
        else:
            self._aside.submit(fatal(self._answer_or_refuse), letter)

    # ── pictures ──

    def _look_on(self, looker: Looker) -> None:
        """Look at what waits, for ever."""
        while True:
            letter = self._looks.get()
            request, began = _request_of(letter), self._clock()
            try:
                looked = self._looked(looker, letter.id, request)
            except EdgechatError as error:
                self._refuse(letter.id, error)
                continue
            finally:
                self._looks.charge(request.client, self._clock() - began)
            if looked is None:
                continue
            if isinstance(letter, Ask):
                with self._lock:
                    self._coming.discard(letter.id)
                self._aside.submit(fatal(partial(self._answer_or_refuse, looked=looked)), letter)
            else:
                self._later.submit(fatal(partial(self._loop_or_refuse, looked=looked, later=True)), letter)
            self._album.write()  # nobody waits for the disk

    def _looked(self, looker: Looker, id: int, request: GenRequest) -> Looked | None:
        """At every picture of the request; None where nobody waits for it any more."""
        sights, media = {}, []
        wanted = pictures_of(request)
        for number, (digest, tokens) in enumerate(wanted.items()):

            def told(share: float | None, digest: str = digest, number: int = number) -> None:
                done = round(100 * (number + (share or 0)))
                self._tell(id, Media(digest, "encode", done, 100 * len(wanted)))

            with self._lock:
                if id not in self._coming:
                    return None
            file = Key(request.realm, f"{digest} {tokens}")
            began, sight = self._clock(), self._album.find(file, request.conversation)
            cached = sight is not None
            if sight is None:
                told(0)
                known = partial(self._album.know, file, conversation=request.conversation)
                found = looker.look(id, digest, request.media.get(digest), told, known, tokens)
                if found is None:
                    return None
                sight, cached = found.sight, found.known
                if not cached:
                    self._album.keep(file, found.pixels, sight, request.conversation)
            sights[digest] = sight
            ms = 0.0 if cached else round((self._clock() - began) * 1000, 1)
            media.append(Encoded(digest, "picture", tokens_of(sight), ms, cached))
        return Looked(sights, tuple(media))

    # ── the loop's door ──

    def _answer_or_refuse(self, letter: Ask, looked: Looked = BLIND) -> None:
        try:
            self._tell(letter.id, self._prompter.answer(letter.question, looked.sights))
        except EdgechatError as error:
            self._refuse(letter.id, error)

    def _refuse(self, id: int, error: EdgechatError) -> None:
        with self._lock:
            self._coming.discard(id)
        self._tell(id, failed_of(error))

    def _loop_or_refuse(self, letter: Generate, looked: Looked = BLIND, later: bool = False) -> None:
        try:
            submit = self._prepared(letter, looked)
        except EdgechatError as error:
            self._refuse(letter.id, error)
            return
        with self._lock:  # a cancel comes before, and nothing is posted, or after
            if letter.id in self._coming or not later:
                self._loop.post(submit)
            self._coming.discard(letter.id)

    def _prepared(self, letter: Generate, looked: Looked) -> Submit:
        request = msgspec.structs.replace(letter.request, media={})  # they are seen: nobody needs them any more
        prompt = self._prompter.prepare(request, looked.sights)._replace(media=looked.media)
        grammar = self._constrainer.grammar(request, prompt.thinks, prompt.may_think, prompt.form)
        return Submit(letter.id, request, prompt, grammar, sum(one.encode_ms for one in looked.media) / 1000)


class Looks:
    """Requests whose pictures wait to be looked at (fair queueing): next is the client whose pictures took least.

    As in scheduler/fair.py, who was away begins with the least of those who wait; of equals, whoever waits longest.
    """

    def __init__(self) -> None:
        self._clients: dict[str, list[Generate | Ask]] = {}  # who was served last comes last
        self._spent: dict[str, float] = {}  # seconds
        self._some = threading.Condition()

    def put(self, client: str, letter: Generate | Ask) -> None:
        """One more."""
        with self._some:
            if client not in self._clients:
                floor = min((self._spent[one] for one in self._clients), default=0.0)
                self._spent[client] = max(self._spent.get(client, 0.0), floor)
            self._clients.setdefault(client, []).append(letter)
            self._some.notify()

    def charge(self, client: str, seconds: float) -> None:
        """The pictures of `client` took so long."""
        with self._some:
            self._spent[client] = self._spent.get(client, 0.0) + seconds
            if len(self._spent) > MOST_CLIENTS:  # names come from outside
                self._spent = {one: self._spent[one] for one in self._clients}

    def get(self) -> Generate | Ask:
        """The next one, waited for; its client is the last one then."""
        with self._some:
            while not self._clients:
                self._some.wait()
            client = min(self._clients, key=lambda one: self._spent[one])
            letters = self._clients.pop(client)
            letter = letters.pop(0)
            if letters:
                self._clients[client] = letters
            return letter


def _length(request: GenRequest) -> int:
    """Characters, or tokens, of what was said and what may be called."""
    said = sum(len(message.text) for message in request.messages)
    return said + len(request.prompt or ()) + sum(len(tool.parameters) for tool in request.tools)


def _request_of(letter: Generate | Ask) -> GenRequest:
    if isinstance(letter, Generate):
        return letter.request
    assert isinstance(letter.question, Read)
    return letter.question.request
