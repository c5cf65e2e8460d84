"""A thousand texts of Chinese, emoji and code through the detokeniser, however the bytes are cut."""

import random

import pytest

from edgechat.prompt.detokenize import Detokenizer, Stops

WORDS = [
    *("你好", "，", "世界", "的", "龘", "𠮷", "👋🏽", "👨‍👩‍👧‍👦", "🇨🇳", "é", "e\u0301", "ก็", "नमस्ते", "→", "ﬁ"),
    *(
        " ",
        "\n",
        "\t",
        "\u200d",
        "\u2028",
        "\x00",
        "\\n",
        "def f(x):",
        "return",
        "{}",
        "[",
        "<|im_end|>",
        "a",
        "the",
        "0",
    ),
]


def random_text(dice: random.Random) -> str:
    return "".join(dice.choice(WORDS) for _ in range(dice.randint(1, 60)))


def pieces_of(text: str, dice: random.Random) -> list[bytes]:
    """The bytes of `text` in pieces of one to four: half characters are everyday life."""
    data, pieces = text.encode(), []
    while data:
        size = dice.randint(1, 4)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def through(pieces: list[bytes], stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    detokenizer, stops = Detokenizer(pieces.__getitem__), Stops(stop)
    texts = [stops.push(detokenizer.push(token)) for token in range(len(pieces))]
    return [*texts, stops.rest()], stops.met is not None


@pytest.mark.parametrize("block", range(10))
def test_text_comes_out_as_it_went_in(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        dice = random.Random(seed)
        text = random_text(dice)
        texts, _ = through(pieces_of(text, dice))
        assert "".join(texts) == text
        for piece in texts:
            assert piece.encode().decode() == piece


def test_stop_strings_end_the_text_wherever_the_pieces_break() -> None:
    for seed in range(1000):
        dice = random.Random(seed)
        text = random_text(dice)
        start = dice.randrange(len(text))
        stops = (text[start : start + dice.randint(1, 5)], "never said")
        texts, stopped = through(pieces_of(text, dice), stops)
        assert stopped
        assert "".join(texts) == text[: text.index(stops[0])]


def test_a_text_cut_in_mid_character_loses_that_character_only() -> None:
    for seed in range(200):
        dice = random.Random(seed)
        text = random_text(dice) + "👋"
        pieces = pieces_of(text, dice)[:-1]
        texts, _ = through(pieces)
        assert "".join(texts) == b"".join(pieces).decode(errors="ignore")
