"""Candidates measured side by side: a turn each, round after round, so that what disturbs one disturbs all.

Before the first round each is warmed up until two turns agree. A turn is as many steps as take about
`turn_seconds`, and ends when the device has done them. In each round the candidates take their turns in a new
random order, each between two turns of the reference: a fixed training of none of our code, which tells how fast
the machine was just then. Two records of different days are compared in units of it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from neuroforge_jax.benchmarking.statistics import Ratio, Spread, paired_ratio

T = TypeVar("T")

STABLE_WITHIN = 0.05
WARM_UP_TURNS = 8
LONGEST_TURN_STEPS = 1 << 20

Turn = Callable[[int], float]
"""Train so many steps more, wait until they are done; the seconds that took."""


@dataclass(frozen=True)
class Started:
    """A candidate that is ready. compile_seconds: until then; first_step_seconds: of the first step after;
    program_bytes: the most that its program holds at once, arguments included, by its compiler. networks: that
    take each step at once.
    """

    turn: Turn
    compile_seconds: float | None = None
    first_step_seconds: float | None = None
    program_bytes: int | None = None
    networks: int = 1


@dataclass(frozen=True)
class Measured:
    """seconds_per_step of each round, and of one network; reference_seconds: of the reference beside each; steps:
    of a turn.
    """

    started: Started
    steps: int
    seconds_per_step: Spread
    reference_seconds: tuple[float, ...]

    def faster_than(self, other: "Measured") -> Ratio:
        """How many times as fast as the other, round by round."""
        return paired_ratio(other.seconds_per_step.values, self.seconds_per_step.values)


def measure(
    candidates: Mapping[str, Started],
    reference_for: Callable[[str], Callable[[], float]],
    *,
    repetitions: int,
    turn_seconds: float,
    done: Callable[[str, int], None] = lambda name, round_: None,
) -> dict[str, Measured]:
    """So many rounds of all candidates. reference_for: by a name. done: told of each turn that is over."""
    steps = {name: warm_up(candidate.turn, turn_seconds) for name, candidate in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    references: dict[str, list[float]] = {name: [] for name in candidates}
    order = np.random.default_rng(0)
    for round_ in range(repetitions):
        for name in order.permutation(list(candidates)).tolist():
            turn = partial(candidates[name].turn, steps[name])
            spent, reference_seconds = beside(reference_for(name), turn)
            seconds[name].append(spent / steps[name] / candidates[name].networks)
            references[name].append(reference_seconds)
            done(name, round_)
    return {
        name: Measured(candidate, steps[name], Spread.of(seconds[name]), tuple(references[name]))
        for name, candidate in candidates.items()
    }


def beside(reference: Callable[[], float], work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and the mean of a turn of the reference before it and one after."""
    before = reference()
    given = work()
    return given, (before + reference()) / 2


def warm_up(turn: Turn, turn_seconds: float) -> int:
    """Take turns until two agree within 5 %, eight at most; the steps of a turn that lasts about so long."""
    steps = size_turn(turn, turn_seconds)
    rates: list[float] = []
    for _ in range(WARM_UP_TURNS):
        rates.append(turn(steps) / steps)
        if len(rates) > 1 and _agree(rates[-2:]):
            break
    return steps


def size_turn(turn: Turn, turn_seconds: float) -> int:
    """Take longer and longer turns; the steps of one that lasts about so long.

    A turn that seems long enough is taken again: a moment in which the machine was busy must not make turns of one
    step, which measure a dispatch.
    """
    steps, spent = 1, turn(1)
    while steps < LONGEST_TURN_STEPS:
        if spent >= turn_seconds / 2:
            spent = min(spent, turn(steps))
        if spent >= turn_seconds / 2:
            break
        # The first turns hold what happens once; they only have to find the size.
        growth = min(8.0, turn_seconds / max(spent, 1e-9))
        steps = min(max(steps + 1, int(steps * growth)), LONGEST_TURN_STEPS)
        spent = turn(steps)
    return steps


def _agree(rates: Sequence[float]) -> bool:
    return max(rates) <= (1 + STABLE_WITHIN) * min(rates)


def time_call(work: Callable[[], object]) -> float:
    """Seconds of this work, which must wait for its own end."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
