"""What a pass learns of numbers and of values that come again, block by block as all at once."""

import numpy as np
import pyarrow as pa
import pytest

from neuroforge_jax.data.preprocess import Preprocessor, fit_inputs
from neuroforge_jax.data.shards.counting import Distinct, RowCounter, show_numbers, show_texts
from neuroforge_jax.data.shards.parquet import rows_at_once
from neuroforge_jax.data.shards.sketch import QuantileSketch
from neuroforge_jax.data.shards.statistics import Moments, NumberStatistics, Slots, fit_numbers
from neuroforge_jax.data.shards.target_statistics import TargetStatistics
from neuroforge_jax.data.values import Values
from neuroforge_jax.errors import DataError

RNG = np.random.default_rng(0)


def blocks(rows, size=700):
    return (rows[at : at + size] for at in range(0, len(rows), size))


def test_moments_are_those_of_all_rows_gaps_and_weights_included():
    rows = 1e8 + RNG.normal(size=(5000, 3)) * [1, 10, 0]
    rows[RNG.random(rows.shape) < 0.2] = np.nan
    rows[:1400, 1] = np.nan
    moments, weighted, weights = Moments(3), Moments(3), RNG.random(5000)
    for block, share in zip(blocks(rows), blocks(weights), strict=True):
        moments.add(block)
        weighted.add(block, share)
    np.testing.assert_allclose(moments.mean, np.nanmean(rows, axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.deviation, np.nanstd(rows, axis=0), rtol=1e-8, atol=1e-7)
    known = np.ma.average(np.ma.masked_invalid(rows), axis=0, weights=weights)
    np.testing.assert_allclose(weighted.mean, known, rtol=1e-14)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile", "none"])
def test_large_data_are_scaled_as_in_memory_but_for_the_error_of_ranks(scaling):
    rows = np.stack([RNG.normal(size=60_000), RNG.lognormal(size=60_000), RNG.random(60_000) < 0.3], axis=1)
    plan = Preprocessor(3, scaling=scaling)
    statistics = NumberStatistics(3)
    for block in blocks(rows, 4096):
        statistics.add(block)
    fitted = fit_numbers(plan, statistics, Slots([0, 1, 2], np.zeros(3)))
    known = fit_inputs(plan, rows.astype(np.float32))
    for found, expected in zip(fitted[:4], known[:4], strict=True):
        if found is not None:
            inner = (slice(None), slice(1, -1)) if found.ndim == 3 else ...
            np.testing.assert_allclose(found[inner], expected[inner], rtol=0.02, atol=0.02)


def test_numbers_beside_a_usual_one_give_the_scale_however_rare_they_are():
    column = np.zeros(100_000)
    column[RNG.permutation(100_000)[:40]] = RNG.normal(size=40)
    statistics = NumberStatistics(1)
    for block in blocks(column[:, None], 4096):
        statistics.add(block)
    np.testing.assert_allclose(statistics.robust_spread(), np.median(np.abs(column[column != 0])), rtol=1e-12)


@pytest.mark.parametrize(
    ("numbers", "counts"),
    [
        (np.arange(50.0), True),
        (np.arange(1, 51.0), True),
        (np.append(np.arange(50.0), [np.nan] * 9), True),
        (np.arange(2, 52.0), False),
        (np.append(np.arange(50.0), [np.nan, 50]), False),
        (np.arange(19.0), False),
        (np.append(np.arange(49.0), 48), False),
    ],
)
@pytest.mark.parametrize("size", [3, 10, 100])
def test_numbers_that_count_the_rows_are_found_block_by_block(numbers, counts, size):
    counter = RowCounter()
    for block in blocks(numbers, size):
        counter.add(block)
    assert counter.counts == counts


def test_texts_beyond_the_most_are_counted_together():
    distinct = Distinct(3)
    for texts in (["a", "b"], ["b", "c", "d"], ["a", "e"]):
        codes = np.arange(len(texts), dtype=np.int32)
        distinct.add_values(Values("category", codes=codes, texts=tuple(texts)), np.full(len(texts), 2.0))
    assert distinct.counts == {"a": 2, "b": 2, "c": 1}
    assert distinct.weights == {"a": 4, "b": 4, "c": 2}
    assert (distinct.more, distinct.rows, distinct.are_few) == (2, 7, False)


def test_many_rows_are_shown_in_proportion():
    distinct = Distinct(10)
    distinct.add([1.0, 2.0, 3.0], np.array([10**7, 10**6, 1]), np.zeros(3))
    shown = show_numbers(distinct, QuantileSketch())
    assert shown.distinct() == 3
    assert len(shown) < 70_000
    assert abs((shown.numbers == 1).mean() - 10 / 11) < 1e-3
    texts = Distinct(10)
    texts.add(["b", "10", "9"], np.array([3, 2, 1]), np.zeros(3))
    assert show_texts(texts, "category").texts == ("9", "10", "b")


def test_a_target_of_too_many_texts_is_refused(monkeypatch):
    monkeypatch.setattr("neuroforge_jax.data.shards.target_statistics.MOST_TEXTS", 5)
    statistics = TargetStatistics(("y",))
    codes = np.arange(9, dtype=np.int32)
    statistics.add({"y": Values("category", codes=codes, texts=tuple("abcdefghi"))}, None)
    with pytest.raises(DataError, match="target 'y' has more than 5 different texts"):
        statistics.choose("here", "auto")
    with pytest.raises(DataError, match="here: the target is missing in every row"):
        TargetStatistics(("y",)).choose("here", "auto")


def test_few_rows_are_decoded_at_once_where_rows_are_wide():
    assert rows_at_once([pa.float64(), pa.string()]) == 4096
    assert rows_at_once([pa.list_(pa.uint8(), 784), pa.int64()]) == 333
    assert rows_at_once([pa.list_(pa.list_(pa.uint8(), 28), 28)]) == 334
    assert rows_at_once([pa.binary(784)]) == 2674
    assert rows_at_once([pa.list_(pa.uint8(), 10**6)]) == 1
