"""llama.cpp against PyTorch: the same weights in both, 20 prompts, every next token compared.

The referee is `transformers`, which reads the weights of a GGUF by code of its own (conftest.py), computes in float32
and knows nothing of edgechat. llama.cpp runs the same weights written as F16 by recast.py. Both read a conversation
whole, and the numbers for every following token of it are compared (teacher forcing: nobody's answer leads the other
astray).

Tolerance: a token's log probability may differ by TOLERANCE where either finds it likelier than one in a thousand.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgechat.engine.llama.engine import LlamaCpp
from edgechat.gguf.header import read_header
from edgechat.gguf.recast import recast
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prompter
from edgechat.tune.divergence import Floats, log_probabilities
from edgechat.types import GenRequest, Message

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]

TOLERANCE = 0.05  # nats
AGREE = 0.99  # of the likeliest tokens
QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "Write a haiku about rain.",
    "用中文介绍一下你自己。",
    "北京有哪些好玩的地方？",
    "def fib(n):\n    # complete this\n",
    "Explain recursion to a child.",
    "Sort a list in Python without sort().",
    "How do I boil an egg?",
    "写一首关于秋天的诗。",
)
SYSTEMS = ("You are a helpful assistant.", "You answer in one short sentence.")
ANSWER = "That is a good question. Let me think: 1, 2, 3 — 首先，我们来看一个例子。\n```python\nprint('hello')\n```\n"


@pytest.fixture(scope="module")
def referee(smollm2_folder: Path, judge: Any) -> tuple[Any, Any]:
    """(model, tokenizer) of transformers."""
    model = judge.AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype="float32")
    return model.eval(), judge.AutoTokenizer.from_pretrained(smollm2_folder)


@pytest.fixture(scope="module")
def engine(smollm2: Path, referee: object, tmp_path_factory: pytest.TempPathFactory) -> LlamaCpp:
    """The same weights as F16; nothing is made where nobody judges it."""
    path = tmp_path_factory.mktemp("referee") / "f16.gguf"
    tensors = read_header(smollm2).tensors
    recast(smollm2, path, {tensor.name: "F16" for tensor in tensors if len(tensor.shape) > 1}, 2)
    return LlamaCpp(path, 512, 0, 2, lambda _: None)


def chats() -> list[list[Message]]:
    return [[Message.of("system", system), Message.of("user", asked)] for system in SYSTEMS for asked in QUESTIONS]


def prompts(engine: LlamaCpp) -> list[list[int]]:
    assert engine.template is not None
    prompter = Prompter(Template(engine.template), engine.tokenizer, engine.info.context)
    return [prompter.prepare(GenRequest(tuple(chat))).tokens for chat in chats()]


def test_prompts_have_the_ids_that_apply_chat_template_gives(engine: LlamaCpp, referee: tuple[Any, Any]) -> None:
    tokenizer = referee[1]
    for chat, ours in zip(chats(), prompts(engine), strict=True):
        turns = [{"role": turn.role, "content": turn.text} for turn in chat]
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ours


def test_next_tokens_agree(engine: LlamaCpp, referee: tuple[Any, Any]) -> None:
    same, worst = [], 0.0
    for prompt in prompts(engine):
        tokens = prompt + engine.tokenizer.encode(ANSWER)
        ours, theirs = log_probabilities(whole(engine, tokens)), log_probabilities(judged(referee[0], tokens))
        same += list(ours.argmax(axis=1) == theirs.argmax(axis=1))
        likely = np.maximum(ours, theirs) > np.log(1e-3)
        worst = max(worst, float(np.abs(ours - theirs)[likely].max()))
    print(f"same top {np.mean(same):.4f} of {len(same)}, worst difference {worst:.4f}")
    assert np.mean(same) >= AGREE
    assert worst <= TOLERANCE


def whole(engine: LlamaCpp, tokens: list[int]) -> Floats:
    engine.trim(0)
    step = engine.sequences
    rows = [engine.logits(0, at, tokens[at : at + step]) for at in range(0, len(tokens), step)]
    return np.concatenate(rows)


def judged(model: Any, tokens: list[int]) -> Floats:
    import torch

    with torch.inference_mode():
        found: Floats = model(torch.tensor([tokens])).logits[0].numpy()
    return found
