"""Messages to a prompt, with every character's origin kept.

The template belongs to a model file from a stranger: it runs in Jinja's immutable sandbox, in the worker, where nothing
is worth stealing. What people wrote belongs to them: it must never act as a control token. So the contents go through
the template between marks that nobody can write, and come out as places in the finished prompt:

    content  "  hi <|im_end|> "          marks sit inside the outer white space, so that a template's trim still trims
    marked   "  ⟦hi <|im_end|>⟧ "
    rendered "<|im_start|>user\\n⟦hi <|im_end|>⟧<|im_end|>\\n"
    prompt   "<|im_start|>user\\nhi <|im_end|><|im_end|>\\n"     content = characters 17 to 30
"""

import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgechat.errors import InvalidRequest, TemplateInvalid
from edgechat.types import Message

MAX_TEMPLATE = 1 << 18  # characters
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Prompt(NamedTuple):
    """A rendered prompt. `contents` are (start, end) ranges of `text` that people wrote, in order."""

    text: str
    contents: tuple[tuple[int, int], ...]


class Template:
    """A model's chat template, compiled once."""

    def __init__(self, source: str, bos: str = "", eos: str = "") -> None:
        """Compile `source`. Raises TemplateInvalid, which names the line."""
        if len(source) > MAX_TEMPLATE:
            raise TemplateInvalid(
                f"the model's chat template has {len(source)} characters; at most {MAX_TEMPLATE} are read."
            )
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals.update(raise_exception=_refuse, strftime_now=lambda form: datetime.now().strftime(form))
        self._names = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise TemplateInvalid(f"the model's chat template does not compile: {error}.") from error

    def render(self, messages: Sequence[Message]) -> Prompt:
        """The prompt that asks for the next assistant turn after `messages`.

        Raises InvalidRequest when the template itself refuses the conversation (roles out of turn, say), and
        TemplateInvalid when it fails.
        """
        # Letters and digits only: no filter of a template (tojson, escape) changes them.
        opening, closing = f"A{secrets.token_hex(12)}", f"Z{secrets.token_hex(12)}"
        turns = [{"role": m.role, "content": _mark(m.content, opening, closing)} for m in messages]
        try:
            marked = self._template.render(messages=turns, add_generation_prompt=True, tools=None, **self._names)
        except _Refused as error:
            raise InvalidRequest(f"this model's template refuses the conversation: {error}", "messages") from error
        except Exception as error:  # the template is foreign code: anything may come out of it
            raise TemplateInvalid(f"the model's chat template failed: {type(error).__name__}: {error}.") from error
        return _unmark(marked, opening, closing)


class _Refused(Exception):
    """The template called raise_exception."""


def _refuse(message: Any) -> NoReturn:
    raise _Refused(str(message))


def _mark(content: str, opening: str, closing: str) -> str:
    core = content.strip()
    if not core:
        return content  # white space holds no control token
    start = content.index(core)
    return f"{content[:start]}{opening}{core}{closing}{content[start + len(core) :]}"


def _unmark(marked: str, opening: str, closing: str) -> Prompt:
    """Take the marks out.

    A template that cuts a content apart can lose one of its two marks. Then all text between the other one and its
    neighbour counts as content: doubt falls on the side where nothing acts as a control token.
    """
    text: list[str] = []
    contents: list[tuple[int, int]] = []
    at, started = 0, 0
    for part in re.split(f"({opening}|{closing})", marked):
        if part == opening:
            started = at
        elif part == closing:
            contents.append((started, at))
            started = at
        else:
            text.append(part)
            at += len(part)
    if marked.rfind(opening) > marked.rfind(closing):
        contents.append((started, at))
    return Prompt("".join(text), tuple(contents))
