"""Output parsing: an answer's text, taken apart as it grows into what is thought, what is called, what is said.

    start ──<think>──► thinking ──</think>──► said ──<tool_call>──► call ──</tool_call>──► said …

Nothing that could still turn out to be markup leaves early, and no text is lost: a call that cannot be read is said,
unless a limit cut it off before it told anything.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from edgechat.prompt import mend
from edgechat.prompt.calls import NAMED, InJson, InXml, Written, named
from edgechat.prompt.detokenize import overlap
from edgechat.prompt.template import THINK, UNTHINK
from edgechat.prompt.tools import CALL, CALLED, Form
from edgechat.types import Called, Delta, Reasoning

Piece = Delta | Reasoning | Called
State = Literal["start", "thinking", "said", "call", "named"]
_STRING_OR_END = re.compile(rf'"(?:[^"\\]|\\.)*"?|{CALLED}', re.DOTALL)


class Reply:
    """One answer's text. `calls` counts its calls; `mended` tells whether one of them had to be repaired.

    `repeated` tells whether a call came that this answer had made already: small models do not know when to stop.
    """

    def __init__(
        self,
        id: str,
        thinks: bool,
        may_think: bool,
        tools: Mapping[str, str],
        guided: bool,
        repair: bool,
        once: bool = True,
        several: bool = True,
        form: Form = "json",
        fits: Callable[[mend.Call], bool] | None = None,
    ) -> None:
        """`tools` may be called, each with the text of its JSON schema, and are in that `form`.

        `guided` text is known to be well-formed, so that calls can be passed on as they come. `thinks`: the text begins
        inside thinking; `may_think`: it may begin with thinking. `once`: a repeated call is not passed on.
        `several`: more than one may be passed on.
        `fits` tells whether a call that came without its tags follows its tool's schema, which no grammar held it to.
        """
        self._fits = fits
        self._id = id
        self._state: State = "thinking" if thinks else "start" if may_think else "said"
        self._tools = dict(tools)
        self._form = form
        self._guided = guided
        self._repair = repair
        self._held = ""
        self._stream: Written | None = None
        self._gap = thinks  # white space after markup is not said
        self._space = ""  # before a call: said only where the call turns out to be none
        self._begun = False  # something was said or called
        self._cut = False
        self._once = once
        self._several = several
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

    def finish(self, cut: bool = False) -> list[Piece]:
        """What was held back, at the end. `cut`: the model did not end it."""
        self._cut = cut
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
        # Maybe the tag was forgotten; where a grammar holds calls, it did not hold this one.
        if self._form == "xml" and self._repair and not self._guided and not self._begun and text.strip():
            if InXml.begun(text, "", 0, self._tools):
                self.mended = True
                self._enter("call", text)
                return
            if not last and InXml.may_begin(text, self._tools):
                self._held = text
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
        if self._reads_named and NAMED in before:
            said = before.partition(NAMED)[0]
            yield Delta(said.rstrip())
            self._space = said[len(said.rstrip()) :]
            self._enter("named", text[len(said) :])
        elif found:
            yield Delta(before.rstrip())
            self._space = before[len(before.rstrip()) :]
            self._enter("call", after)
        else:
            tags = [CALL, NAMED] if self._reads_named else [CALL]
            keep = 0 if last else max(_tail(text, tag) for tag in tags)
            yield Delta(text[: len(text) - keep])
            self._held = text[len(text) - keep :]

    @property
    def _reads_named(self) -> bool:
        """Whether a call may come in a form that its model fell back on."""
        return self._repair and not self._guided and self._form == "json"

    def _named(self, last: bool) -> Iterator[Piece]:
        call, size = named(self._held, self._tools, last)
        if not size:
            return
        verbatim = f"{self._space}{self._held[:size]}"
        self._enter("said", self._held[size:], gap=call is not None)
        if call is None:
            yield Delta(verbatim)
        else:
            self.mended = True
            yield from self._pass_on([call])

    def _call(self, last: bool) -> Iterator[Piece]:
        if self._stream is None:
            self._stream = self._begin()
            if self._stream is not None:
                self._held = self._stream.rest
            elif self._guided or (not last and self._form == "xml" and InXml.may_begin(self._held, self._tools)):
                return
        if self._stream is not None:
            yield from self._go_on(self._stream, last)
            return
        end = _end_of_call(self._held, last)
        if end is not None:
            inside, after = self._held[:end], self._held[end:].removeprefix(CALLED)
            verbatim = f"{self._space}{CALL}{self._held[: len(self._held) - len(after)]}"
            self._enter("said", after)
            yield from self._read(inside, verbatim)

    def _begin(self) -> Written | None:
        """The call whose arguments can be passed on as they come, as soon as its name is whole."""
        id = f"{self._id}-{self.calls}"
        if self._form == "xml":
            return InXml.begun(self._held, id, self.calls, self._tools)
        return InJson.begun(self._held, id, self.calls) if self._guided else None

    def _go_on(self, stream: Written, last: bool) -> Iterator[Piece]:
        """Pass on the arguments as they come. As long as they are those of a call that was made already, they wait."""
        self._begun = True
        self._held = stream.take(self._held)
        if last and not stream.ended and self._repair and not self._guided:
            self._held, self.mended = stream.close(self._held), True
        again = self._once and any(stream.may_become(call) for call in self._made)
        if not again or (last and not stream.ended):
            self.calls += not stream.told
            yield from stream.tell()
        rest = self._held.lstrip("} \n")
        if stream.ended and (last or not self._may_go_on(rest)):
            self._note(stream.call)
            self._stream = None
            if self._another(rest):
                self._enter("call", rest)
            else:
                self._enter("said", "" if CALLED.startswith(rest) else rest.removeprefix(CALLED))

    def _may_go_on(self, rest: str) -> bool:
        """Whether `rest`, behind a call, may still become its closing tag, or another call between the same tags."""
        closes = CALLED.startswith(rest) and rest != CALLED
        return closes or (self._form == "xml" and InXml.may_begin(rest, self._tools))

    def _another(self, rest: str) -> bool:
        return self._form == "xml" and self._several and InXml.begun(rest, "", 0, self._tools) is not None

    def _read(self, inside: str, verbatim: str) -> Iterator[Piece]:
        """The calls that `inside` is; what is none is said `verbatim`."""
        self._begun = True
        calls, mended = mend.read(inside, self._tools, self._repair)
        half = self._cut and self._repair and inside != verbatim and CALLED not in verbatim
        if half and (not calls or calls[-1][1] == "{}"):
            self.mended = True  # the beginning of a call is no answer, and no call without arguments
            calls = calls[:-1]
        elif not calls or (inside == verbatim and self._fits is not None and not self._fits(calls[0])):
            yield Delta(verbatim)
            return
        self.mended |= mended or inside == verbatim
        yield from self._pass_on(calls)

    def _pass_on(self, calls: list[mend.Call]) -> Iterator[Piece]:
        """What was called, but what was before, and more than one where that is not wanted."""
        for name, arguments in calls if self._several else calls[:1]:
            if self._note((name, arguments)) and self._once:
                continue
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


def _end_of_call(text: str, last: bool) -> int | None:
    """Where the call in `text` ends: at the first closing tag that no JSON string holds.

    At the `last` of a text whose quotes do not match it is the first one, or the end.
    """
    ends = (found.start() for found in _STRING_OR_END.finditer(text) if found[0] == CALLED)
    end = next(ends, None)
    return len(text.partition(CALLED)[0]) if end is None and last else end


def _tail(text: str, markup: str) -> int:
    """Length of the end of `text` that may be a beginning of `markup`, with the white space before it."""
    keep = overlap(text, markup)
    return len(text) - len(text[: len(text) - keep].rstrip())


def _empty(piece: Piece) -> bool:
    return not isinstance(piece, Called) and not piece.text
