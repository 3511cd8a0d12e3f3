"""Turns in pairs, and what is concluded from them, with times that are made up."""

import numpy as np
import pytest

from neuroforge_jax.benchmarking.against.pairs import (
    Pair,
    PairedTimes,
    is_confirmed,
    judge,
    measure_pairs,
    suspects,
)
from neuroforge_jax.benchmarking.statistics import Ratio


def test_versions_take_turns_in_alternating_order():
    calls = []

    def turn(name, seconds):
        return lambda steps: calls.append(name) or seconds * steps

    found = measure_pairs({"case": Pair(turn("A", 2.0), turn("B", 3.0), 10, 3)})
    assert "".join(calls) == "ABBAAB"
    assert found == {"case": PairedTimes((2.0,) * 3, (3.0,) * 3)}
    assert found["case"].ratio == Ratio(1.5, (1.5, 1.5))


def test_a_round_holds_every_case_that_still_has_rounds():
    order = []
    pairs = {
        name: Pair(lambda steps: 1.0, lambda steps, name=name: order.append(name) or 1.0, 1, rounds)
        for name, rounds in (("long", 4), ("short", 2))
    }
    told = []
    found = measure_pairs(pairs, lambda over, rounds: told.append((over, rounds)))
    assert {name: len(times.after) for name, times in found.items()} == {"long": 4, "short": 2}
    assert set(order[:2]) == set(order[2:4]) == {"long", "short"}
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_machine_that_is_slow_for_a_few_rounds_makes_no_version_slow():
    moods = np.repeat(np.random.default_rng(0).choice([1.0, 1.7], 9), 2)
    times = PairedTimes(tuple(moods[::2]), tuple(moods[1::2]))
    assert times.ratio.median == pytest.approx(1)
    assert judge(times) == "same"


VERDICTS = {
    (1.06, 1.2): "slower",
    (1.3, 1.9): "slower",
    (0.7, 0.94): "faster",
    (0.97, 1.04): "same",
    (1.04, 1.2): "same",
    (0.99, 1.3): "too noisy",
    (0.7, 1.0): "too noisy",
}


def of_two_ratios(ratios, count=10):
    """Half of the pairs have the one, half the other: the interval reaches from the one to the other."""
    return PairedTimes((1.0,) * count, tuple(ratios) * (count // 2))


@pytest.mark.parametrize(("interval", "verdict"), VERDICTS.items())
def test_a_verdict_goes_by_the_whole_interval(interval, verdict):
    assert of_two_ratios(interval).ratio.interval == interval
    assert judge(of_two_ratios(interval)) == verdict


def test_a_few_pairs_say_nothing():
    assert judge(of_two_ratios((3.0, 3.1), count=4)) == "too few"
    assert not is_confirmed(of_two_ratios((3.0, 3.1), count=4), 0.25)
    assert is_confirmed(of_two_ratios((3.0, 3.1), count=6), 0.25)


def noisy(factor, *, seed, count=27, spread=0.05):
    rng = np.random.default_rng(seed)
    before, after = (size * rng.lognormal(0, spread, count) for size in (1.0, factor))
    return PairedTimes(tuple(before), tuple(after))


@pytest.mark.parametrize("seed", range(20))
def test_a_slow_down_of_60_percent_is_suspected_and_confirmed_and_one_of_a_tenth_is_not(seed):
    times = {"slow": noisy(1.6, seed=seed, count=9), "a tenth": noisy(1.1, seed=seed + 100, count=9)}
    assert suspects(times, 0.25) == ["slow"]
    assert is_confirmed(noisy(1.6, seed=seed + 200), 0.25)
    assert not is_confirmed(noisy(1.1, seed=seed + 300), 0.25)


def test_what_is_suspected_need_not_be_certain_and_what_is_confirmed_must_be():
    after = (0.7, 0.9, 1.1, 1.2, 1.5, 1.5, 1.6, 1.7, 2.0)
    uncertain = PairedTimes((1.0,) * 9, after)
    assert judge(uncertain) == "too noisy"
    assert suspects({"case": uncertain}, 0.25) == ["case"]
    assert not is_confirmed(uncertain, 0.25)
