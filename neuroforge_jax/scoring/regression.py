"""Metrics of numbers: from targets and predictions f64 [N, O], in the data's units, and weights f64 [N], all of
them above 0. With several numbers a sample, the mean of the metric over them.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Numbers = Float[np.ndarray, "N O"]
Weights = Float[np.ndarray, " N"]


def rmse(targets: Numbers, predictions: Numbers, weights: Weights) -> float:
    """The root of the mean squared error."""
    return float(np.sqrt(_average((targets - predictions) ** 2, weights)).mean())


def mae(targets: Numbers, predictions: Numbers, weights: Weights) -> float:
    """The mean absolute error."""
    return float(_average(np.abs(targets - predictions), weights).mean())


def r2(targets: Numbers, predictions: Numbers, weights: Weights) -> float:
    """The share of the variance that is explained: 1 − squared errors ÷ squared distances from the mean target. 1
    is perfect and 0 no better than the mean; NaN where a target is constant.
    """
    errors = _average((targets - predictions) ** 2, weights)
    variance = _average((targets - _average(targets, weights)) ** 2, weights)
    if not (variance > 0).all():
        return float("nan")
    return float((1 - errors / variance).mean())


def pinball(
    targets: Float[np.ndarray, "N 1"],
    predictions: Float[np.ndarray, "N Q"],
    weights: Weights,
    quantiles: Sequence[float] = (0.5,),
) -> float:
    """The mean of max(q·d, (q − 1)·d), d = target − prediction, over samples and quantiles q (Koenker and Bassett,
    1978): what the true quantiles minimise.
    """
    levels, distance = np.asarray(quantiles), targets - predictions
    return float(_average(np.maximum(levels * distance, (levels - 1) * distance), weights).mean())


def _average(values: Numbers, weights: Weights) -> Float[np.ndarray, " O"]:
    return np.average(values, axis=0, weights=weights)
