"""The middle that every dialect shares, without a server."""

import pytest

from edgechat.api.reply import Part, progress_of, put_together
from edgechat.types import (
    AnyEvent,
    Called,
    Delta,
    Done,
    Loading,
    Media,
    Prefill,
    Queued,
    Reasoning,
    Scored,
    Timing,
    Usage,
)

DONE = Done("stop", "eos", Usage(1, 2), Timing(0, 0, None))


def test_parts_become_a_whole() -> None:
    scored = Scored(1, b"a", -0.5)
    parts: list[Part] = [
        Reasoning("I "),
        Reasoning("think"),
        Delta("a", (scored,)),
        Called(0, "c1", "add", '{"a":'),
        Called(1, "c2", "now", "{}"),
        Called(0, "c1", "add", "1}"),
        Delta("b"),
    ]
    whole = put_together(parts, DONE)
    assert (whole.text, whole.reasoning, whole.logprobs, whole.done) == ("ab", "I think", (scored,), DONE)
    assert [(call.id, call.name, call.arguments) for call in whole.calls] == [
        ("c1", "add", '{"a":1}'),
        ("c2", "now", "{}"),
    ]


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (Queued(0), None),
        (Queued(2, 4), "queued 2 of 4"),
        (Queued(2, 4, 7.4), "queued 2 of 4, about 7 s"),
        (Media("92ae", "encode", 150, 200), "encode 150 of 200"),
        (Prefill(10, 20), "prefill 10 of 20"),
        (Loading("weights"), "loading weights"),
        (DONE, None),
    ],
)
def test_progress_in_words(event: AnyEvent, told: str | None) -> None:
    assert progress_of(event) == told
