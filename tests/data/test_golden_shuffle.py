"""The order of samples is part of a result: a run that is continued by a later version must meet the same ones."""

import numpy as np

from neuroforge_jax.data.shuffle import order_on_host

KEYS = np.arange(12, dtype=np.uint32) * np.uint32(0x9E3779B9)


def test_the_order_of_these_keys_is_the_same_for_ever():
    """Any hash makes a permutation; only this one makes the order that saved runs have begun."""
    in_all = order_on_host(KEYS, 16, np.arange(16))
    assert in_all.tolist() == [14, 9, 15, 4, 11, 12, 5, 3, 10, 2, 13, 6, 0, 7, 8, 1]
    first = order_on_host(KEYS, 60_000, np.arange(6))
    assert first.tolist() == [765, 18332, 12616, 53440, 21342, 30609]
