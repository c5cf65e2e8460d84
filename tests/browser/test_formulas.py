"""Formulas as models write them: typeset where they are some, left as written where they are none or cannot be."""

import random
from itertools import pairwise
from typing import Any

import pytest

from tests.browser.conftest import Chat, Open
from tests.browser.scripted import Gate, Script, delta, finish
from tests.browser.test_markdown import STREAM, rendered

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

SHOWN = """async ({module, sources}) => {
    const { blocks, elements } = await import(module);
    await new Promise((typeset) => document.body.append(elements(blocks("$x$"), typeset)) || setTimeout(typeset, 3000));
    return sources.map((source) => {
        const box = document.createElement("div");
        box.append(elements(blocks(source)));
        const maths = [...box.querySelectorAll("math")];
        for (const tex of box.querySelectorAll(".tex")) tex.remove();
        const displays = maths.map((one) => one.classList.contains("tml-display"));
        return [maths.map((one) => one.textContent), displays, box.textContent.trim()];
    });
}"""
# source -> what is typeset, whether each stands for itself
FORMULAS: dict[str, list[tuple[str, bool]]] = {
    r"so \( x_1 + x_2 \) is": [("x1+x2", False)],
    r"so $A_i, A_{i+1}$ and $a*b*c$": [("Ai,Ai+1", False), ("a∗b∗c", False)],
    "\\[\nx = \\frac{31}{4}\n\\]": [("x=314", True)],
    "the roots:\n\\[\nx\n=\n2\n\\]\nand so on": [("x=2", True)],
    "$$E = mc^2$$": [("E=mc2", True)],
    "then $$E = mc^2$$ holds": [("E=mc2", True)],
    "\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}": [("a=bc=d", True)],
    "1. first\n   \\[\n   y^2\n   \\]\n2. second \\(z\\)": [("y2", True), ("z", False)],
    "> \\[ q \\]": [("q", True)],
    "| a | b |\n|---|---|\n| $x$ | \\(y\\) |": [("x", False), ("y", False)],
    "**解：**由$x>0$可得$x^2>0$。": [("x>0", False), ("x2>0", False)],
    "the $n$th of all $x$s": [("n", False), ("x", False)],
    r"$5\%$ or $x \$ y$": [("5%", False), ("x$y", False)],
}
NONE = [
    "It costs $5 and $10.",
    "between $5, or 10$ at most",
    "这本书$5，那本书10$。",
    "put $HOME/bin:$PATH first",
    "a $ alone and $ again",
    "`$x$` and `\\(y\\)`",
    "```\n\\[ x \\]\n```",
    "escaped \\$x\\$",
]
KEPT = {  # no formula, or none that can be typeset: as written
    r"half \( x_1 \cdot": r"half \( x_1 \cdot",
    "\\[\nx = *a* \\\\\ny": "\\[\nx = *a* \\\\\ny",
    r"\( \nosuchcommand{x} \)": r"\( \nosuchcommand{x} \)",
    "\\begin{document}\n\\section{One}\n\\end{document}": "\\begin{document}\n\\section{One}\n\\end{document}",
    "$$" + "x" * 11_000 + "$$": "$$" + "x" * 11_000 + "$$",
}


def shown(chat: Chat, *sources: str) -> list[tuple[list[str], list[bool], str]]:
    """What is typeset of each source, whether for itself, and all that is read."""
    found: list[tuple[list[str], list[bool], str]] = chat.page.evaluate(
        SHOWN, {"module": chat.module("markdown.js"), "sources": sources}
    )
    return found


def test_what_is_a_formula_is_typeset(chat: Chat) -> None:
    for (source, wanted), (texts, displays, _) in zip(FORMULAS.items(), shown(chat, *FORMULAS), strict=True):
        assert list(zip(texts, displays, strict=True)) == wanted, source


def test_what_is_none_stays_text(chat: Chat) -> None:
    for source, (texts, _, _) in zip(NONE, shown(chat, *NONE), strict=True):
        assert texts == [], source


def test_what_cannot_be_typeset_is_read_as_it_was_written(chat: Chat) -> None:
    for (source, wanted), (texts, _, read) in zip(KEPT.items(), shown(chat, *KEPT), strict=True):
        assert (texts, read) == ([], wanted), source


DOCUMENT = (
    "解方程 $x^2-5x+6=0$：\n\\[\nx = \\frac{5 \\pm \\sqrt{25-24}}{2}\n\\]，于是 \\(x_1 = 2\\)。\n\n"
    "1. 第一\n   \\[ a*b*c \\]\n2. 第二 $$d_1$$ 完\n\n\\begin{pmatrix} a & b \\\\ c & d \\end{pmatrix}\n\n"
    "$$\nnever closed\n\nIt costs $5 and $10, \\(so\n\n- x\n- \\[ y \\]\n\nEnd $z$"
)


def test_any_cut_gives_the_same_formulas(chat: Chat) -> None:
    shown(chat)  # the library is there
    rng = random.Random(21)
    cuts = [list(DOCUMENT)]
    for _ in range(40):
        at = sorted(rng.sample(range(1, len(DOCUMENT)), rng.randrange(1, 20)))
        cuts.append([DOCUMENT[a:b] for a, b in pairwise([0, *at, len(DOCUMENT)])])
    given: dict[str, Any] = {"module": chat.module("stream.js"), "source": DOCUMENT, "cuts": cuts}
    for pieces, differs in zip(cuts, chat.page.evaluate(STREAM, given), strict=True):
        assert differs is None, f"cut as {pieces}"


