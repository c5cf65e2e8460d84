"""What it costs to hold an answer to a JSON schema: the first time, per schema, per token, and as a share of a step.

python scripts/bench_constrain.py MODEL.gguf [SCHEMAS]       default: 20 schemas of tests/schemas.py, 48 tokens each
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.schemas import schema_number

from edgechat.engine.base import Slice
from edgechat.engine.llama.engine import LlamaCpp
from edgechat.prompt.template import CHATML, Template
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.constrain import Constrainer, Grammar
from edgechat.types import GenRequest, Message, Sampling

TOKENS = 48


class Timed:
    """A grammar that notes what it takes, in seconds per token; `Guide` of engine/base.py."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.seconds: list[float] = []

    def mask(self) -> bytes:
        started = time.perf_counter()
        mask = self.grammar.mask()
        self.seconds.append(time.perf_counter() - started)
        return mask

    def accept(self, token: int) -> None:
        started = time.perf_counter()
        self.grammar.accept(token)
        self.seconds[-1] += time.perf_counter() - started


def steps_of(engine: LlamaCpp, prompt: list[int], guide: Timed | None) -> list[float]:
    """Seconds of each step of an answer to `prompt`: the engine, the draw and the guide."""
    engine.trim(0)
    sampler = engine.sampler(Sampling(temperature=0.7, seed=1), guide)
    (token,) = engine.step([Slice(0, 0, prompt, sampler)])
    steps: list[float] = []
    while len(steps) < TOKENS and token is not None and not engine.tokenizer.is_end(token):
        if guide is not None and guide.grammar.complete:
            break
        started = time.perf_counter()
        (token,) = engine.step([Slice(0, len(prompt) + len(steps), [token], sampler)])
        steps.append(time.perf_counter() - started)
    return steps


def main() -> None:
    path, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20
    engine = LlamaCpp(path, 1024, 0, os.cpu_count() or 1, lambda _: None)
    prompter = Prompter(Template(engine.template or CHATML), engine.tokenizer, engine.info.context)
    constrainer = Constrainer(engine.tokenizer)
    compiling: list[float] = []
    guiding: list[float] = []
    held: list[float] = []
    free: list[float] = []
    for seed in range(count):
        schema = json.dumps(schema_number(seed))
        request = GenRequest((Message.of("user", f"Invent an example of this: {schema}"),), schema=schema)
        prompt = prompter.prepare(request).tokens
        started = time.perf_counter()
        grammar = constrainer.grammar(request, thinks=False, may_think=False)
        compiling.append(time.perf_counter() - started)
        assert grammar is not None
        guide = Timed(grammar)
        held += steps_of(engine, prompt, guide)
        guiding += guide.seconds
        free += steps_of(engine, prompt, None)
    median, step, without = statistics.median(guiding), statistics.median(held), statistics.median(free)
    print(f"first schema, with the vocabulary: {compiling[0] * 1e3:.0f} ms")
    print(
        f"each further schema: {statistics.median(compiling[1:]) * 1e3:.1f} ms, at most {max(compiling[1:]) * 1e3:.1f}"
    )
    print(f"grammar per token, of {len(guiding)}: {median * 1e6:.0f} µs, mean {statistics.mean(guiding) * 1e6:.0f} µs")
    print(f"step: {without * 1e3:.2f} ms free, {step * 1e3:.2f} ms held; grammar {median / step:.1%} of it")


if __name__ == "__main__":
    main()
