"""Metrics of several yes/no labels a sample: from targets 0 or 1 [N, L], probabilities f64 [N, L] and weights f64
[N], all of them above 0. A label is predicted where it is more probable than not.
"""

import numpy as np
from jaxtyping import Float, Num

from neuroforge_jax.scoring import ranking

Labels = Num[np.ndarray, "N L"]
Probabilities = Float[np.ndarray, "N L"]
Weights = Float[np.ndarray, " N"]


def label_accuracy(targets: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """The share of the labels that are right, over all samples and labels (1 − the Hamming loss)."""
    right = (targets == 1) == (probabilities > 0.5)
    return float(np.average(right.mean(axis=1), weights=weights))


def label_macro_f1(targets: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """The mean of F₁ over the labels that occur or are predicted; NaN where none is."""
    actual, predicted = targets == 1, probabilities > 0.5
    right = weights @ (actual & predicted)
    total = weights @ actual + weights @ predicted
    if not (total > 0).any():
        return float("nan")
    return float((2 * right[total > 0] / total[total > 0]).mean())


def label_roc_auc(targets: Labels, probabilities: Probabilities, weights: Weights) -> float:
    """The mean of the area under the ROC curve over the labels that some samples have and some have not."""
    areas = [
        ranking.roc_auc(targets[:, label] == 1, probabilities[:, label], weights)
        for label in range(targets.shape[1])
    ]
    defined = [area for area in areas if not np.isnan(area)]
    return float(np.mean(defined)) if defined else float("nan")
