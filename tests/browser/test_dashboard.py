"""The operator's page on a real server with the fake engine: figures, plots, tables, an answer ended by hand."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.api.conftest import serving
from tests.browser.conftest import DESKTOP, SCREENSHOTS, WATCH
from tests.browser.test_accessibility import AXE, RULES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = sync_api.expect
pytestmark = pytest.mark.browser

PLOTS = 6
TALE = " ".join(f"word{number}" for number in range(400))
PHONE = {"width": 360, "height": 740}
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""

Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose answers take their time."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "fake.json").write_text(json.dumps({"reply": TALE, "step_ms": 40}))
    with serving(folder / "fake.json", folder / "home") as base:
        yield base


@pytest.fixture
def board(browser: "Browser", address: str) -> Iterator[Open]:
    """Opens the page in a fresh profile; at the end: policy kept, nobody else asked, no script failed."""
    pages: list[Page] = []
    asked: list[str] = []
    errors: list[str] = []

    def make(language: str = "en", **options: Any) -> "Page":
        page = browser.new_context(**DESKTOP | options).new_page()
        pages.append(page)
        page.set_default_timeout(10_000)
        page.add_init_script(WATCH)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/dashboard?lang={language}")
        expect(page.locator(".plot canvas")).to_have_count(PLOTS)
        return page

    yield make
    try:
        assert [page.evaluate("window.violations") for page in pages] == [[]] * len(pages)
        assert [url for url in asked if not url.startswith((address, "data:"))] == []
        assert errors == []
    finally:
        for page in pages:
            page.context.close()


class Reader(threading.Thread):
    """Asks, and reads the answer to its end."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self.last = ""

    def run(self) -> None:
        body = {"messages": [{"role": "user", "content": "Tell a long tale."}], "stream": True, "max_tokens": 900}
        with httpx.stream("POST", f"{self._address}/v1/chat/completions", json=body, timeout=60) as answer:
            for line in answer.iter_lines():
                self.last = line or self.last


@pytest.fixture
def reader(address: str) -> Iterator[Reader]:
    """Somebody who is being answered."""
    reader = Reader(address)
    reader.start()
    yield reader
    reader.join(60)


def test_an_answer_is_watched_and_ended(board: Open, reader: Reader) -> None:
    page = board()
    expect(page.locator("#state")).to_have_text("Ready")
    expect(page.locator("#requests tbody tr")).to_have_count(1)
    expect(page.locator("#requests")).to_contain_text("Writing")
    expect(page.locator("#models tbody tr")).to_contain_text("In memory")
    page.get_by_role("button", name="End this answer").click()
    expect(page.locator("#requests")).to_contain_text("No answer in progress.")
    expect(page.locator("#errors")).to_contain_text("interrupted")
    reader.join(20)
    assert "interrupted" in reader.last


