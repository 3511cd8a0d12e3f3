"""A grid search, as scikit-learn does it with either network: 5 folds × 8 learning rates, fit after fit."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking.drop_in.goals import time_goal
from neuroforge_jax.benchmarking.drop_in.networks import (
    OURS,
    SIDES,
    TURNS,
    conditions_of,
    describe_sides,
    make_network,
    names_of,
)
from neuroforge_jax.benchmarking.drop_in.tasks import Rows, read_digits
from neuroforge_jax.benchmarking.harness import time_call
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.sides import Outcome, Side, take_turns

FOLDS = 5
RATES = tuple(np.geomspace(1e-4, 0.1, 8).round(6).tolist())
MAX_ITER = 30
WHAT = "grid search of digits"


def names() -> list[str]:
    """Of the rows."""
    return names_of(WHAT)


def cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Three rows; ours has compiled in a search before, whose time is apart. reference: of the harness."""
    rows, sides = read_digits(options), {side: Side() for side in SIDES}
    first = search(OURS, rows, TURNS)
    for seed in range(min(options.seeds, TURNS)):
        take_turns({side: partial(search, side, rows, seed) for side in sides}, sides, seed, reference)
    ours, *others = describe_sides(WHAT, sides, "accuracy")
    ours |= {
        "first_seconds": first.seconds,
        "folds": FOLDS,
        "learning_rates": list(RATES),
        "parameters": {"max_iter": MAX_ITER},
        "goals": [time_goal(sides).to_json()],
    }
    yield from (ours, *others)


def search(side: str, rows: Rows, seed: int) -> Outcome:
    """All fits, and one more of the best rate to all rows; the score is the best mean of the folds."""
    from sklearn.model_selection import GridSearchCV

    network = make_network(side, max_iter=MAX_ITER, random_state=seed)
    grid = GridSearchCV(network, {"learning_rate_init": list(RATES)}, cv=FOLDS, n_jobs=1)
    with conditions_of(side):
        seconds = time_call(partial(grid.fit, rows.x, rows.y))
    return Outcome(seconds, float(grid.best_score_))
