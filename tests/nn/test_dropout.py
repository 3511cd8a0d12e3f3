"""Dropout: its bits are addressed by their place in the batch, on however many devices that lies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax.nn.dropout import Dropout

WHOLE = Dropout(jax.random.key(3), jnp.float32(0.3))


@pytest.mark.parametrize("units", [1, 7])
@pytest.mark.parametrize("devices", [1, 2, 5])
def test_the_devices_of_a_batch_drop_what_one_device_does(devices, units):
    shares = [WHOLE._replace(share=(jnp.int32(index), devices)) for index in range(devices)]
    drawn = [share.draw_kept((3, units)) for share in shares]
    np.testing.assert_array_equal(np.concatenate(drawn), WHOLE.draw_kept((3 * devices, units)))


def test_members_of_a_population_drop_units_of_their_own():
    keys = jax.random.split(jax.random.key(0), 3)
    share = jnp.int32(1), 2
    many = jax.vmap(lambda key: Dropout(key, WHOLE.rate, share).draw_kept((4, 5)))(keys)
    for key, kept in zip(keys, many, strict=True):
        np.testing.assert_array_equal(kept, Dropout(key, WHOLE.rate).draw_kept((8, 5))[4:])
