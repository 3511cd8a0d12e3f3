"""What is learnt of numbers that pass by once: means and deviations exactly, quantiles by a sketch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Num

from neuroforge_jax.data.preprocess import (
    KNOTS,
    Fitted,
    Preprocessor,
    as_float32,
    inverse_spread,
    normal_knots,
)
from neuroforge_jax.data.shards.sketch import K, QuantileSketch, weighted_quantiles

SKETCHED_NUMBERS = 2**23
"""Numbers that all sketches hold together at most, about: of many columns each holds fewer."""

FEWEST_HELD = 256


class Moments:
    """Count, mean and deviation of each column in float64, missing numbers apart, merged as by Chan, Golub and
    LeVeque, 1979. Where rows count by weights, so do these.
    """

    def __init__(self, width: int) -> None:
        self.total, self.mean, self._squares = np.zeros(width), np.zeros(width), np.zeros(width)

    def add(self, rows: Num[np.ndarray, "N I"], weights: Num[np.ndarray, " N"] | None = None) -> None:
        """Take rows into account."""
        wide = rows.astype(np.float64)
        there = ~np.isnan(wide)
        share = there.astype(np.float64) if weights is None else there * weights[:, None].astype(np.float64)
        total = share.sum(axis=0)
        safe = np.where(total > 0, total, 1)
        wide = np.where(there, wide, 0)
        mean = (wide * share).sum(axis=0) / safe
        squares = ((wide - mean) ** 2 * share).sum(axis=0)
        both = np.where(self.total + total > 0, self.total + total, 1)
        apart = np.where(total > 0, mean - self.mean, 0)
        self._squares += squares + apart**2 * self.total * total / both
        self.mean += apart * total / both
        self.total += total

    @property
    def deviation(self) -> Float64[np.ndarray, " I"]:
        """The root of the mean square distance from the mean."""
        return np.sqrt(self._squares / np.where(self.total > 0, self.total, 1))


class NumberStatistics:
    """Of each column its moments, its least and greatest number and its quantiles.

    Of a column whose quartiles are one number, distances of the others from it are wanted: a second sketch holds
    those numbers that are not the median of the first rows. Where it is not that number that most have, the first
    sketch tells.
    """

    def __init__(self, width: int) -> None:
        k = int(np.clip(SKETCHED_NUMBERS // (40 * max(1, width)), FEWEST_HELD, K))
        self.moments = Moments(width)
        self.sketches = [QuantileSketch(k) for _ in range(width)]
        self._others = [QuantileSketch(k) for _ in range(width)]
        self._usual = np.full(width, np.nan)

    def add(self, rows: Num[np.ndarray, "N I"]) -> None:
        """Take rows into account; NaN is missing."""
        self.moments.add(rows)
        for at, column in enumerate(rows.T):
            numbers = column[~np.isnan(column)].astype(np.float64)
            if not len(numbers):
                continue
            if np.isnan(self._usual[at]):
                self._usual[at] = np.sort(numbers)[(len(numbers) - 1) // 2]
            self.sketches[at].add(numbers)
            self._others[at].add(numbers[numbers != self._usual[at]])

    def quantiles(self, shares: np.ndarray) -> Float64[np.ndarray, "Q I"]:
        """Of each column, 0 where all are missing."""
        found = [sketch.quantiles(shares) for sketch in self.sketches]
        return np.stack(found, axis=1) if found else np.zeros((len(shares), 0))

    def robust_spread(self) -> Float64[np.ndarray, " I"]:
        """Between the quartiles; where they are one, the median distance of the other numbers from the median."""
        first, median, third = self.quantiles(np.array([0.25, 0.5, 0.75]))
        spread = third - first
        for at in np.flatnonzero(spread == 0).tolist():
            usual = self._usual[at] == median[at]
            sketch = self._others[at] if usual else self.sketches[at]
            numbers, counts = sketch.weighted()
            distances = np.abs(numbers - median[at])
            order = np.argsort(distances)
            order = order[distances[order] > 0]
            spread[at] = weighted_quantiles(distances[order], counts[order], np.array([0.5]))[0]
        return spread

    @property
    def extremes(self) -> tuple[Float64[np.ndarray, " I"], Float64[np.ndarray, " I"]]:
        """The least and the greatest number of each column, 0 where all are missing."""
        there = self.moments.total > 0
        least = np.array([sketch.least for sketch in self.sketches])
        greatest = np.array([sketch.greatest for sketch in self.sketches])
        return np.where(there, least, 0), np.where(there, greatest, 0)


@dataclass(frozen=True, eq=False)
class Slots:
    """Which columns of the statistics are the numbers of a record, in its order. origins: what is subtracted."""

    columns: list[int]
    origins: Float64[np.ndarray, " I"]


def fit_numbers(plan: Preprocessor, statistics: NumberStatistics, slots: Slots) -> Fitted:
    """What `preprocess.fit_inputs` learns of rows, from their statistics."""
    at, origins = slots.columns, slots.origins

    def moved(numbers: np.ndarray) -> np.ndarray:
        return np.where(statistics.moments.total[at] > 0, numbers[..., at] - origins, 0)

    median = moved(statistics.quantiles(np.array([0.5])))[0]
    if plan.scaling == "standard":
        shift = moved(statistics.moments.mean)
        scale = inverse_spread(shift, statistics.moments.deviation[at])
    elif plan.scaling == "robust":
        shift, scale = median, inverse_spread(median, statistics.robust_spread()[at])
    else:
        shift, scale = np.zeros(len(at)), np.ones(len(at))
    knots = None
    if plan.scaling == "quantile":
        quantiles = moved(statistics.quantiles(np.linspace(0, 1, KNOTS)))
        quantiles[0], quantiles[-1] = (moved(ends) for ends in statistics.extremes)
        (knots,) = as_float32(normal_knots(quantiles.astype(np.float32)))
    shift, scale, fill = as_float32(shift, scale, median)
    return Fitted(shift, scale, fill, knots)
