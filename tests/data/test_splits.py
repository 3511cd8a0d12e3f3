"""Splits: every class, whole groups, or the last in time; a partition, and the same one for ever."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.splits import choose_groups, choose_last, choose_share, split_80_20

pytestmark = pytest.mark.smoke


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=10, max_size=200))
def test_a_split_is_a_partition_with_a_fifth_of_each_class(labels):
    y = np.array(labels) * 7
    train, test = split_80_20("some", y, len(y))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
    for label in np.unique(y):
        count = (y == label).sum()
        assert count // 5 <= (y[test] == label).sum() <= -(-count // 5)
        assert (y[train] == label).any()


@pytest.mark.parametrize(
    ("counts", "tested"),
    [
        ([2, 2, 2], [1, 1, 0]),
        ([5, 5, 5], [1, 1, 1]),
        ([5, 1], [1, 0]),
        ([9, 6], [2, 1]),
        ([6, 9], [1, 2]),
        ([7, 1, 1, 1], [2, 0, 0, 0]),
    ],
)
def test_the_largest_remainders_give_first_and_no_class_more_than_its_fifth_rounded_up(counts, tested):
    labels = np.repeat(np.arange(len(counts)), counts)
    _, test = split_80_20("some", labels, len(labels))
    assert np.bincount(labels[test], minlength=len(counts)).tolist() == tested


def test_a_split_is_the_same_for_ever():
    """NumPy promises the numbers of RandomState; a split that moves would change every result."""
    assert split_80_20("some", None, 10)[1].tolist() == [2, 8]
    assert split_80_20("some", np.array([0, 1] * 10), 20)[1].tolist() == [4, 7, 11, 16]


def is_partition(stay, held, samples) -> bool:
    return sorted([*stay.tolist(), *held.tolist()]) == list(range(samples))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=200), st.floats(0.05, 0.6), st.integers(0, 9))
def test_a_share_is_held_out_class_by_class(labels, share, seed):
    labels = np.array(labels)
    stay, held = choose_share(len(labels), share, seed, labels)
    assert is_partition(stay, held, len(labels))
    for name, count in zip(*np.unique(labels, return_counts=True), strict=True):
        of_class = int((labels[held] == name).sum())
        assert abs(of_class - share * count) <= 1.5
        assert of_class < count


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=200), st.integers(0, 9))
def test_groups_stay_whole(groups, seed):
    groups = np.array(groups)
    stay, held = choose_groups(groups, 0.2, seed)
    assert is_partition(stay, held, len(groups))
    assert not set(groups[stay]) & set(groups[held])
    assert len(stay)
    assert len(held) or len(set(groups.tolist())) == 1
    largest = np.bincount(groups).max()
    assert abs(len(held) - 0.2 * len(groups)) <= largest


def test_the_last_in_time_are_held_out_and_one_moment_is_on_one_side():
    order = np.array([5.0, 1, 9, np.nan, 7, 9, 3, 2, 4, 6])
    stay, held = choose_last(order, 0.2)
    assert held.tolist() == [2, 5]
    assert is_partition(stay, held, 10)
    assert choose_last(np.array([1.0, 1, 1]), 0.2)[1].tolist() == []
    assert choose_last(np.array([1.0, 1, 1, 1, 1, 2]), 0.5)[1].tolist() == [5]
