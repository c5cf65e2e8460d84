"""Full-text search that knows Chinese has no spaces, and Unicode several ways to write the same.

FTS5's own tokenizers make one word of a whole Chinese sentence, or (trigram) cannot find words of two characters, which
most Chinese words are. So every character of such a script becomes a word of its own, and a query a phrase of them:

    快速排序 in Python   ─►   快 速 排 序 in Python          排序 pyth   ─►   "排 序"* AND "pyth"*

Korean has spaces, but its particles and compounds have none: its syllables are words, too. Both sides are brought to
the normal form NFKC first: what a Mac splits into letters and accents, half and full width are one.
"""

import re
import sqlite3
import unicodedata
from collections.abc import Iterable

from edgechat.history.records import Piece

# Scripts that are written without spaces: Han with its extensions, kana, bopomofo, Thai, Lao, Khmer, Burmese; Hangul.
_UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
)
_CHARACTER = re.compile(f"([{_UNSPACED}])")
_WORD = re.compile(r"[^\W_]")
AROUND = 40  # characters of an excerpt on either side of what was found


def normal(text: str) -> str:
    """`text` in the form in which it is searched."""
    return unicodedata.normalize("NFKC", text.replace("\0", " "))


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
    """The place in `text` where the first phrase of `query` stands, with a little around it; its start otherwise.

    Where it only stands in the normal form of `text`, that is shown.
    """
    hits = re.compile("|".join(re.escape(part) for part in phrases(query) or [query.strip()]), re.IGNORECASE)
    first = hits.search(text)
    if first is None and (first := hits.search(normal(text))):
        text = normal(text)
    start = max(0, first.start() - AROUND) if first else 0
    part = text[start : (first.end() if first else 0) + AROUND]
    pieces, at = [Piece("…")] if start else [], 0
    for hit in hits.finditer(part):
        pieces += [Piece(part[at : hit.start()]), Piece(hit[0], hit=True)]
        at = hit.end()
    pieces.append(Piece(part[at:] + ("…" if start + len(part) < len(text) else "")))
    return tuple(piece for piece in pieces if piece.t)
