"""Numbers by which epochs are compared: those of every evaluation, and metrics that the host computes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

ComputeMetric = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
"""(targets as in the split, i32 [N] or f32 [N, O]; outputs of the network f32 [N, C]; weights of the samples f32
[N], None where all count alike) → a number."""


@dataclass(frozen=True)
class Monitor:
    """A number of an evaluation.

    compute: makes it of a split's targets, outputs and weights, on the host; None for what the program of an
    evaluation computes itself, `loss` and `accuracy`.
    """

    name: str
    higher_is_better: bool
    compute: ComputeMetric | None = None

    def score(self, numbers: Mapping[str, float]) -> float:
        """What is to be as high as can be, of the numbers of an evaluation; −inf where it is not among them."""
        number = numbers.get(self.name)
        if number is None:
            return -math.inf
        return number if self.higher_is_better else -number

    def measure(self, targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None) -> float:
        """The number; NaN where an output is none, for which a metric has no words."""
        assert self.compute is not None
        return float(self.compute(targets, outputs, weights)) if np.isfinite(outputs).all() else math.nan


LOSS = Monitor("loss", higher_is_better=False)

MONITORS: dict[str, Monitor] = {
    monitor.name: monitor for monitor in (LOSS, Monitor("accuracy", higher_is_better=True))
}
"""What `--monitor` takes."""
