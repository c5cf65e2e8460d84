"""Full-text search that knows Chinese has no spaces, and Unicode several ways to write the same.

FTS5's own tokenizers make one word of a whole Chinese sentence, or (trigram) cannot find words of two characters, which
most Chinese words are. So every character of such a script becomes a word of its own, and a query a phrase of them:

    快速排序 in Python   ─►   快 速 排 序 in Python          排序 pyth   ─►   "排 序"* AND "pyth"*

Korean has spaces, but its particles and compounds have none; Arabic and Hebrew write articles and prepositions to the
word. Their letters are words, too. Both sides are brought to the normal form NFKC first, and then folded: what a Mac
splits into letters and accents, half and full width, large and small letters are one, and so are letters with and
without the marks that many leave out (é, ё, أ, Arabic and Hebrew vowels), and digits of any script.
"""

import re
import sqlite3
import unicodedata
from collections.abc import Iterable

from edgechat.history.records import Piece

# Scripts that are written without spaces: Han with its extensions, kana, bopomofo, Thai, Lao, Khmer, Burmese; and those
# whose words have others in them: Hangul, Hebrew, Arabic.
_UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
    "\u05d0-\u05f2\u0620-\u064a\u066e-\u06d3\u06d5\u06ee\u06ef\u06fa-\u06ff\u0750-\u077f\u08a0-\u08c9"
)
# What many leave out: marks on Latin and Greek letters and on Cyrillic е and і, vowels of Hebrew and Arabic with its
# stretcher, and what has no width.
_MARKS = re.compile(
    "(?<=[a-z\u0370-\u03ff\u0435\u0456])[\u0300-\u036f]+|[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a"
    "\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u00ad\u200b-\u200f\u2060\ufeff]"
)
# What is typed one for the other: đ and d, ø and o, ł and l, ı and i; Persian and Arabic kaf and yeh; digits.
_TWINS = str.maketrans("\u0111\u00f8\u0142\u0131\u06a9\u06cc\u0649", "doli\u0643\u064a\u064a")
_TWINS |= {digit: str(unicodedata.digit(chr(digit))) for digit in (*range(0x660, 0x66A), *range(0x6F0, 0x6FA))}
# A character with all that is composed with it: jamo, half-width voicing, marks.
_CLUSTER = re.compile(
    "[\u1100-\u115f][\u1160-\u11a7]*[\u11a8-\u11ff]*|.[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u3099\u309a\uff9e\uff9f]*",
    re.DOTALL,
)
_CHARACTER = re.compile(f"([{_UNSPACED}])")
_WORD = re.compile(r"[^\W_]")
_LINE = re.compile(".+")
AROUND = 40  # characters of an excerpt on either side of what was found


def normal(text: str) -> str:
    """`text` in the form in which it is searched."""
    lower = unicodedata.normalize("NFKC", text.replace("\0", " ")).casefold()
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", lower)).translate(_TWINS))


def _traced(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The normal form of `text`, and for each of its characters the place in `text` that it comes from."""
    found, places = [], []
    for cluster in _CLUSTER.finditer(text):
        form = normal(cluster[0])
        found.append(form)
        places += [cluster.span()] * len(form)
    return "".join(found), places


def spread(text: str) -> str:
    """`text` in its normal form, with a space around every character that is a word of its own."""
    return _CHARACTER.sub(r" \1 ", normal(text))


def put(db: sqlite3.Connection, key: int, text: str) -> None:
    """Make `text` findable under `key`, in place of what was there."""
    db.execute("DELETE FROM words WHERE rowid = ?", (key,))
    db.execute("INSERT INTO words (rowid, body) VALUES (?, ?)", (key, spread(text)))


# A message's words: its own, and what it holds is called.
WORDS = """content || COALESCE((SELECT char(10) || group_concat(name, char(10)) FROM attached
           JOIN attachment ON attachment.key = attached.attachment
           WHERE attached.message = message.key AND name <> ''), '')"""
TEXTS = f"SELECT key, {WORDS} AS text FROM message WHERE text <> '' UNION ALL SELECT -rowid, title FROM conversation"  # noqa: S608


def put_all(db: sqlite3.Connection, texts: str = TEXTS) -> None:
    """Make every message and every title findable, and nothing else; `texts` asks for them by their keys."""
    db.execute("DELETE FROM words")
    for key, text in db.execute(texts):
        db.execute("INSERT INTO words (rowid, body) VALUES (?, ?)", (key, spread(text)))


def drop(db: sqlite3.Connection, keys: Iterable[int]) -> None:
    """Forget the words of `keys`, in the index's own files too."""
    db.executemany("DELETE FROM words WHERE rowid = ?", [(key,) for key in keys])
    db.execute("INSERT INTO words (words) VALUES ('optimize')")


def phrases(query: str) -> list[str]:
    """What must all be found, as people typed it: the query's parts between spaces that hold a letter or digit."""
    return [part for part in normal(query).split() if _WORD.search(part)]


def expression(query: str) -> str | None:
    """The query in FTS5's language; None where it holds no word. A word may be the beginning of a longer one."""
    quoted = (" ".join(spread(part).split()).replace('"', '""') for part in phrases(query))
    return " AND ".join(f'"{part}" *' for part in quoted) or None


def excerpt(text: str, query: str) -> tuple[Piece, ...]:
    """The place in `text` where the first phrase of `query` stands, with a little around it; its start otherwise."""
    hits = re.compile("|".join(re.escape(part) for part in phrases(query) or [normal(query.strip())]))
    line = next((line for line in _LINE.finditer(text) if hits.search(normal(line[0]))), None)
    base, stop = (line.start(), line.end() + AROUND) if line else (0, 0)
    form, places = _traced(text[base:stop])
    found = [(base + places[hit.start()][0], base + places[hit.end() - 1][1]) for hit in hits.finditer(form)]
    first = found[0] if found else (0, 0)
    start, end = max(0, first[0] - AROUND), first[1] + AROUND
    pieces, at = [Piece("…")] if start else [], start
    for begin, stop in found:
        if begin >= max(at, first[0]) and stop <= end and begin < stop:
            pieces += [Piece(text[at:begin]), Piece(text[begin:stop], hit=True)]
            at = stop
    pieces.append(Piece(text[at:end] + ("…" if end < len(text) else "")))
    return tuple(piece for piece in pieces if piece.t)
