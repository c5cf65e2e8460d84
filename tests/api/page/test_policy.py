"""What the Content-Security-Policy forbids, and a proxy's path would break, stands in no file of the page."""

import re
from pathlib import Path

import pytest

from edgechat.api.page.assets import WEB
from tests.api.page.web import DASHBOARD, INDEX, SCRIPTS, code


@pytest.mark.parametrize("page", [INDEX, DASHBOARD], ids=["chat", "dashboard"])
def test_nothing_inline_in_the_document(page: str) -> None:
    assert re.findall(r"<script(?![^>]*\ssrc=)[^>]*>", page) == []
    assert re.findall(r"<script[^>]*>\s*[^<\s]", page) == []
    assert "<style" not in page
    assert re.findall(r"\s(?:on\w+|style)=", page) == []
    assert re.findall(r"javascript:|https?://(?!127\.0\.0\.1:8080/chat)|\"//", page) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_module_writes_markup_or_runs_text(script: Path) -> None:
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|createContextualFragment"
        r"|\beval\b|new Function|setTimeout\(\s*[\"'`]|https?://(?!www\.w3\.org/2000/svg)|crypto\.randomUUID"
    )
    assert re.findall(forbidden, code(script)) == []


def test_the_pages_work_under_a_path_since_every_address_is_relative() -> None:
    """A proxy may have them at https://host/chat/."""
    absolute = re.compile(r"""["'`(]/(?:api|v1|ui|dashboard|readyz)\b|(?:href|src|action)="/""")
    own = [path for path in WEB.rglob("*") if path.suffix in (".html", ".js", ".css") and "vendor" not in path.parts]
    assert len(own) > 20
    assert not {path.name: found[0] for path in own if (found := absolute.search(path.read_text(encoding="utf-8")))}