def test_a_formula_that_streams_stands_as_source_and_then_for_good(chat: Chat, script: Script) -> None:
    gates = [Gate(), Gate()]
    script.will(
        delta("Then\n\\[\nx = *y* \\\\"),
        gates[0],
        delta("\n\\]\nand **bold** \\(z"),
        gates[1],
        delta("\\)."),
        *finish(),
    )
    chat.ask("Solve")
    expect(chat.answer.locator(".source")).to_have_text("\\[\nx = *y* \\\\")
    gates[0].set()
    expect(chat.answer.locator("math")).to_have_count(1)
    expect(chat.answer.locator("strong")).to_be_visible()
    expect(chat.answer).to_contain_text("bold \\(z")
    chat.page.evaluate("window.first = document.querySelector('math')")
    gates[1].set()
    expect(chat.answer.locator("math")).to_have_count(2)
    assert chat.page.evaluate("first.isConnected && first === document.querySelector('math')")


def test_the_library_comes_with_the_first_formula_only(new_chat: Open, script: Script) -> None:
    chat = new_chat().open()

    def loaded() -> bool:
        return any("vendor/temml.js" in url for url in chat.requests)

    script.will_say("A **plain** answer for $5.")
    chat.ask("One")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    assert not loaded()
    script.will_say("And $x$.")
    chat.ask("Two")
    expect(chat.answer.locator("math")).to_be_visible()
    assert loaded()


def test_without_the_library_the_source_is_read(new_chat: Open, script: Script) -> None:
    chat = new_chat().open()
    chat.page.route("**/vendor/temml.js", lambda route: route.abort())
    script.will_say("So \\(a*b*c\\):\n\n\\[\na \\\\ b\n\\]")
    chat.ask("Solve")
    expect(chat.answers.last.locator(".figures")).to_be_attached()
    expect(chat.answer.locator("p").first).to_have_text("So \\(a*b*c\\):")
    expect(chat.answer.locator("p").last).to_have_text("\\[\na \\\\ b\n\\]")
    chat.page.unroute_all()
    script.will_say("And \\(z\\).")
    chat.ask("Again")  # where it can be had by now, it is
    expect(chat.answer.locator("math")).to_be_visible()


def test_a_copied_selection_holds_the_source(new_chat: Open, script: Script) -> None:
    chat = new_chat().open()
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    script.will_say("Where $x^2$ is **large**:\n\n\\[ y = \\frac{1}{x} \\]")
    chat.ask("Solve")
    expect(chat.answer.locator("math")).to_have_count(2)
    chat.page.evaluate(
        "getSelection().setBaseAndExtent(document.querySelector('.answer .text p').firstChild, 0,"
        " [...document.querySelectorAll('.answer math mi')].at(-1).firstChild, 1)"
    )
    chat.page.keyboard.press("Control+c")
    copied = chat.page.evaluate("navigator.clipboard.readText()")
    assert copied.split() == ["Where", "$x^2$", "is", "large:", "\\[", "y", "=", "\\frac{1}{x}", "\\]"]
    expect(chat.answer.locator("math").first).to_be_visible()


EVIL = [
    r"\(\href{javascript:alert(1)}{x}\)",
    r"\(\includegraphics{https://evil.example/x.png}\)",
    r"$$\htmlData{onclick=alert(1)}{x}$$",
    r"\(\class{a}{\id{app}{x}}\)",
    r"\(\text{<img src=x onerror=alert(1)>}\)",
    r"\(\def\a{\a\a}\a\)",
    r"\(\rule{9999em}{9999em}\)",
    r"\[\begin{matrix}<script>alert(1)</script>\end{matrix}\]",
]


def test_a_formula_brings_no_script_and_no_address(chat: Chat) -> None:
    shown(chat)
    for source, html in zip(EVIL, rendered(chat, *EVIL), strict=True):
        assert "<img" not in html, source
        assert "<script" not in html, source
        assert 'href="' not in html, source
        assert ' id="' not in html, source
        assert " onclick" not in html.replace("onclick=alert(1)}", ""), source
        assert '"9999em"' not in html, source


def test_a_wide_formula_scrolls_by_itself(new_chat: Open, script: Script) -> None:
    chat = new_chat(viewport={"width": 320, "height": 640}).open()
    script.will_say(
        "\\[ " + " + ".join(f"x_{{{n}}}" for n in range(60)) + " = \\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix} \\]"
    )
    chat.ask("Wide")
    expect(chat.answer.locator("math")).to_be_visible()
    assert chat.page.evaluate("document.getElementById('list').scrollWidth <= innerWidth")


def test_a_formula_looks_the_same_in_text_of_any_language(chat: Chat, script: Script) -> None:
    """Its brackets stretch beside Chinese, too."""
    matrix = "$\\begin{pmatrix} 1 \\\\ 2 \\\\ 3 \\end{pmatrix}$"
    heights = []
    for words, language in (("The column vector is", "en"), ("这个列向量是", "zh-CN")):
        script.will_say(f"{words} {matrix}")
        chat.ask("Show it.")
        expect(chat.answer.locator("math")).to_be_visible()
        expect(chat.answer).to_have_attribute("lang", language)
        heights.append(chat.answer.locator("mo").first.evaluate("node => node.getBoundingClientRect().height"))
        expect(chat.page.locator("#send")).to_be_visible()
    assert heights[0] == pytest.approx(heights[1], abs=1)
