"""Take the READMEs' pictures of the page: a real server, a real model, its real answer.

python scripts/screenshot.py MODEL.gguf     writes docs/page.png and docs/zh/page.png

Needs Chromium and playwright (`make setup` has the latter).
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
EDGECHAT = Path(sys.executable).with_name("edgechat")
SIZE: ViewportSize = {"width": 1040, "height": 780}
PICTURES = {
    "page.png": ("en", "Write a Python function that tells whether a word is a palindrome. Only the code."),
    "zh/page.png": ("zh-CN", "写一个判断回文的 Python 函数，只要代码。"),
}
PATIENCE_MS = 180_000


def main(model: str) -> None:
    with tempfile.TemporaryDirectory() as home:
        command = [str(EDGECHAT), "serve", "--model", model, "--port", "0", "--home", home]
        english = os.environ | {"LC_ALL": "C"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=english) as server:
            try:
                assert server.stdout is not None
                address = next(found[1] for line in server.stdout if (found := re.search(r"Page: (\S+)", line)))
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
                    for file, (language, question) in PICTURES.items():
                        take(browser, f"{address}?lang={language}", question, ROOT / "docs" / file)
            finally:
                server.terminate()


def take(browser: Browser, address: str, question: str, file: Path) -> None:
    """Ask, and picture the whole answer."""
    page = browser.new_page(viewport=SIZE, color_scheme="light")
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.locator("#model[data-state=ready]").wait_for()
    page.locator("textarea").first.fill(question)
    page.keyboard.press("Enter")
    page.locator(".figures").first.wait_for()
    page.wait_for_timeout(1_000)
    page.screenshot(path=file)
    page.close()
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
