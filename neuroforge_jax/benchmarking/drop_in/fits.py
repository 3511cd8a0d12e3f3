"""Fits of equal parameters from equal seeds to equal arrays, in turn: how long each takes, and what it scores.

Ours has compiled its programs in a fit before, whose time is apart; scikit-learn's has had a fit of one epoch.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from neuroforge_jax.benchmarking.cases import skipped_case
from neuroforge_jax.benchmarking.drop_in import tasks
from neuroforge_jax.benchmarking.drop_in.goals import Goal, Sides, each_goal, score_goal, time_goal
from neuroforge_jax.benchmarking.drop_in.networks import (
    OURS,
    SIDES,
    THEIRS,
    TURNS,
    conditions_of,
    describe_sides,
    make_network,
)
from neuroforge_jax.benchmarking.drop_in.tasks import FitTask, Rows
from neuroforge_jax.benchmarking.harness import time_call
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.sides import Outcome, Side, take_turns

GOALS: Mapping[str, Callable[[Sides], Goal | None]] = {
    "score": score_goal,
    "time": time_goal,
    "each": each_goal,
}


def names() -> list[str]:
    """Of the tasks, and of the rows."""
    return [name for task in tasks.TASKS for name in (task.name, *task.names)]


def cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Three rows a task; one that says why where its data are not there. reference: of the harness."""
    for task in tasks.TASKS:
        if not any(map(options.selects, (task.name, *task.names))):
            continue
        if reason := task.absence(options):
            yield skipped_case(task.names[0], reason)
        else:
            yield from _measure(task, task.read(options), min(options.seeds, TURNS), reference)


def fit(side: str, task: FitTask, rows: Rows, seed: int, **changes: Any) -> Outcome:
    """One fit, timed alone, and its score."""
    parameters = {**task.parameters, "random_state": seed, **changes}
    network = make_network(side, regression=task.regression, **parameters)
    with conditions_of(side):
        seconds = time_call(partial(network.fit, rows.x, rows.y))
        score = float(network.score(rows.x_test, rows.y_test))
    return Outcome(seconds, score, network.n_iter_)


def _measure(task: FitTask, rows: Rows, turns: int, reference: Callable[[], float]) -> list[dict[str, Any]]:
    first = fit(OURS, task, rows, turns)
    fit(THEIRS, task, rows, turns, max_iter=1)
    sides = {side: Side() for side in SIDES}
    for seed in range(turns):
        take_turns({side: partial(fit, side, task, rows, seed) for side in sides}, sides, seed, reference)
    goals = [goal for name in task.goals if (goal := GOALS[name](sides)) is not None]
    ours, *others = describe_sides(task.name, sides, task.metric)
    ours |= {
        "first_seconds": first.seconds,
        "training_rows": len(rows.x),
        "test_rows": len(rows.x_test),
        "inputs": rows.x.shape[1],
        "parameters": dict(task.parameters),
        "goals": [goal.to_json() for goal in goals],
    }
    return [ours, *others]
