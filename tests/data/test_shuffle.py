"""The order of samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.batch import bucket
from neuroforge_jax.data.shuffle import (
    order_bits,
    order_on_host,
    positions_of_step,
    round_keys,
    sample_order,
    steps_per_epoch,
)

KEY = jax.random.key(7)


def whole_order(key, epoch, samples: int) -> jax.Array:
    return sample_order(key, epoch, samples, jnp.arange(samples, dtype=jnp.int32))


def orders(samples: int, epochs: int) -> np.ndarray:
    order = jax.vmap(lambda epoch: whole_order(KEY, epoch, samples))
    return np.asarray(jax.jit(order)(jnp.arange(epochs)))


@settings(deadline=None, max_examples=100)
@given(samples=st.integers(1, 3000), epoch=st.integers(0, 2**31 - 1), seed=st.integers(0, 2**32 - 1))
def test_any_size_epoch_and_seed_gives_a_permutation(samples, epoch, seed):
    keys = np.asarray(round_keys(jax.random.key(seed), epoch))
    order = order_on_host(keys, samples, np.arange(samples))
    assert (np.sort(order) == np.arange(samples)).all()


def test_epochs_and_seeds_differ():
    first, second = orders(1000, 2)
    other = np.asarray(whole_order(jax.random.key(8), 0, 1000))
    assert (first != second).mean() > 0.9
    assert (first != other).mean() > 0.9


def test_a_part_of_the_order_is_computed_from_its_positions_alone():
    whole = np.asarray(whole_order(KEY, 5, 1000))
    part = np.asarray(sample_order(KEY, 5, 1000, jnp.arange(300, 420)))
    np.testing.assert_array_equal(part, whole[300:420])


@settings(deadline=None, max_examples=60)
@given(samples=st.integers(1, 3000), epoch=st.integers(0, 2**31 - 1))
def test_the_bits_of_a_bucket_make_the_order_of_each_number_of_samples_in_it(samples, epoch):
    """The number may then be an argument of a program: data of another size are another value."""
    bits = order_bits(bucket(samples))
    assert bits == order_bits(samples)
    positions = jnp.arange(40, dtype=jnp.int32)
    found = traced_order(epoch, np.int32(samples), positions, bits)
    keys = np.asarray(keys_of_epoch(epoch))
    np.testing.assert_array_equal(found, order_on_host(keys, samples, np.asarray(positions)))


keys_of_epoch = jax.jit(lambda epoch: round_keys(KEY, epoch))

traced_order = jax.jit(
    lambda epoch, samples, positions, bits: sample_order(KEY, epoch, samples, positions, bits),
    static_argnums=3,
)


def test_padding_positions_give_a_valid_index():
    order = np.asarray(sample_order(KEY, 0, 10, jnp.arange(16)))
    assert (order >= 0).all()
    assert (order < 10).all()


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 64, 65, 1437, 60_000])
def test_the_device_computes_the_same_order_in_any_epoch(samples):
    positions = np.arange(samples + 9)  # the last nine are padding

    @jax.jit
    def both(epoch):
        return round_keys(KEY, epoch), sample_order(KEY, epoch, samples, jnp.asarray(positions, jnp.int32))

    for epoch in (0, 3, 2**31 - 1):
        keys, on_device = jax.device_get(both(np.int32(epoch)))
        np.testing.assert_array_equal(order_on_host(keys, samples, positions), on_device)


@pytest.mark.parametrize("samples", [3, 17, 100])
def test_every_sample_is_equally_likely_at_every_position(samples):
    """Chi-square of 20,000 epochs with 99.99 % quantiles by Wilson and Hilferty; the key is fixed."""
    counts = np.stack([np.bincount(column, minlength=samples) for column in orders(samples, 20_000).T])
    expected = 20_000 / samples
    chi_square = ((counts - expected) ** 2 / expected).sum(axis=1)
    freedom = samples - 1
    bound = freedom * (1 - 2 / (9 * freedom) + 4.3 * np.sqrt(2 / (9 * freedom))) ** 3
    assert chi_square.max() < bound


def test_neighbours_in_the_order_are_unrelated():
    order = np.asarray(whole_order(KEY, 1, 60_000)).astype(float)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(order, np.arange(60_000))[0, 1]) < 0.02


def test_the_last_batch_is_padded_not_dropped():
    assert steps_per_epoch(203, 32) == 7
    assert steps_per_epoch(192, 32) == 6
    assert list(np.asarray(positions_of_step(jnp.int32(6), 32)))[:2] == [192, 193]
