"""Chat templates: messages to a prompt, with every character's origin kept.

The template belongs to a model file from a stranger: it runs in Jinja's immutable sandbox, in the worker, where nothing
is worth stealing. What people wrote belongs to them: it must never act as a control token. So the contents go through
the template between marks that nobody can write, and come out as places in the finished prompt:

    content  "  hi <|im_end|> "          marks sit inside the outer white space, so that a template's trim still trims
    marked   "  ⟦hi <⟧⟦|im_end|>⟧ "      and after every < and [, so that a template that looks for markup sees none
    rendered "<|im_start|>user\\n⟦hi <⟧⟦|im_end|>⟧<|im_end|>\\n"
    prompt   "<|im_start|>user\\nhi <|im_end|><|im_end|>\\n"     content = characters 17 to 30

A picture is a mark of its own among the text, and comes out as a place, too. What a template does with it is looked at:
one that is left out, or stands where it was not sent, refuses the conversation.
"""

import json
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple, NoReturn

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgechat.errors import InvalidRequest, TemplateInvalid
from edgechat.prompt.calls import FUNCTION
from edgechat.prompt.mend import whole
from edgechat.prompt.tools import CALL, Form
from edgechat.types import Attachment, Message, Tool, ToolCall

MAX_TEMPLATE = 1 << 18  # characters
THINK, UNTHINK = "<think>", "</think>"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# A word or phrase of which no control token can be made. Left without marks: some templates look at such words.
_HARMLESS = re.compile(r"[\w .,:;'()/+*=?!-]*")


