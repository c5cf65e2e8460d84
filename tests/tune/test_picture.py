"""The PNG of a tuning."""

import warnings
from pathlib import Path

import pytest

from edgechat.tune import picture
from edgechat.tune.choice import Candidate
from edgechat.tune.quality import Quality
from edgechat.tune.record import Counts, Tuned
from edgechat.tune.speed import Speed


def test_a_picture_where_matplotlib_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no picture is drawn")
    base = Candidate("Q5_0/Q8_0", 1, Speed(100, 10), Quality(0.0, 0, 1, 9), True)
    fast = Candidate("IQ4_NL/IQ4_NL", 1, Speed(100, 20), Quality(0.05, 0.01, 1, 9), True)
    hope = Candidate("Q4_0/Q4_0", 1, Speed(100, 21), Quality(0.09, 0.02, 0.8, 9))
    unjudged = Candidate("Q8_0/Q8_0", 1, Speed(100, 9))
    counts = Counts(2, 2, 128)
    found = Tuned("0", "m", "balanced", "s", base, fast, (hope, fast, unjudged), counts, "f", "1", 9.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture.draw(found, tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
