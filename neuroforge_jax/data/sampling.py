"""Rows that stand for all of them, where quantiles are wanted and there are too many to sort."""

import numpy as np
from jaxtyping import Int


def sample_rows(rows: int, most: int) -> slice | Int[np.ndarray, " S"]:
    """Which of so many rows, in their order: all, or of each of `most` equal stretches one at random, by a fixed
    seed.

    Rows at equal distances would not do: of a column that alternates they may be all the same.
    """
    if rows <= most:
        return slice(None)
    within = np.random.RandomState(0).random_sample(most)
    return np.minimum(((np.arange(most) + within) * (rows / most)).astype(np.int64), rows - 1)
