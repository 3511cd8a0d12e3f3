"""Medians, intervals and ratios that a sceptic can check."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.benchmarking.statistics import Spread, interval_of, paired_ratio, unpaired_ratio

pytestmark = pytest.mark.smoke

times = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=40)


@given(times)
@settings(max_examples=50, deadline=None)
def test_the_order_of_minimum_quartiles_median_and_interval(values):
    spread = Spread.of(values)
    low, high = spread.quartiles
    assert min(values) == spread.minimum <= low <= spread.median <= high <= max(values)
    # A resample holds nothing that the sample has not; quantiles are rounded.
    first, last = spread.interval
    assert min(values) * (1 - 1e-12) <= first <= last <= max(values) * (1 + 1e-12)
    assert sorted(spread.values) == sorted(values)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        low, high = interval_of(rng.lognormal(size=25).tolist())
        covered += low <= 1 <= high
    assert 0.90 <= covered / 200 <= 0.995


def test_outliers_are_counted_and_kept():
    spread = Spread.of([1.0, 1.01, 1.02, 0.99, 0.98, 9.0])
    assert spread.outliers == 1
    assert 9.0 in spread.values
    assert spread.median < 1.02


def test_one_repetition_has_no_uncertainty_that_could_be_told():
    assert Spread.of([2.0]).interval == (2.0, 2.0)


def test_a_pair_by_pair_ratio_does_not_see_what_befell_both():
    """The machine is three times slower in the second half: the ratio of neighbours is as sharp as before."""
    rng = np.random.default_rng(0)
    mood = np.repeat([1.0, 3.0], 10)
    slow, fast = mood * rng.normal(2, 0.01, 20), mood * rng.normal(1, 0.01, 20)
    paired = paired_ratio(slow.tolist(), fast.tolist())
    assert paired.median == pytest.approx(2, rel=0.01)
    assert paired.interval[1] - paired.interval[0] < 0.05
    unpaired = unpaired_ratio(slow.tolist(), fast.tolist())
    assert unpaired.interval[1] - unpaired.interval[0] > 1


def test_ratios_of_lists_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        paired_ratio([1.0, 2.0], [1.0])
