"""The order of rows in shards: each once an epoch, the same from anywhere and for any reader."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.shards.order import LaneOrder
from neuroforge_jax.data.shuffle import ROUNDS

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


def keys(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, ROUNDS, dtype=np.uint32)


def order_of(sizes, batch_size, window=64, shuffles=True) -> LaneOrder:
    return LaneOrder(np.array(sizes, np.int64), batch_size, shuffles, window)


@settings(max_examples=25, deadline=None)
@given(SIZES, st.integers(1, 40), st.sampled_from([5, 64, 1000]), st.integers(0, 5))
def test_every_row_comes_exactly_once_an_epoch(sizes, batch_size, window, seed):
    order = order_of(sizes, batch_size, window)
    rows = order.rows(keys(seed), np.arange(len(order)))
    np.testing.assert_array_equal(np.sort(rows), np.arange(sum(sizes)))


@settings(max_examples=15, deadline=None)
@given(SIZES, st.integers(1, 40), st.data())
def test_a_position_has_its_row_whatever_else_is_asked_for(sizes, batch_size, data):
    order = order_of(sizes, batch_size)
    every = order.rows(keys(1), np.arange(len(order)))
    first = data.draw(st.integers(0, len(order) - 1))
    last = data.draw(st.integers(first, len(order)))
    np.testing.assert_array_equal(order.rows(keys(1), np.arange(first, last)), every[first:last])


def test_a_lane_takes_a_contiguous_part_of_the_permuted_units_and_one_block_of_each_batch():
    order = order_of([50] * 20, 32)
    assert (order.lanes, order.block) == (16, 2)
    lanes, at = order.locate(np.arange(1000))
    epoch = order.epoch(keys(0))
    for lane in range(16):
        start, end = order.lane_starts[lane : lane + 2]
        assert np.array_equal(at[lanes == lane], np.arange(end - start))
        units = np.unique(order.rows(keys(0), np.flatnonzero(lanes == lane)) // 50)
        turns = np.flatnonzero(np.isin(epoch.units, units))
        assert turns[-1] - turns[0] <= (end - start) // 50 + 1


@pytest.mark.parametrize(("batch_size", "lanes"), [(1, 1), (8, 8), (17, 1), (48, 16), (100, 10), (4096, 16)])
def test_lanes_are_the_largest_divisor_of_the_batch_up_to_sixteen(batch_size, lanes):
    assert order_of([5000], batch_size).lanes == lanes


def test_epochs_differ_in_the_units_and_within_them():
    order = order_of([100] * 30, 8, window=1000)
    first, second = (order.rows(keys(seed), np.arange(3000)) for seed in (0, 1))
    assert (first == second).mean() < 0.01
    assert (np.diff(first) == 1).mean() < 0.05


def test_without_a_shuffle_rows_come_as_they_are_stored():
    order = order_of([3, 0, 5, 9], 4, shuffles=False)
    np.testing.assert_array_equal(order.rows(keys(0), np.arange(17)), np.arange(17))


def test_the_order_of_a_seed_is_the_one_it_always_was():
    rows = order_of([7, 5, 8], 6, window=12).rows(np.arange(ROUNDS, dtype=np.uint32), np.arange(20))
    assert rows.tolist() == [7, 0, 4, 6, 15, 17, 8, 11, 3, 12, 14, 18, 10, 1, 5, 13, 16, 19, 9, 2]
