"""Fits of equal parameters from equal seeds to equal arrays, in turn: how long each takes, and what it scores.

Ours has compiled its programs in a fit before, whose time is apart; scikit-learn's has had a fit of one epoch.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from neuroforge_jax.benchmarking.cases import skipped_case
from neuroforge_jax.benchmarking.drop_in import tasks
from neuroforge_jax.benchmarking.drop_in.goals import each_goal, score_goal, time_goal
from neuroforge_jax.benchmarking.drop_in.networks import (
    OURS,
    THEIRS,
    TURNS,
    bounded,
    describe_pair,
    make_network,
)
from neuroforge_jax.benchmarking.drop_in.tasks import ONE_THREAD, FitTask, Rows
from neuroforge_jax.benchmarking.harness import time_call
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.sides import Outcome, Side, take_turns
from neuroforge_jax.benchmarking.statistics import paired_ratio

GOALS = {"score": score_goal, "time": time_goal, "each": each_goal}


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
    with bounded():
        seconds = time_call(partial(network.fit, rows.x, rows.y))
    return Outcome(seconds, float(network.score(rows.x_test, rows.y_test)), network.n_iter_)


def fit_on_one_thread(task: FitTask, rows: Rows, seed: int) -> Outcome:
    """scikit-learn's, with one thread for its matrix products."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return fit(THEIRS, task, rows, seed)


def _measure(task: FitTask, rows: Rows, turns: int, reference: Callable[[], float]) -> list[dict[str, Any]]:
    first = fit(OURS, task, rows, turns)
    fit(THEIRS, task, rows, turns, max_iter=1)
    sides = {OURS: Side(), THEIRS: Side(), ONE_THREAD: Side()}
    for seed in range(turns):
        works = {side: partial(fit, side, task, rows, seed) for side in (OURS, THEIRS)}
        take_turns(works, sides, seed, reference)
    sides[ONE_THREAD].take_turn(partial(fit_on_one_thread, task, rows, 0), reference)
    return _describe(task, rows, sides, first.seconds)


def _describe(
    task: FitTask, rows: Rows, sides: dict[str, Side], first_seconds: float
) -> list[dict[str, Any]]:
    """Of the two, and of scikit-learn's on one thread, which took part in the first turn alone."""
    goals = [GOALS[goal](sides[OURS], sides[THEIRS]) for goal in task.goals]
    ours, theirs = describe_pair(task.name, sides, task.metric)
    ours |= {
        "first_seconds": first_seconds,
        "training_rows": len(rows.x),
        "test_rows": len(rows.x_test),
        "inputs": rows.x.shape[1],
        "parameters": dict(task.parameters),
        "goals": [goal.to_json() for goal in goals if goal is not None],
    }
    one_thread = sides[ONE_THREAD].describe(task.names[-1], task.metric)
    ratio = paired_ratio(sides[OURS].seconds[:1], sides[ONE_THREAD].seconds)
    one_thread |= {"version": theirs["version"], "ratio": {"to": ours["name"], **ratio.to_json()}}
    return [ours, theirs, one_thread]
