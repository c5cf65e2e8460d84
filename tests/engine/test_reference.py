"""The same prompt, greedy, gives the same tokens as llama.cpp driven by somebody else's code (reference/make.py).

The references were made on a processor with AVX2. One with other instructions adds in another order, so where two
tokens are about as likely it may take the other one, and so does flash attention, which they were made without. How
far apart is "about": with activations in single precision instead of eight bits the references' tokens are up to 0.4
nats behind, with AVX-512 up to 0.65.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgechat.engine.base import Slice
from edgechat.engine.llama.engine import LlamaCpp
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prompter
from edgechat.types import GenRequest, Message, Sampling

REFERENCE = Path(__file__).parent.parent / "reference"
NEAR = 1.0  # nats between two tokens that rounding may exchange
MOST_OTHERS = 0.1  # of all tokens
TOP = 5


@pytest.mark.model
@pytest.mark.parametrize(
    ("model", "reference"),
    [("smollm2", "smollm2-135m-instruct.json"), ("qwen", "qwen2.5-coder-0.5b-instruct.json")],
)
def test_greedy_answers_are_the_references(model: str, reference: str, request: pytest.FixtureRequest) -> None:
    engine = LlamaCpp(request.getfixturevalue(model), 2048, 0, 2, lambda _: None)
    assert engine.template is not None
    prompter = Prompter(Template(engine.template), engine.tokenizer, engine.info.context)
    cases = json.loads((REFERENCE / reference).read_text())
    others: list[float] = []
    for case in cases:
        messages = tuple(Message.of(role, content) for role, content in case["messages"])
        prompt = prompter.prepare(GenRequest(messages)).tokens
        assert prompt == case["prompt"]
        others += elsewhere(engine, prompt, case["answer"])
    assert len(others) <= sum(len(case["answer"]) for case in cases) * MOST_OTHERS
    assert all(gap < NEAR for gap in others), others
    engine.close()


def elsewhere(engine: LlamaCpp, prompt: list[int], answer: list[int]) -> Iterator[float]:
    """Where the likeliest token is not the one of `answer`, which is followed: how much likelier it is, in nats."""
    engine.trim(0)
    sampler = engine.sampler(Sampling(temperature=0), top=TOP)
    tokens, at = prompt, 0
    for expected in answer:
        (drawn,) = engine.step([Slice(0, at, tokens, sampler)])
        if drawn != expected:
            assert sampler.scored is not None
            known = {one.token: one.logprob for one in sampler.scored.top}
            yield sampler.scored.logprob - known.get(expected, -math.inf)
        at += len(tokens)
        tokens = [expected]
