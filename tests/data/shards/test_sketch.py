"""The quantiles of a pass: exact while all is held, and within the bound for whatever numbers in whatever order."""

import numpy as np
import pytest

from neuroforge_jax.data.shards.sketch import QuantileSketch

N, K = 200_000, 128
RNG = np.random.default_rng(0)
NUMBERS = {
    "sorted": np.arange(N, dtype=np.float64),
    "reversed": np.arange(N, 0.0, -1),
    "constant": np.full(N, 7.0),
    "heavy-tailed": RNG.standard_cauchy(N) ** 3,
    "two values": np.where(RNG.random(N) < 0.999, 0.0, 1.0),
    "saw": np.arange(N) % 1000 + 0.0,
    "zigzag": np.where(np.arange(N) % 2, 1.0, -1.0) * np.arange(N),
}


def sketch_of(numbers, sizes=(999, 1, 4096, 300)) -> QuantileSketch:
    sketch, at = QuantileSketch(K), 0
    while at < len(numbers):
        size = sizes[at % len(sizes)]
        sketch.add(numbers[at : at + size])
        at += size
    return sketch


def check_ranks(sketch, numbers):
    """Of every number that stands for others, its rank among all lies within the error of the one it is given."""
    kept, weights = sketch.weighted()
    assert weights.sum() == sketch.count == len(numbers)
    ordered, given = np.sort(numbers), np.cumsum(weights)
    points = np.unique(kept)
    told = given[np.searchsorted(kept, points, side="right") - 1]
    error = np.abs(told - np.searchsorted(ordered, points, side="right")).max()
    assert error <= sketch.rank_error
    levels = np.log2(len(numbers) / K)
    assert sketch.rank_error <= len(numbers) * (levels + 2) / (4 * K)


@pytest.mark.parametrize("kind", NUMBERS)
def test_ranks_are_within_the_bound(kind):
    sketch = sketch_of(NUMBERS[kind])
    check_ranks(sketch, NUMBERS[kind])
    assert len(sketch.weighted()[0]) < 2 * K * 14
    assert (sketch.least, sketch.greatest) == (NUMBERS[kind].min(), NUMBERS[kind].max())


@pytest.mark.parametrize("count", [1, 2, 7, 256])
def test_what_is_held_as_a_whole_is_exact(count):
    numbers, shares = RNG.normal(size=count), np.linspace(0, 1, 11)
    np.testing.assert_allclose(sketch_of(numbers).quantiles(shares), np.quantile(numbers, shares), rtol=1e-15)
    assert sketch_of(numbers).rank_error == 0


def test_nothing_has_quantiles_of_zero():
    assert QuantileSketch().quantiles([0.5]) == [0.0]
