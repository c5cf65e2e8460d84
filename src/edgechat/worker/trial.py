"""A sandbox for chat templates: a model's is tried before it is used, in a child process, with limits, on conversations
of several kinds.

A template is code of a stranger. The sandbox keeps it from the system, not from a loop or a text without end; Jinja
even computes constants while it compiles. So all of that happens first where it can be stopped.

    worker   start the child ─► load the model ─► its template ─────► verdict: Template, or TemplateInvalid
    child        imports ······ waits on stdin ······ └─► try, tell ─┘

A process of its own, not a fork: a worker that has loaded a model has threads, and a fork of those may hang.
"""

import math
import resource
import subprocess
import time
from collections.abc import Sequence
from io import BytesIO
from types import TracebackType
from typing import Self

import msgspec

from edgechat import machine
from edgechat.errors import EdgechatError, RequestError, TemplateInvalid
from edgechat.process import frames
from edgechat.process.parent import Parent
from edgechat.process.spawn import spawn
from edgechat.prompt.template import Template
from edgechat.types import Message, Struct, Tool, ToolCall

SECONDS = 2  # of processor time; as many again by the clock, on a busy machine five times that
MEMORY = 256 << 20  # bytes more than the child has when it begins
MOST_TEXT = 1 << 20  # characters that a few short messages may become
_ASK, _SYSTEM = Message.of("user", "Hello"), Message.of("system", "Be kind.")
_CALL = Message("assistant", (), tool_calls=(ToolCall("call12345", "now", "{}"),))
CONVERSATIONS: Sequence[Sequence[Message]] = (
    (_ASK,),
    (_SYSTEM, _ASK),
    (_ASK, Message.of("assistant", "Hi."), _ASK) * 20,
    (_ASK, _CALL, Message("tool", ("noon",), name="now", tool_call_id="call12345")),
)


class Candidate(Struct, frozen=True):
    """A template to be tried, with the texts that it may write by name."""

    source: str
    bos: str = ""
    eos: str = ""


class Verdict(Struct, frozen=True):
    """The child's answer: what is wrong with the template, if anything is."""

    wrong: str | None


to_child = msgspec.msgpack.Decoder(Candidate)
from_child = msgspec.msgpack.Decoder(Verdict)


class Trial:
    """The child that waits for a template. Leaving the context ends it."""

    def __enter__(self) -> Self:
        self._child = spawn(__name__, stderr=subprocess.DEVNULL, own_session=False)  # it ends with the worker's own
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.communicate()

    def of(self, candidate: Candidate) -> None:
        """Raise TemplateInvalid unless the template compiles and renders within the limits. Once per child."""
        try:
            said = self._child.communicate(frames.pack(candidate), 5 * SECONDS)[0]
        except subprocess.TimeoutExpired:
            said = b""
        verdict = frames.read(BytesIO(said), from_child)
        if verdict is None:
            raise TemplateInvalid(f"the model's chat template takes more than {SECONDS} s or {MEMORY >> 20} MB.")
        if verdict.wrong is not None:
            raise TemplateInvalid(verdict.wrong)


def main() -> None:
    """The child: read, try, say how it went."""
    parent = Parent(to_child)
    if (candidate := parent.read()) is None:
        return
    seconds = math.ceil(time.process_time()) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    machine.limit_memory(MEMORY)
    parent.send(Verdict(_tried(candidate)))


def _tried(candidate: Candidate) -> str | None:
    try:
        template = Template(candidate.source, candidate.bos, candidate.eos)
        for at, conversation in enumerate(CONVERSATIONS):
            try:
                prompt = template.render(conversation, (Tool("now"),) if template.knows_tools else ())
            except RequestError:
                if at == 0:
                    raise  # other conversations it may refuse
                continue
            if len(prompt.text) > MOST_TEXT:
                return f"the model's chat template makes {len(prompt.text)} characters of a few words."
    except EdgechatError as error:
        return str(error)
    return None


if __name__ == "__main__":
    main()
