"""Sides, two or more, that take turns at one piece of work, and what the record says of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking.harness import beside
from neuroforge_jax.benchmarking.statistics import Spread


@dataclass(frozen=True)
class Outcome:
    """Of one turn. seconds: of the work alone. score: of what was learnt, None where nothing is scored. epochs:
    that were trained, 0 where the work is not one training.
    """

    seconds: float
    score: float | None = None
    epochs: int = 0


Turn = Callable[[], Outcome]


@dataclass
class Side:
    """What one of them did, turn by turn."""

    outcomes: list[Outcome] = field(default_factory=list)
    reference_seconds: list[float] = field(default_factory=list)

    def take_turn(self, work: Turn, reference: Callable[[], float]) -> Outcome:
        """Work between two turns of the reference."""
        outcome, reference_seconds = beside(reference, work)
        self.outcomes.append(outcome)
        self.reference_seconds.append(reference_seconds)
        return outcome

    @property
    def seconds(self) -> list[float]:
        """Of each turn."""
        return [outcome.seconds for outcome in self.outcomes]

    @property
    def scores(self) -> list[float]:
        """Of the turns that were scored."""
        return [outcome.score for outcome in self.outcomes if outcome.score is not None]

    @property
    def mean(self) -> float:
        """Of the scores."""
        return float(np.mean(self.scores))

    def describe(self, name: str, metric: str = "") -> dict[str, Any]:
        """For a record. name: group/what/candidate. metric: of the scores, where there are some."""
        told: dict[str, Any] = {
            "name": name,
            "group": name.partition("/")[0],
            "contender": name.rpartition("/")[2],
            "axis": {},
            "seconds": {**Spread.of(self.seconds).to_json(), "mean": float(np.mean(self.seconds))},
            "reference_seconds": self.reference_seconds,
        }
        if metric:
            deviation = float(np.std(self.scores))
            told |= {
                "metric": metric,
                metric: {"mean": self.mean, "deviation": deviation, "values": self.scores},
            }
        if any(epochs := [outcome.epochs for outcome in self.outcomes]):
            told["epochs"] = epochs
        return told


def take_turns(
    works: Mapping[str, Turn], sides: Mapping[str, Side], round_: int, reference: Callable[[], float]
) -> None:
    """One turn of each, by name; in every second round in the opposite order."""
    names = list(works)
    for name in reversed(names) if round_ % 2 else names:
        sides[name].take_turn(works[name], reference)
