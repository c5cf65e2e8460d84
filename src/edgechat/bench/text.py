"""Our own prompts: of a known approximate length, in English, Chinese and code.

Lengths are in tokens of Qwen's vocabulary; a server's own count (`usage`) is what figures are computed from. Where a
cold prompt is wanted, a nonce stands at its very start, so that no prefix cache knows more than the template's head.
"""

import secrets
from itertools import cycle
from typing import Literal

Language = Literal["english", "chinese", "code"]

CHARS_PER_TOKEN: dict[Language, float] = {"english": 4.46, "chinese": 1.4, "code": 3.12}

NONCE_TOKENS = 17

PARAGRAPHS: dict[Language, tuple[str, ...]] = {
    "english": (
        "The lighthouse stands where the river meets the sea, on a rock that is dry only at low water. Its keeper "
        "climbs a hundred and twelve steps every evening, trims the lamp, and writes the wind into a book. ",
        "Fishing boats leave before dawn, because the wind falls asleep in the first hours of the day. Each of them "
        "carries two nets, a small stove, and enough bread for one day more than the trip is meant to take. ",
        "In autumn the fog comes up the valley and stays for a week. Then the bell is rung every four minutes, and the "
        "children of the village learn to count the strokes while they wait for their fathers to come home. ",
        "An old map in the town hall shows the coast as it was three centuries ago: a longer beach, two islands that "
        "have gone since, and a road to a village whose name nobody can read any more. ",
        "The market is held on Thursdays. Salt, rope and lamp oil are sold next to apples and cheese, and whoever "
        "wants to know what happened during the week only has to stand at the corner by the well and listen. ",
        "A storm in the winter of the great frost broke the pier in three places. It was rebuilt with oak from the "
        "hills, and the carpenters cut their names into the underside of the planks, where only the sea can see them. ",
        "Birds rest on the rock when they travel south. The keeper counts them as well, in a second book, with a "
        "column for each kind and a note on the day when the last of them has left. ",
        "Once a year the inspector arrives with a brass telescope and a list of forty questions. He measures the "
        "light, tastes the water from the cistern, and asks for the books; then he stays for soup. ",
    ),
    "chinese": (
        "灯塔立在河流入海的礁石上，只有退潮时才能走过去。守塔人每天傍晚登上一百一十二级台阶，修剪灯芯，把风向写进本子里。",
        "渔船在天亮以前出海，因为清晨的风最小。每条船上都有两张网、一个小炉子，还有比行程多备一天的干粮。",
        "秋天的雾会沿着山谷升上来，一停就是一个星期。那时每四分钟敲一次钟，村里的孩子一边数着钟声，一边等父亲回家。",
        "镇上的旧地图画着三百年前的海岸：沙滩更长，还有两座后来消失的小岛，以及一条通往无名村庄的路。",
        "集市在星期四。盐、绳子和灯油摆在苹果和奶酪旁边，想知道这一周发生了什么，站在井边听一会儿就够了。",
    ),
    "code": (
        "def tide(hours: float, height: float) -> float:\n"
        "    phase = 2 * math.pi * hours / 12.42\n"
        "    return height * math.cos(phase)\n\n\n",
        "class Lamp:\n"
        "    def __init__(self, oil: float) -> None:\n"
        "        self.oil = oil\n\n"
        "    def burn(self, hours: float) -> bool:\n"
        "        self.oil = max(0.0, self.oil - 0.3 * hours)\n"
        "        return self.oil > 0\n\n\n",
        "def log(book: list[str], wind: str, force: int) -> None:\n"
        "    if not 0 <= force <= 12:\n"
        '        raise ValueError(f"no such force: {force}")\n'
        '    book.append(f"{len(book) + 1}: {wind} {force}")\n\n\n',
    ),
}

# Ask for answers that do not end by themselves: a model of any size can count.
COUNT = "Count upwards from 1, one number per line. Write every number and do not stop before 2000."
ONE_WORD = "Answer with one word: is this text about the sea or about the desert?"

# What several people ask at once, each for a long answer.
QUESTIONS = (
    "Write a long story about a lighthouse keeper and a storm.",
    "写一个关于渔村和大雾的长故事。",
    "Write a Python program that simulates the tides, with many comments.",
    "Describe in detail how bread is made, step by step.",
    "请详细介绍怎样种西红柿，一步一步地写。",
    "Explain at length how a sailing ship can travel against the wind.",
    "Write a Python class for a library with books, readers and loans, with many comments.",
    "List fifty animals, one per line, each with a sentence about it.",
)

# Two ends of about 30 tokens for one beginning: they differ from their first word on.
ENDS = (
    "Who lives on the rock in this text, and what does this person do there every single evening, summer and winter? "
    "Please answer in one sentence.",
    "When do the boats go out to sea, and why do they choose just this hour of the day and no other one? "
    "Please answer in one sentence.",
)

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_WORD_SYLLABLES = 4


def nonce() -> str:
    """A line's beginning that no earlier prompt had; always of the same length."""
    return f"[{secrets.token_hex(8)}] "


def passage(tokens: int, language: Language = "english") -> str:
    """A text of about `tokens` tokens: whole paragraphs, the last one cut."""
    size = round(tokens * CHARS_PER_TOKEN[language])
    text = ""
    for paragraph in cycle(PARAGRAPHS[language]):
        text += paragraph
        if len(text) >= size:
            return text[:size]
    raise AssertionError("every language has paragraphs")


def cold(tokens: int, ask: str, language: Language = "english") -> str:
    """A prompt of about `tokens` tokens that ends in `ask` and that no server has seen."""
    own = NONCE_TOKENS + len(ask) / CHARS_PER_TOKEN["english"]
    return f"{nonce()}{passage(round(tokens - own), language)}\n\n{ask}"


def short(number: int) -> str:
    """A short prompt that nobody asked before; different numbers give different questions."""
    return nonce() + QUESTIONS[number % len(QUESTIONS)]


def count() -> str:
    """A short prompt whose answer goes on for as long as it may."""
    return nonce() + COUNT


def words(people: int, each: int) -> list[tuple[str, ...]]:
    """`each` made-up words for each of `people`: of one length, no word twice."""
    drawn: dict[str, None] = {}
    while len(drawn) < people * each:
        drawn["".join(secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(_WORD_SYLLABLES))] = None
    pool = list(drawn)
    return [tuple(pool[start : start + each]) for start in range(0, len(pool), each)]
