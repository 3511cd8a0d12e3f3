"""Which rows are held out: class by class, whole groups, or the last in time."""

import numpy as np
from jaxtyping import Int, Num

from neuroforge_jax.errors import DataError

SPLIT_SEED = 0

Rows = Int[np.ndarray, " S"]
"""Indices, in the order of the data."""


def split_80_20(name: str, labels: np.ndarray | None, samples: int) -> tuple[Rows, Rows]:
    """Indices of the training and of the test samples, a fifth rounded up, in the order of the data.

    With labels every class gives its fifth, the largest remainders first, and keeps a training sample. The
    old RandomState is meant: NumPy promises its numbers for ever, and the split is part of a result.
    """
    random = np.random.RandomState(SPLIT_SEED)
    strata = np.zeros(samples, np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    quota = _quota(np.bincount(strata), -(-samples // 5), 5)
    if quota.sum() == 0:
        raise DataError(f"{name}: {samples} samples are too few to split; at least two of a class are needed")
    chosen = [
        random.permutation(np.nonzero(strata == stratum)[0])[:size] for stratum, size in enumerate(quota)
    ]
    return _apart(np.concatenate(chosen), samples)


def _quota(counts: np.ndarray, wanted: int, parts: int) -> np.ndarray:
    """How many each class gives: one of `parts`, and more where the remainder is large, until there are enough."""
    quota = counts // parts
    spare = np.argsort(-(counts % parts), kind="stable")
    spare = spare[(counts[spare] % parts > 0) & (counts[spare] > 1)]
    quota[spare[: wanted - quota.sum()]] += 1
    return quota


def choose_share(
    samples: int, share: float, seed: int, labels: np.ndarray | None = None
) -> tuple[Rows, Rows]:
    """Indices of the samples that stay, and of a share that is held out; of every class its share, one at least
    staying.
    """
    random = np.random.default_rng(seed)
    held = round(samples * share)
    order = random.permutation(samples)
    if labels is None:
        return _apart(order[:held], samples)
    strata = np.unique(labels, return_inverse=True)[1]
    counts = np.bincount(strata)
    exact = counts * (held / samples)
    quota = np.minimum(np.floor(exact).astype(np.int64), counts - 1)
    for stratum in np.argsort(quota - exact, kind="stable"):
        if quota.sum() < held and quota[stratum] < counts[stratum] - 1:
            quota[stratum] += 1
    # How many of its class stand before each sample in a random order.
    by_class = order[np.argsort(strata[order], kind="stable")]
    rank = np.empty(samples, np.int64)
    rank[by_class] = np.arange(samples) - np.repeat(np.cumsum(counts) - counts, counts)
    return _apart(np.nonzero(rank < quota[strata])[0], samples)


def choose_groups(groups: Int[np.ndarray, " N"], share: float, seed: int) -> tuple[Rows, Rows]:
    """Whole groups are held out, in a random order, as long as they bring the share nearer; the smallest at
    least.
    """
    random = np.random.default_rng(seed)
    names, of_row, counts = np.unique(groups, return_inverse=True, return_counts=True)
    wanted, held, chosen = share * len(groups), 0, np.zeros(len(names), bool)
    for at in random.permutation(len(names)):
        if abs(held + counts[at] - wanted) < abs(held - wanted) and chosen.sum() < len(names) - 1:
            chosen[at], held = True, held + int(counts[at])
    if len(names) > 1 and not chosen.any():
        chosen[counts.argmin()] = True
    return np.nonzero(~chosen[of_row])[0], np.nonzero(chosen[of_row])[0]


def choose_last(order: Num[np.ndarray, " N"], share: float) -> tuple[Rows, Rows]:
    """The last rows by `order`; rows of one moment are on one side, and rows without one are kept."""
    there = np.sort(order[~np.isnan(order)])
    if not len(there):
        return np.arange(len(order)), np.arange(0)
    boundary = there[min(len(there) - 1, len(there) - round(len(there) * share))]
    if boundary == there[0]:  # the first moment has most of the rows: those after it are held out
        later = there[there > boundary]
        if not len(later):
            return np.arange(len(order)), np.arange(0)
        boundary = later[0]
    last = order >= boundary
    return np.nonzero(~last)[0], np.nonzero(last)[0]


def _apart(held: Rows, samples: int) -> tuple[Rows, Rows]:
    """The others, and these."""
    held = np.sort(held)
    return np.setdiff1d(np.arange(samples), held, assume_unique=True), held
