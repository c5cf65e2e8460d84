"""docs/api.md, from openapi.json."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgechat import errors
from edgechat.api.app import create_app
from edgechat.api.errors import STATUS
from edgechat.runtime import Runtime
from edgechat.settings import Settings

FAR = 1 << 31
INTRO = """\
Every route of a running server, as `/openapi.json` describes it. `null` counts as not given, and `model` may be left
out everywhere. Where the operator made keys, send one as `Authorization: Bearer KEY` or `X-Api-Key: KEY`.

A parameter is honoured, refused or told as ignored, never accepted in silence. One out of its range, or that would
change the answer and is not honoured, is a 400 that names it. In OpenAI's, Anthropic's and Ollama's routes, one that
has no effect here, or that nobody knows, is accepted and listed by its path in `edgechat.ignored` (of each kind the
first: `messages.0.name`), in the first event of a stream and in the header `X-Edgechat-Ignored`; one that looks like a
slip of a known name is a 400 with the name that was meant. The setting `strict` refuses them all, and edgechat's own
routes do that always. On those dialects' routes a body is JSON whatever its Content-Type says.

Every answer has an `X-Request-Id`, the client's own where it sent one that is fit for a log. On event streams, queue
and prefill progress are comments (`: queued 2 of 4`), told after a second of
silence. A failure after the first byte is an error event, and nothing
that looks like an end follows.

The `edgechat` object says what was really done: `model_sha256` and `recipe` (which weights), `queue_ms`, `prefill_ms`
and `decode_tok_s` (where the time went), `cached_tokens` (of the prompt, not read again), `dropped_messages` (of the
oldest, which did not fit), `stop_reason` (`eos`, `stop`, `length`, `loop` or `tool_calls`), `guards` (those that
acted: `cap`, `loop`, `repair`, `close`), `fallback` (who answered instead), `ignored` (parameters without effect,
and by `tools.NAME.…` what a tool without `strict` asks of its arguments that cannot be held) and, of several
answers, `choices` (`stop_reason` and `guards` of each). Its `version` is 1: it may get new fields as it is, and another
version if one of these changes. The whole API's version is `info.version` of `/openapi.json`.

An answer that was ended because it repeated itself (`stop_reason` `loop`) has OpenAI's `finish_reason` `length`, and
what the other dialects say for that: it was cut short, and `stop` would say that it is whole.
"""


def page() -> str:
    """The page's text."""
    with tempfile.TemporaryDirectory() as home:
        app = create_app(Runtime(Settings(engine="fake", model="none", home=Path(home))))
        document = app.openapi()
    parts = ["# HTTP API\n", INTRO]
    for tag in document["tags"]:
        parts.append(f"## {tag['description'].rstrip('.')}\n")
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if operation["tags"] == [tag["name"]]:
                    parts += _operation(method.upper(), path, operation, document["components"]["schemas"])
    return "\n".join([*parts, "## Errors\n", *_errors()])


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}\n\n{operation['summary']}.\n"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        yield from _fields(body["schema"], schemas)
        for example in body.get("examples", {}).values():
            yield _block(f"{method} {path}\n{_pretty(example['value'])}")
    for kind, content in operation["responses"].get("200", {}).get("content", {}).items():
        if "example" in content:
            text = content["example"] if isinstance(content["example"], str) else _pretty(content["example"])
            yield f"`{kind}`\n\n{_block(text)}"


def _fields(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    model = _resolved(schema, schemas)
    if "properties" not in model:
        return
    yield "| parameter | value | |\n|---|---|---|"
    for name, field in model["properties"].items():
        need = "required" if name in model.get("required", []) else ""
        yield f"| `{name}` | {_value(field, schemas)} | {field.get('description', need)} |"
    yield ""


def _value(field: dict[str, Any], schemas: dict[str, Any]) -> str:
    """The values a field takes, in a few words."""
    if "anyOf" in field or "oneOf" in field:
        options = [_value(option, schemas) for option in field.get("anyOf", field.get("oneOf", []))]
        return " or ".join(dict.fromkeys(option for option in options if option not in ("null", "")))
    if "$ref" in field:
        return _value(_resolved(field, schemas), schemas)
    if "const" in field or "enum" in field:
        values = field.get("enum", [field.get("const")])
        return ", ".join(f"`{json.dumps(value)}`" for value in values if value is not None) or "`null`"
    kind = str(field.get("type", ""))
    if kind == "array":
        return f"list of {_value(field['items'], schemas) or 'values'}"
    if kind == "object":
        names = ", ".join(f"`{name}`" for name in field.get("properties", {}))
        return f"object: {names}" if names else "object"
    return ", ".join([kind, *_limits(field)])


def _limits(field: dict[str, Any]) -> Iterator[str]:
    """What a value is at least and at most, where that is a number that means something to a reader."""
    for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("maxLength", "length ≤")):
        if name in field and abs(field[name]) < FAR:
            yield f"{sign} {field[name]:g}"


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _errors() -> Iterator[str]:
    yield "| code | status | meaning |\n|---|---|---|"
    for kind in errors.tree():
        meaning = (kind.__doc__ or "").split("\n")[0]
        yield f"| `{kind.code}` | {STATUS[kind]} | {meaning} |"
    yield "\nRefusals by the rules of HTTP have their status's name as code, such as `method_not_allowed`.\n"


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"
