"""What `predict` takes of networks that are fitted: of one row, again and again, and of 100,000 at once."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking.drop_in.goals import Goal, latency_goal, time_goal
from neuroforge_jax.benchmarking.drop_in.networks import (
    SIDES,
    TURNS,
    conditions_of,
    describe_sides,
    make_network,
    names_of,
)
from neuroforge_jax.benchmarking.drop_in.tasks import draw_classification, read_digits
from neuroforge_jax.benchmarking.harness import time_call
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.sides import Outcome, Side, take_turns

DATA = {"digits": read_digits, "make_classification": draw_classification}
CALLS = {1: 200, 100_000: 5}
"""Of a turn, by the rows of each; its time is their median."""

MOST_SECONDS = 1e-3
MAX_ITER = 5


def names() -> list[str]:
    """Of the rows."""
    return [name for data in DATA for count in CALLS for name in names_of(_what(count, data))]


def cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Three rows for each data set and count. reference: of the harness."""
    for data, read in DATA.items():
        counts = [count for count in CALLS if any(map(options.selects, names_of(_what(count, data))))]
        if not counts:
            continue
        rows, networks = read(options), {}
        for side in SIDES:
            with conditions_of(side):
                networks[side] = make_network(side, max_iter=MAX_ITER, random_state=0).fit(rows.x, rows.y)
        for count in counts:
            x = rows.x[np.arange(count) % len(rows.x)]
            sides = measure(networks, x, min(options.seeds, TURNS), reference)
            ours, *others = describe_sides(_what(count, data), sides)
            ours |= {"rows": count, "inputs": x.shape[1], "goals": [_goal(count, sides).to_json()]}
            yield from (ours, *others)


def measure(
    networks: dict[str, Any], x: np.ndarray, turns: int, reference: Callable[[], float]
) -> dict[str, Side]:
    """So many turns of each network, by its name, which has answered these rows once before."""
    sides = {side: Side() for side in networks}
    works = {side: partial(_predict, side, network, x) for side, network in networks.items()}
    for work in works.values():
        work()
    for turn in range(turns):
        take_turns(works, sides, turn, reference)
    return sides


def _predict(side: str, network: Any, x: np.ndarray) -> Outcome:
    with conditions_of(side):
        calls = [time_call(partial(network.predict, x)) for _ in range(CALLS[len(x)])]
    return Outcome(float(np.median(calls)))


def _goal(count: int, sides: dict[str, Side]) -> Goal:
    return latency_goal(sides, MOST_SECONDS) if count == 1 else time_goal(sides)


def _what(count: int, data: str) -> str:
    return f"predict {count:,} row{'' if count == 1 else 's'} of {data}"