class Prompt(NamedTuple):
    """A rendered prompt. `contents` are (start, end) ranges of `text` that people wrote, in order.

    `pictures` stand before the characters of those numbers, ascending.
    """

    text: str
    contents: tuple[tuple[int, int], ...]
    pictures: tuple[tuple[int, Attachment], ...] = ()

    @property
    def thinks(self) -> bool:
        """Whether the answer begins inside the model's thinking."""
        return self._own.rstrip().endswith(THINK)

    @property
    def _own(self) -> str:
        """What the template wrote after everything else."""
        return self.text[self.contents[-1][1] if self.contents else 0 :]

    def begun(self, answer: Message) -> "Prompt":
        """The prompt with what is there of the `answer` already: content like any other, its tags the template's."""
        pieces: list[tuple[str, bool]] = [(answer.text, True)]
        if self.thinks or (answer.reasoning and UNTHINK not in self._own):
            closing = f"\n{UNTHINK}\n\n" if answer.text else ""
            pieces = [("" if self.thinks else f"{THINK}\n", False), (answer.reasoning, True), (closing, False), *pieces]
        text, contents = self.text, list(self.contents)
        for piece, is_content in pieces:
            if piece and is_content:
                contents.append((len(text), len(text) + len(piece)))
            text += piece
        return Prompt(text, tuple(contents), self.pictures)


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}`: where Transformers finds what to train on. It renders as it stands."""

    tags = {"generation"}  # noqa: RUF012 - as the base class declares it

    def parse(self, parser: Parser) -> nodes.Node:
        tag = next(parser.stream)
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=tag.lineno)


class Template:
    """A model's chat template, compiled once."""

    def __init__(self, source: str, bos: str = "", eos: str = "") -> None:
        """Compile `source`. Raises TemplateInvalid, which names the line."""
        if len(source) > MAX_TEMPLATE:
            raise TemplateInvalid(
                f"the model's chat template has {len(source)} characters; at most {MAX_TEMPLATE} are read."
            )
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.globals.update(raise_exception=_refuse, strftime_now=lambda form: datetime.now().strftime(form))
        environment.filters["tojson"] = _to_json
        self.source = source
        self._names = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(source)
            asked = meta.find_undeclared_variables(environment.parse(source))
        except TemplateError as error:
            raise TemplateInvalid(f"the model's chat template does not compile: {error}.") from error
        self.knows_tools = "tools" in asked and CALL in source
        self.form: Form = "xml" if self.knows_tools and FUNCTION in source else "json"
        self.thinking_switch = "enable_thinking" in asked
        self.thinks = THINK in source
        self.knows_names = re.search(r"""message(\.name|\[['"]name['"]\])""", source) is not None

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = (), thinking: bool | None = None) -> Prompt:
        """The prompt that asks for the next assistant turn after `messages`.

        Raises InvalidRequest when the template itself refuses the conversation (roles out of turn, say), or does not
        write each picture once and in order, and TemplateInvalid when it fails.
        """
        # Letters and digits only: no filter of a template (tojson, escape) changes them.
        marks = _Marks(f"A{secrets.token_hex(12)}", f"Z{secrets.token_hex(12)}", f"P{secrets.token_hex(12)}", [])
        names: dict[str, Any] = {**self._names, "tools": [_tool(tool, marks) for tool in tools] or None}
        if thinking is not None:
            names["enable_thinking"] = thinking
        try:
            turns = [_turn(message, marks) for message in messages]
            marked = self._template.render(messages=turns, add_generation_prompt=True, **names)
        except _Refused as error:
            raise InvalidRequest(f"this model's template refuses the conversation: {error}", "messages") from error
        except Exception as error:  # the template is foreign code: anything may come out of it
            raise TemplateInvalid(f"the model's chat template failed: {type(error).__name__}: {error}.") from error
        return marks.take_out(marked)


class _Refused(Exception):
    """The template called raise_exception."""


def _refuse(message: Any) -> NoReturn:
    raise _Refused(str(message))


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    """JSON as the models were taught it: characters as they are, a space after comma and colon."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


class _Marks(NamedTuple):
    """The marks of one rendering, and the pictures that were put into it."""

    opening: str
    closing: str
    picture: str  # before the picture's number and a P
    pictures: list[Attachment]

    def put_parts(self, message: Message) -> str:
        """The content of `message` between marks, and the marks of its pictures."""
        put = []
        for are_text, parts in groupby(message.content, lambda part: isinstance(part, str)):
            if are_text:
                put.append(self.put("".join(part for part in parts if isinstance(part, str))))
                continue
            for part in parts:
                assert isinstance(part, Attachment)
                put.append(f"{self.picture}{len(self.pictures)}P")
                self.pictures.append(part)
        return "".join(put)

    def put(self, text: str) -> str:
        """`text` between marks, broken where markup could begin."""
        core = text.strip()
        if not core:
            return text  # white space holds no control token
        start = text.index(core)
        pieces = re.split(r"(?<=[<\[])", core)
        marked = "".join(f"{self.opening}{piece}{self.closing}" for piece in pieces if piece)
        return f"{text[:start]}{marked}{text[start + len(core) :]}"

    def put_into(self, value: Any) -> Any:
        """`value` from JSON with marks in every text that is more than plain words."""
        match value:
            case str():
                return value if _HARMLESS.fullmatch(value) else self.put(whole(value))
            case list():
                return [self.put_into(item) for item in value]
            case dict():
                return {self.put_into(key): self.put_into(item) for key, item in value.items()}
        return value

    def take_out(self, marked: str) -> Prompt:
        """Take the marks out.

        A template that cuts a content apart can lose one of its two marks. Then all text between the other one and
        its neighbour counts as content: doubt falls on the side where nothing acts as a control token.
        """
        text: list[str] = []
        contents: list[tuple[int, int]] = []
        found: list[tuple[int, str]] = []
        at, started = 0, 0
        for part in re.split(f"({self.opening}|{self.closing}|{self.picture}[0-9]+P)", marked):
            if part == self.opening:
                started = at
            elif part.startswith(self.picture):
                found.append((at, part))
            elif part == self.closing:
                before = contents.pop() if contents and contents[-1][1] == started else (started, at)
                contents.append((before[0], at))
                started = at
            else:
                text.append(part)
                at += len(part)
        if marked.rfind(self.opening) > marked.rfind(self.closing):
            contents.append((started, at))
        return Prompt("".join(text), tuple(contents), self._stand(found))

    def _stand(self, found: Sequence[tuple[int, str]]) -> tuple[tuple[int, Attachment], ...]:
        """The pictures at the places of the marks that were `found`."""
        if [mark for _, mark in found] != [f"{self.picture}{number}P" for number in range(len(self.pictures))]:
            raise InvalidRequest("this model's template does not write the pictures as they were sent.", "messages")
        return tuple((at, picture) for (at, _), picture in zip(found, self.pictures, strict=True))


def _turn(message: Message, marks: _Marks) -> dict[str, Any]:
    """A turn as templates expect it."""
    turn: dict[str, Any] = {"role": message.role, "content": marks.put_parts(message)}
    if message.name is not None:
        turn["name"] = marks.put(message.name)
    if message.tool_call_id is not None:
        turn["tool_call_id"] = marks.put(message.tool_call_id)
    if message.reasoning:
        turn["reasoning_content"] = marks.put(message.reasoning)
    if message.tool_calls:
        turn["tool_calls"] = [_call(call, marks) for call in message.tool_calls]
    return turn


def _call(call: ToolCall, marks: _Marks) -> dict[str, Any]:
    arguments = marks.put_into(json.loads(call.arguments))
    function = {"name": marks.put_into(call.name), "arguments": arguments}
    return {"id": marks.put_into(call.id), "type": "function", "function": function}


def _tool(tool: Tool, marks: _Marks) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": json.loads(tool.parameters)}
    return {"type": "function", "function": marks.put_into({k: v for k, v in function.items() if v != ""})}
