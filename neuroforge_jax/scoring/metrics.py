"""The table of metrics, and all that are defined of some predictions.

The formulas are NumPy, and tests hold them to scikit-learn's: importing that takes longer than a training of MNIST
that one waits for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Num

from neuroforge_jax.scoring import classification, multilabel, regression

Task = Literal["classification", "regression", "multilabel"]

Compute = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""From targets, outputs and weights f64 [N] (all above 0) to the metric; NaN where it is not defined."""


@dataclass(frozen=True)
class Metric:
    """name: as flags and files spell it. label: as people read it. compute: see `Compute`. task: whose targets and
    outputs it takes.
    """

    name: str
    label: str
    compute: Compute
    higher_is_better: bool
    task: Task


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", classification.accuracy, True, "classification"),
        Metric(
            "balanced-accuracy", "balanced accuracy", classification.balanced_accuracy, True, "classification"
        ),
        Metric("macro-f1", "macro F1", classification.macro_f1, True, "classification"),
        Metric("log-loss", "log loss", classification.log_loss, False, "classification"),
        Metric("roc-auc", "ROC AUC", classification.roc_auc, True, "classification"),
        Metric(
            "average-precision", "average precision", classification.average_precision, True, "classification"
        ),
        Metric("brier", "Brier score", classification.brier, False, "classification"),
        Metric(
            "calibration-error",
            "calibration error",
            classification.calibration_error,
            False,
            "classification",
        ),
        Metric("rmse", "RMSE", regression.rmse, False, "regression"),
        Metric("mae", "MAE", regression.mae, False, "regression"),
        Metric("r2", "R²", regression.r2, True, "regression"),
        Metric("pinball", "pinball loss", regression.pinball, False, "regression"),
        Metric("label-accuracy", "accuracy of the labels", multilabel.label_accuracy, True, "multilabel"),
        Metric("label-macro-f1", "macro F1 of the labels", multilabel.label_macro_f1, True, "multilabel"),
        Metric("label-roc-auc", "ROC AUC of the labels", multilabel.label_roc_auc, True, "multilabel"),
    )
}


def score(
    task: Task,
    targets: Num[np.ndarray, "N ..."],
    outputs: Float[np.ndarray, "N C"],
    weights: Float[np.ndarray, " N"] | None = None,
    quantiles: Sequence[float] = (),
) -> dict[str, float]:
    """Every metric of the task that these samples define, by name; what is not defined (a class that does not
    occur, a constant target, outputs that are no finite numbers) is left out.

    targets: class indices [N] with probabilities [N, C]; numbers [N, O] with predictions [N, O], in the data's
    units; 0 or 1 [N, L] with probabilities [N, L]. weights: how much a sample counts, at least 0; all alike unless
    given. quantiles: what the outputs [N, Q] of a quantile regression are of: they have the pinball loss, and the
    other metrics of a regression where the median is among them. Raises ValueError for shapes that do not belong
    together.
    """
    _check_shapes(task, targets, outputs, weights, quantiles)
    weights = np.ones(len(targets)) if weights is None else np.asarray(weights, np.float64)
    outputs = np.asarray(outputs, np.float64)
    targets = targets if task == "classification" else np.asarray(targets, np.float64)
    if not (counts := weights > 0).all():
        targets, outputs, weights = targets[counts], outputs[counts], weights[counts]
    if not len(targets) or not np.isfinite(outputs).all():
        return {}
    with np.errstate(all="ignore"):
        found = (
            _score_quantiles(targets, outputs, weights, quantiles)
            if quantiles
            else _compute_all(task, targets, outputs, weights)
        )
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _compute_all(
    task: Task, targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray
) -> dict[str, float]:
    return {
        name: metric.compute(targets, outputs, weights)
        for name, metric in METRICS.items()
        # Of a prediction that is no quantile it is half the MAE.
        if metric.task == task and name != "pinball"
    }


def _score_quantiles(
    targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray, quantiles: Sequence[float]
) -> dict[str, float]:
    found = {"pinball": regression.pinball(targets, outputs, weights, quantiles)}
    if 0.5 in quantiles:
        median = outputs[:, [list(quantiles).index(0.5)]]
        found |= _compute_all("regression", targets, median, weights)
    return found


def _check_shapes(
    task: Task,
    targets: np.ndarray,
    outputs: np.ndarray,
    weights: np.ndarray | None,
    quantiles: Sequence[float],
) -> None:
    if task == "classification":
        fits = targets.ndim == 1 and outputs.ndim == 2 and len(targets) == len(outputs)
    elif quantiles:
        fits = targets.shape == (len(outputs), 1) and outputs.shape[1:] == (len(quantiles),)
    else:
        fits = targets.ndim == 2 and targets.shape == outputs.shape
    if not fits or (weights is not None and weights.shape != (len(targets),)):
        sizes = f"targets {targets.shape} and outputs {outputs.shape}"
        more = "" if weights is None else f" with weights {weights.shape}"
        raise ValueError(f"{task}: {sizes}{more} do not belong together")
