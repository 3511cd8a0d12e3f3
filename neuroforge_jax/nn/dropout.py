"""Dropout: which hidden units a step keeps, each bit of it addressed by its place in the batch.

kept(row, unit) = bits(key, row · units + unit) < 1 − rate
"""

import math
from typing import NamedTuple

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.typing import Array, Bool, Float, Integer, PRNGKey


class Dropout(NamedTuple):
    """The dropout of one step.

    rate: f32 [], the probability that a hidden unit is dropped. share: where devices have equally many neighbouring
    rows of a batch each, which one this is, i32 [], and how many there are; None where one has all rows.
    """

    key: PRNGKey
    rate: Float[Array, ""]
    share: tuple[Integer[Array, ""], int] | None = None

    def draw_kept(self, shape: tuple[int, int]) -> Bool[Array, "B O"]:
        """Which units of these rows are kept; of a share those that they are in the draw for the whole batch."""
        if self.share is None:
            return jax.random.bernoulli(self.key, 1 - self.rate, shape)
        # The same bits as rows of the draw above, without drawing those of all devices on each.
        bits = _random_bits(self.key, self.share, math.prod(shape)).reshape(shape)
        one = np.float32(1)
        uniform = lax.bitcast_convert_type((bits >> 9) | one.view(np.uint32), jnp.float32) - one
        return uniform < 1 - self.rate


def _random_bits(key: PRNGKey, share: tuple[Integer[Array, ""], int], size: int) -> Array:
    """u32 [size]: those from index · size on of what `jax.random.bits` draws, as a hash of the place of each."""
    index, shares = share
    starts = np.arange(shares, dtype=np.uint64) * np.uint64(size)
    high, low = (jnp.asarray(half.astype(np.uint32))[index] for half in (starts >> np.uint64(32), starts))
    places = low + lax.iota(jnp.uint32, size)
    counters = jnp.concatenate([high + (places < low), places])
    hashed = jax.extend.random.threefry_2x32(tuple(jax.random.key_data(key)), counters)
    return hashed[:size] ^ hashed[size:]
