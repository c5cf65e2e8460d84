"""Tool use for models whose template does not know it, in the form that Qwen's models were taught:

    system     … what can be called, and how …
    assistant  <tool_call>
               {"name": "weather", "arguments": {"city": "Paris"}}
               </tool_call>
    user       <tool_response>
               18 degrees
               </tool_response>

What is written here is content like any other: nothing in it becomes a control token.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal

import msgspec

from edgechat.types import GenRequest, Message, Part, Tool

Form = Literal["json", "xml"]  # in which a model writes its calls (calls.py)

CALL, CALLED = "<tool_call>", "</tool_call>"
_HOW = f"""\
# Tools

You can call these functions. Call one where it helps to answer; otherwise just answer.

{{tools}}

To call a function, write a JSON object with its name and arguments, exactly like this:
{CALL}
{{{{"name": "function_name", "arguments": {{{{"parameter": "value"}}}}}}}}
{CALLED}"""


def callable_of(request: GenRequest) -> list[Tool]:
    """The tools that the answer to `request` may call."""
    if request.tool_choice == "none":
        return []
    return [tool for tool in request.tools if not request.tool_names or tool.name in request.tool_names]


def spelled_out(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """`messages` with tools, calls and results written out as text, in the roles every template knows."""
    turns: list[Message] = []
    for is_result, group in groupby(messages, lambda message: message.role == "tool"):
        if is_result:
            turns.append(Message("user", tuple(_responses(group))))
        else:
            turns += [_with_calls(message) for message in group]
    if not tools:
        return turns
    how = _HOW.format(tools="\n".join(_described(tool) for tool in tools))
    if turns and turns[0].role == "system":
        return [Message("system", (*turns[0].content, "\n\n", how)), *turns[1:]]
    return [Message.of("system", how), *turns]


def without_system(messages: Sequence[Message]) -> list[Message]:
    """`messages` for a template that has no system role: the first user turn begins with what the system said."""
    said = [part for message in messages if message.role == "system" for part in (*message.content, "\n\n")]
    rest = [message for message in messages if message.role != "system"]
    first = next((at for at, message in enumerate(rest) if message.role == "user"), None)
    if first is not None:
        rest[first] = msgspec.structs.replace(rest[first], content=(*said, *rest[first].content))
    elif said:
        rest.insert(0, Message("user", tuple(said[:-1])))
    return rest


def system_first(messages: Sequence[Message]) -> list[Message]:
    """`messages` for a template that takes one system turn, at the beginning: all that the system said stands there."""
    said = [message for message in messages if message.role == "system"]
    if not said:
        return list(messages)
    content = [part for message in said for part in ("\n\n", *message.content)][1:]
    first = msgspec.structs.replace(said[0], content=tuple(content))
    return [first, *(message for message in messages if message.role != "system")]


def _responses(results: Iterable[Message]) -> Iterator[Part]:
    for at, message in enumerate(results):
        yield "\n<tool_response>\n" if at else "<tool_response>\n"
        yield from message.content
        yield "\n</tool_response>"


def _with_calls(message: Message) -> Message:
    if not message.tool_calls:
        return message
    calls = [
        f'{CALL}\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}\n{CALLED}'
        for call in message.tool_calls
    ]
    before = (*message.content, "\n") if message.content else ()
    return Message(message.role, (*before, "\n".join(calls)))


def _described(tool: Tool) -> str:
    function = {"name": tool.name, "description": tool.description, "parameters": json.loads(tool.parameters)}
    return json.dumps(function, ensure_ascii=False)
