import pytest

from edgechat.bench import text


@pytest.mark.parametrize("language", text.PARAGRAPHS)
def test_a_passage_is_as_long_as_asked(language: text.Language) -> None:
    for tokens in (30, 300, 1200):
        assert len(text.passage(tokens, language)) == round(tokens * text.CHARS_PER_TOKEN[language])


def test_a_cold_prompt_is_new_from_its_start_and_as_long_as_asked() -> None:
    one, other = text.cold(600, text.COUNT), text.cold(600, text.COUNT)
    assert one[:12] != other[:12]
    assert len(one) == len(other)
    assert one.endswith(text.COUNT)
    assert len(one) / text.CHARS_PER_TOKEN["english"] == pytest.approx(600, rel=0.05)


def test_every_user_asks_something_else() -> None:
    asked = {text.short(number).partition("] ")[2] for number in range(8)}
    assert len(asked) == 8


def test_words_belong_to_one_reader_only() -> None:
    drawn = text.words(32, 6)
    assert len(drawn) == 32
    flat = [word for words in drawn for word in words]
    assert len(set(flat)) == 32 * 6
    assert {len(word) for word in flat} == {8}  # none is part of another


def test_the_two_ends_of_a_branch_differ_at_once() -> None:
    one, other = text.ENDS
    assert one.split()[0] != other.split()[0]
