"""The two networks of equal parameters, and the rows of what they did in turn.

scikit-learn's takes part twice: with its default, a thread of its matrix products for each core, and with a single
one. One can be faster for small products, and much faster where another process keeps a core busy. Times are
compared with the faster of the two.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

from neuroforge_jax.benchmarking.sides import Side
from neuroforge_jax.benchmarking.statistics import paired_ratio

OURS, THEIRS, ONE_THREAD = "ours", "scikit-learn", "scikit-learn, one thread"
SIDES = (OURS, THEIRS, ONE_THREAD)
MODULES = {OURS: "neuroforge_jax", THEIRS: "sklearn.neural_network", ONE_THREAD: "sklearn.neural_network"}
"""That a user imports MLPClassifier and MLPRegressor from."""

TURNS = 5
"""Of each side, and as many seeds."""


def make_network(side: str, *, regression: bool = False, **parameters: Any) -> Any:
    """An estimator that is not fitted, whose other parameters are scikit-learn's defaults."""
    module = import_module(MODULES[side])
    return (module.MLPRegressor if regression else module.MLPClassifier)(**parameters)


@contextmanager
def conditions_of(side: str) -> Iterator[None]:
    """The threads of a side; and fits that end at max_iter, as is meant here, do not warn of it."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1) if side == ONE_THREAD else nullcontext():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def names_of(what: str) -> list[str]:
    """Of the rows."""
    return [f"sklearn/{what}/{side}" for side in SIDES]


def describe_sides(what: str, sides: Mapping[str, Side], metric: str = "") -> list[dict[str, Any]]:
    """The rows, those of scikit-learn with their ratio to ours, pair by pair."""
    import sklearn

    ours, *others = names_of(what)
    rows = [sides[OURS].describe(ours, metric)]
    for side, name in zip(SIDES[1:], others, strict=True):
        ratio = paired_ratio(sides[OURS].seconds, sides[side].seconds)
        told = {"version": sklearn.__version__, "ratio": {"to": ours, **ratio.to_json()}}
        rows.append(sides[side].describe(name, metric) | told)
    return rows


def name_faster(sides: Mapping[str, Side], ours: str = OURS) -> str:
    """Of scikit-learn's two, by the median of the pairs with ours: another process may have disturbed a turn."""
    return min(SIDES[1:], key=lambda side: paired_ratio(sides[side].seconds, sides[ours].seconds).median)
