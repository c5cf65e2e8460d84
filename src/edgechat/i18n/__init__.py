"""Localization (l10n): what a reader is told, in the reader's language.

Code says English, in place. `zh.toml` has the Chinese of each sentence, with numbered gaps for what varies:

    raise NotOnHub(f"{reference}: there is no such file.")      raised, stored, logged, sent between processes
    "{1}: there is no such file." = "{1}：没有这个文件。"         zh.toml
    t(str(error))                                               where it is shown: in an answer to the page, say

A sentence is known again by its words, so none carries a key about. What fills a gap may be a sentence itself.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import NamedTuple

ENGLISH = "en"
LANGUAGES = (ENGLISH, "zh")
TELLING = 7  # characters: a sentence that has fewer, such as "3 min", takes a single word in each gap
LONGEST = 2_000  # characters of a sentence that is looked for; a longer one quotes what a stranger sent
_GAP = re.compile(r"\{(\d+)\}")

_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


class _Sentence(NamedTuple):
    """How a sentence is known again, and its translation. `fixed`: how many of its characters do not vary."""

    fixed: int
    pattern: re.Pattern[str]
    translation: str

    def begins(self, found: re.Match[str]) -> int:
        """How far into what was `found` the first character stands that does not vary."""
        return found.end(1) if self.pattern.pattern.startswith("(") else 0


class _Table(NamedTuple):
    """A language: sentences without gaps, and those with some, the least general first.

    `kinds` are single words that fill gaps; any other single word there is a name, of a setting or a model say.
    """

    exact: dict[str, str]
    sentences: list[_Sentence]
    kinds: frozenset[str]

    def gap(self, text: str) -> str:
        """What fills a gap."""
        return text if text.isidentifier() and text not in self.kinds else t(text)


def t(text: str) -> str:
    """`text` in the language of now; as it is where that has no translation of it."""
    if _language.get() == ENGLISH or len(text) > LONGEST:
        return text
    table = _table(_language.get())
    if text in table.exact:
        return table.exact[text]
    found = [(one, match) for one in table.sentences if (match := one.pattern.fullmatch(text))]
    if not found:
        return text
    sentence, match = min(found, key=lambda pair: pair[0].begins(pair[1]))  # "Could not …: {why}" is around its reason
    return sentence.translation.format("", *map(table.gap, match.groups()))


def speak(language: str) -> None:
    """Make it the language of this context, and of what is started from it."""
    _language.set(language)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """The language of what is done meanwhile."""
    before = _language.set(language)
    try:
        yield
    finally:
        _language.reset(before)


def of_locale(environ: Mapping[str, str]) -> str:
    """The language that a terminal's environment asks for, by the order of POSIX."""
    return _first(next(filter(None, map(environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), ""))


def of_header(accept_language: str) -> str:
    """The language that a browser asks for: the first of its list."""
    return _first(accept_language)


def _first(wanted: str) -> str:
    """The language of zh_CN.UTF-8 or zh-CN,zh;q=0.9. There is one Chinese until there are two."""
    primary = re.split(r"[^a-z]", wanted.strip().lower())[0]
    return primary if primary in LANGUAGES else ENGLISH


@cache
def _table(language: str) -> _Table:
    sections = tomllib.loads(files(__package__).joinpath(f"{language}.toml").read_text(encoding="utf-8"))
    exact = {english: other for section in sections.values() for english, other in section.items()}
    open_ones = [_sentence(*pair) for pair in exact.items() if _GAP.search(pair[0])]
    return _Table(exact, sorted(open_ones, key=lambda one: -one.fixed), frozenset(sections["kinds"]))


def _sentence(english: str, translation: str) -> _Sentence:
    fixed = _GAP.split(english)[::2]
    length = sum(map(len, fixed))
    gap = "(.*?)" if length >= TELLING else r"(\S*)"
    return _Sentence(length, re.compile(gap.join(map(re.escape, fixed)), re.DOTALL), translation)
