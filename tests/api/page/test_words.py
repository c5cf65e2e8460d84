"""The page's words: the same in every language, each there and used, none outside of their tables."""

import json
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from edgechat.api.page.assets import WEB
from edgechat.api.watch.models import Row
from edgechat.models.answers import Phase
from edgechat.startup import State
from edgechat.types import Limits
from tests.api.page.web import DASHBOARD, INDEX, LANGUAGES, SCRIPTS, code, strings


@pytest.mark.parametrize("folder", [WEB / "i18n", WEB / "i18n" / "dashboard"], ids=["chat", "dashboard"])
def test_languages_have_the_same_keys_and_placeholders(folder: Path) -> None:
    files = sorted(folder.glob("*.json"))

    def shape(file: Path) -> dict[str, list[str]]:
        texts: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        assert all(text.strip() for text in texts.values())
        assert list(texts) == sorted(texts)
        assert len(texts) <= 250
        return {key: sorted(re.findall(r"\{(\w+)\}", text)) for key, text in texts.items()}

    english, *others = [shape(file) for file in files]
    assert [file.stem for file in files] == ["en", "zh-CN"]
    for other in others:
        assert other == english


# Keys that modules put together: `error.${name}.what` and the like.
BUILT = (
    "badge.",
    "error.",
    "status.",
    "settings.",
    "data.export_",
    "data.why_",
    "data.without_",
    "list.",
)


def test_every_string_is_there_and_used() -> None:
    keys = {key.partition("#")[0] for key in json.loads(LANGUAGES[0].read_text(encoding="utf-8"))}
    mentioned = set(re.findall(r'data-i18n(?:-label|-placeholder)?="([^"]+)"', INDEX))
    literals = [literal for script in SCRIPTS for literal in strings(script)]
    mentioned |= {literal for literal in literals if literal in keys}
    assert {key for key in mentioned if key not in keys} == set()
    assert {key for key in keys - mentioned if not key.startswith(BUILT)} == set()
    message = (WEB / "js" / "message.js").read_text(encoding="utf-8")
    known = re.search(r"KNOWN = new Set\(\[(.*?)\]\)", message, re.DOTALL)
    assert known
    told = {f"error.{name}" for name in [*re.findall(r'"(\w+)"', known[1]), "internal_error"]}
    assert told | {"error.details"} == {key for key in keys if key.startswith("error.")}
    for state in ("downloading", "loading", "failed", "paused", "draining"):
        assert f"status.{state}" in keys
    params = (WEB / "js" / "settings.js").read_text(encoding="utf-8")
    for name in re.findall(r'\["(\w+)", [\d.]+, ', params):
        assert f"settings.{name}" in keys


def test_every_string_of_the_dashboard_is_there_and_used() -> None:
    keys = set(json.loads((WEB / "i18n" / "dashboard" / "en.json").read_text(encoding="utf-8")))
    script = WEB / "js" / "dashboard.js"
    mentioned = set(re.findall(r'data-i18n(?:-label)?="([^"]+)"', DASHBOARD))
    for name in ("dashboard.js", "dashboard-tables.js", "clipboard.js"):
        mentioned |= {literal for literal in strings(WEB / "js" / name) if re.fullmatch(r"[a-z]+\.[a-z_]+", literal)}
    mentioned |= {f"clients.{limit}" for limit in Limits.__struct_fields__ if "_per_" in limit}
    mentioned.add("action.close")  # of a toast
    figures, plots = (re.search(rf"const {name} = (.*?);", code(script), re.DOTALL) for name in ("FIGURES", "PLOTS"))
    assert figures
    assert plots
    mentioned |= {f"now.{name}" for name in re.findall(r'"(\w+)"', figures[1])}
    for plot, series in re.findall(r"(\w+): \[(.*?)\]", plots[1]):
        mentioned |= {f"{plot}.label", *(f"{plot}.series.{name}" for name in re.findall(r'"(\w+)"', series))}
    mentioned |= {f"state.{state}" for state in get_args(State)} | {f"requests.{phase}" for phase in get_args(Phase)}
    mentioned |= {f"models.{state}" for state in get_args(get_type_hints(Row)["state"]) if state != "available"}
    assert keys == mentioned


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_words_for_people_in_the_modules(script: Path) -> None:
    assert re.findall(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]", code(script).replace("简体中文", "")) == []
    sentences = [
        text
        for text in strings(script)
        if re.search(r"[A-Za-z]{2,} [a-z]{2,} [a-z]{2,}|^[A-Z][a-z]+ [a-z]", text)
        and not text.startswith(("button ", "noopener "))
    ]
    assert sentences == []
