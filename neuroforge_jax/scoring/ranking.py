"""How well a score ranks the positive samples above the others; samples of one score are one threshold."""

import numpy as np
from jaxtyping import Bool, Float


def roc_auc(
    positive: Bool[np.ndarray, " N"], score: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"]
) -> float:
    """The area under the curve of true over false positive rates: the probability that a positive sample is scored
    above another one, ties counted half (Hanley and McNeil, 1982). NaN where either kind is missing.
    """
    true, false = _cumulate(positive, score, weights)
    if not true[-1] * false[-1] > 0:
        return float("nan")
    return float(np.trapezoid(true, false) / (true[-1] * false[-1]))


def average_precision(
    positive: Bool[np.ndarray, " N"], score: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"]
) -> float:
    """Σ (Rₙ − Rₙ₋₁) Pₙ over the thresholds, with recall R and precision P: no interpolation between them. NaN
    where no sample is positive.
    """
    true, false = _cumulate(positive, score, weights)
    if not true[-1] > 0:
        return float("nan")
    precision = true[1:] / (true[1:] + false[1:])
    return float((np.diff(true) * precision).sum() / true[-1])


def _cumulate(
    positive: Bool[np.ndarray, " N"], score: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"]]:
    """Weight of the true and of the false positives at each threshold, from above all scores down to the lowest."""
    order = np.argsort(-score, kind="stable")
    score, positive, weights = score[order], positive[order], weights[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    sums = (np.cumsum(np.where(kind, weights, 0.0))[last_of_tie] for kind in (positive, ~positive))
    true, false = (np.concatenate([[0.0], values]) for values in sums)
    return true, false
