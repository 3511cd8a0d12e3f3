"""What repetitions amount to: medians with bootstrap intervals, and ratios taken pair by pair.

Times are not normal: they have a floor and a long tail. So the middle is the median, the spread the quartiles, and
the uncertainty of the median a bootstrap interval (Efron & Tibshirani 1993, percentile method), which assumes no
distribution. Outliers are counted and kept: a median does not mind them, and who removes them chooses his result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000
FENCE = 1.5
"""Interquartile ranges beyond the quartiles from where on a value is an outlier (Tukey 1977)."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Spread:
    """Repetitions of one measurement, in its unit. interval: of the median. outliers: how many, none removed."""

    median: float
    minimum: float
    quartiles: Interval
    interval: Interval
    outliers: int
    values: tuple[float, ...]

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        low, median, high = (float(value) for value in np.percentile(values, [25, 50, 75]))
        fence = FENCE * (high - low)
        outliers = sum(not low - fence <= value <= high + fence for value in values)
        return Spread(median, min(values), (low, high), interval_of(values), outliers, tuple(values))

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return {
            "median": self.median,
            "minimum": self.minimum,
            "quartiles": list(self.quartiles),
            "interval": list(self.interval),
            "repetitions": len(self.values),
            "outliers": self.outliers,
            "values": list(self.values),
        }


@dataclass(frozen=True)
class Ratio:
    """How many times as large one measurement is as another, with the interval of that."""

    median: float
    interval: Interval

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return {"median": self.median, "interval": list(self.interval)}


def interval_of(values: Sequence[float]) -> Interval:
    """Where the median of many such repetitions would lie, with 95 % confidence."""
    return _interval((values,), lambda sample, axis: np.median(sample, axis=axis))


def paired_ratio(of: Sequence[float], to: Sequence[float]) -> Ratio:
    """Of neighbours in time, whom the machine's moods befall alike: the median of of[i] ÷ to[i]."""
    ratios = [a / b for a, b in zip(of, to, strict=True)]
    return Ratio(float(np.median(ratios)), interval_of(ratios))


def unpaired_ratio(of: Sequence[float], to: Sequence[float]) -> Ratio:
    """Of measurements that were not taken side by side: the ratio of their medians."""

    def statistic(a: Any, b: Any, axis: int) -> Any:
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    return Ratio(float(np.median(of) / np.median(to)), _interval((of, to), statistic))


def _interval(samples: tuple[Sequence[float], ...], statistic: Callable[..., Any]) -> Interval:
    if any(len(set(sample)) < 2 for sample in samples):
        # Nothing to resample: a bootstrap of one value is that value, and scipy warns of it.
        point = float(statistic(*(np.asarray(sample) for sample in samples), axis=-1))
        return point, point
    from scipy.stats import bootstrap  # half a second of import, which tables of measured times do without

    result = bootstrap(
        samples,
        statistic,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
