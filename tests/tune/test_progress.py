"""What a person is told of a tuning: how far, how long still, and the picture at the end."""

from edgechat.tune import plot
from edgechat.tune.choice import Candidate
from edgechat.tune.progress import WEIGHTS, Progress, Step
from edgechat.tune.quality import Quality
from edgechat.tune.speed import Speed


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_follows_what_was_measured() -> None:
    steps: list[Step] = []
    clock = Clock()
    progress = Progress(steps.append, clock)
    progress.expect(read=1, race=2)
    with progress.doing("reading", "read") as told:
        clock.now += 2 * WEIGHTS["read"]  # two seconds for each unit of weight
        told(1.0)
    total = WEIGHTS["read"] + 2 * WEIGHTS["race"]
    assert steps[-1].fraction == WEIGHTS["read"] / total
    assert steps[-1].left_s == 2 * 2 * WEIGHTS["race"]


def test_what_an_earlier_try_did_is_done_and_took_no_time() -> None:
    steps: list[Step] = []
    progress = Progress(steps.append, Clock())
    progress.expect(read=1, race=1)
    with progress.doing("reading", "read"):
        pass
    with progress.doing("racing", "race") as told:
        told(0.1)
    assert steps[-1].fraction > WEIGHTS["read"] / (WEIGHTS["read"] + WEIGHTS["race"])
    assert steps[-1].left_s is None  # nothing is known yet


def test_the_picture_names_every_point_and_marks_the_chosen_one() -> None:
    base = Candidate("Q5_0/Q8_0", 1, Speed(100, 10), Quality(0.0, 0, 1, 9), True)
    fast = Candidate("IQ4_NL/IQ4_NL", 1, Speed(100, 20), Quality(0.05, 0, 1, 9), True)
    drawn = "\n".join(plot.text(base, [fast], fast))
    assert "■Q5_0/Q8_0" in drawn
    assert "IQ4_NL/IQ4_NL►" in drawn
    assert "20.0" in drawn
    assert all(len(line) <= plot.WIDTH + 12 for line in drawn.splitlines())
    assert plot.text(base, [], base) == []
