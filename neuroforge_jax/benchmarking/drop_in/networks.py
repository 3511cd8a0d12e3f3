"""The two networks of equal parameters, by the names of their sides, and the rows of what both did in turn."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from neuroforge_jax.benchmarking.sides import Side
from neuroforge_jax.benchmarking.statistics import paired_ratio

OURS, THEIRS = "ours", "scikit-learn"
MODULES = {OURS: "sklearn.neural_network", THEIRS: "sklearn.neural_network"}
"""That a user imports MLPClassifier and MLPRegressor from."""

TURNS = 5
"""Of each side, and as many seeds."""


def make_network(side: str, *, regression: bool = False, **parameters: Any) -> Any:
    """An estimator that is not fitted, whose other parameters are scikit-learn's defaults."""
    module = import_module(MODULES[side])
    return (module.MLPRegressor if regression else module.MLPClassifier)(**parameters)


@contextmanager
def bounded() -> Iterator[None]:
    """Fits that end at max_iter, as is meant here, do not warn of it."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def names_of_pair(what: str) -> list[str]:
    """Of the rows of both."""
    return [f"sklearn/{what}/{side}" for side in (OURS, THEIRS)]


def describe_pair(
    what: str, sides: Mapping[str, Side], metric: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of both, the second with its ratio to the first, pair by pair."""
    ours, theirs = names_of_pair(what)
    ratio = {"to": ours, **paired_ratio(sides[OURS].seconds, sides[THEIRS].seconds).to_json()}
    first, second = sides[OURS].describe(ours, metric), sides[THEIRS].describe(theirs, metric)
    return first, second | {"version": sklearn_version(), "ratio": ratio}


def sklearn_version() -> str:
    """As it is installed."""
    import sklearn

    return str(sklearn.__version__)
