"""The command, in the test's own process."""

import json
import sys
from pathlib import Path

import msgspec
import pytest

from edgechat import cli
from edgechat.bench.probes import PROBES
from tests.bench.conftest import Serve
from tests.bench.scripted import Script

Capture = pytest.CaptureFixture[str]


def edgechat(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `edgechat bench ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["edgechat", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_json_is_one_document(serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    urls = [serve(Script(token_s=0.001)), serve(Script(token_s=0.003))]
    assert edgechat(monkeypatch, *urls, "--probe", "single", "--probe", "two", "--runs", "2", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [place["url"] for place in document["addresses"]] == urls
    single, two = document["probes"]
    assert [row["name"] for row in single["figures"]] == ["prefill", "decode", "first"]
    a, b = single["figures"][1]["values"]
    assert (a["address"], b["address"], a["ratio"]) == ("A", "B", 1.0)
    assert len(a["readings"]) == len(b["readings"]) == 2
    assert a["min"] <= a["median"] <= a["max"]
    assert 0 < b["ratio"] < 1.0
    assert [row["name"] for row in two["figures"]] == ["alone", "beside", "kept"]


def test_a_table_for_people(serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert edgechat(monkeypatch, serve(Script()), "--probe", "turns", "--probe", "restart", "--runs", "1") == 0
    written = capsys.readouterr()
    assert "turn 2 / turn 1" in written.out
    assert "skipped A: needs --restart" in written.out
    assert written.err == "greeting A\nturns: run 1 of 1 at A\n"


def test_a_failure_is_shown_and_is_the_status(serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert edgechat(monkeypatch, serve(Script(key="sesame")), "--runs", "1", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert [probe["name"] for probe in document["probes"]] == [name for name, probe in PROBES.items() if probe.usual]
    assert document["probes"][0]["failed"] == [{"address": "A", "run": 0, "why": "HTTP 401: no such key [31m"}]


def test_a_bench_that_is_stopped_shows_what_it_has(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    async def stopped(here: object) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setitem(PROBES, "users", msgspec.structs.replace(PROBES["users"], run=stopped))
    assert (
        edgechat(monkeypatch, serve(Script()), "--probe", "turns", "--probe", "users", "--runs", "1", "--json") == 130
    )
    assert [probe["name"] for probe in json.loads(capsys.readouterr().out)["probes"]] == ["turns"]


def test_models_and_key_reach_the_server(serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    scripts = [Script(key="sesame"), Script(key="sesame")]
    flags = ["--probe", "turns", "--runs", "1", "--model", "one", "--model", "other", "--key", "sesame", "--json"]
    assert edgechat(monkeypatch, *(serve(script) for script in scripts), *flags) == 0
    written = capsys.readouterr()
    assert [place["model"] for place in json.loads(written.out)["addresses"]] == ["one", "other"]
    assert {body["model"] for body in scripts[1].bodies} == {"other"}
    assert "sesame" not in written.out + written.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["http://192.168.0.7:8080"], "192.168.0.7 is not this machine"),
        (["http://127.0.0.1:9", "http://example.org"], "example.org is not this machine"),
        (["127.0.0.1:9"], "is not a base address"),
        (["http://127.0.0.1:9", "--probe", "singel"], "unknown probe 'singel'; did you mean 'single'?"),
        (["http://127.0.0.1:9", "--model", "a", "--model", "b"], "--model is given once for all addresses"),
        (["http://127.0.0.1:9", "--key", "a b"], "no header may carry"),
        (["http://127.0.0.1:9"] * 9, "at most 8 addresses"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    arguments: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert edgechat(monkeypatch, *arguments) == 2
    written = capsys.readouterr()
    assert complaint in written.err
    assert written.err.count("\n") == 1
    assert written.out == ""


@pytest.mark.parametrize("runs", ["0", "51", "many"])
def test_runs_are_bounded(runs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert edgechat(monkeypatch, "http://127.0.0.1:9", "--runs", runs) == 2


def test_the_tables_are_kept_as_a_page(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    page = tmp_path / "found.md"
    assert edgechat(monkeypatch, serve(Script()), "--probe", "turns", "--runs", "1", "--markdown", str(page)) == 0
    assert "## turns" in page.read_text()
    missing = tmp_path / "nowhere" / "found.md"
    assert edgechat(monkeypatch, serve(Script()), "--probe", "turns", "--runs", "1", "--markdown", str(missing)) == 3
    assert "cannot be written" in capsys.readouterr().err
