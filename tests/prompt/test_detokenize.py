import random
from itertools import pairwise

import pytest

from edgechat.prompt.detokenize import Detokenizer, Stops

TEXTS = ["Hello, world", "你好，世界！𠮷野家", "👩‍👩‍👧 e\u0301 🇨🇳", "def f(x):\n\treturn x\r\n", "\u2028\x00\x7f"]


def pieces(data: bytes, *cuts: int) -> list[bytes]:
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def run(tokens: list[bytes], stop: tuple[str, ...] = ()) -> tuple[list[str], Stops]:
    text, stops = Detokenizer(lambda token: tokens[token]), Stops(stop)
    return [stops.push(text.push(i)) for i in range(len(tokens))] + [stops.rest()], stops


@pytest.mark.parametrize("text", TEXTS)
def test_any_cutting_gives_the_same_text_in_whole_characters(text: str) -> None:
    data, dice = text.encode(), random.Random(0)
    for _ in range(200):
        cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(8)))
        out, _ = run(pieces(data, *cuts), stop=("never met",))
        assert "".join(out) == text
        assert "\ufffd" not in "".join(out)


def test_half_a_character_at_the_end_is_dropped() -> None:
    out, _ = run([b"ok", "好".encode()[:2]])
    assert "".join(out) == "ok"


def test_invalid_bytes_become_one_mark_and_the_text_goes_on() -> None:
    out, _ = run([b"a", b"\xff", b"b"])
    assert "".join(out) == "a\ufffdb"


@pytest.mark.parametrize(
    ("tokens", "stop", "text", "stopped"),
    [
        (["Us", "er", ":\n", "x"], ("User:\n",), "", True),
        (["a Us", "e ", "it"], ("User:\n",), "a Use it", False),
        (["a", "b", "c"], ("bc", "abcd"), "a", True),
        (["one</do", "ne>two"], ("</done>",), "one", True),
        (["aaa", "ab"], ("aab",), "aa", True),
        (["tail U"], ("User",), "tail U", False),
        (["你", "好"], ("好",), "你", True),
    ],
)
def test_a_stop_string_never_leaks_and_a_near_miss_is_delivered(
    tokens: list[str], stop: tuple[str, ...], text: str, stopped: bool
) -> None:
    out, state = run([token.encode() for token in tokens], stop)
    assert "".join(out) == text
    assert (state.met is not None) is stopped


def test_the_earliest_stop_string_wins() -> None:
    out, _ = run([b"one two three"], ("three", "two"))
    assert "".join(out) == "one "
