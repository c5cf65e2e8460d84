"""A visual acuity test: does a model see? Pictures are drawn on the spot, so what is right is known.

    drawn ─► asked through the API, in English and in Chinese ─► the right words, and none of the wrong ones ─► a share

It tells real eyes from patches in the wrong order, the second picture taken for the first, or a projector of another
model: those fail whole kinds of questions. It does not tell a good model from a better one.
"""

import base64
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image, ImageDraw, ImageFont

from edgechat.bench.client import Address
from edgechat.errors import ServiceError
from edgechat.types import Struct

EACH = 6  # questions of a kind
SIDE = 192  # pixels
PASS = 0.7  # of all answers right, from which on a model is said to see
SEED = 1
ANSWER_S = 600.0
Words = Mapping[str, tuple[str, ...]]
COLOURS: Words = {"red": ("红",), "green": ("绿",), "blue": ("蓝",), "yellow": ("黄",)}
SHAPES: Words = {"circle": ("圆",), "square": ("正方",), "triangle": ("三角",)}
DIGITS: Words = {str(digit): ("零一二三四五六七八九"[digit],) for digit in range(10)}
CHARACTERS: Words = dict.fromkeys("山水人中木火", ())
INK = {"red": (220, 40, 40), "green": (40, 165, 60), "blue": (40, 80, 215), "yellow": (245, 210, 25)}
FONTS = ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "C:/Windows/Fonts")
HAN = ("*CJK*", "PingFang*", "msyh*", "wqy*")  # how fonts with Chinese characters are called


class Question(Struct, frozen=True):
    """Something to look at. Right is who names `right` and nothing else of `words`."""

    kind: str
    text: str
    pictures: tuple[bytes, ...]  # PNG
    right: str
    words: Words

    def judge(self, answer: str) -> bool:
        """Whether the answer is right."""
        said = answer.lower()
        named = {name for name, others in self.words.items() if any(word in said for word in (name, *others))}
        return named == {self.right}


def questions(seed: int = SEED) -> Iterator[Question]:
    """All of them, a kind after the other; characters only where a font has them."""
    dice = random.Random(seed)  # noqa: S311 - the same pictures every time
    for kind, make in KINDS.items():
        for number in range(EACH):
            if (question := make(kind, dice, number % 2 == 1)) is not None:
                yield question


async def ask(address: Address, asked: Sequence[Question], tell: Callable[[str], None]) -> dict[str, tuple[int, int]]:
    """(right, asked) of each kind. Raises ServiceError with the server's words where it refuses a picture."""
    found: dict[str, tuple[int, int]] = {}
    async with httpx.AsyncClient(base_url=address.url, timeout=ANSWER_S, trust_env=False) as client:
        for number, question in enumerate(asked):
            tell(f"question {number + 1} of {len(asked)}")
            right, of = found.get(question.kind, (0, 0))
            found[question.kind] = (right + question.judge(await _answer(client, question)), of + 1)
    return found


async def _answer(client: httpx.AsyncClient, question: Question) -> str:
    urls = (f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in question.pictures)
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    said = {"role": "user", "content": [*shown, {"type": "text", "text": question.text}]}
    asked = {"messages": [said], "temperature": 0, "max_tokens": 60, "reasoning_effort": "none"}
    answer = await client.post("/v1/chat/completions", json=asked)
    if answer.is_error:
        raise ServiceError(str(answer.json()["error"]["message"]))
    return str(answer.json()["choices"][0]["message"]["content"] or "")


# ── what is drawn ──


def _colour(kind: str, dice: random.Random, chinese: bool) -> Question:
    shape, colour = dice.choice(list(SHAPES)), dice.choice(list(COLOURS))
    text = f"{SHAPES[shape][0]}形是什么颜色？" if chinese else f"What colour is the {shape}?"
    return Question(kind, text, (_scene(_shape(shape, colour, 96, 96)),), colour, COLOURS)


def _form(kind: str, dice: random.Random, chinese: bool) -> Question:
    shape, colour = dice.choice(list(SHAPES)), dice.choice(list(COLOURS))
    text = f"{COLOURS[colour][0]}色的是什么形状？" if chinese else f"What shape is {colour}?"
    return Question(kind, text, (_scene(_shape(shape, colour, 96, 96)),), shape, SHAPES)


def _digit(kind: str, dice: random.Random, chinese: bool) -> Question:
    digit = dice.choice(list(DIGITS))
    text = "图中是哪个数字？" if chinese else "Which digit is this?"
    return Question(kind, text, (_scene(_written(digit, ImageFont.load_default(140))),), digit, DIGITS)


def _second(kind: str, dice: random.Random, chinese: bool) -> Question:
    """Who takes the first picture for the second one names the other colour."""
    shape, (before, after) = dice.choice(list(SHAPES)), dice.sample(list(COLOURS), 2)
    name = SHAPES[shape][0]
    text = f"第二张图里的{name}形是什么颜色？" if chinese else f"What colour is the {shape} in the second picture?"
    pictures = tuple(_scene(_shape(shape, colour, 96, 96)) for colour in (before, after))
    return Question(kind, text, pictures, after, COLOURS)


def _change(kind: str, dice: random.Random, chinese: bool) -> Question:
    """Another shape comes; who tells what was there before names that as well."""
    (old, new), (one, other) = dice.sample(list(SHAPES), 2), dice.sample(list(COLOURS), 2)
    first = _shape(old, one, 52, 96)
    text = "有什么变化？" if chinese else "What changed?"
    return Question(kind, text, (_scene(first), _scene(first, _shape(new, other, 140, 96))), new, SHAPES)


def _character(kind: str, dice: random.Random, chinese: bool) -> Question | None:
    font = next((path for folder in FONTS for name in HAN for path in sorted(Path(folder).rglob(name))), None)
    character = dice.choice(list(CHARACTERS))
    if font is None:
        return None
    text = "图中是哪个汉字？" if chinese else "Which Chinese character is this?"
    return Question(kind, text, (_scene(_written(character, ImageFont.truetype(font, 140))),), character, CHARACTERS)


KINDS: Mapping[str, Callable[[str, random.Random, bool], Question | None]] = {
    "colour": _colour,
    "shape": _form,
    "digit": _digit,
    "second picture": _second,
    "change": _change,
    "character": _character,
}
Stroke = Callable[[ImageDraw.ImageDraw], None]


def _scene(*strokes: Stroke) -> bytes:
    """A white picture with these on it, as PNG."""
    image, packed = Image.new("RGB", (SIDE, SIDE), "white"), BytesIO()
    for stroke in strokes:
        stroke(ImageDraw.Draw(image))
    image.save(packed, "PNG")
    return packed.getvalue()


def _shape(shape: str, colour: str, x: int, y: int, r: int = 34) -> Stroke:
    def draw(pen: ImageDraw.ImageDraw) -> None:
        if shape == "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=INK[colour])
        elif shape == "square":
            pen.rectangle((x - r, y - r, x + r, y + r), fill=INK[colour])
        else:
            pen.polygon(((x, y - r), (x - r, y + r), (x + r, y + r)), fill=INK[colour])

    return draw


def _written(sign: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Stroke:
    return lambda pen: pen.text((SIDE / 2, SIDE / 2), sign, (20, 20, 20), font, anchor="mm")
