"""Function calling: the checks that every dialect makes of tools, of the choice among them, and of their results."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from pydantic import Discriminator, StringConstraints

from edgechat.api.fields import Foreign
from edgechat.api.parts import type_of
from edgechat.errors import InvalidRequest
from edgechat.types import GenRequest, Message, Tool, ToolCall

UNREADABLE = "INVALID_JSON"  # under which arguments that are no object are passed on as the text they are
Arguments = dict[str, Any] | list[Any] | str  # of a past call: a text in some dialects, an object in others
ToolName = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_.-]{1,128}$")]


class OtherTool(Foreign):
    """A tool that somebody else runs or knows, such as a search of the web: it is not offered to the model."""


def by_type(*ours: str | None) -> Discriminator:
    """Tells tools of the types that a dialect's own have, `our tool`, from any `other tool`."""
    return Discriminator(lambda tool: "our tool" if type_of(tool) in ours else "other tool")


def checked(wanted: GenRequest, results: str | None = None, choice: str = "tool_choice") -> GenRequest:
    """`wanted`, in which each tool's result has the name of the tool.

    Raises InvalidRequest for two tools of one name, a choice without its tool, and a result that answers no call before
    it. Parameters are named as the dialect calls them: `results` may have the place of a message as `{at}`; it is None
    where a dialect's results follow their calls by order.
    """
    _once(wanted.tools)
    unknown = [name for name in wanted.tool_names if name not in {tool.name for tool in wanted.tools}]
    if unknown:
        raise InvalidRequest(
            f"tool_choice names {unknown[0]!r}, which is no tool that the model may call here.", choice
        )
    if wanted.tool_choice == "required" and not wanted.tools:
        raise InvalidRequest("tool_choice asks for a call, and there are no tools.", "tool_choice")
    return wanted if results is None else msgspec.structs.replace(wanted, messages=_named(wanted.messages, results))


def _once(tools: Sequence[Tool]) -> None:
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise InvalidRequest(f"tools: two are called {tool.name!r}.", "tools")
        seen.add(tool.name)


def _named(messages: Iterable[Message], results: str) -> tuple[Message, ...]:
    names: dict[str | None, str] = {}
    named = []
    for at, message in enumerate(messages):
        names |= {call.id: call.name for call in message.tool_calls}
        if message.role == "tool":
            if message.tool_call_id not in names:
                where, id = results.format(at=at), message.tool_call_id or ""
                raise InvalidRequest(f"{where}: the result of {id!r} answers no call before it.", where)
            message = msgspec.structs.replace(message, name=message.name or names[message.tool_call_id])
        named.append(message)
    return tuple(named)


def past_arguments(given: Arguments) -> str:
    """The arguments of a call that was made before, as the text of an object.

    What comes back from a client may be nothing in some shape (a tool that takes nothing), wrapped twice, or cut off
    by a limit: one bad call may not lose its user the conversation.
    """
    text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    try:
        value = json.loads(text.strip() or "{}")
        value = json.loads(value.strip() or "{}") if isinstance(value, str) else value
    except (ValueError, RecursionError):
        value = text
    if isinstance(value, dict):
        return text if text.lstrip().startswith("{") else json.dumps(value, ensure_ascii=False)
    return json.dumps({UNREADABLE: text}, ensure_ascii=False) if value else "{}"


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as an object. Those that were cut off are passed on as the text they are."""
    try:
        return msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {UNREADABLE: call.arguments}
