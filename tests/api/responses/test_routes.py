import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from edgechat.api.reply import Part, put_together
from edgechat.api.responses.memory import Past
from edgechat.api.responses.routes import ResponseReply
from edgechat.api.responses.wire import ResponsesRequest
from edgechat.types import Called, Delta, Done, ModelInfo, Reasoning, Sampling, Served, Timing, ToolCall, Usage
from tests.api.conftest import serving
from tests.conftest import FakeModel

ROUTE = "/v1/responses"
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
DONE = Done("stop", "eos", Usage(1, 2), Timing(0, 0, None))
INFO = ModelInfo(4096, 4096, 0, 259, 0, "none", 1, "fake")


def events(text: str) -> list[dict[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith(":")]
        if lines:
            name, data = lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))
            assert name == data["type"]
            found.append(data)
    return found


def steady(value: Any) -> Any:
    """`value` without what differs from one answer to the next."""
    if isinstance(value, dict):
        return {key: steady(one) for key, one in value.items() if key not in ("id", "created_at", "edgechat", "usage")}
    return [steady(one) for one in value] if isinstance(value, list) else value


def test_a_whole_answer_has_openais_shape(client: httpx.Client) -> None:
    answer = client.post(ROUTE, json={"input": "你好", "instructions": "be kind"}).json()
    assert (answer["object"], answer["status"]) == ("response", "completed")
    (message,) = answer["output"]
    assert message["content"] == [{"type": "output_text", "text": "You said: 你好", "annotations": [], "logprobs": []}]
    assert answer["usage"]["total_tokens"] == answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"]
    assert (answer["store"], answer["truncation"]) == (True, "disabled")
    assert answer["edgechat"]["stop_reason"] == "eos"


def test_a_stream_is_numbered_and_ends_with_the_whole(client: httpx.Client) -> None:
    said = events(client.post(ROUTE, json={"input": "👋🏽", "stream": True}).text)
    assert [data["sequence_number"] for data in said] == list(range(len(said)))
    names = [data["type"].removeprefix("response.") for data in said]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert names[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert "".join(data["delta"] for data in said if data["type"] == "response.output_text.delta") == "You said: 👋🏽"
    whole = client.post(ROUTE, json={"input": "👋🏽"}).json()
    assert steady(said[-1]["response"]) == steady(whole)


def test_log_probabilities_come_with_the_text_they_are_of(client: httpx.Client) -> None:
    asked = {"input": "你好", "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    answer = client.post(ROUTE, json=asked).json()
    (part,) = answer["output"][0]["content"]
    assert bytes(byte for one in part["logprobs"] for byte in one["bytes"]).decode() == part["text"] == "You said: 你好"
    assert answer["top_logprobs"] == 2
    assert all(len(one["top_logprobs"]) == 2 for one in part["logprobs"])
    said = events(client.post(ROUTE, json=asked | {"stream": True}).text)
    assert steady(said[-1]["response"]) == steady(answer)
    pieces = [data for data in said if data["type"] == "response.output_text.delta"]
    assert [one for data in pieces for one in data["logprobs"]] == part["logprobs"]


def test_the_length_limit_is_incomplete(client: httpx.Client) -> None:
    answer = client.post(ROUTE, json={"input": "x", "max_output_tokens": 2}).json()
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert answer["output"][0]["status"] == "incomplete"
    said = events(client.post(ROUTE, json={"input": "x", "max_output_tokens": 2, "stream": True}).text)
    assert said[-1]["type"] == "response.incomplete"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"instruction": "x"}, "instruction"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"reasoning": {"effort": "utmost"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
        ({"tool_choice": {"type": "function", "name": "x"}, "tools": [TOOL]}, "tool_choice"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.image_url"),
        ({"input": [{"rolle": "user", "role": "user", "content": "x"}]}, "input.0.rolle"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input.0.role"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_is_not_honoured_is_refused_by_name(client: httpx.Client, more: dict[str, Any], param: str) -> None:
    answer = client.post(ROUTE, json={"input": "x"} | more)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_neutral_and_inert_parameters_are_accepted(client: httpx.Client) -> None:
    more: Any = {
        "store": False,
        "previous_response_id": None,
        "include": [],
        "metadata": {"a": "b"},
        "service_tier": "auto",
    }
    assert client.post(ROUTE, json={"input": "x"} | more).status_code == 200


def test_items_become_messages() -> None:
    items = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "weather", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "18"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "19"}]},
    ]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    body = {
        "input": items,
        "instructions": "be kind",
        "tools": [TOOL],
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "reasoning": {"effort": "none"},
    }
    request = ResponsesRequest.model_validate(body)
    asked = request.generation(Sampling(), Past().conversation(request))
    system, question, answer, first, second = asked.messages
    assert (system.role, system.text) == ("system", "be kind\n\nbe brief")
    assert question.text == "weather?"
    assert (answer.text, answer.reasoning) == ("I look.", "hm")
    assert answer.tool_calls == (ToolCall("c1", "weather", "{}"), ToolCall("c2", "weather", '{"a":1}'))
    assert (first.text, first.tool_call_id, first.name) == ("18", "c1", "weather")
    assert (second.text, second.tool_call_id) == ("19", "c2")
    assert (asked.tool_choice, asked.tool_names, asked.parallel_tool_calls) == ("required", ("weather",), False)
    assert (asked.schema, asked.thinking, asked.truncation) == ('{"type":"object"}', False, "disabled")


