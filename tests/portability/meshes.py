"""A training over meshes, and what its devices send, alike for every compiler."""

import math
from collections import Counter

from neuroforge_jax.config import TrainConfig

CONFIG = TrainConfig(hidden=(64, 32), batch_size=128, backend="optimized", precision="f32")


def numbers_sent(collectives):
    """(operation, dtype, devices of a group) → numbers in all results: compilers join and reshape arrays."""
    sent = Counter()
    for each in collectives:
        for dtype, shape in each.arrays:
            sent[each.operation, dtype, each.group] += each.times * math.prod(shape)
    return dict(sent)
