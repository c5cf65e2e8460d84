"""Speeds, halving, the Pareto front and the choice."""

import random

import pytest

from edgechat.tune import choice, speed
from edgechat.tune.choice import Candidate, half, hopefuls, pareto
from edgechat.tune.quality import Quality
from edgechat.tune.recipes import USUAL, Recipe
from edgechat.tune.speed import FEW, MORE, Cost, Pair, Speed, Timing, predicted


def one(name: str, decode: float, kld: float | None, error: float = 0.001, measured: bool = True) -> Candidate:
    quality = None if kld is None else Quality(kld, error, 0.9, 100)
    return Candidate(name, 1, Speed(10 * decode, decode), quality, measured)


BASE = one("base", 10, 0.0)


# ── speed ──


def test_twins_tell_what_the_whole_model_costs() -> None:
    layer, head, prompt = 0.002, 0.01, 0.0005
    few = Timing(head + FEW * layer, FEW * prompt)
    more = Timing(head + MORE * layer, MORE * prompt)
    cost = Cost.of(few, more, share=0.5)
    assert (cost.layer, cost.head, cost.prompt) == pytest.approx((layer, head, prompt))
    found = predicted(Recipe("A", "B"), {"A": cost, "B": Cost(1.0, 0.02, 1.0)}, 24)
    assert found.decode == pytest.approx(1 / (24 * layer + 0.02))
    assert found.prefill == pytest.approx(1 / (24 * prompt))


@pytest.mark.parametrize("few", [0.001, 0.05])
def test_a_disturbed_measurement_does_not_make_layers_free_or_dear(few: float) -> None:
    """The larger twin took 40 ms, half of it for its layers by their weights; the smaller one was disturbed."""
    cost = Cost.of(Timing(few, 0.01), Timing(0.04, 0.02), share=0.5)
    assert 0.02 / MORE / 1.5 <= cost.layer <= 0.02 / MORE * 1.5
    assert cost.head + MORE * cost.layer == pytest.approx(0.04)


def test_drift_between_races_is_taken_out() -> None:
    races = {
        "x": Pair(Speed(40, 20, 30), Speed(80, 40, 60)),
        "y": Pair(Speed(20, 10, 15), Speed(44, 21, 33)),  # the machine was half as fast
    }
    usual = speed.usual(races.values())
    assert usual == Speed(30, 15, 22.5)
    assert speed.beside(races["x"], usual) == Speed(60, 30, 45)
    assert speed.beside(races["y"], usual) == Speed(66, 31.5, 49.5)


def test_the_one_number_weighs_reading_and_writing() -> None:
    assert Speed(prefill=speed.READ, decode=speed.WRITTEN).turn == 2.0


# ── rounds ──


def test_hopefuls_are_the_fastest_that_may_keep_the_floor_and_one_that_will() -> None:
    speeds = {Recipe(body, head): Speed(100, 1 / (USUAL[body] + USUAL[head] + 1)) for body in USUAL for head in USUAL}
    speeds = {recipe: Speed(100, 50 * (1 + recipe.usual)) for recipe in speeds}  # rougher is faster
    for floor in choice.FLOORS.values():
        tried = hopefuls(speeds, floor)
        assert len(tried) == len(set(tried)) <= choice.MOST
        assert all(recipe.usual <= choice.HOPE * floor for recipe in tried)
        assert any(recipe.usual <= floor / 2 for recipe in tried)
        assert tried[0] == max((r for r in speeds if r.usual <= choice.HOPE * floor), key=lambda r: r.usual)


def test_halving_keeps_the_fastest_able_first() -> None:
    known = [one("a", 40, 0.2), one("b", 30, 0.062, error=0.01), one("c", 20, 0.01), one("d", 10, 0.001)]
    assert [each.recipe for each in half(known, 0.06)] == ["c", "d"]  # a cannot; b may, but these do
    assert [each.recipe for each in half(known[:2], 0.06)] == ["b"]


def test_where_nobody_keeps_the_floor_a_finer_one_is_tried_by_how_much_they_missed_it() -> None:
    speeds = {Recipe(kind, "Q8_0"): Speed(1, USUAL[kind]) for kind in USUAL}
    rough = [one("Q4_K/Q8_0", 10, 10 * Recipe("Q4_K", "Q8_0").usual), one("Q5_K/Q8_0", 10, None)]
    assert choice.finer(speeds, rough, 0.06) == Recipe("Q6_K", "Q8_0")
    assert choice.finer(speeds, rough, 0.02) == Recipe("Q8_0", "Q8_0")
    assert choice.finer(speeds, rough, 0.001) is None
    assert choice.finer(speeds, [one("Q4_K/Q8_0", 10, 0.05)], 0.06) is None
    assert choice.finer(speeds, [], 0.06) is None


def test_where_nobody_keeps_the_floor_the_most_faithful_goes_on() -> None:
    assert [each.recipe for each in half([one("a", 40, 0.9), one("b", 30, 0.5)], 0.06)] == ["b"]


# ── the choice ──


def test_the_fastest_within_the_floor_is_chosen() -> None:
    candidates = [one("rough", 40, 0.2), one("good", 20, 0.05), one("fine", 15, 0.001)]
    assert choice.choose(BASE, candidates, 0.06).recipe == "good"
    assert choice.choose(BASE, candidates, 0.3).recipe == "rough"
    assert choice.choose(BASE, candidates, 0.01).recipe == "fine"


def test_the_file_stays_where_nothing_is_really_faster() -> None:
    assert choice.choose(BASE, [one("same", 10.1, 0.0)], 0.06) is BASE
    assert choice.choose(BASE, [one("rough", 40, 0.2)], 0.06) is BASE
    assert choice.choose(BASE, [], 0.06) is BASE


def test_what_was_only_predicted_is_never_chosen() -> None:
    assert choice.choose(BASE, [one("promise", 99, 0.0, measured=False)], 0.06) is BASE
    assert choice.choose(BASE, [one("unjudged", 99, None)], 0.06) is BASE


def test_the_front_is_what_nothing_beats_in_both() -> None:
    rng = random.Random(3)
    many = [one(str(n), rng.uniform(5, 50), rng.uniform(0, 0.3)) for n in range(60)]
    front = {each.recipe for each in pareto(many)}
    for each in many:
        assert each.quality is not None
        beaten = any(
            other.quality is not None
            and other.speed.turn <= each.speed.turn
            and other.quality.kld <= each.quality.kld
            and other is not each
            for other in many
        )
        assert (each.recipe in front) is not beaten
    assert pareto([one("x", 10, None)]) == []
