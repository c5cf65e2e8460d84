"""Output parsing: an answer's text, taken apart as it grows into what is thought, what is called, what is said.

    start ──<think>──► thinking ──</think>──► said ──<tool_call>──► call ──</tool_call>──► said …

Nothing that could still turn out to be markup leaves early, and no text is lost: a call that cannot be read is said.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from edgechat.prompt import mend
from edgechat.prompt.detokenize import overlap
from edgechat.prompt.template import THINK, UNTHINK
from edgechat.prompt.tools import CALL, CALLED
from edgechat.types import Called, Delta, Reasoning

Piece = Delta | Reasoning | Called
State = Literal["start", "thinking", "said", "call"]


class Reply:
    """One answer's text. `calls` counts its calls; `mended` tells whether one of them had to be repaired.

    `repeated` tells whether a call came that this answer had made already: small models do not know when to stop.
    """

    def __init__(
        self,
        id: str,
        thinks: bool,
        may_think: bool,
        tools: Sequence[str],
        guided: bool,
        repair: bool,
        once: bool = True,
    ) -> None:
        """`tools` may be called; `guided` text is known to be well-formed, so that calls can be passed on as they come.

        `thinks`: the text begins inside thinking; `may_think`: it may begin with thinking. `once`: a repeated call is
        not passed on.
        """
        self._id = id
        self._state: State = "thinking" if thinks else "start" if may_think else "said"
        self._tools = frozenset(tools)
        self._guided = guided
        self._repair = repair
        self._held = ""
        self._stream: _Arguments | None = None
        self._gap = thinks  # white space after markup is not said
        self._space = ""  # before a call: said only where the call turns out to be none
        self._begun = False  # something was said or called
        self._once = once
        self._made: set[mend.Call] = set()
        self.calls = 0
        self.mended = False
        self.repeated = False

    @property
    def thinking(self) -> bool:
        """Whether the last text was thought, not said."""
        return self._state == "thinking"

    @property
    def called(self) -> bool:
        """Whether a whole call came."""
        return bool(self._made)

    @property
    def saying(self) -> bool:
        """Whether the last text was said."""
        return self._state == "said"

    def push(self, text: str) -> list[Piece]:
        """What is certain now."""
        self._held += text
        return [piece for piece in self._run(last=False) if not _empty(piece)]

    def finish(self) -> list[Piece]:
        """What was held back, at the end."""
        return [piece for piece in self._run(last=True) if not _empty(piece)]

    def _run(self, last: bool) -> Iterator[Piece]:
        going = True
        while going:
            state, held = self._state, len(self._held)
            yield from getattr(self, f"_{state}")(last)
            going = (state, held) != (self._state, len(self._held)) and bool(self._held)

    def _start(self, last: bool) -> Iterator[Piece]:
        text = self._held.lstrip()
        if text.startswith(THINK):
            self._enter("thinking", text.removeprefix(THINK))
        elif last or (text and not THINK.startswith(text)):
            self._enter("said", self._held, gap=False)
        yield from ()

    def _thinking(self, last: bool) -> Iterator[Piece]:
        text = self._held.lstrip("\n") if self._gap else self._held
        self._gap = self._gap and not text
        before, found, after = text.partition(UNTHINK)
        if found:
            yield Reasoning(before.rstrip())
            self._enter("said", after)
        else:
            keep = 0 if last else _tail(text, UNTHINK)
            yield Reasoning(text[: len(text) - keep])
            self._held = text[len(text) - keep :]

    def _said(self, last: bool) -> Iterator[Piece]:
        text = self._held.lstrip() if self._gap else self._held
        self._gap = self._gap and not text
        if not self._tools:
            self._held = ""
            yield Delta(text)
            return
        bare = None if self._begun or not self._repair else mend.bare(text, self._tools)
        if bare == 0 and not last:
            self._held = text
            return
        if bare is not None:
            call = text[:bare] if bare else text
            self._enter("said", text[len(call) :])
            yield from self._read(call, call)
            self._begun = not self.calls  # what was no call was said; after a call, more may come in the same way
            return
        self._begun = self._begun or bool(text.strip())
        before, found, after = text.partition(CALL)
        if found:
            yield Delta(before.rstrip())
            self._space = before[len(before.rstrip()) :]
            self._enter("call", after)
        else:
            keep = 0 if last else _tail(text, CALL)
            yield Delta(text[: len(text) - keep])
            self._held = text[len(text) - keep :]

    def _call(self, last: bool) -> Iterator[Piece]:
        if self._guided:
            yield from self._guided_call(last)
            return
        inside, found, after = self._held.partition(CALLED)
        if found or last:
            self._enter("said", after)
            yield from self._read(inside, f"{self._space}{CALL}{inside}{found}")

    def _guided_call(self, last: bool) -> Iterator[Piece]:
        """Pass on the arguments as they come: their beginning and end are where the grammar has them.

        As long as they are those of a call that was made already, they wait.
        """
        if self._stream is None:
            self._stream = _Arguments.begun(self._held, f"{self._id}-{self.calls}", self.calls)
            if self._stream is None:
                return
            self._held = self._stream.rest
        stream = self._stream
        self._held = stream.take(self._held)
        again = self._once and any(stream.may_become(call) for call in self._made)
        if not again or (last and not stream.ended):
            self.calls += not stream.told
            yield from stream.tell()
        if stream.ended and (CALLED in self._held or last):
            self._note(stream.call)
            self._stream = None
            self._enter("said", self._held.partition(CALLED)[2])

    def _read(self, inside: str, verbatim: str) -> Iterator[Piece]:
        """The call that `inside` is; what is none is said `verbatim`."""
        self._begun = True
        call, mended = mend.read(inside, self._tools, self._repair)
        if call is None:
            yield Delta(verbatim)
            return
        self.mended |= mended or inside == verbatim
        if self._note(call) and self._once:
            return
        name, arguments = call
        yield Called(self.calls, f"{self._id}-{self.calls}", name, arguments)
        self.calls += 1

    def _note(self, call: mend.Call) -> bool:
        """Whether this answer made `call` before."""
        again = call in self._made
        self._made.add(call)
        self.repeated |= again
        return again

    def _enter(self, state: State, text: str, gap: bool = True) -> None:
        self._state, self._held, self._gap = state, text, gap


class _Arguments:
    """The arguments of a call that is being written: `{"name": "…", "arguments": {…}}`."""

    def __init__(self, index: int, id: str, name: str, rest: str) -> None:
        self._index, self._id, self._name = index, id, name
        self._depth, self._quoted, self._escaped = 0, False, False
        self._taken = ""
        self._passed = 0  # characters that were told
        self.rest = rest
        self.ended = False
        self.told = False

    @classmethod
    def begun(cls, text: str, id: str, index: int) -> "_Arguments | None":
        """The call that `text` begins, as soon as its name is whole."""
        head, found, rest = text.partition('"arguments": ')
        if not found:
            return None
        name: Any = json.loads(head.strip().rstrip(",") + "}")["name"]
        return cls(index, id, name, rest)

    @property
    def call(self) -> mend.Call:
        """What was called, once it has ended."""
        return self._name, self._taken

    def may_become(self, call: mend.Call) -> bool:
        """Whether this is `call`, or its beginning."""
        return self._name == call[0] and call[1].startswith(self._taken)

    def tell(self) -> Iterator[Called]:
        """What was not told yet."""
        if not self.told:
            yield Called(self._index, self._id, self._name, "")
        if more := self._taken[self._passed :]:
            yield Called(self._index, self._id, self._name, more)
        self.told, self._passed = True, len(self._taken)

    def take(self, text: str) -> str:
        """Take in what of `text` belongs to the arguments; the rest."""
        if self.ended:
            return text
        for at, character in enumerate(text):
            if self._quoted:
                self._quoted = character != '"' or self._escaped
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._quoted = True
            else:
                self._depth += (character in "{[") - (character in "}]")
                if self._depth == 0:
                    self.ended = True
                    self._taken += text[: at + 1]
                    return text[at + 1 :]
        self._taken += text
        return ""


def _tail(text: str, markup: str) -> int:
    """Length of the end of `text` that may be a beginning of `markup`, with the white space before it."""
    keep = overlap(text, markup)
    return len(text) - len(text[: len(text) - keep].rstrip())


def _empty(piece: Piece) -> bool:
    return not isinstance(piece, Called) and not piece.text
