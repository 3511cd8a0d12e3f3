"""When a goal is reached."""

import pytest

from neuroforge_jax.benchmarking.drop_in.goals import (
    delay_goal,
    each_goal,
    latency_goal,
    score_goal,
    time_goal,
)
from neuroforge_jax.benchmarking.drop_in.networks import OURS, SIDES
from neuroforge_jax.benchmarking.sides import Outcome, Side

pytestmark = pytest.mark.smoke


def scored(ours, theirs):
    scores = zip(SIDES, (ours, theirs, theirs), strict=True)
    return {side: Side([Outcome(1.0, score) for score in values]) for side, values in scores}


def timed(*sides):
    """Seconds of ours, scikit-learn's, and where they are others of that on one thread."""
    seconds = zip(SIDES, (*sides, sides[-1])[:3], strict=True)
    return {side: Side([Outcome(spent) for spent in values]) for side, values in seconds}


def test_means_that_lie_two_standard_errors_apart_are_no_noise():
    goal = score_goal(scored((0.90, 0.92, 0.94), (0.92, 0.94, 0.96)))
    assert goal.limit == pytest.approx(2 * (2 * 0.02**2 / 3) ** 0.5)
    assert goal.value == pytest.approx(-0.02)
    assert goal.reached
    assert not score_goal(scored((0.90, 0.91), (0.95, 0.96))).reached
    assert not score_goal(scored((0.95, 0.96), (0.90, 0.91))).reached


def test_equal_scores_of_all_seeds_are_within_noise_and_one_seed_says_nothing():
    assert score_goal(scored((0.5, 0.5), (0.5, 0.5))).reached
    assert score_goal(scored((0.5,), (0.5,))) is None


def test_a_fit_is_to_be_three_times_as_fast_by_the_median_of_pairs():
    goal = time_goal(timed((1.0, 2.0, 1.0), (3.5, 6.2, 1.0)))
    assert goal.value == pytest.approx(3.1)
    assert goal.reached
    assert goal.found.startswith("3.10 × (")
    assert not time_goal(timed((1.0,), (2.9,))).reached


def test_what_counts_is_scikit_learns_faster_side():
    """On two cores of which one was busy its default took ten times as long as a single thread."""
    goal = time_goal(timed((1.0, 1.0), (9.0, 9.0), (2.0, 2.0)))
    assert (goal.against, goal.value, goal.reached) == ("scikit-learn, one thread", 2.0, False)
    assert time_goal(timed((1.0,), (4.0,), (5.0,))).against == "scikit-learn"


def test_one_slow_fit_misses_that_every_fit_is_faster():
    assert each_goal(timed((1.0, 1.0), (1.1, 1.2))).reached
    goal = each_goal(timed((1.0, 1.3), (1.1, 1.2)))
    assert not goal.reached
    assert goal.value == pytest.approx(1.2 / 1.3)


def test_a_delay_is_that_of_a_pair_and_a_latency_ours_alone():
    goal = delay_goal(timed((5.0, 5.0, 9.0), (2.0, 1.5, 1.0)), OURS, 4.0)
    assert (goal.value, goal.reached, goal.found) == (3.5, True, "+3.50 s")
    assert not delay_goal(timed((5.0,), (2.0,)), OURS, 1.5).reached
    assert latency_goal(timed((0.0009, 0.0011, 0.0008), (1.0,)), 1e-3).reached
    assert latency_goal(timed((0.002,), (1.0,)), 1e-3).found == "2 ms"


def test_times_are_of_the_side_that_the_pairs_say_is_faster():
    """Turns of scikit-learn's that something disturbed make its other setting the faster one."""
    sides = timed((0.5, 1.0, 1.0), (1.4, 3.0, 1.0), (1.0, 1.5, 3.0))
    goal = time_goal(sides)
    assert goal.against == SIDES[2]
    assert goal.value == pytest.approx(2.0)
