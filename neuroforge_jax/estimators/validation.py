"""The one place that knows how scikit-learn's versions differ: checks of inputs, from 1.5 on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # 1.5

    def validate_data(estimator: Any, *args: Any, skip_check_array: bool = False, **kwargs: Any) -> Any:
        """What later versions have as a function."""
        return estimator._validate_data(*args, cast_to_ndarray=not skip_check_array, **kwargs)


def check_rows(estimator: BaseEstimator, X: Any) -> Any:
    """Finite rows [N, I], float64 or float32, dense or sparse, of the width and names of those before."""
    with _hinting_at_frames():
        return validate_data(
            estimator, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=False
        )


def check_rows_and_targets(estimator: BaseEstimator, X: Any, y: Any, *, reset: bool, numeric: bool) -> Any:
    """The same with as many targets [N] or [N, O]; numeric: numbers."""
    with _hinting_at_frames():
        return validate_data(
            estimator, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=numeric,
            dtype=(np.float64, np.float32), reset=reset,
        )  # fmt: skip


def check_names(estimator: BaseEstimator, X: Any, *, reset: bool = False) -> None:
    """How many columns there are, and their names: noted (reset), or as those before, whatever they hold."""
    validate_data(estimator, X, skip_check_array=True, reset=reset)


@contextmanager
def _hinting_at_frames() -> Iterator[None]:
    """An error of missing values gets a note beside scikit-learn's words."""
    try:
        yield
    except ValueError as error:
        if "Input X contains NaN" in str(error):
            error.add_note(
                "An estimator that is fitted to a data frame with missing values takes them as they are."
            )
        raise
