"""A model's template is tried before it is used: in a child process, with limits, on conversations of several kinds.

A template is code of a stranger. The sandbox keeps it from the system, not from a loop or a text without end; Jinja
even computes constants while it compiles. So all of that happens first where it can be stopped.
"""

import os
import resource
import select
import signal
from collections.abc import Sequence
from typing import NoReturn

import psutil

from edgechat.errors import EdgechatError, RequestError, TemplateInvalid
from edgechat.prompt.template import Template
from edgechat.types import Message, Tool, ToolCall

SECONDS = 2  # of processor time; as many again by the clock, on a busy machine five times that
MEMORY = 256 << 20  # bytes more than the worker has
MOST_TEXT = 1 << 20  # characters that a few short messages may become
_ASK, _SYSTEM = Message("user", "Hello"), Message("system", "Be kind.")
_CALL = Message("assistant", "", tool_calls=(ToolCall("call12345", "now", "{}"),))
CONVERSATIONS: Sequence[Sequence[Message]] = (
    (_ASK,),
    (_SYSTEM, _ASK),
    (_ASK, Message("assistant", "Hi."), _ASK) * 20,
    (_ASK, _CALL, Message("tool", "noon", tool_call_id="call12345")),
)


def try_out(source: str, bos: str = "", eos: str = "") -> None:
    """Raise TemplateInvalid unless the template compiles and renders within the limits."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _report(source, bos, eos, writing)
    os.close(writing)
    try:
        told = select.select([reading], [], [], 5 * SECONDS)[0]
        report = os.read(reading, 1 << 12).decode(errors="replace") if told else ""
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if report != "ok":
        raise TemplateInvalid(report or f"the model's chat template takes more than {SECONDS} s or {MEMORY >> 20} MB.")


def _report(source: str, bos: str, eos: str, pipe: int) -> NoReturn:
    """The child: try, say how it went, end."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        room = psutil.Process().memory_info().vms + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        os.write(pipe, _tried(source, bos, eos).encode()[: 1 << 12])
    finally:
        os._exit(0)  # whatever comes up: nothing of the worker's own runs here


def _tried(source: str, bos: str, eos: str) -> str:
    try:
        template = Template(source, bos, eos)
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
    return "ok"
