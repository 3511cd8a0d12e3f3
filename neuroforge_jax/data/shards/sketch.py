"""Quantiles of numbers that pass by once, in little memory, with an error that is bounded and known.

Sorted buffers of up to 2k numbers, those of level h of weight 2ʰ. A full buffer is compacted: it is sorted and
every second number of it kept, at twice the weight (Munro and Paterson, 1980; Manku, Rajagopalan and Lindsay,
1998). The rank of any number is then wrong by at most one weight: too low if the first of each pair is dropped,
too high if the second is. A level does the one and the other in turn, so that two compactions together are
wrong by no more than one. A compaction at level h takes 2k numbers of weight 2ʰ at least, of which there are
N/(2k·2ʰ) at most, and H ≤ log₂(N/k) levels compact. So

    |rank − true rank| ≤ N·(H + 2) / (4k),

whatever the numbers and their order: for k = 4096 and 10⁹ numbers a share of 0.0013. No random number is drawn.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

K = 4096
"""Half the numbers of a buffer: a sketch of 10⁹ numbers takes about 1 MB."""


class QuantileSketch:
    """A summary of numbers, of which none is NaN. As long as 2k or fewer came it holds them all, and is exact."""

    def __init__(self, k: int = K) -> None:
        self.k, self.count = k, 0
        self.least, self.greatest = np.inf, -np.inf
        self._levels: list[_Level] = [_Level()]

    def add(self, numbers: Float64[np.ndarray, " N"]) -> None:
        """Take these into account."""
        if not len(numbers):
            return
        self.count += len(numbers)
        self.least, self.greatest = min(self.least, numbers.min()), max(self.greatest, numbers.max())
        self._levels[0].parts.append(np.array(numbers, np.float64))
        self._compact()

    @property
    def rank_error(self) -> int:
        """By how many numbers a rank may be wrong at most: what was compacted is known, and this is below the bound
        above.
        """
        weights = [1 << height for height in range(len(self._levels))]
        low = sum(weight * level.too_low for weight, level in zip(weights, self._levels, strict=True))
        high = sum(weight * level.too_high for weight, level in zip(weights, self._levels, strict=True))
        return max(low, high)

    def weighted(self) -> tuple[Float64[np.ndarray, " S"], Int64[np.ndarray, " S"]]:
        """The numbers that stand for all, sorted, and how many each stands for."""
        numbers = [part for level in self._levels for part in level.parts]
        weights = [
            np.full(len(part), 1 << height)
            for height, level in enumerate(self._levels)
            for part in level.parts
        ]
        if not numbers:
            return np.zeros(0), np.zeros(0, np.int64)
        all_, counts = np.concatenate(numbers), np.concatenate(weights)
        order = np.argsort(all_, kind="stable")
        return all_[order], counts[order]

    def quantiles(self, shares: Sequence[float] | np.ndarray) -> Float64[np.ndarray, " Q"]:
        """As `numpy.quantile` of all numbers, but for the error of ranks; 0 where there are none."""
        return weighted_quantiles(*self.weighted(), np.asarray(shares, np.float64))

    def _compact(self) -> None:
        for height, level in enumerate(self._levels):  # a level that is added meanwhile comes in its turn
            if sum(map(len, level.parts)) <= 2 * self.k:
                continue
            if height + 1 == len(self._levels):
                self._levels.append(_Level())
            self._levels[height + 1].parts.append(level.compact())


class _Level:
    """Numbers of one weight. too_low, too_high: compactions after which ranks may be too low, and too high."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.too_low = self.too_high = 0

    def compact(self) -> np.ndarray:
        """Every second of the sorted numbers; of an odd number of them the greatest stays."""
        numbers = np.sort(np.concatenate(self.parts))
        pairs = numbers[: len(numbers) // 2 * 2]
        self.parts = [numbers[len(pairs) :]] if len(numbers) % 2 else []
        drops_first = self.too_low <= self.too_high
        self.too_low += drops_first
        self.too_high += not drops_first
        return np.ascontiguousarray(pairs[1::2] if drops_first else pairs[::2])


def weighted_quantiles(
    numbers: Float64[np.ndarray, " S"], counts: Int64[np.ndarray, " S"], shares: Float64[np.ndarray, " Q"]
) -> Float64[np.ndarray, " Q"]:
    """Of sorted numbers, each of which comes `counts` times: as `numpy.quantile` of all of them; 0 of none."""
    if not len(numbers):
        return np.zeros(len(shares))
    upto = np.cumsum(counts)
    at = shares * (upto[-1] - 1)
    low = np.floor(at).astype(np.int64)
    below, above = (
        numbers[np.searchsorted(upto, np.minimum(rank, upto[-1] - 1), side="right")]
        for rank in (low, low + 1)
    )
    part = at - low
    return np.where(part < 0.5, below + (above - below) * part, above - (above - below) * (1 - part))
