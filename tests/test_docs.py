"""What is written is true: generated pages are fresh, READMEs name what exists, in both languages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgechat import __version__, cli
from edgechat.api.openai.wire import ChatRequest
from edgechat.hub.catalog import Catalog
from edgechat.settings import Settings

ROOT = Path(__file__).parent.parent
FIRST = "0.1.0"  # the version before anything is released
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
ZH = sorted((ROOT / "docs" / "zh").glob("*.md"))


def blocks(text: str) -> list[str]:
    return re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)


def code(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text)) - {"curl"}


def test_both_languages_have_the_same_commands() -> None:
    assert blocks(ENGLISH) == blocks(CHINESE)
    assert code(ENGLISH) == code(CHINESE)


def test_generated_pages_are_fresh() -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"], check=True)


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_every_honoured_parameter_is_named(text: str) -> None:
    for name in set(ChatRequest.model_fields) - {"model"}:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_the_models_that_are_named_are_in_the_catalog(text: str) -> None:
    catalog = Catalog.load()
    named = re.findall(r"^\| `([a-z0-9.-]+)`", text, re.MULTILINE)
    assert {catalog.default, catalog.fallback} <= set(named) <= set(catalog.names)


def test_every_command_in_the_readme_exists_and_helps(capsys: pytest.CaptureFixture[str]) -> None:
    used = {match for block in blocks(ENGLISH) for match in re.findall(r"^edgechat (\w+)", block, re.MULTILINE)}
    assert used >= {"pull", "models", "serve", "chat", "doctor"}
    for name in used:
        with pytest.raises(SystemExit) as ended:
            cli.app([name, "--help"])
        assert ended.value.code == 0
        assert "Usage: " in capsys.readouterr().out


def test_nobody_is_told_to_install_edgechat_by_name() -> None:
    """No index has it: whoever took the name there would be installed in its place."""
    pages = [ENGLISH, CHINESE, *(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))]
    commands = re.findall(r"pip install [^`\n]*", "\n".join(pages))
    assert "pip install dist/*.whl" in commands
    assert not [command for command in commands if re.search(r"(?<![/.\w-])edgechat\b", command)]


def test_every_link_in_the_repository_leads_somewhere() -> None:
    pages = [ROOT / page for page in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for page in (*pages, *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", ZH, ids=lambda page: page.name)
def test_a_chinese_page_follows_the_english_one(page: Path) -> None:
    """What is to be typed is the same in both; the Chinese leave out what few need, and say where it is."""
    chinese, english = (one.read_text(encoding="utf-8") for one in (page, ROOT / "docs" / page.name))
    typed = [block for block in blocks(english) if not block.startswith(" source")]
    assert blocks(chinese) == typed
    assert code(chinese) <= code(english)
    english_rows = code("\n".join(re.findall(r"^\| `.*", english, re.MULTILINE)))
    assert {name for name in english_rows if re.match(r"edgechat |/|[a-z_]+_(total|seconds|bytes)", name)} <= code(
        chinese
    )


def test_every_test_that_is_named_in_the_documents_is_there() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    there = set(re.findall(r"\bdef (test_\w+)", code))
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"`(test_\w+)`", text)) <= there, page.name
        for path in re.findall(r"`(tests/[\w/.]+)`", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_the_changelog_knows_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    head, *released = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert head == "Unreleased"
    assert released == sorted(released, key=lambda version: [*map(int, version.split("."))], reverse=True)
    assert __version__ == (released[0] if released else FIRST)


def test_the_nouns_are_where_the_page_of_words_says() -> None:
    """`Name … file.py` in docs/words.md: the file has a class of that name."""
    drawn = (ROOT / "docs" / "words.md").read_text().split("```")[1]
    nouns = re.findall(r"^ (\w+) .* ([\w/]+\.py)$", drawn, re.MULTILINE)
    assert len(nouns) == 10
    for name, file in nouns:
        text = (ROOT / "src" / "edgechat" / file).read_text()
        assert re.search(rf"^class {name}\b", text, re.MULTILINE), f"{name} is not in {file}"


def test_the_tests_that_pages_name_exist() -> None:
    found = [
        f"/{path.relative_to(ROOT)}" for folder in ("tests", "engine/tests") for path in (ROOT / folder).rglob("*.py")
    ]
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]
    named = {name for page in pages for name in re.findall(r"[\w/]*\btest_\w+\.py", page.read_text(encoding="utf-8"))}
    assert len(named) > 50
    assert not [name for name in named if not any(path.endswith(f"/{name}") for path in found)]
