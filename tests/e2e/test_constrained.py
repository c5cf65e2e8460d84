"""JSON that follows its schema, on a real model: 200 schemas, each held by another implementation (jsonschema).

`make test` takes a sample of them on a smaller model; EDGECHAT_TORTURE=1 takes them all.
"""

import json
import os

import httpx
import jsonschema
import pytest

from tests.schemas import schema_number

TORTURE = bool(os.environ.get("EDGECHAT_TORTURE"))
ROUTE = "/v1/chat/completions"
SCHEMAS = 200
SAMPLE = 6
LONGEST = 200 if TORTURE else 80  # tokens; beyond them the JSON is closed legally

pytestmark = pytest.mark.model


@pytest.mark.parametrize("seed", range(SCHEMAS if TORTURE else SAMPLE))
def test_every_answer_follows_its_schema(client: httpx.Client, seed: int) -> None:
    schema = schema_number(seed)
    asked = {
        "messages": [
            {"role": "user", "content": f"Invent an example of this: {json.dumps(schema, ensure_ascii=False)}"}
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "example", "schema": schema, "strict": True},
        },
        "temperature": 0.7,
        "seed": seed,
        "max_tokens": LONGEST if seed % 4 else 20,
    }
    answer = client.post(ROUTE, json=asked)
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    jsonschema.validate(json.loads(choice["message"]["content"]), schema)
    assert choice["finish_reason"] == ("length" if "close" in answer.json()["edgechat"]["guards"] else "stop")
