import unicodedata

import pytest

from edgechat.history import conversations, search
from edgechat.history.records import Piece
from edgechat.history.store import History
from tests.history.conftest import answered

TEXT = "用 Python 写一个快速排序，并解释它的时间复杂度。Größe: naïve café"


@pytest.mark.parametrize(
    "query",
    ["排序", "快", "时间复杂度", "python", "pyth", "PYTHON 排序", "复杂度 快速", "排 序", "cafe", "größ", "写一个快"],
)
def test_what_is_there_is_found(history: History, query: str) -> None:
    """Characters apart are words apart."""
    answered(history, TEXT)
    assert len(history.read(conversations.page, "", query=query).result().conversations) == 1


SCRIPTS = "대한민국의 회의록, ユーザー登録 と ﾃｽﾄ, ＡＢＣ１２３, ﬁne, e\u0301tude, สวัสดีครับ"


@pytest.mark.parametrize(
    "query",
    [
        "민국",
        "회의",
        unicodedata.normalize("NFD", "회의록"),
        "ﾕｰｻﾞｰ",
        "テスト",
        "abc",
        "ABC123",
        "ａｂｃ",
        "fine",
        "étude",
        "สวัสดี",
    ],
)
def test_what_reads_the_same_is_found_in_whatever_form_it_is_written(history: History, query: str) -> None:
    """Korean within words; letters apart from their accents, half and full width."""
    answered(history, SCRIPTS)
    answered(history, unicodedata.normalize("NFD", SCRIPTS))
    heads = history.read(conversations.page, "", query=query).result().conversations
    assert len(heads) == 2
    for head in heads:
        assert head.snippet is not None
        assert any(piece.hit for piece in head.snippet), query


OTHERS = {
    "مرحبا بالعالم، الكتاب على الطاولة": ["العالم", "كتاب", "الكتاب", "طاول"],
    "مُحَمَّد إلى أحمد ١٢٣ كـــتاب": ["محمد", "مُحَمَّد", "احمد", "123", "كتاب"],
    "سلام دنیا، کتاب‌خانه": ["كتاب", "کتابخانه", "دنيا"],
    "שלום לעולם, הספר על השולחן שָׁלוֹם": ["עולם", "ספר", "שלום"],
    "Ёлка и ёжик, МОСКВА, мой": ["елка", "Ежик", "москва", "МОСК", "мой", unicodedata.normalize("NFD", "мой")],
    "Київ": ["київ", unicodedata.normalize("NFD", "Київ")],
    "Καλημέρα κόσμε ΟΔΟΣ": ["καλημερα", "ΚΑΛΗΜΈΡΑ", "οδος"],
    "İstanbul'da IŞIK, Tiếng Việt đẹp, Straße": ["istanbul", "işık", "tieng viet", "dep", "strasse", "STRASSE"],
    "हिन्दी में, ｶﾞｷﾞｸﾞ と ガギグ": ["हिन्दी", "ガギグ", "ｶﾞｷﾞ"],
}  # fmt: skip


@pytest.mark.parametrize("text", OTHERS)
def test_articles_vowels_marks_and_digits_keep_nothing_from_being_found(history: History, text: str) -> None:
    """Where a script writes them to the word, or people leave them out, or type others; and the place is marked."""
    answered(history, text)
    answered(history, unicodedata.normalize("NFD", text))
    for query in OTHERS[text]:
        heads = history.read(conversations.page, "", query=query).result().conversations
        assert len(heads) == 2, query
        for head in heads:
            assert head.snippet is not None
            assert any(piece.hit for piece in head.snippet), query


def test_letters_that_are_others_stay_so(history: History) -> None:
    """Voicing of kana and the breve of й tell words apart."""
    answered(history, "かき мой")
    for query in ("がき", "мои"):
        assert history.read(conversations.page, "", query=query).result().conversations == ()


def test_an_excerpt_is_what_was_written_and_marks_just_the_hit() -> None:
    text = "x" * 60 + "\n" + "Die Große STRASSE und " + unicodedata.normalize("NFD", "대한민국의") + " end"
    for query, hit in (("strasse", "STRASSE"), ("gros", "Groß"), ("민국", unicodedata.normalize("NFD", "민국"))):
        pieces = search.excerpt(text, query)
        assert [piece.t for piece in pieces if piece.hit] == [hit]
        assert "".join(piece.t for piece in pieces).strip("…") in text


@pytest.mark.parametrize("query", ["序排", "快排", "ython", "排序 java", '"', "NEAR(快 速)", "body:快"])
def test_what_is_not_there_is_not_found(history: History, query: str) -> None:
    answered(history, TEXT)
    assert history.read(conversations.page, "", query=query).result().conversations == ()


@pytest.mark.parametrize("query", ["，", "。", "%", "🙂", "_"])
def test_signs_are_found_as_they_stand(history: History, query: str) -> None:
    answered(history, "甲，乙。100% a_b 🙂")
    answered(history, "nothing of it")
    assert len(history.read(conversations.page, "", query=query).result().conversations) == 1


def test_titles_answers_and_later_edits_are_found(history: History) -> None:
    started = answered(history, "first words", "an answer about 北京")
    history.write(conversations.change, "", started.conversation_id, None, {"title": "天气预报"}).result()
    for query in ("first", "北京", "天气"):
        (head,) = history.read(conversations.page, "", query=query).result().conversations
        assert head.snippet is not None
        assert [piece.t for piece in head.snippet if piece.hit] == [query]


def test_an_excerpt_marks_every_hit_around_the_first() -> None:
    pieces = search.excerpt("x" * 100 + "快速排序和快速幂" + "y" * 100, "快速")
    assert pieces[0] == Piece("…")
    assert [piece.t for piece in pieces if piece.hit] == ["快速", "快速"]
    assert pieces[-1].t.endswith("y…")
    assert search.excerpt("short", "nowhere") == (Piece("short"),)
