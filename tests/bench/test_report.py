import io
import json
import warnings
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from edgechat.bench import picture
from edgechat.bench.client import address
from edgechat.bench.report import Report, markdown, number, report, show
from edgechat.bench.run import Measured, Outcome
from edgechat.errors import ConfigError

A, B = address("A", "http://127.0.0.1:1"), address("B", "http://127.0.0.1:2")


def found() -> Report:
    outcomes = [
        Outcome("turns", "A", 1, figures={"first": 100.0, "second": 0.0, "ratio": 0.1}),
        Outcome("turns", "B", 1, figures={"first": 50.0, "second": 7.0, "ratio": 0.1}),
        Outcome("turns", "A", 2, figures={"first": 300.0, "second": 0.0, "ratio": 0.3}),
        Outcome("turns", "B", 2, failed="HTTP 500: [red]no[/red]"),
        Outcome("turns", "A", 3, figures={"first": 200.0, "second": 0.0, "ratio": 0.2}),
        Outcome("single", "A", 1, failed="no"),
        Outcome("single", "B", 1, figures={"decode": 10.0}),
        Outcome("restart", "A", 0, skipped="needs a command"),
    ]
    return report([A, B], 3, Measured(tuple(outcomes), {"A": "some", "B": None}))


def test_medians_and_ratios_to_the_first_address() -> None:
    turns, single, restart = found().probes
    first, second, ratio = turns.figures
    a, b = first.values
    assert (a.median, a.min, a.max, a.ratio, a.readings) == (200.0, 100.0, 300.0, 1.0, (100.0, 300.0, 200.0))
    assert (b.median, b.ratio) == (50.0, 0.25)
    assert second.values[1].ratio is None  # to nothing, nothing has a ratio
    assert (ratio.unit, ratio.better) == ("×", "less")
    (decode,) = single.figures
    assert [(value.address, value.ratio) for value in decode.values] == [("B", None)]
    assert restart.figures == ()
    assert restart.skipped[0].why == "needs a command"


def test_a_skip_is_no_failure() -> None:
    skips = Measured((Outcome("two", "A", 0, skipped="alone"),), {"A": None})
    assert found().failed
    assert not report([A], 1, skips).failed


def test_the_document() -> None:
    document = json.loads(msgspec.json.encode(found()))
    assert set(document) == {"edgechat", "processor", "cores", "runs", "busy", "addresses", "probes"}
    assert document["addresses"][0] == {"label": "A", "url": "http://127.0.0.1:1", "model": "some", "command": ""}
    turns = document["probes"][0]
    assert set(turns) == {"name", "about", "figures", "skipped", "failed"}
    assert turns["failed"] == [{"address": "B", "run": 2, "why": "HTTP 500: [red]no[/red]"}]
    assert set(turns["figures"][0]) == {"name", "about", "unit", "better", "values"}
    assert set(turns["figures"][0]["values"][0]) == {"address", "readings", "median", "min", "max", "ratio"}


def test_the_tables() -> None:
    page = io.StringIO()
    show(found(), Console(file=page, width=100, highlight=False))
    text = page.getvalue()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "A http://127.0.0.1:1 some" in lines
    assert "turn 1, time to first token ms 200 100–300 50 50–50 0.25" in lines
    assert "decode tok/s – 10 10–10 –" in lines
    assert "failed B run 2: HTTP 500: [red]no[/red]" in lines
    assert "skipped A: needs a command" in lines


def test_a_server_that_did_not_start_is_told_of_once() -> None:
    outcomes = [Outcome(probe, "A", 0, skipped="unknown model 'x'") for probe in ("turns", "single", "restart")]
    page = io.StringIO()
    show(report([A], 1, Measured(tuple(outcomes), {"A": None})), Console(file=page, width=100, highlight=False))
    assert page.getvalue().count("unknown model") == 1
    assert "restart" not in page.getvalue()


@pytest.mark.parametrize(("busy", "said"), [((), False), ((0.0, 0.1, 0.9), False), ((0.3, 0.1, 0.9), True)])
def test_a_busy_machine_is_called_one(busy: tuple[float, ...], said: bool) -> None:
    page = io.StringIO()
    show(report([A], 3, Measured((), {}, busy)), Console(file=page, width=100))
    assert ("Others used 30% of the processor" in page.getvalue()) is said


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (32.0, "32"), (4271.4, "4271"), (57.14, "57.1"), (1.234, "1.23"), (0.95, "0.95"), (0.00312, "0.0031")],
)
def test_numbers_have_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_page_has_every_figure_and_every_reason() -> None:
    page = markdown(found())
    assert "| turn 1, time to first token | ms | 200 (100–300) | 50 (50–50, 0.25×) |" in page
    assert "skipped at A: needs a command" in page
    assert "failed at A: no" in page


def test_a_picture_where_matplotlib_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no picture is drawn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture.draw(found(), tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_picture_is_refused_before_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="plot"):
        picture.check()
