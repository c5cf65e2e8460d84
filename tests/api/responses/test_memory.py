"""What a client builds on recent answers: found in its own realm, for a while, and said where it is gone."""

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from edgechat.api.responses.memory import KEPT_S, MOST, MOST_BYTES, Past
from edgechat.api.responses.wire import ResponsesRequest
from edgechat.errors import NotFound
from edgechat.keys import Keys
from edgechat.types import Limits
from tests.api.conftest import serving
from tests.conftest import FakeModel

ROUTE = "/v1/responses"
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


def ask(client: httpx.Client, **more: Any) -> Any:
    answer = client.post(ROUTE, json={"input": "one"} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_turn_builds_on_the_one_before(client: httpx.Client) -> None:
    first = ask(client)
    second = ask(client, input="two", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    whole = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "You said: one"},
        {"role": "user", "content": "two"},
    ]
    assert second["usage"]["input_tokens"] == ask(client, input=whole)["usage"]["input_tokens"]
    third = ask(client, input="three", previous_response_id=second["id"], instructions="Be brief.")
    assert third["usage"]["input_tokens"] > second["usage"]["input_tokens"]


def test_items_are_named_by_their_ids(client: httpx.Client) -> None:
    first = ask(client)
    (message,) = first["output"]
    turns = [{"role": "user", "content": "one"}, message, {"role": "user", "content": "two"}]
    whole = ask(client, input=turns)["usage"]["input_tokens"]
    for reference in ({"type": "item_reference", "id": message["id"]}, {"id": message["id"]}):
        assert ask(client, input=[turns[0], reference, turns[2]])["usage"]["input_tokens"] == whole


def test_a_tools_result_answers_a_call_that_is_kept(fake_model: FakeModel, tmp_path: Path) -> None:
    call = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'
    with serving(fake_model(reply=call), tmp_path / "home") as base, httpx.Client(base_url=base) as client:
        first = ask(client, tools=[TOOL])
        (made,) = first["output"]
        result = {"type": "function_call_output", "call_id": made["call_id"], "output": "18"}
        ask(client, input=[result], previous_response_id=first["id"], tools=[TOOL])


def test_a_streamed_answer_is_kept_when_its_end_is_told(client: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as official:
        streamed = list(official.responses.create(model="", input="one", stream=True))
        end = streamed[-1]
        assert end.type == "response.completed"
        assert official.responses.retrieve(end.response.id).output_text == "You said: one"
        next_ = official.responses.create(model="", input="two", previous_response_id=end.response.id)
        assert next_.output_text == "You said: two"
        official.responses.delete(end.response.id)
        with pytest.raises(openai.NotFoundError, match="not found"):
            official.responses.retrieve(end.response.id)


def test_store_false_keeps_nothing(client: httpx.Client) -> None:
    answer = ask(client, store=False)
    assert answer["store"] is False
    assert client.get(f"{ROUTE}/{answer['id']}").status_code == 404
    assert ask(client, store=True)["store"] is True


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"previous_response_id": "resp_1"}, (400, "previous_response_not_found", "previous_response_id")),
        (
            {"input": [{"type": "item_reference", "id": "msg_gone"}, {"role": "user", "content": "x"}]},
            (404, "not_found", "input.0.id"),
        ),
    ],
)
def test_what_is_gone_is_told_as_openai_tells_it(
    client: httpx.Client, more: dict[str, Any], told: tuple[int, str, str]
) -> None:
    """By the 400 and its code an editor knows that it has to send the whole conversation again."""
    answer = client.post(ROUTE, json={"input": "x"} | more)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == told
    assert "not found" in error["message"]
    assert "restart" in error["message"]


def test_an_empty_name_is_none(client: httpx.Client) -> None:
    assert client.post(ROUTE, json={"input": "x", "previous_response_id": ""}).status_code == 200


def test_another_key_finds_nothing(fake_model: FakeModel, tmp_path: Path) -> None:
    home = tmp_path / "home"
    keys = Keys(home / "keys.json")
    mine, other = ({"Authorization": f"Bearer {keys.add(name, False, (), Limits())[1]}"} for name in ("mine", "other"))
    with serving(fake_model(), home) as base, httpx.Client(base_url=base) as client:
        first = client.post(ROUTE, json={"input": "one"}, headers=mine).json()
        for method in ("GET", "DELETE"):
            assert client.request(method, f"{ROUTE}/{first['id']}", headers=other).status_code == 404
        more = {"input": "two", "previous_response_id": first["id"]}
        assert client.post(ROUTE, json=more, headers=other).status_code == 400
        more = {"input": [{"type": "item_reference", "id": first["output"][0]["id"]}]}
        assert client.post(ROUTE, json=more, headers=other).status_code == 404
        assert client.get(f"{ROUTE}/{first['id']}", headers=mine).json() == first


def made(id: str, before: str | None = None) -> dict[str, Any]:
    said = {"type": "message", "id": f"msg_{id}", "role": "assistant", "content": "x", "status": "completed"}
    return {"id": id, "previous_response_id": before, "output": [said]}


def test_what_is_kept_is_bounded_in_number_bytes_and_time() -> None:
    now = 0.0
    past = Past(lambda: now)
    given = past.conversation(ResponsesRequest.model_validate({"input": "x"}))
    for at in range(MOST + 1):
        past.keep(made(str(at)), given, 1)
    with pytest.raises(NotFound):
        past.get("0")
    past.get("1")  # used: the next one goes first
    past.keep(made("new"), given, 1)
    past.get("1")
    with pytest.raises(NotFound):
        past.get("2")
    past.keep(made("large"), given, MOST_BYTES)
    past.get("large")
    past.keep(made("larger", before="large"), given, 1)
    with pytest.raises(NotFound):
        past.get("larger")  # with what it builds on, it is more than may be
    past.get("large")  # … and nothing had to go for it
    past.keep(made("last"), given, 1)
    now += KEPT_S + 1
    with pytest.raises(NotFound):
        past.get("last")