@pytest.mark.parametrize("away", ["paused", "hidden"])
def test_paused_or_hidden_it_asks_for_nothing(board: Open, away: str) -> None:
    page = board()
    page.clock.install()
    page.reload()
    expect(page.locator("#plots [role=img]").first).to_have_attribute("aria-label", re.compile("tokens"))
    if away == "paused":
        page.get_by_role("button", name="Freeze view").click()
    else:
        page.evaluate(HIDE, True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(60_000)
    assert asked == []
    with page.expect_request("**/api/dash/events"):
        if away == "paused":
            page.get_by_role("button", name="Resume view").click()
        else:
            page.evaluate(HIDE, False)


def test_as_a_table_and_in_another_language(board: Open) -> None:
    page = board()
    page.get_by_role("button", name="Show as table").click()
    expect(page.locator("#numbers tbody tr").first).to_be_visible()
    expect(page.locator("#plots")).to_be_hidden()
    page.get_by_role("button", name="中文").click()
    expect(page.locator("h1")).to_have_text("仪表盘")
    expect(page.locator("#numbers thead")).to_contain_text("时间")
    page.get_by_role("button", name="显示为图表").click()
    expect(page.locator(".plot canvas")).to_have_count(PLOTS)
    expect(page.locator("#plot-queue")).to_contain_text("被拒绝")


def test_the_server_is_paused_and_goes_on(board: Open, address: str) -> None:
    page = board()
    page.get_by_role("button", name="Pause server").click()
    expect(page.locator("#state")).to_have_text("Paused")
    assert httpx.post(f"{address}/chat", json={"input": "hello"}).status_code == 503
    page.get_by_role("button", name="中文").click()
    expect(page.locator("#state")).to_have_text("已暂停")
    page.get_by_role("button", name="恢复服务").click()
    expect(page.locator("#state")).to_have_text("就绪")
    expect(page.locator("#doors")).to_have_text("暂停服务")


def test_a_pause_is_seen_in_a_frozen_view_too(board: Open, address: str) -> None:
    page = board()
    page.get_by_role("button", name="Freeze view").click()
    page.get_by_role("button", name="Pause server").click()
    expect(page.locator("#state")).to_have_text("Paused")
    page.get_by_role("button", name="Resume server").click()
    expect(page.locator("#state")).to_have_text("Ready")
    expect(page.get_by_role("button", name="Resume view")).to_be_visible()


NOTE = """
window.drawn = [];
const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.clearRect = function (...where) {
    if (this.canvas.closest("#plot-failures")) drawn.length = 0;
    return clearRect.apply(this, where);
};
CanvasRenderingContext2D.prototype.fillText = function (text, ...where) {
    if (this.canvas.closest("#plot-failures")) drawn.push(text);
    return fillText.call(this, text, ...where);
};
"""


def test_answers_are_counted_in_whole_numbers_and_no_time_stands_twice(board: Open) -> None:
    """On the axes of the plot that is nearly always empty."""
    page = board()
    page.add_init_script(NOTE)
    page.reload()
    texts: list[str] = []
    times: list[str] = []
    for _ in range(150):  # wait_for_function would evaluate a text in the page, which its policy forbids
        texts = page.evaluate("drawn")
        times = [text for text in texts if ":" in text]
        if len(times) > 1:
            break
        page.wait_for_timeout(100)
    assert len(times) > 1
    assert len(set(times)) == len(times)
    assert all(text.isdigit() for text in texts if text not in times)


@pytest.mark.parametrize(
    ("language", "end", "cancel"), [("en", "Shut down server", "Cancel"), ("zh", "关闭服务器", "取消")]
)
def test_the_end_is_asked_for_twice(board: Open, language: str, end: str, cancel: str) -> None:
    """The page asks back; then the wish goes out, here to nobody."""
    page = board(language)
    wished: list[str | None] = []

    def refuse(route: Any) -> None:
        wished.append(route.request.post_data)
        route.fulfill(status=403, json={})

    page.route("**/api/dash/state", refuse)
    page.get_by_role("button", name=end).click()
    dialog = page.get_by_role("dialog")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate("rules => axe.run(document, rules)", RULES)["violations"] == []
    dialog.get_by_role("button", name=cancel).click()
    expect(dialog).to_be_hidden()
    assert wished == []
    page.get_by_role("button", name=end).click()
    dialog.get_by_role("button", name=end).click()
    expect(page.locator("#toasts [role=alert]")).to_be_visible()
    assert wished == ['{"state":"draining"}']


@pytest.mark.parametrize(
    ("name", "language", "options"),
    [
        ("light-en", "en", {}),
        ("dark-zh", "zh", {"color_scheme": "dark"}),
        ("phone-dark-en", "en", {"color_scheme": "dark", "viewport": PHONE}),
        ("phone-light-zh", "zh", {"viewport": PHONE}),
    ],
)
def test_axe_finds_nothing_and_nothing_overflows(
    board: Open, address: str, reader: Reader, name: str, language: str, options: dict[str, Any]
) -> None:
    page = board(language, **options)
    expect(page.locator("[data-does^=end]")).to_have_count(1)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("rules => axe.run(document, rules)", RULES)
    problems = [f"{one['id']}: {node['html']}" for one in found["violations"] for node in one["nodes"]]
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"dashboard-{name}.png", full_page=True)
    page.locator("[data-does^=end]").click()
    expect(page.locator("[data-does^=end]")).to_have_count(0)


def test_models_clients_errors_and_settings_are_there_for_whoever_looks(board: Open, address: str) -> None:
    refused = httpx.post(
        f"{address}/v1/chat/completions", json={"messages": [{"role": "user", "content": "x " * 9000}]}
    )
    assert refused.status_code == 400
    page = board()
    page.evaluate("() => { for (let id = 1; id < 1000; id += 1) clearInterval(id); }")  # that looks every ten seconds
    page.get_by_role("button", name="Unload").click()
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator("#models tbody tr")).to_contain_text("In memory")
    expect(page.locator("#models tbody tr")).to_contain_text("/ 16,384")
    expect(page.locator("#clients tbody tr")).to_contain_text("127.0.0.1")
    expect(page.locator("#codes")).to_contain_text("context_length_exceeded")
    page.get_by_role("button", name="Copy the errors").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.get_by_text("Current settings").click()
    expect(page.locator("#settings")).to_contain_text("keep_alive")
    with page.expect_download() as download:
        page.get_by_role("link", name="Diagnostics").click()
    assert download.value.suggested_filename == "edgechat-diagnostics.zip"


@pytest.mark.parametrize(
    ("language", "name"), [("en", "edgechat itself (titles)"), ("zh-CN", "edgechat 自身（生成标题）")]
)
def test_answers_that_nobody_asked_for_are_the_server_s_own(board: Open, language: str, name: str) -> None:
    """Titles of conversations have no client."""
    shown = board(language).evaluate(
        """async () => {
          const tables = document.querySelector("script[type=module]").src.replace(/[^/]*$/, "dashboard-tables.js");
          (await import(tables)).clients([{name: "", open: 0, answers: 1, tokens: 129, left: {}}]);
          return document.querySelector("#clients tbody").textContent;
        }"""
    )
    assert name in shown


def test_a_lost_server_is_said(board: Open) -> None:
    page = board()
    page.route("**/api/dash/events", lambda route: route.abort())
    page.get_by_role("button", name="Freeze view").click()
    page.get_by_role("button", name="Resume view").click()
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached. Trying again…")
    page.unroute_all()
    expect(page.get_by_role("alert")).to_be_hidden()
