"""The whole path in a real browser: the real SDK, a real Qwen, the real server, in Chinese."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import DESKTOP, Chat
from tests.e2e.conftest import serve
from tests.hub.fakehub import FakeHub

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.model]
REFERENCE = "modelscope:Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"
PATIENCE_MS = 60_000


def test_a_qwen_is_pulled_and_chats_in_chinese(
    browser: "Browser", qwen_hub: FakeHub, qwen: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    environ = {"MODELSCOPE_ENDPOINT": qwen_hub.url, "EDGECHAT_HOME": str(home)}
    context = browser.new_context(**DESKTOP)
    with qwen_hub, serve("--model", REFERENCE, **environ) as server:
        chat = Chat(context.new_page(), server.url()).open("?lang=zh")
        chat.ask("法国的首都是哪里？只答城市名。")  # while the model is still being fetched: it waits
        answered(chat, 1)
        assert "巴黎" in chat.answer.inner_text()
        chat.ask("那德国的呢？")
        answered(chat, 2)
        assert "柏林" in chat.answer.inner_text()
        chat.shot("real-qwen-zh")
        chat.check()
    context.close()
    (blob,) = (home / "models" / "blobs").iterdir()
    assert hashlib.sha256(blob.read_bytes()).digest() == hashlib.sha256(qwen.read_bytes()).digest()


def test_the_small_model_says_on_the_page_why_it_is_there(browser: "Browser", smollm2: Path, tmp_path: Path) -> None:
    environ = {"MODELSCOPE_ENDPOINT": "http://127.0.0.1:9", "EDGECHAT_HOME": str(tmp_path / "home")}
    context = browser.new_context(**DESKTOP)
    with serve(**environ) as server:
        server.ready(90)
        chat = Chat(context.new_page(), server.url()).open("?lang=en")
        chat.page.get_by_text("edgechat pull qwen1.5-0.5b-chat").first.wait_for()
        chat.ask("What is the capital of France? One word.")
        answered(chat, 1)
        chat.shot("real-fallback-en")
        chat.check()
    context.close()


def answered(chat: Chat, count: int) -> None:
    """Wait until `count` answers are finished: each has its line of figures."""
    chat.page.locator("article.answer .figures").nth(count - 1).wait_for(timeout=PATIENCE_MS)
