"""Metrics of classes: from labels int [N], probabilities f64 [N, C] and weights f64 [N], all of them above 0.

The predicted class is the most probable one, of equals the first (argmax), everywhere. A mean over classes is over
those that it is defined for. A metric that is not defined for these samples is NaN; `metrics.score` leaves it out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from neuroforge_jax.scoring import ranking

Labels = Integer[np.ndarray, " N"]
Probabilities = Float[np.ndarray, "N C"]
Weights = Float[np.ndarray, " N"]

CALIBRATION_BINS = 15

MOST_RANKED = 5_000_000
"""Probabilities of more than two classes that are sorted; where there are more, samples at equal distances."""


class ClassCounts(NamedTuple):
    """Of each class [C], the weight of the samples that are it and are read as it, that are it, that are read as
    it.
    """

    right: Float[np.ndarray, " C"]
    actual: Float[np.ndarray, " C"]
    predicted: Float[np.ndarray, " C"]


def count_classes(labels: Labels, predicted: Labels, weights: Weights, classes: int) -> ClassCounts:
    """Sums over the samples; never a matrix of classes by classes, which many classes have no room for."""
    right = np.where(labels == predicted, weights, 0.0)
    return ClassCounts(
        np.bincount(labels, right, classes),
        np.bincount(labels, weights, classes),
        np.bincount(predicted, weights, classes),
    )


def accuracy(labels: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """The share of the samples that are classified rightly."""
    counts = _count(labels, probabilities, weights)
    return float(counts.right.sum() / weights.sum())


def balanced_accuracy(labels: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """The mean over the classes that occur of the share of their samples that are classified rightly (recall)."""
    right, actual, _ = _count(labels, probabilities, weights)
    occurs = actual > 0
    return float((right[occurs] / actual[occurs]).mean())


def macro_f1(labels: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """The mean of F₁ = 2·right ÷ (actual + predicted) over the classes that occur or are predicted."""
    right, actual, predicted = _count(labels, probabilities, weights)
    total = actual + predicted
    return float((2 * right[total > 0] / total[total > 0]).mean())


def log_loss(labels: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """The mean of −log of the true class's probability, which counts as 2⁻⁵² at least, so that it is finite."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    smallest = np.finfo(np.float64).eps
    return float(np.average(-np.log(np.clip(own, smallest, 1.0)), weights=weights))


def roc_auc(labels: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """Of two classes the second against the first; of more the mean over the classes that occur of each against
    all others, measured on at most 5 million probabilities: samples at equal distances. NaN where one class alone
    occurs.
    """
    return _average_over_classes(ranking.roc_auc, labels, probabilities, weights)


def average_precision(labels: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """Of two classes the second's; of more the mean over the classes that occur of each against all others, on as
    many probabilities as `roc_auc`.
    """
    return _average_over_classes(ranking.average_precision, labels, probabilities, weights)


def brier(labels: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """The mean of Σ_c (p_c − [c is the true class])² (Brier, 1950), halved for two classes, as is usual: from 0 to
    1 for two and to 2 for more.
    """
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    each = (probabilities**2).sum(axis=1) - 2 * own + 1
    halves = 2 if probabilities.shape[1] == 2 else 1
    return float(np.average(each, weights=weights) / halves)


class ReliabilityBins(NamedTuple):
    """Bins of samples by the probability of their predicted class [K]: the weight in each, and the means over it
    of that probability and of being right; 0 in an empty one.
    """

    weight: Float[np.ndarray, " K"]
    confidence: Float[np.ndarray, " K"]
    accuracy: Float[np.ndarray, " K"]


def bin_by_confidence(
    confidence: Float[np.ndarray, " N"],
    right: Bool[np.ndarray, " N"],
    weights: Weights,
    bins: int = CALIBRATION_BINS,
) -> ReliabilityBins:
    """Bins of equal width, (k ÷ bins, (k + 1) ÷ bins]."""
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    weight = np.bincount(index, weights, bins)
    divisor = np.where(weight > 0, weight, 1.0)
    means = (np.bincount(index, weights * values, bins) / divisor for values in (confidence, right))
    return ReliabilityBins(weight, *means)


def calibration_error(labels: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """How far the probability of the predicted class is from the share of the samples that are right: the mean of
    the difference over 15 bins of equal width (expected calibration error; Guo et al., 2017, arXiv:1706.04599).
    """
    right = labels == probabilities.argmax(axis=1)
    bins = bin_by_confidence(probabilities.max(axis=1), right, weights)
    return float((bins.weight * np.abs(bins.accuracy - bins.confidence)).sum() / weights.sum())


def _count(labels: Labels, probabilities: Probabilities, weights: Weights) -> ClassCounts:
    return count_classes(labels, probabilities.argmax(axis=1), weights, probabilities.shape[1])


def _average_over_classes(
    measure: Callable[..., float], labels: Labels, probabilities: Probabilities, weights: Weights
) -> float:
    if probabilities.shape[1] == 2:
        return measure(labels == 1, probabilities[:, 1], weights)
    every = -(-probabilities.size // MOST_RANKED)
    labels, probabilities, weights = labels[::every], probabilities[::every], weights[::every]
    found = [measure(labels == index, probabilities[:, index], weights) for index in np.unique(labels)]
    return float(np.mean(found))
