"""What the epochs of an estimator are compared by: the metrics of this project, on rows held out."""

import numpy as np

from neuroforge_jax.data.targets import Targets
from neuroforge_jax.errors import unknown
from neuroforge_jax.estimators.classes import Classes
from neuroforge_jax.job.resolve import PREDICTED
from neuroforge_jax.model.answers import score_outputs
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.scoring.metrics import METRICS, Metric
from neuroforge_jax.training.monitor import LOSS, ComputeMetric, Monitor


def make_monitor(name: str, model: FittedModel, classes: Classes | None) -> Monitor:
    """A metric by its name, or the loss. classes: of a classifier, whose outputs they read.

    Raises ValueError for an unknown name, with those that there are.
    """
    if name == LOSS.name:
        return LOSS
    task = "regression" if classes is None else "multilabel" if classes.several else "classification"
    known = {
        metric.name: metric
        for metric in METRICS.values()
        if metric.task == task and (metric.name != "pinball" or model.spec.quantiles)
    }
    if name not in known:
        raise ValueError(unknown(f"monitor of {PREDICTED[task]}", name, (LOSS.name, *known)))
    metric = known[name]
    compute = _of_numbers(metric, model) if classes is None else _of_classes(metric, classes)
    return Monitor(name, metric.higher_is_better, _defined(name, compute))


def _of_classes(metric: Metric, classes: Classes) -> ComputeMetric:
    def compute(targets: Targets, outputs: np.ndarray, weights: np.ndarray | None) -> float:
        indices = targets[:, 0].astype(np.int64) if classes.kind == "binary" else targets
        counts = np.ones(len(targets)) if weights is None else np.asarray(weights, np.float64)
        there = counts > 0
        return metric.compute(indices[there], classes.probabilities(outputs)[there], counts[there])

    return compute


def _of_numbers(metric: Metric, model: FittedModel) -> ComputeMetric:
    def compute(targets: Targets, outputs: np.ndarray, weights: np.ndarray | None) -> float:
        return score_outputs(model, targets, outputs, weights).get(metric.name, np.nan)

    return compute


def _defined(name: str, compute: ComputeMetric) -> ComputeMetric:
    def checked(targets: Targets, outputs: np.ndarray, weights: np.ndarray | None) -> float:
        with np.errstate(all="ignore"):
            value = compute(targets, outputs, weights)
        if np.isnan(value):
            raise ValueError(
                f"monitor={name!r} is not defined for the {len(targets)} rows held out, such as of one class alone "
                "or of equal targets: hold out more rows, or monitor 'loss'"
            )
        return value

    return checked
