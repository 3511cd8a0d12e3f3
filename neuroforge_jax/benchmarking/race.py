"""Trainings to an accuracy, in turn by the same seeds: ours, and others whose failure is a row and no more."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking.cases import skipped_case
from neuroforge_jax.benchmarking.harness import beside
from neuroforge_jax.benchmarking.statistics import Spread, paired_ratio
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import DeviceError


@dataclass(frozen=True)
class Outcome:
    """Of one training. seconds: of its loop, or of the whole command."""

    seconds: float
    accuracy: float


Train = Callable[[int], Outcome]
"""By a seed."""


@dataclass
class Candidate:
    """outcomes: one a round, as many as it takes part in. config: of ours alone; version: of PyTorch. failure: why
    one that is not ours takes part no more.
    """

    train: Train
    rounds: int
    config: TrainConfig | None = None
    version: str | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    reference_seconds: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def seconds(self) -> list[float]:
        """Of each round."""
        return [outcome.seconds for outcome in self.outcomes]

    def warm_up(self) -> None:
        """Train once, and forget it."""
        with self._catch_failure():
            self.train(0)

    def take_turn(self, seed: int, reference: Callable[[], float]) -> None:
        """Train by a seed between two turns of the reference, where it takes part."""
        if seed < self.rounds and not self.failure:
            with self._catch_failure():
                outcome, reference_seconds = beside(reference, partial(self.train, seed))
                self.outcomes.append(outcome)
                self.reference_seconds.append(reference_seconds)

    @contextmanager
    def _catch_failure(self) -> Iterator[None]:
        """What is not ours must not cost us our times."""
        try:
            yield
        except DeviceError as error:
            if self.config is not None:
                raise
            self.failure = str(error)


def race(
    name: str, candidates: Mapping[str, Candidate], wanted: float, reference: Callable[[], float]
) -> list[dict[str, Any]]:
    """Let them take turns, seed by seed, and describe each, compared with the fastest of ours.

    One that is not ours and fails is a row that says why; ours raise what they raise.
    """
    for candidate in candidates.values():
        candidate.warm_up()
    for seed in range(max(candidate.rounds for candidate in candidates.values())):
        for candidate in candidates.values():
            candidate.take_turn(seed, reference)
    baseline = min(
        (label for label, candidate in candidates.items() if candidate.config),
        key=lambda label: np.median(candidates[label].seconds),
    )
    ours, found = candidates[baseline].seconds, []
    for label, candidate in candidates.items():
        if candidate.failure:
            found.append(skipped_case(f"{name}/{label}", candidate.failure))
            continue
        case = _describe(f"{name}/{label}", candidate, wanted)
        if label != baseline:
            seconds = candidate.seconds
            ratio = paired_ratio(ours[: len(seconds)], seconds[: len(ours)])
            case["ratio"] = {"to": f"{name}/{baseline}", **ratio.to_json()}
        found.append(case)
    return found


def _describe(name: str, candidate: Candidate, wanted: float) -> dict[str, Any]:
    """What the record says of a candidate. name: group/what/candidate."""
    seconds = candidate.seconds
    accuracies = [outcome.accuracy for outcome in candidate.outcomes]
    return {
        "name": name,
        "group": "speedrun",
        "contender": name.rpartition("/")[2],
        "axis": {},
        "seconds": {**Spread.of(seconds).to_json(), "mean": float(np.mean(seconds))},
        "reference_seconds": candidate.reference_seconds,
        "accuracy": {**Spread.of(accuracies).to_json(), "mean": float(np.mean(accuracies))},
        "reached": float(np.mean(accuracies)) >= wanted,
        "version": candidate.version,
        "config": None if candidate.config is None else asdict(candidate.config),
    }
