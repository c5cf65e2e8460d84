"""Tool calling and structured output, in the shapes of OpenAI's chat API."""

import json
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StringConstraints, Tag

from edgechat.api.fields import ANY_OBJECT, Body, Many, Schema
from edgechat.api.tools import Arguments, OtherTool, ToolName, by_type, past_arguments
from edgechat.types import Tool, ToolCall, ToolChoice

MOST = 128  # tools of one request


class Function(Body):
    """What can be called."""

    name: ToolName
    description: Annotated[str, Field(max_length=16_384)] | None = None
    parameters: Schema | None = None
    strict: StrictBool | None = None


class FunctionTool(Body):
    """A tool of a request."""

    type: Literal["function"] = "function"
    function: Function

    def value(self) -> Tool:
        """The tool as the rest of the house knows it."""
        given = self.function
        schema = given.parameters or {"type": "object", "properties": {}}
        return Tool(given.name, given.description or "", json.dumps(schema, ensure_ascii=False), bool(given.strict))


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("our tool")] | Annotated[OtherTool, Tag("other tool")], by_type("function", None)
]
Tools = Annotated[Many[AnyTool], Field(max_length=MOST)]


class Named(Body):
    """A function by its name."""

    name: ToolName


class NamedTool(Body):
    """A tool by its name."""

    type: Literal["function"]
    function: Named


class Allowed(Body):
    """A selection of tools."""

    mode: Literal["auto", "required"]
    tools: Annotated[Many[NamedTool], Field(min_length=1, max_length=MOST)]


class AllowedTools(Body):
    """Tools of which only a selection may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


Choice = Literal["none", "auto", "required"] | NamedTool | AllowedTools


def choice_of(choice: Choice | None) -> tuple[ToolChoice, tuple[str, ...]]:
    """Whether a tool must be called, and which may be."""
    match choice:
        case NamedTool():
            return "required", (choice.function.name,)
        case AllowedTools(allowed_tools=allowed):
            return allowed.mode, tuple(tool.function.name for tool in allowed.tools)
    return choice or "auto", ()


class FunctionCall(Body):
    """A call that an assistant's message tells of."""

    name: ToolName
    arguments: Arguments = ""


class Call(Body):
    """A call with its id."""

    inert: ClassVar = ("index",)  # of the stream that it came by

    id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: FunctionCall

    def value(self) -> ToolCall:
        """The call as the rest of the house knows it."""
        return ToolCall(self.id, self.function.name, past_arguments(self.function.arguments))


class TextFormat(Body):
    """Free text."""

    type: Literal["text"]

    def schema_text(self) -> str | None:
        """The JSON schema that the answer follows, if any."""
        return None


class JsonObject(Body):
    """Any JSON object, or one of a schema, as other servers of open models have it."""

    type: Literal["json_object"]
    schema_: Schema | None = Field(default=None, alias="schema")

    def schema_text(self) -> str | None:
        """The JSON schema that the answer follows."""
        return ANY_OBJECT if self.schema_ is None else json.dumps(self.schema_, ensure_ascii=False)


class JsonSchema(Body):
    """A schema with its name. Strict or not, it is always followed."""

    name: ToolName
    description: str | None = None
    schema_: Schema = Field(alias="schema")
    strict: StrictBool | None = None


class JsonSchemaFormat(Body):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema

    def schema_text(self) -> str | None:
        """The JSON schema that the answer follows."""
        return json.dumps(self.json_schema.schema_, ensure_ascii=False)


ResponseFormat = Annotated[TextFormat | JsonObject | JsonSchemaFormat, Field(discriminator="type")]
