"""Debian's Chromium on the real page. Tests here are plain functions: Playwright's sync API keeps its own loop."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.browser.scripted import Script, create_app, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SCREENSHOTS = Path(__file__).parents[2] / "artifacts" / "screenshots"
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TIMEOUT_MS = 5_000
DESKTOP: dict[str, Any] = {"locale": "en-GB", "viewport": {"width": 1280, "height": 800}}
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(`${e.violatedDirective} ${e.blockedURI}`));
"""


@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """One browser for all tests; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium fonts-noto-cjk")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def _scripted() -> Iterator[tuple[Script, str]]:
    script = Script()
    with serving(create_app(script)) as address:
        yield script, address


@pytest.fixture
def script(_scripted: tuple[Script, str]) -> Script:
    """What the server will say, from a clean start."""
    _scripted[0].reset()
    return _scripted[0]


class Chat:
    """The page under test, by what a person sees and does."""

    def __init__(self, page: "Page", address: str) -> None:
        self.page = page
        self.address = address
        self.foreign: list[str] = []
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(TIMEOUT_MS)
        page.add_init_script(WATCH)
        page.on("request", lambda request: self._requested(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))

    def _requested(self, url: str) -> None:
        self.requests.append(url)
        if not url.startswith((self.address, "data:", f"blob:{self.address}")):
            self.foreign.append(url)

    def open(self, query: str = "?lang=en") -> "Chat":
        """Load the page and wait until it has asked the server once."""
        self.page.goto(f"{self.address}/{query}")
        self.page.locator("#model[data-state]:not([data-state=unknown])").wait_for()
        return self

    def module(self, name: str) -> str:
        """The address of one of the page's modules."""
        source = self.page.locator("script[type=module]").get_attribute("src")
        assert source
        return f"{self.address}/{urlsplit(source).path.removeprefix('./')}".replace("app.js", name)

    def ask(self, text: str) -> None:
        """Type and send with Enter."""
        self.input.fill(text)
        self.input.press("Enter")

    @property
    def input(self) -> "Locator":
        """Where one types."""
        return self.page.locator("#input")

    @property
    def answers(self) -> "Locator":
        """The answers, oldest first."""
        return self.page.locator("article.answer")

    @property
    def answer(self) -> "Locator":
        """The newest answer's text."""
        return self.answers.last.locator("> .text")

    @property
    def status(self) -> "Locator":
        """The line over the composer."""
        return self.page.locator("#status-text")

    @property
    def questions(self) -> "Locator":
        """The questions, oldest first."""
        return self.page.locator("article.question")

    @property
    def rows(self) -> "Locator":
        """The conversations in the sidebar."""
        return self.page.locator("#conversations .row")

    def button(self, name: str) -> "Locator":
        """A visible button by its accessible name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def shot(self, name: str) -> None:
        """Keep a screenshot among the artefacts."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def check(self) -> None:
        """What holds for every test: the policy was kept, nobody else was asked, no script failed."""
        assert self.page.evaluate("window.violations") == []
        assert self.foreign == []
        assert self.errors == []


Open = Callable[..., Chat]


@pytest.fixture
def new_chat(browser: "Browser", _scripted: tuple[Script, str], script: Script) -> Iterator[Open]:
    """Makes a page in a fresh profile; what every page has to keep is checked at the end."""
    made: list[Chat] = []
    contexts = []

    def make(**options: Any) -> Chat:
        context = browser.new_context(**DESKTOP | options)
        contexts.append(context)
        made.append(Chat(context.new_page(), _scripted[1]))
        return made[-1]

    yield make
    try:
        for chat in made:
            chat.check()
    finally:
        for context in contexts:
            context.close()


@pytest.fixture(scope="package")
def _shared(browser: "Browser", _scripted: tuple[Script, str]) -> Iterator[Chat]:
    context = browser.new_context(**DESKTOP)
    yield Chat(context.new_page(), _scripted[1])
    context.close()


@pytest.fixture
def tab(_shared: Chat, script: Script) -> Iterator[Chat]:
    """A tab at 1280 x 800 in which the test opens the page. It is the same for all tests, as that is quick."""
    for seen in (_shared.requests, _shared.foreign, _shared.errors):
        seen.clear()
    yield _shared
    try:
        _shared.check()
    finally:
        _shared.page.unroute_all()
        _shared.page.evaluate("document.getElementById('input').value = ''; localStorage.clear()")


@pytest.fixture
def chat(tab: Chat) -> Chat:
    """The page, open and ready, in English at 1280 x 800."""
    return tab.open()
