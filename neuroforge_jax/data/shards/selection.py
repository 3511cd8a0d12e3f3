"""Which rows of shards are trained on: the first ones, and of these all but a share that is held out.

Whether a row is held out follows from its number and the seed alone: the rows of every shard are held out evenly,
however they are sorted, and no list of them is kept. Their number is a share of all but for chance: of 100,000
rows a tenth is 10,000, give or take 95 (one standard deviation).
"""

from dataclasses import dataclass

import numpy as np

from neuroforge_jax.typing import Bool


@dataclass(frozen=True)
class Selection:
    """first: only so many rows, as they are stored; all unless given. share: of them that is held out, by `seed`.
    held_out: whether these are the rows that are held out, and not the others.
    """

    first: int | None = None
    share: float = 0.0
    seed: int = 0
    held_out: bool = False

    @property
    def is_all(self) -> bool:
        """Whether no row is left out."""
        return self.first is None and not self.share

    def rows(self, samples: int) -> int:
        """Rows, from the first, behind which none is selected."""
        return samples if self.first is None else min(samples, self.first)

    def choose(self, start: int, stop: int) -> Bool[np.ndarray, " N"]:
        """Whether each of the rows start … stop − 1 is selected."""
        rows = np.arange(start, stop, dtype=np.uint64)
        selected = np.ones(len(rows), bool) if self.first is None else rows < self.first
        if not self.share:
            return selected & (not self.held_out)
        held = _mix(rows ^ _mix(np.array([self.seed], np.uint64))) < np.uint64(self.share * 2.0**64)
        return selected & (held == self.held_out)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's step and finalizer (Steele, Lea and Flood, 2014): every input bit reaches every output bit."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
