"""What is to be reached beside scikit-learn's networks, what was found, and whether it is reached."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking.sides import Side
from neuroforge_jax.benchmarking.statistics import paired_ratio
from neuroforge_jax.report.formats import format_duration

TIMES = 3.0
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Goal:
    """what: `score`, `time`, … value: what was found, in the goal's unit. limit: of it. wanted, found: in words."""

    what: str
    wanted: str
    found: str
    value: float
    limit: float
    reached: bool

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return asdict(self)


def score_goal(ours: Side, theirs: Side) -> Goal | None:
    """The mean scores differ by no more than two standard errors of their difference; None of a single seed."""
    if len(ours.scores) < 2:
        return None
    difference = ours.mean - theirs.mean
    variances = [np.var(side.scores, ddof=1) / len(side.scores) for side in (ours, theirs)]
    limit = STANDARD_ERRORS * float(np.sqrt(sum(variances)))
    return Goal(
        "score",
        f"within noise of its mean, ± {limit:.4f}",
        f"{difference:+.4f}",
        difference,
        limit,
        abs(difference) <= limit,
    )


def time_goal(ours: Side, theirs: Side) -> Goal:
    """Three times as fast, by the median of the pairs."""
    ratio = paired_ratio(theirs.seconds, ours.seconds)
    low, high = ratio.interval
    found = f"{ratio.median:.2f} × ({low:.2f} to {high:.2f})"
    return Goal("time", f"≥ {TIMES:g} × as fast", found, ratio.median, TIMES, ratio.median >= TIMES)


def each_goal(ours: Side, theirs: Side) -> Goal:
    """Every fit is faster than the other side's beside it."""
    least = min(their / our for our, their in zip(ours.seconds, theirs.seconds, strict=True))
    return Goal("each", "every further fit faster", f"≥ {least:.2f} × as fast", least, 1.0, least > 1)


def delay_goal(ours: Side, theirs: Side, most: float) -> Goal:
    """So many seconds more at the most, by the median of the pairs."""
    delay = float(np.median(np.subtract(ours.seconds, theirs.seconds)))
    return Goal("delay", f"≤ {most:g} s more", f"{delay:+.2f} s", delay, most, delay <= most)


def latency_goal(ours: Side, most: float) -> Goal:
    """So many seconds at the most, by the median."""
    median = float(np.median(ours.seconds))
    found = format_duration(median)
    return Goal("latency", f"≤ {format_duration(most)}", found, median, most, median <= most)
