"""A source of shards: the rows of its order, read from anywhere, by one reader or by several."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.shards.order import LaneOrder
from neuroforge_jax.data.shards.selection import Selection
from neuroforge_jax.data.shards.source import ShardSource
from neuroforge_jax.data.shards.units import Place, SelectedUnits
from neuroforge_jax.data.shuffle import ROUNDS
from neuroforge_jax.data.stream import HostBuffer, Source
from neuroforge_jax.data.types import Split

SIZES = [40, 7, 0, 33, 90, 12, 51]
ROWS = sum(SIZES)
ALL = Selection()


def keys(epoch: int) -> np.ndarray:
    return np.random.default_rng(epoch).integers(0, 2**32, ROUNDS, dtype=np.uint32)


class Numbered:
    """Units whose rows are their numbers; it counts how often each was opened, and by how many rows it was read."""

    def __init__(self, pixels=True):
        self.rows, self.opened = np.array(SIZES, np.int64), []
        self.pixels = pixels
        self.like = self.split(np.arange(0))

    def split(self, numbers):
        inputs = np.stack([numbers % 251, numbers // 251, numbers % 7], axis=1)
        return Split(inputs.astype(np.uint8 if self.pixels else np.float32), numbers.astype(np.int32))

    def read(self, unit, skip=0):
        self.opened.append(unit)
        first = sum(SIZES[:unit])
        for at in range(skip, SIZES[unit], 10):
            stop = min(at + 10, SIZES[unit])
            yield Place("numbers", at, first + at), np.arange(first + at, first + stop)

    def decode(self, data, place):
        there = data % 5 != 0
        return self.split(data[there]), there


class All(Numbered):
    def decode(self, data, place):
        return self.split(data), None


def source_of(blocks, batch_size=12, window=48, selection=ALL):
    sizes = []
    for unit in range(len(SIZES)):
        numbers = np.concatenate([np.arange(0), *(data for _, data in blocks.read(unit))])
        chosen = selection.choose(0, ROWS)[numbers]
        sizes.append(int(chosen.sum() if isinstance(blocks, All) else (chosen & (numbers % 5 != 0)).sum()))
    blocks.opened.clear()
    units = SelectedUnits(blocks, blocks, selection, np.array(sizes, np.int64))
    return ShardSource(units, LaneOrder(units.sizes, batch_size, True, window))


def read(source, first, samples, epoch=0) -> np.ndarray:
    out = HostBuffer.empty(source.like, samples)
    source.read(epoch, keys(epoch), first, out)
    np.testing.assert_array_equal(out.rows[:, 0], out.targets % 251)
    return out.targets


@pytest.mark.parametrize("pixels", [True, False])
def test_it_reads_the_rows_of_its_order(pixels):
    source = source_of(All(pixels))
    assert isinstance(source, Source)
    np.testing.assert_array_equal(read(source, 0, ROWS), source.order.rows(keys(0), np.arange(ROWS)))


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(1, 60), st.integers(0, 1)), max_size=6))
def test_what_is_read_depends_on_the_position_alone(reads):
    source = source_of(All())
    for first, samples, epoch in reads:
        last = min(first + samples, ROWS)
        expected = source.order.rows(keys(epoch), np.arange(first, last))
        np.testing.assert_array_equal(read(source, first, samples, epoch)[: last - first], expected)


@pytest.mark.parametrize("cuts", [(0, 12), (0, 6, 12), (0, 4, 8, 12), (0, 5, 12)])
def test_readers_of_parts_of_each_batch_together_read_what_one_reads(cuts):
    whole = read(source_of(All()), 0, ROWS)
    for low, high in pairwise(cuts):
        source = source_of(All())
        for first in range(0, ROWS, 12):
            part = whole[first + low : first + high]
            np.testing.assert_array_equal(read(source, first + low, high - low)[: len(part)], part)


def test_each_lane_opens_its_own_units_once_and_shares_those_at_its_borders_alone():
    opened = []
    for low in (0, 6):
        blocks = All()
        source = source_of(blocks)
        for first in range(0, ROWS, 12):
            read(source, first + low, 6)
        opened.append(blocks.opened)
    assert source.order.lanes == 12
    assert len(opened[0]) + len(opened[1]) <= len(SIZES) + 12
    assert len(set(opened[0]) & set(opened[1])) <= 1


def test_rows_that_are_not_selected_or_have_no_target_are_left_out():
    selection = Selection(first=200, share=0.3, seed=4)
    source = source_of(Numbered(), selection=selection)
    numbers = np.arange(ROWS)
    expected = numbers[selection.choose(0, ROWS) & (numbers % 5 != 0)]
    assert 60 < len(expected) < 160
    np.testing.assert_array_equal(np.sort(read(source, 0, len(source))), expected)
    for first in (0, 37, len(expected) - 5):
        expected = read(source_of(Numbered(), selection=selection), first, 5)
        np.testing.assert_array_equal(read(source, first, 5), expected)


def test_padding_behind_the_last_batch_is_of_real_samples():
    source = source_of(All())
    rows = read(source, ROWS - 2, 9)
    assert (rows[2:] == rows[0]).all()


def test_a_share_is_held_out_evenly_and_by_the_seed():
    stay, held = (Selection(None, 0.1, 3, held_out).choose(0, 100_000) for held_out in (False, True))
    assert (stay ^ held).all()
    assert abs(held.sum() - 10_000) < 400
    assert abs(held[:50_000].sum() - 5_000) < 300
    np.testing.assert_array_equal(held[777:999], Selection(None, 0.1, 3, True).choose(777, 999))
    assert (Selection(None, 0.1, 4, True).choose(0, 100_000) != held).mean() > 0.1
