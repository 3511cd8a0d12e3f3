"""What is to be reached beside scikit-learn's networks, what was found, and whether it is reached."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking.drop_in.networks import OURS, THEIRS, name_faster
from neuroforge_jax.benchmarking.sides import Side
from neuroforge_jax.benchmarking.statistics import paired_ratio
from neuroforge_jax.report.formats import format_duration

TIMES = 3.0
STANDARD_ERRORS = 2.0

Sides = Mapping[str, Side]


@dataclass(frozen=True)
class Goal:
    """what: `score`, `time`, … against: the side that ours is compared with. value: what was found, in the goal's
    unit. limit: of it. wanted, found: in words.
    """

    what: str
    against: str
    wanted: str
    found: str
    value: float
    limit: float
    reached: bool

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return asdict(self)


def score_goal(sides: Sides) -> Goal | None:
    """The mean scores differ by no more than two standard errors of their difference; None of a single seed."""
    ours, theirs = sides[OURS], sides[THEIRS]
    if len(ours.scores) < 2:
        return None
    difference = ours.mean - theirs.mean
    variances = [np.var(side.scores, ddof=1) / len(side.scores) for side in (ours, theirs)]
    limit = STANDARD_ERRORS * float(np.sqrt(sum(variances)))
    wanted, reached = f"within noise of its mean, ± {limit:.4f}", abs(difference) <= limit
    return Goal("score", THEIRS, wanted, f"{difference:+.4f}", difference, limit, reached)


def time_goal(sides: Sides) -> Goal:
    """Three times as fast, by the median of the pairs."""
    faster = name_faster(sides)
    ratio = paired_ratio(sides[faster].seconds, sides[OURS].seconds)
    low, high = ratio.interval
    wanted, found = f"≥ {TIMES:g} × as fast", f"{ratio.median:.2f} × ({low:.2f} to {high:.2f})"
    return Goal("time", faster, wanted, found, ratio.median, TIMES, ratio.median >= TIMES)


def each_goal(sides: Sides) -> Goal:
    """Every fit is faster than the other side's beside it."""
    faster = name_faster(sides)
    pairs = zip(sides[OURS].seconds, sides[faster].seconds, strict=True)
    least = min(theirs / ours for ours, theirs in pairs)
    found = f"the least of the pairs {least:.2f} ×"
    return Goal("each", faster, "every further fit faster", found, least, 1.0, least > 1)


def delay_goal(sides: Sides, ours: str, most: float) -> Goal:
    """So many seconds more at the most, by the median of the pairs. ours: which side of ours."""
    faster = name_faster(sides, ours)
    delay = float(np.median(np.subtract(sides[ours].seconds, sides[faster].seconds)))
    return Goal("delay", faster, f"≤ {most:g} s more", f"{delay:+.2f} s", delay, most, delay <= most)


def latency_goal(sides: Sides, most: float) -> Goal:
    """So many seconds at the most, by the median, whatever the others take."""
    median = float(np.median(sides[OURS].seconds))
    wanted, found = f"≤ {format_duration(most)}", format_duration(median)
    return Goal("latency", THEIRS, wanted, found, median, most, median <= most)
