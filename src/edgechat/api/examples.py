"""OpenAPI examples: what a route may be asked, and what it then answers.

Examples of answers are not written down: they are what the dialects make of one specimen of an answer.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from edgechat.api.reply import Part, Reply
from edgechat.types import Delta, Done, ModelInfo, Sampling, Served, Timing, Usage

QUESTION = "What is the capital of France?"
TURNS = [{"role": "user", "content": QUESTION}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather in a city now"}

# The specimen.
PARTS: tuple[Part, ...] = (Delta("It is"), Delta(" Paris."))
DONE = Done("stop", "eos", Usage(26, 4, 12), Timing(0.3, 41.5, 31.2))
INFO = ModelInfo(4096, 16384, 1_060_000_000, 151_936, 620_000_000, "Q4_K", 2, "llama.cpp")
SERVED = Served("qwen1.5-0.5b-chat", "92aee1b1" * 8, "Q4_K", Sampling(), INFO, since=1_767_225_600)


class Example(NamedTuple):
    """A request, and what answers it: a body, or the dialect's reply to the specimen; and `more` requests by name."""

    request: dict[str, Any] | None
    answer: Callable[[], Reply | dict[str, Any]]
    more: Mapping[str, dict[str, Any]] = {}

    @property
    def requests(self) -> dict[str, dict[str, Any]]:
        """All of them, the plain one first."""
        return {} if self.request is None else {"plain": self.request, **self.more}
