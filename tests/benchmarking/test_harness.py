"""Turns, rounds and warm-up, with candidates whose speed is made up."""

import pytest

from neuroforge_jax.benchmarking.harness import Started, measure, warm_up

pytestmark = pytest.mark.smoke


class Clockwork:
    """A candidate whose steps take what it says; nothing is waited for."""

    def __init__(self, seconds_per_step, first_turns=(), log=None):
        self.seconds, self.first, self.log = seconds_per_step, list(first_turns), log

    def turn(self, steps):
        if self.log is not None:
            self.log.append(self)
        return steps * (self.first.pop(0) if self.first else self.seconds)


@pytest.mark.parametrize("seconds", [1e-6, 1e-3, 0.05, 3.0])
def test_a_turn_lasts_about_as_long_as_asked_or_is_one_step(seconds):
    steps = warm_up(Clockwork(seconds).turn, 0.2)
    assert steps == 1 or 0.1 <= steps * seconds <= 0.4


@pytest.mark.parametrize("at", range(4))
def test_a_busy_moment_makes_no_turns_of_one_step(at):
    """On a busy machine a small network was measured by turns of one step: a hundred times as long as it takes."""
    candidate = Clockwork(0.0001, first_turns=[0.0001] * at + [0.5])
    assert warm_up(candidate.turn, 0.2) >= 1000


def test_warm_up_goes_on_until_two_turns_agree():
    candidate = Clockwork(0.01, first_turns=[1.0, 0.5, 0.2, 0.1, 0.05])
    warm_up(candidate.turn, 0.2)
    assert candidate.first == []


def test_a_candidate_that_never_settles_is_measured_all_the_same():
    ever_slower = iter(range(1, 1000))
    assert warm_up(lambda steps: steps * 1.2 ** next(ever_slower), 0.2) >= 1


def test_each_round_has_a_turn_of_each_between_two_of_the_reference():
    log = []
    first, second, reference = Clockwork(0.01, log=log), Clockwork(0.02, log=log), Clockwork(0.005, log=log)
    candidates = {"first": Started(first.turn), "second": Started(second.turn)}
    measured = measure(candidates, lambda name: lambda: reference.turn(1), repetitions=12, turn_seconds=0.05)
    rounds = log[-6 * 12 :]
    orders = set()
    for at in range(0, 72, 6):
        turn = rounds[at : at + 6]
        assert turn[0] is turn[2] is turn[3] is turn[5] is reference
        assert {id(turn[1]), id(turn[4])} == {id(first), id(second)}
        orders.add(turn[1] is first)
    assert orders == {True, False}, "the order must not be the same in every round"
    ratio = measured["first"].faster_than(measured["second"])
    assert (ratio.median, ratio.interval) == (pytest.approx(2), (pytest.approx(2), pytest.approx(2)))
    assert measured["first"].reference_seconds == (0.005,) * 12
    assert len(measured["first"].seconds_per_step.values) == 12


def test_a_step_that_many_networks_take_at_once_is_told_for_one_of_them():
    candidates = {"one": Started(Clockwork(0.01).turn), "four": Started(Clockwork(0.02).turn, networks=4)}
    measured = measure(candidates, lambda name: lambda: 1.0, repetitions=3, turn_seconds=0.05)
    assert measured["four"].seconds_per_step.median == pytest.approx(0.005)
    assert measured["four"].faster_than(measured["one"]).median == pytest.approx(2.0)
