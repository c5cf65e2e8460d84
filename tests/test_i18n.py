"""Every sentence that is told has its Chinese: each is read off the code, as it stands there."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from typer.main import get_command

from edgechat import cli, errors, i18n
from edgechat.bench.probes import PROBES
from edgechat.cli.help import _paragraphs
from edgechat.i18n import LONGEST, of_header, of_locale, speaking, t

EDGECHAT = Path(sys.executable).with_name("edgechat")
SOURCE = Path(i18n.__file__).parent.parent
ZH = tomllib.loads((SOURCE / "i18n" / "zh.toml").read_text(encoding="utf-8"))
FLAT = {english: chinese for section in ZH.values() for english, chinese in section.items()}
GAP = re.compile(r"\{\d+\}")
TELLERS = {kind.__name__ for kind in errors.tree()} | {"Failed", "Problem", "http", "t", "say", "Unmeasured"}
# What these say goes to programs, in the words of the APIs they know, or to developers.
APART = ("api/anthropic", "api/ollama", "api/openai", "api/responses", "api/openapi.py", "api/tools.py",
         "api/ignored.py", "api/requests.py", "scheduler/constrain.py", "scheduler/parameters.py",
         "engine/fake.py", "engine/torch")  # fmt: skip


def told(node: ast.AST) -> str | None:
    """The sentence of a literal, with its gaps numbered; None of what is none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    parts, gaps = [], 0
    for part in node.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        else:
            gaps += 1
            parts.append(f"{{{gaps}}}")
    return "".join(parts)


def literals() -> Iterator[str]:
    """All there are."""
    for path in SOURCE.rglob("*.py"):
        yield from filter(None, map(told, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))


def sentences() -> Iterator[tuple[str, str]]:
    """(place, sentence) of all that is said by an error or through the translator."""
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if place.startswith(APART):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in TELLERS or (name == "ValueError" and place.startswith("gguf/")):  # why a file is unusable
                for argument in node.args[: 2 if name in ("Failed", "Problem", "http") else 1]:
                    sentence = told(argument)
                    if sentence and re.search("[a-z]{3}", GAP.sub("", sentence)):
                        yield f"{place}:{node.lineno}", sentence


def helps(command: Any) -> Iterator[str]:
    """Every paragraph of the help of `command` and of all below it, and of each parameter."""
    yield from _paragraphs(command.help or "")
    for parameter in command.params:
        yield " ".join((getattr(parameter, "help", "") or "").split())
    for child in getattr(command, "commands", {}).values():
        yield from helps(child)


def test_every_sentence_of_the_terminal_has_its_chinese() -> None:
    missing = [f"{place}: {sentence}" for place, sentence in sentences() if "cli/" in place and sentence not in FLAT]
    assert not missing, "\n".join(missing)


def test_errors_have_their_chinese() -> None:
    missing = [f"{place}: {sentence}" for place, sentence in sentences() if sentence not in FLAT]
    assert not missing, "\n".join(missing)


def test_what_bench_measures_has_its_chinese() -> None:
    told = {
        about for probe in PROBES.values() for about in (probe.about, *(one.about for one in probe.figures.values()))
    }
    with speaking("zh"):
        assert not [about for about in sorted(told) if t(about) == about]


def test_every_line_of_help_has_its_chinese() -> None:
    with speaking("zh"):
        missing = [text for text in helps(get_command(cli.app)) if text and t(text) == text]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("arguments", [[], ["serve"], ["chat"], ["history"], ["history", "import"], ["key", "add"]])
def test_help_in_chinese_fits_the_terminal(arguments: list[str]) -> None:
    done = subprocess.run(
        [EDGECHAT, *arguments, "-h"],
        env=os.environ | {"LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("用法：")
    assert "选项：" in done.stdout
    for line in done.stdout.splitlines():
        assert cell_len(line) <= 80, line
        assert not line.strip().startswith(tuple("，。：；、）"))
    assert "Show this message" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["serv"], "错误：没有命令 'serv'。是不是 'serve'？"),
        (["serve", "--threds", "1"], "错误：没有选项 --threds（是不是：--threads）"),
        (["serve", "--port", "x"], "'--port' 的值无效：应为整数"),
        (["remove"], "错误：缺少参数 'name'。"),
        (["remove", "nobody"], "edgechat: 未知的本机模型：'nobody'。目前一个也没有。"),
        (["stop"], "没有正在运行的服务器。"),
    ],
)
def test_what_is_wrong_is_told_in_chinese(arguments: list[str], complaint: str) -> None:
    environ = os.environ | {"LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1"}
    done = subprocess.run([EDGECHAT, *arguments], env=environ, capture_output=True, text=True, check=False)
    assert complaint in done.stderr
    assert done.stdout == ""


def test_what_is_translated_is_still_said() -> None:
    """But for what libraries and the system say, and sentences that the code puts together."""
    said = "\n".join([*(" ".join(text.split()) for text in literals()), *helps(get_command(cli.app))])
    stale = [
        english
        for name, section in ZH.items()
        if name not in ("foreign", "composed")
        for english in section
        if not all(piece.strip(" .:;,") in said for piece in re.split(r"\{\d+\}|[,;:] ", " ".join(english.split())))
    ]
    assert not stale, "\n".join(stale)


@pytest.mark.parametrize("english", FLAT, ids=str)
def test_a_translation_takes_what_the_sentence_gives(english: str) -> None:
    """Each gap once, and no other sentence is taken for this one."""
    chinese, gaps = FLAT[english], GAP.findall(english)
    assert gaps == [f"{{{n}}}" for n in range(1, len(gaps) + 1)]
    assert sorted(GAP.findall(chinese)) == sorted(gaps)
    filled = [f"x{n}y" for n in range(1, len(gaps) + 1)]
    with speaking("zh"):
        assert t(fill(english, filled)) == fill(chinese, filled)


def fill(sentence: str, gaps: list[str]) -> str:
    return GAP.sub(lambda gap: gaps[int(gap[0][1:-1]) - 1], sentence)


def test_what_fills_a_gap_is_translated_too() -> None:
    why = "hub.example:443 cannot be reached: it refuses the connection. Check the network and the proxy settings."
    with speaking("zh"):
        assert t(why) == "无法连接 hub.example:443：对方拒绝连接。请检查网络和代理设置。"
        assert (
            t(f"qwen stays as it is: {why}")
            == "qwen 保持不变：无法连接 hub.example:443：对方拒绝连接。请检查网络和代理设置。"
        )
        assert t(f"Could not download qwen: {why}").startswith("无法下载 qwen：无法连接 hub.example:443：")
        assert t("No sentence of ours.") == "No sentence of ours."
    assert t(why) == why


def test_what_quotes_a_stranger_at_length_is_not_looked_for() -> None:
    """Matching takes as long as a text is, and they choose how long."""
    why = "{}: there is no such file."
    with speaking("zh"):
        assert t(why.format("x")) != why.format("x")
        assert t(why.format("x" * LONGEST)) == why.format("x" * LONGEST)


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_TW.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zha_CN"}, "en"),
        ({}, "en"),
    ],
)
def test_the_locale_chooses(environ: dict[str, str], language: str) -> None:
    assert of_locale(environ) == language


@pytest.mark.parametrize(
    ("header", "language"),
    [("zh-CN", "zh"), ("zh-TW,zh;q=0.9,en;q=0.8", "zh"), ("en-GB,zh;q=0.5", "en"), ("*", "en"), ("", "en")],
)
def test_a_browser_chooses(header: str, language: str) -> None:
    assert of_header(header) == language
