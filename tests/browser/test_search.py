"""Search: it leads to what it found, and the page finds what the server finds."""

import pytest

from tests.browser.conftest import Chat
from tests.browser.scripted import Script

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser


def test_a_search_leads_to_what_it_found(chat: Chat, script: Script) -> None:
    turns = [text for n in range(20) for text in (f"question {n}", "word " * 300)]
    turns[5] = "long " * 200 + "the **needle** is here " + "long " * 200
    script.records.add("Hay", *turns)
    chat.open()
    chat.page.locator("#search").fill("needle")
    expect(chat.rows.locator("mark")).to_have_text("needle")
    chat.rows.locator("a").click()
    expect(chat.page.locator("strong", has_text="needle")).to_be_in_viewport()
    assert chat.page.evaluate("[...[...CSS.highlights.get('found')][0].toString()].join('')") == "needle"


PLACES = """async ([url, text, words]) => {
    const { has, marked } = await import(url);
    const article = document.createElement("article");
    const body = document.createElement("div");
    body.className = "text";
    body.textContent = text;
    article.append(body);
    CSS.highlights.delete("found");
    marked(article, words);
    return [has(text, words), [...(CSS.highlights.get("found") ?? [])].map((range) => range.toString()).join("")];
}"""


@pytest.mark.parametrize(
    ("text", "words", "hit"),
    [
        ("مرحبا بالعالم", "العالم", "العالم"),
        ("السيد مُحَمَّد ١٢", "محمد", "مُحَمَّد"),
        ("年齢١٢歳", "12", "١٢"),
        ("ﾍﾟｰｼﾞ ＡＢＣ", "ページ", "ﾍﾟｰｼﾞ"),
        ("Съешь Ёжика", "ежик", "Ёжик"),
        ("Die Straße dort", "STRASSE", "Straße"),
        ("かき", "がき", ""),
    ],
)
def test_the_page_finds_what_the_server_finds(chat: Chat, text: str, words: str, hit: str) -> None:
    """In whatever form it is written; and marks what was written, to the letter."""
    assert chat.page.evaluate(PLACES, [chat.module("found.js"), text, words]) == [bool(hit), hit]
