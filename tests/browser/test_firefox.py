"""The page in another browser: what differs there is scrolling, the policy and the regular expressions."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.browser.marionette import Firefox, firefox
from tests.browser.scripted import Gate, Script, delta, finish
from tests.browser.test_look import PARAGRAPH, until

pytestmark = pytest.mark.browser

END = "const list = document.getElementById('list'); return list.scrollHeight - list.clientHeight - list.scrollTop"
TOP = "return document.getElementById('list').scrollTop"
TEXT = "return [...document.querySelectorAll('article.answer > .text')].at(-1)?.textContent ?? ''"
ASK = """
const input = document.getElementById("input");
input.value = arguments[0];
input.form.requestSubmit();
"""
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective));
"""
FIRST_SEEN = """
const top = document.getElementById("list").getBoundingClientRect().top;
return [...document.querySelectorAll("article")].findIndex((one) => one.getBoundingClientRect().bottom > top);
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("firefox") / "profile") as browser:
        yield browser


@pytest.fixture
def page(other: Firefox, _scripted: tuple[Script, str], script: Script) -> Iterator[Callable[[str], Firefox]]:
    """Opens the page; at the end the policy was kept."""

    def load(query: str = "?lang=en") -> Firefox:
        other.open(f"{_scripted[1]}/{query}")
        other.run(WATCH)
        until(lambda: other.run("return document.getElementById('model').dataset.state") == "ready")
        return other

    yield load
    assert other.run("return window.violations") == []


def still(page: Firefox) -> float:
    """Where the list stands once it stands."""
    seen: list[float] = []

    def stands() -> bool:
        seen.append(page.run(TOP))
        return len(seen) > 9 and len(set(seen[-9:])) == 1

    until(stands)
    return seen[-1]


def test_an_answer_streams_in(page: Callable[[str], Firefox], script: Script) -> None:
    script.will_say("**重点：**说明，`code` and\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\n```")
    tab = page("?lang=zh")
    tab.run(ASK, "你好")
    until(lambda: tab.run("return document.querySelectorAll('article .figures, .hljs-number').length") == 2)
    assert tab.run("return document.querySelector('article.answer strong').textContent") == "重点："
    assert tab.run("return document.querySelector('article.answer .table').textContent.includes('1')")


def test_the_reader_who_scrolled_up_is_never_moved(page: Callable[[str], Firefox], script: Script) -> None:
    more, last = Gate(), Gate()
    script.will(delta(PARAGRAPH * 12), more, delta(PARAGRAPH * 6), last, delta(PARAGRAPH * 6), *finish())
    tab = page("?lang=en")
    tab.run(ASK, "Tell me about the tide")
    until(lambda: len(tab.run(TEXT)) > 11 * len(PARAGRAPH))
    until(lambda: tab.run(END) <= 1)
    tab.wheel(600, 300, -400)
    until(lambda: tab.run(END) > 200)
    top = still(tab)
    for gate, blocks in ((more, 17), (last, 23)):
        gate.set()
        until(lambda blocks=blocks: len(tab.run(TEXT)) > blocks * len(PARAGRAPH))  # type: ignore[misc]
    until(lambda: tab.run("return document.querySelectorAll('article .figures').length") == 1)
    assert still(tab) == top
    tab.run("document.getElementById('to-end').click()")
    until(lambda: tab.run(END) <= 1)


def test_reading_upwards_nothing_jumps(page: Callable[[str], Firefox], script: Script) -> None:
    """What is far above is laid out only when it comes near; it takes its height without moving what is read."""
    code = "```python\n" + "x = 1\n" * 12 + "```\n\n"
    id = script.records.add("Long", *[(code if n % 2 else "") + PARAGRAPH + f"text {n}" for n in range(60)])
    tab = page(f"?lang=en&c={id}")
    until(lambda: tab.run("return document.querySelectorAll('article').length") == 60)
    until(lambda: tab.run(END) <= 1)
    seen = [tab.run(FIRST_SEEN)]
    while seen[-1] > 0:
        before = tab.run(TOP)
        tab.wheel(600, 300, -500)
        until(lambda before=before: tab.run(TOP) != before)  # type: ignore[misc]
        still(tab)
        seen.append(tab.run(FIRST_SEEN))
        assert len(seen) < 300
    assert seen == sorted(seen, reverse=True)
    assert all(before - after <= 4 for before, after in pairwise(seen)), seen
