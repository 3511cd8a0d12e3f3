"""A grid search with either network."""

import pytest

from neuroforge_jax.benchmarking.drop_in import search
from neuroforge_jax.benchmarking.options import BenchOptions


@pytest.mark.slow
@pytest.mark.slow
def test_both_search_the_same_grid_and_find_a_rate_that_learns(monkeypatch):
    monkeypatch.setattr(search, "RATES", (1e-5, 0.02))
    monkeypatch.setattr(search, "FOLDS", 2)
    monkeypatch.setattr(search, "MAX_ITER", 8)
    ours, *others = search.cases(BenchOptions(seeds=1), lambda: 0.001)
    for row in (ours, *others):
        assert row["accuracy"]["mean"] > 0.85
    assert ours["learning_rates"] == [1e-5, 0.02]
    assert [goal["what"] for goal in ours["goals"]] == ["time"]
    assert ours["first_seconds"] > 0


def test_the_rates_are_eight_over_three_decades():
    assert len(search.RATES) == 8
    assert (search.RATES[0], search.RATES[-1]) == (1e-4, 0.1)
