"""Samples on a device: packing and gathering."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.batch import BatchRows, bucket, gather, to_device
from neuroforge_jax.data.packing import pack, unpack
from neuroforge_jax.data.types import Split


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_unpacking_gives_back_the_bytes(samples, inputs, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (samples, inputs)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(jax.jit(unpack, static_argnums=1)(pack(pixels), inputs)), pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_gather_picks_the_samples_with_their_targets(dtype):
    inputs = np.random.default_rng(0).integers(0, 256, (20, 7)).astype(dtype)
    data = to_device(Split(inputs, np.arange(20, dtype=np.int32)))
    indices = np.array([3, 19, 0, 3])
    batch = gather(data, jnp.asarray(indices), jnp.ones(4))
    np.testing.assert_array_equal(np.asarray(batch.inputs), inputs[indices])
    np.testing.assert_array_equal(np.asarray(batch.targets), indices)


def test_the_width_of_packed_samples_is_known_to_a_program_before_it_runs():
    data = to_device(Split(np.zeros((20, 7), np.uint8), np.arange(20, dtype=np.int32)))
    assert [leaf.shape for leaf in jax.tree.leaves(data)] == [(20, 2), (20,), ()]
    assert jax.tree.map(lambda leaf: leaf, data).inputs == 7


@given(st.integers(1, 2**31))
def test_a_bucket_adds_at_most_a_sixteenth_and_never_straddles_a_power_of_two(samples):
    rows = bucket(samples)
    assert samples <= rows <= samples * 17 / 16
    assert (samples - 1).bit_length() == (rows - 1).bit_length()
    assert bucket(rows) == rows


@given(st.integers(1, 2**20), st.integers(1, 2**20))
def test_more_samples_lie_in_no_fewer_rows(some, others):
    assert bucket(min(some, others)) <= bucket(max(some, others))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_that_fill_a_bucket_are_zeros_behind_the_real_ones(dtype, weighted):
    inputs = np.random.default_rng(0).integers(1, 256, (203, 7)).astype(dtype)
    weights = np.linspace(0.5, 1.5, 203, dtype=np.float32) if weighted else None
    data = to_device(Split(inputs, np.ones(203, np.int32), weights))
    assert (int(data.samples), data.rows) == (203, bucket(203)) == (203, 208)
    batch = gather(data, jnp.arange(198, 208), jnp.ones(10))
    np.testing.assert_array_equal(batch.inputs[:5], inputs[198:])
    np.testing.assert_array_equal(batch.targets, [1] * 5 + [0] * 5)
    assert not np.asarray(batch.inputs[5:]).any()
    if weights is None:
        assert batch.weight is None
    else:
        np.testing.assert_array_equal(batch.weight, [*weights[198:], 0, 0, 0, 0, 0])


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 5))
def test_rows_of_a_batch_hold_each_sample_once_and_divide(samples_of_a_part, parts, shares):
    """Share by share, each of them part by part: a device has its rows of all parts. The rest is padding."""
    rows = BatchRows.of(samples_of_a_part * parts, parts, shares)
    assert len(rows) - rows.size < parts * shares
    by_part = rows.position_of.reshape(shares, parts, rows.share_rows).swapaxes(0, 1).reshape(parts, -1)
    wanted = np.arange(rows.size).reshape(parts, samples_of_a_part)
    np.testing.assert_array_equal(by_part[:, :samples_of_a_part], wanted)
    assert (by_part[:, samples_of_a_part:] == -1).all()
    np.testing.assert_array_equal(rows.position_of[rows.row_of], np.arange(rows.size))
    assert rows.is_plain == np.array_equal(rows.position_of, np.arange(rows.size))


def test_numbers_of_samples_are_spread_over_the_rows():
    def spread(*sizes):
        return BatchRows.of(*sizes).spread(jnp.arange(1, sizes[0] + 1))

    np.testing.assert_array_equal(spread(8, 2, 2), [1, 2, 5, 6, 3, 4, 7, 8])
    np.testing.assert_array_equal(spread(6, 2, 2), [1, 2, 4, 5, 3, 0, 6, 0])
    np.testing.assert_array_equal(spread(6, 2, 4), [1, 4, 2, 5, 3, 6, 0, 0])
    np.testing.assert_array_equal(spread(3, 1, 2), [1, 2, 3, 0])
