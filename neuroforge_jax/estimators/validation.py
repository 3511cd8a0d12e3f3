"""The one place that knows how scikit-learn's versions differ: checks of inputs, from 1.5 on."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # 1.5

    def validate_data(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        """What later versions have as a function."""
        return estimator._validate_data(*args, **kwargs)


def check_rows(estimator: BaseEstimator, X: Any, *, reset: bool = False) -> Any:
    """Finite rows [N, I], float64 or float32, dense or sparse, of the width and names of those before."""
    return validate_data(
        estimator, X, accept_sparse=["csr", "csc"], dtype=(np.float64, np.float32), reset=reset
    )


def check_rows_and_targets(estimator: BaseEstimator, X: Any, y: Any, *, reset: bool, numeric: bool) -> Any:
    """The same with as many targets [N] or [N, O]; numeric: numbers."""
    return validate_data(
        estimator, X, y, accept_sparse=["csr", "csc"], multi_output=True, y_numeric=numeric,
        dtype=(np.float64, np.float32), reset=reset,
    )  # fmt: skip
