"""Two versions in turn: before, after, after, before, …

A round holds a pair of turns of every case, so that a minute in which the machine is busy spoils a few rounds of
all cases and not all rounds of one. The ratio of a case is the median over its pairs: what slows the machine down
slows both turns of a pair.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking.harness import Turn
from neuroforge_jax.benchmarking.options import FAIL_MARGIN, MARGIN
from neuroforge_jax.benchmarking.statistics import Ratio, Spread, paired_ratio

LEAST_PAIRS = 6
"""Of a verdict: below six a bootstrap of a median has too few values to give an interval of 95 %."""


@dataclass(frozen=True)
class Pair:
    """A case that both versions are ready for. steps: of a turn. rounds: how many pairs of turns."""

    before: Turn
    after: Turn
    steps: int
    rounds: int


@dataclass(frozen=True)
class PairedTimes:
    """Seconds of a step of both versions, pair by pair."""

    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()

    @cached_property
    def ratio(self) -> Ratio:
        """After ÷ before: 1.6 is slower than before."""
        return paired_ratio(self.after, self.before)

    def __add__(self, other: "PairedTimes") -> "PairedTimes":
        return PairedTimes(self.before + other.before, self.after + other.after)

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return {
            "before": Spread.of(self.before).to_json(),
            "after": Spread.of(self.after).to_json(),
            "ratio": self.ratio.to_json(),
        }


def measure_pairs(
    pairs: Mapping[str, Pair], done: Callable[[int, int], None] = lambda round_, rounds: None
) -> dict[str, PairedTimes]:
    """All rounds of all pairs. done: told after each round how many of how many are over."""
    times = dict.fromkeys(pairs, PairedTimes())
    order = np.random.default_rng(0)
    rounds = max((pair.rounds for pair in pairs.values()), default=0)
    for round_ in range(rounds):
        for name in order.permutation(list(pairs)).tolist():
            if round_ < pairs[name].rounds:
                times[name] += _measure_pair(pairs[name], after_first=round_ % 2 == 1)
        done(round_ + 1, rounds)
    return times


def _measure_pair(pair: Pair, *, after_first: bool) -> PairedTimes:
    turns = {"before": pair.before, "after": pair.after}
    order = ("after", "before") if after_first else ("before", "after")
    return PairedTimes(**{name: (turns[name](pair.steps) / pair.steps,) for name in order})


def judge(times: PairedTimes, margin: float = MARGIN, fail_margin: float = FAIL_MARGIN) -> str:
    """`slower` or `faster` where the whole interval lies beyond the margin; `too noisy` where it is so wide that it
    reaches beyond the margin of a failure; `too few` where there are not six pairs; else `same`.
    """
    if len(times.before) < LEAST_PAIRS:
        return "too few"
    low, high = times.ratio.interval
    if low > 1 + margin:
        return "slower"
    if high < 1 - margin:
        return "faster"
    return "too noisy" if high > 1 + fail_margin or low < 1 / (1 + fail_margin) else "same"


def suspects(times: Mapping[str, PairedTimes], fail_margin: float) -> Sequence[str]:
    """The cases to measure again: slower by more than the margin, however uncertain that is."""
    return [name for name, found in times.items() if found.ratio.median > 1 + fail_margin]


def is_confirmed(again: PairedTimes, fail_margin: float) -> bool:
    """Whether the whole interval of a second measurement lies beyond the margin: a noisy neighbour stops nobody."""
    return judge(again, fail_margin, fail_margin) == "slower"