def test_calls_of_tools_that_take_free_text_stay_in_the_conversation() -> None:
    """Codex tells of its patches so, also where it goes on with a model that is offered no such tool."""
    items = [
        {"role": "user", "content": "mend it"},
        {"type": "custom_tool_call", "id": "ctc", "call_id": "c1", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
        {"role": "user", "content": "go on"},
    ]  # fmt: skip
    request = ResponsesRequest.model_validate({"input": items})
    asked = request.generation(Sampling(), Past().conversation(request)).messages
    assert asked[1].tool_calls == (ToolCall("c1", "apply_patch", '{"input":"*** Begin"}'),)
    assert (asked[2].text, asked[2].tool_call_id, asked[2].name) == ("done", "c1", "apply_patch")


def test_thoughts_and_calls_are_items_of_their_own_streamed_or_not() -> None:
    parts: list[Part] = [
        Reasoning("h"),
        Reasoning("m"),
        Delta("I look."),
        Called(0, "c1", "weather", '{"a"'),
        Called(0, "c1", "weather", ":1}"),
        Called(1, "c2", "weather", "{}"),
    ]
    body = ResponsesRequest.model_validate({"input": "x"})
    wanted = body.generation(Sampling(), Past().conversation(body))
    served = Served(name="m", sha256="", recipe="none", sampling=Sampling(), info=INFO, since=0)
    stream, whole = ResponseReply(served, body, wanted), ResponseReply(served, body, wanted)
    written = b"".join([*stream.begin(), *(piece for part in parts for piece in stream.part(part)), *stream.end(DONE)])
    said = events(written.decode())
    assert steady(said[-1]["response"]) == steady(whole.whole(put_together(parts, DONE)))
    thought, message, first, second = said[-1]["response"]["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert message["content"][0]["text"] == "I look."
    assert (first["call_id"], first["arguments"], second["call_id"]) == ("c1", '{"a":1}', "c2")
    done = [data["item"] for data in said if data["type"] == "response.output_item.done"]
    assert done == said[-1]["response"]["output"]


@pytest.mark.parametrize(("stream", "status"), [(False, 503), (True, 200)])
def test_a_failure_in_the_answer_is_an_error_and_no_false_end(
    fake_model: FakeModel, tmp_path: Path, stream: bool, status: int
) -> None:
    with serving(fake_model(fail_at=3), tmp_path / "home") as base:
        answer = httpx.post(f"{base}{ROUTE}", json={"input": "x", "stream": stream}, timeout=10)
        assert answer.status_code == status
        error = events(answer.text)[-1] if stream else answer.json()
        assert error["error"]["code"] == "engine_failed"
        assert "response.completed" not in answer.text
        if stream:
            official = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
            with official, pytest.raises(openai.APIError, match="engine failed"):
                list(official.responses.create(input="x", stream=True))


def test_the_official_client_works(client: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as official:
        whole = official.responses.create(model="", input="hi")
        assert whole.output_text == "You said: hi"
        with official.responses.stream(model="", input="hi") as stream:
            kinds = {event.type for event in stream}
            assert stream.get_final_response().output_text == "You said: hi"
        assert "response.output_text.delta" in kinds
        echoed: Any = [{"role": "user", "content": "hi"}, *whole.output, {"role": "user", "content": "more"}]
        assert official.responses.create(model="", input=echoed).output_text == "You said: more"
        more = official.responses.create(model="", input="more", previous_response_id=whole.id)
        assert more.output_text == "You said: more"
        with pytest.raises(openai.BadRequestError) as refused:
            official.responses.create(model="", input="hi", previous_response_id="resp_1")
        assert refused.value.param == "previous_response_id"
