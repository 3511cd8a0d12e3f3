"""Sources: the same samples in the same order, whatever they are read from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.packing import pack
from neuroforge_jax.data.shuffle import round_keys, sample_order
from neuroforge_jax.data.stream import ArraySource, HostBuffer, IteratorSource
from neuroforge_jax.data.types import Split
from neuroforge_jax.errors import DataError

KEY = jax.random.key(3)


def keys(epoch: int) -> np.ndarray:
    return np.asarray(round_keys(KEY, epoch))


def split_of(samples: int, inputs: int, dtype=np.uint8) -> Split:
    rng = np.random.default_rng(samples)
    return Split(
        rng.integers(0, 256, (samples, inputs)).astype(dtype), np.arange(samples, dtype=np.int32) % 10
    )


def read(source, epoch, first, samples) -> HostBuffer:
    out = HostBuffer.empty(source.like, samples)
    source.read(epoch, keys(epoch), first, out)
    return out


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("inputs", [1, 7, 8])
def test_an_array_is_read_in_the_order_of_every_other_execution(inputs, dtype):
    split = split_of(23, inputs, dtype)
    order = np.asarray(sample_order(KEY, 4, 23, jnp.arange(23, dtype=jnp.int32)))
    out = read(ArraySource(split), 4, 5, 10)
    np.testing.assert_array_equal(out.rows, split.inputs[order[5:15]])
    np.testing.assert_array_equal(out.words, pack(split.inputs[order[5:15]]))
    np.testing.assert_array_equal(out.targets, split.targets[order[5:15]])


def test_an_array_that_is_not_shuffled_is_read_as_it_is_stored():
    split = split_of(23, 7)
    out = read(ArraySource(split, shuffles=False), 4, 15, 10)
    np.testing.assert_array_equal(out.rows[:8], split.inputs[15:])
    np.testing.assert_array_equal(out.targets[:8], split.targets[15:])


def test_a_mapped_array_is_read_as_one_in_memory(tmp_path):
    split = split_of(40, 12)
    np.save(tmp_path / "x.npy", split.inputs)
    mapped = Split(np.load(tmp_path / "x.npy", mmap_mode="r"), split.targets)
    np.testing.assert_array_equal(
        read(ArraySource(mapped), 0, 0, 40).words, read(ArraySource(split), 0, 0, 40).words
    )


def test_positions_after_the_end_are_filled_with_a_real_sample():
    split = split_of(10, 4)
    batches = [(split.inputs, split.targets)]
    for source in (ArraySource(split), IteratorSource(lambda _: batches, 10, like=split, classes=10)):
        out = read(source, 0, 6, 8)
        real = {tuple(row) for row in split.inputs}
        assert all(tuple(row) in real for row in out.rows)


def cut(split: Split, sizes: list[int]):
    """The split in batches of these sizes, in turn."""
    at, turn = 0, 0
    while at < len(split):
        size = sizes[turn % len(sizes)]
        yield split.inputs[at : at + size], split.targets[at : at + size]
        at, turn = at + size, turn + 1


@settings(deadline=None, max_examples=30)
@given(
    samples=st.integers(1, 20),
    window=st.integers(1, 24),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    reads=st.integers(1, 12),
)
def test_an_iterator_gives_each_sample_once_an_epoch_however_it_is_cut(samples, window, sizes, reads):
    split = Split(np.arange(samples, dtype=np.float32)[:, None], np.zeros(samples, np.int32))
    source = IteratorSource(lambda _: cut(split, sizes), samples, like=split, classes=1, window=window)
    for epoch in (0, 1):
        parts = [
            read(source, epoch, first, min(reads, samples - first)) for first in range(0, samples, reads)
        ]
        seen = np.concatenate([part.rows[:, 0] for part in parts])
        np.testing.assert_array_equal(np.sort(seen), np.arange(samples))
        # No sample leaves its window.
        assert (seen // min(window, samples) == np.arange(samples) // min(window, samples)).all()


def test_windows_and_epochs_are_shuffled_differently():
    split = Split(np.arange(400, dtype=np.float32)[:, None], np.zeros(400, np.int32))
    source = IteratorSource(lambda _: cut(split, [37]), 400, like=split, classes=1, window=100)
    first, second = (read(source, epoch, 0, 400).rows[:, 0].copy() for epoch in (0, 1))
    assert (first != second).mean() > 0.9
    assert (first[:100] + 100 != first[100:200]).mean() > 0.9
    np.testing.assert_array_equal(read(source, 0, 0, 400).rows[:, 0], first)


def test_an_iterator_is_taken_up_in_the_middle_and_goes_back():
    split = split_of(50, 3)
    source = IteratorSource(lambda _: cut(split, [8]), 50, like=split, classes=10, window=16)
    whole = read(source, 0, 0, 50)
    for first in (30, 7, 0, 49):
        np.testing.assert_array_equal(read(source, 0, first, 1).rows, whole.rows[first : first + 1])


X, Y = np.ones((6, 3), np.float32), np.arange(6) % 2

WRONG = {
    "too few": ([(X[:4], Y[:4])], "ended after 4 of 6 samples"),
    "too many": ([(X, Y), (X, Y)], "gives more than its 6 samples"),
    "too wide": ([(np.ones((6, 4)), Y)], r"gives inputs of float64 \[4\], and float32 \[3\] are expected"),
    "bytes": ([(X.astype(np.uint8), Y)], "gives inputs of uint8"),
    "NaN": ([(X * np.nan, Y)], "a number that is not finite"),
    "a label too large": ([(X, Y + 7)], "the label 8; labels are from 0 to 1"),
    "a label too few": ([(X, Y[:5])], r"6 inputs with targets of int64 \(5,\)"),
    "a label below 0": ([(X, Y - 1)], "the label -1; labels are from 0 to 1"),
    "labels in a column": ([(X, Y[:, None])], r"6 inputs with targets of int64 \(6, 1\)"),
    "labels that are numbers": ([(X, Y / 2)], "6 inputs with targets of float64"),
}


@pytest.mark.parametrize(("samples", "window"), [(0, 4), (4, 0), (-1, 4), (4, -1)])
def test_no_samples_and_no_window_are_refused(samples, window):
    with pytest.raises(
        ValueError, match=rf"{samples} samples in windows of {window}: both must be at least 1"
    ):
        IteratorSource(lambda _: [], samples, like=Split(X, Y.astype(np.int32)), window=window)


def test_an_iterator_keeps_none_of_the_samples_that_it_was_described_by():
    source = IteratorSource(lambda _: [(X, Y)], 6, like=Split(X, Y.astype(np.int32)), classes=2)
    assert (len(source.like), source.like.inputs.shape) == (0, (0, 3))


def test_the_weights_of_an_array_are_read_with_its_samples():
    split = split_of(23, 3)
    weighted = Split(split.inputs, split.targets, np.arange(23, dtype=np.float32))
    order = np.asarray(sample_order(KEY, 4, 23, jnp.arange(23, dtype=jnp.int32)))
    np.testing.assert_array_equal(read(ArraySource(weighted), 4, 5, 10).weights, order[5:15])


def test_an_iterator_described_by_weighted_samples_has_no_weights():
    """They used to be left at 0 in the buffer, so that such a training learnt nothing."""
    like = Split(X, Y.astype(np.int32), np.ones(6, np.float32))
    source = IteratorSource(lambda _: [(X, Y)], 6, like=like, classes=2)
    assert read(source, 0, 0, 6).weights is None


@pytest.mark.parametrize("labels", [[1, 1], [0, 1], [0, 0]])
def test_a_batch_need_not_hold_every_class(labels):
    pair = (X[:2], np.asarray(labels))
    source = IteratorSource(lambda _: [pair], 2, like=Split(X, Y.astype(np.int32)), classes=2)
    assert sorted(read(source, 0, 0, 2).targets) == labels


@pytest.mark.parametrize(("batches", "sentence"), list(WRONG.values()), ids=list(WRONG))
def test_what_is_wrong_with_an_iterator_is_named(batches, sentence):
    source = IteratorSource(lambda _: batches, 6, like=Split(X, Y.astype(np.int32)), classes=2)
    with pytest.raises(DataError, match=sentence):
        read(source, 0, 0, 6)
