"""The same prompt, greedy, gives the same tokens as llama.cpp driven by somebody else's code (reference/make.py)."""

import json
from pathlib import Path

import pytest

from edgechat.engine.base import Slice
from edgechat.engine.llama_cpp import LlamaCpp
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prompter
from edgechat.types import GenRequest, Message, Sampling

REFERENCE = Path(__file__).parent.parent / "reference"


@pytest.mark.model
@pytest.mark.parametrize(
    ("model", "reference"),
    [("smollm2", "smollm2-135m-instruct.json"), ("qwen", "qwen2.5-coder-0.5b-instruct.json")],
)
def test_greedy_answers_are_the_references(model: str, reference: str, request: pytest.FixtureRequest) -> None:
    engine = LlamaCpp(request.getfixturevalue(model), 2048, 0, 2, lambda _: None)
    assert engine.template is not None
    prompter = Prompter(Template(engine.template), engine.tokenizer, engine.info.context)
    for case in json.loads((REFERENCE / reference).read_text()):
        messages = tuple(Message(role, content) for role, content in case["messages"])
        prompt = prompter.prepare(GenRequest(messages)).tokens
        assert prompt == case["prompt"]
        assert greedy(engine, prompt, len(case["answer"])) == case["answer"]
    engine.close()


def greedy(engine: LlamaCpp, prompt: list[int], count: int) -> list[int]:
    engine.trim(0)
    sampler = engine.sampler(Sampling(temperature=0))
    answer: list[int] = []
    tokens, at = prompt, 0
    while len(answer) < count:
        (token,) = engine.step([Slice(0, at, tokens, sampler)])
        assert token is not None
        at += len(tokens)
        tokens = [token]
        answer.append(token)
    sampler.close()
    return answer
