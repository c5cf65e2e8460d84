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
PATIENCE_MS = 120_000


def test_a_qwen_is_pulled_and_chats_in_chinese(
    browser: "Browser", qwen_hub: FakeHub, qwen: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    environ = {"MODELSCOPE_ENDPOINT": qwen_hub.url, "EDGECHAT_HOME": str(home)}
    context = browser.new_context(**DESKTOP)
    with qwen_hub, serve("--model", REFERENCE, **environ) as server:
        chat = Chat(context.new_page(), server.url()).open("?lang=zh")
        for name, value in {"params": '{"temperature":0}', "language": '"zh-CN"'}.items():
            chat.page.evaluate("([name, value]) => localStorage.setItem(`edgechat.${name}`, value)", [name, value])
        chat.ask("法国的首都是哪里？只答城市名。")  # while the model is still being fetched: it waits
        answered(chat, 1)
        assert "巴黎" in chat.answer.inner_text()
        stop_keeps_the_text(chat)
        edit_makes_a_branch(chat)
        reload_reads_on(chat)
        search_and_export(chat)
        shots(chat)
        chat.check()
    context.close()
    (blob,) = (home / "models" / "blobs").iterdir()
    assert hashlib.sha256(blob.read_bytes()).digest() == hashlib.sha256(qwen.read_bytes()).digest()


def stop_keeps_the_text(chat: Chat) -> None:
    """A long answer, stopped in the middle."""
    chat.ask("请从一数到一百，每个数字一行。")
    chat.page.locator("article.answer:last-of-type").last.locator("p, li").first.wait_for(timeout=PATIENCE_MS)
    chat.page.keyboard.press("Escape")
    chat.page.locator(".badge", has_text="已停止").wait_for(timeout=PATIENCE_MS)
    assert chat.answer.inner_text().strip()


def edit_makes_a_branch(chat: Chat) -> None:
    """The first question once more, about another country; both versions are kept."""
    chat.questions.first.hover()
    chat.questions.first.get_by_role("button", name="编辑").click()
    chat.page.get_by_role("textbox", name="编辑").fill("德国的首都是哪里？只答城市名。")
    chat.questions.first.get_by_role("button", name="发送").click()
    answered(chat, 1)
    assert "柏林" in chat.answer.inner_text()
    assert chat.questions.first.locator(".place").inner_text() == "2/2"
    chat.questions.first.get_by_role("button", name="上一个版本").click()
    assert "巴黎" in chat.answers.first.inner_text()
    assert chat.answers.count() == 2
    chat.questions.first.get_by_role("button", name="下一个版本").click()


def reload_reads_on(chat: Chat) -> None:
    """The page is loaded again while an answer is being written; not a character is lost or doubled."""
    chat.ask("用三句话介绍一下长城。")
    chat.page.locator("article.answer").nth(1).locator("> .text p").wait_for(timeout=PATIENCE_MS)
    chat.page.reload()
    answered(chat, 2)
    id = chat.page.url.partition("?c=")[2]
    stored = chat.page.evaluate("async (id) => (await fetch(`/api/conversations/${id}`)).json()", id)
    text = stored["messages"][-1]["content"]
    assert stored["messages"][-1]["status"] == "complete"
    assert chat.page.evaluate(SAME_TEXT, [chat.module("markdown.js"), text]), text


SAME_TEXT = """async ([module, source]) => {
    const { blocks, elements } = await import(module);
    const shown = [...document.querySelectorAll("article.answer > .text")].at(-1).textContent;
    const whole = elements(blocks(source.trim())).textContent;
    return shown.replace(/\\s+/g, "") === whole.replace(/\\s+/g, "");
}"""


def search_and_export(chat: Chat) -> None:
    """Two Chinese characters find the conversation; as Markdown it holds both branches' words."""
    chat.page.get_by_role("searchbox").fill("长城")
    chat.page.locator("#conversations mark").first.wait_for()
    chat.rows.first.hover()
    chat.rows.first.get_by_role("button", name="更多操作").click()
    with chat.page.expect_download() as download:
        chat.button("下载 JSON").click()
    exported = Path(download.value.path()).read_text(encoding="utf-8")
    assert "柏林" in exported
    assert "巴黎" in exported


def shots(chat: Chat) -> None:
    """How it looks on a desk and on a phone, by day and by night."""
    chat.page.get_by_role("searchbox").fill("")
    for width, height in ((1280, 800), (360, 740)):
        chat.page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            chat.page.emulate_media(color_scheme=scheme)
            chat.shot(f"real-qwen-zh-{width}-{scheme}")


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
