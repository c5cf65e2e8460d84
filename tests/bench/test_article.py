"""The article's table: each model served alone, thread counts tried, the claims beside what was found."""

import json
import sys
from pathlib import Path

import pytest

from edgechat import cli, machine
from edgechat.bench import body
from edgechat.bench.article import Article, Claim, _claims, _stand_ins, compared, counts
from edgechat.bench.client import Client, Unmeasured, address
from edgechat.bench.report import report
from edgechat.bench.run import Measured, Outcome
from tests import ggufs
from tests.bench.conftest import Serve
from tests.bench.scripted import Script
from tests.conftest import FakeModel

Capture = pytest.CaptureFixture[str]


def edgechat(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of `edgechat bench ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["edgechat", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("cores", "tried"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (256, [1, 2, 4, 8, 16, 32, 64, 256])]
)
def test_thread_counts_reach_from_one_to_all(cores: int, tried: list[int]) -> None:
    assert counts(cores) == tried


def test_models_are_measured_one_after_the_other(
    fake_model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("EDGECHAT_ENGINE", "fake")
    monkeypatch.setattr(machine, "cores", lambda: 1)
    script, page = fake_model(reply="one two three four"), tmp_path / "page.md"
    flags = ["--runs", "1", "--json", "--markdown", str(page)]
    assert edgechat(monkeypatch, "article", str(script), str(tmp_path / "none.gguf"), *flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert [probe["name"] for probe in found["models"]["probes"]] == ["size", "memory", "startup", "turns"]
    for probe in found["models"]["probes"]:
        assert all([value["address"] for value in row["values"]] == ["A"] for row in probe["figures"])
        (skipped,) = probe["skipped"]
        assert skipped["address"] == "B"
        assert "there is no model file" in skipped["why"]
    (threads,) = found["threads"]["addresses"]
    assert threads["command"] == f"edgechat serve --model {script} --threads 1"
    assert found["threads"]["probes"][0]["figures"]
    claim = found["claims"][-1]
    assert claim["article"] == 0.6
    assert claim["here"]["A"] > 0
    assert "0.60 in the article; here A" in page.read_text()


def test_claims_stand_beside_every_models_own_figure() -> None:
    nothing = report([], 1, Measured((), {}))
    found = Article(nothing, nothing, (Claim("second / first", "×", 0.6, {"A": 0.1, "B": 0.25}),))
    assert compared(found) == ["second / first: 0.60 in the article; here A 0.10, B 0.25 ×"]


def test_weights_and_memory_stand_beside_the_articles_and_stand_ins_are_marked(tmp_path: Path) -> None:
    shape = ggufs.gguf({"general.architecture": "test", "general.name": "qwen1.5-0.5b stand-in (noise)"}, {})
    stand_in = ggufs.write(tmp_path / "qwen1.5-0.5b.gguf", shape)
    models = {"A": str(stand_in), "B": "another"}
    assert list(_stand_ins(models)) == ["A"]
    places = [address(label, "http://127.0.0.1:1") for label in models]
    outcomes = [
        Outcome("size", "A", 1, {"parameters": 464.0}),
        Outcome("size", "B", 1, {"parameters": 100.0}),
        Outcome("memory", "A", 1, {"idle": 500.0, "most": 600.0}),
    ]
    nothing = report([], 1, Measured((), {}))
    claims = tuple(_claims(report(places, 1, Measured(tuple(outcomes), {})), models))
    assert compared(Article(nothing, nothing, claims, ("A",))) == [
        "A: weights: 500 in the article; here A 464 M",
        "A: memory (the recipe: its weights in float32): 1856 in the article; here A 600 MB",
        "A: a stand-in, noise in the model's shape; speed, memory and start-up are true, the words are not.",
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["article"], "none of the article's models is here: edgechat pull qwen1.5-0.5b-chat"),
        (["article", "./m.gguf", "--probe", "turns"], "bench article takes models"),
        (["soak"], "name what is to be measured"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], why: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert edgechat(monkeypatch, *arguments) == 2
    assert why in capsys.readouterr().err


def test_soak_is_the_probe_of_that_name(serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert edgechat(monkeypatch, "soak", serve(Script()), "--minutes", "0.05", "--runs", "1", "--json") == 0
    assert [probe["name"] for probe in json.loads(capsys.readouterr().out)["probes"]] == ["soak"]


async def test_a_server_that_does_not_tell_its_size_is_not_guessed_at(serve: Serve) -> None:
    async with Client(address("A", serve(Script()))) as client:
        with pytest.raises(Unmeasured, match="does not tell"):
            await body.size(client)
