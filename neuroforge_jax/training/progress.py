"""Where a run stands: everything but the arrays of its state, as plain numbers that can be saved and read back.

How fast it goes, and so how many steps the device is given next; which epoch was the best, and whether it is time
to stop: early stopping (Prechelt, 1998).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.typing import Params

Record = Mapping[str, float | int | str | None]
"""What a line of metrics.jsonl holds; the names carry their units."""

STRETCH_SECONDS = 0.4
"""How long the device is left alone: short enough for a live bar and Ctrl-C, long enough to cost nothing."""

GROWTH = 8
"""How much longer one stretch may be than the one before, whose time may have been luck."""


@dataclass
class Pace:
    """The sums of a run so far; train_seconds has no compile, evaluation, loading or saving in it."""

    train_seconds: float = 0.0
    samples: float = 0.0
    steps: int = 0
    last_loss: float = math.nan
    _next: int = field(default=1, repr=False)

    def next_stretch(self, remaining: int) -> int:
        """Steps to train next: one at first, then what fills STRETCH_SECONDS."""
        return min(self._next, remaining)

    def measured(self, steps: int, samples: float, seconds: float) -> None:
        """Take note of a finished stretch."""
        self.train_seconds += seconds
        self.samples += samples
        self.steps += steps
        self._next = max(1, min(steps * GROWTH, round(steps * STRETCH_SECONDS / max(seconds, 1e-9))))


@dataclass(frozen=True, eq=False)
class Best:
    """The best epoch so far (from 0): by accuracy, or by loss in a regression.

    params: a copy of its weights, or None where the data it was measured on may select nothing.
    """

    score: float = -math.inf
    epoch: int = -1
    evaluation: Evaluation | None = None
    params: Params | None = None

    def updated(self, evaluation: Evaluation, epoch: int, params: Params | None) -> "Best":
        """The new epoch where it is better, else this one."""
        score = score_of(evaluation)
        if not score > self.score:
            return self
        # The state is donated to the next step: what is to be kept must be copied.
        return Best(score, epoch, evaluation, None if params is None else _copy(params))

    def is_enough(self, epoch: int, patience: int | None, target: float | None) -> bool:
        """Whether to stop after this epoch: nothing better for `patience` epochs, or the target reached."""
        stale = patience is not None and epoch - self.epoch >= patience
        return stale or (target is not None and self.score >= target)


def score_of(evaluation: Evaluation) -> float:
    """What is to be as high as can be: the accuracy, or minus the loss of a regression."""
    return -evaluation.loss if evaluation.accuracy is None else evaluation.accuracy


_copy: Callable[[Params], Params] = jax.jit(lambda params: jax.tree.map(jnp.copy, params))


@dataclass
class EpochSums:
    """Sums over the steps of an epoch so far. They are added step by step in float64, so that they are the same
    numbers wherever the epoch was cut.

    loss: of the samples in `counted`; steps whose forward pass overflowed are in neither. seconds: of training.
    """

    loss: float = 0.0
    counted: float = 0.0
    correct: float = 0.0
    skipped: int = 0
    seconds: float = 0.0

    def add(
        self,
        loss: Float[np.ndarray, " S"],
        correct: Float[np.ndarray, " S"],
        weights: Float[np.ndarray, " S"],
        skipped: int,
        seconds: float,
    ) -> None:
        """Add the steps of a stretch: mean loss, right answers and samples of each."""
        finite = np.isfinite(loss)
        products = np.where(finite, loss, 0).astype(np.float64) * weights
        # cumsum adds one after the other; sum would add in pairs, and differently for each length.
        self.loss = float(np.cumsum(np.concatenate([[self.loss], products]))[-1])
        self.counted += float((weights * finite).sum(dtype=np.float64))
        self.correct += float(correct.sum(dtype=np.float64))
        self.skipped += skipped
        self.seconds += seconds

    @property
    def mean_loss(self) -> float | None:
        """Over the samples that counted; None where none did."""
        return self.loss / self.counted if self.counted else None


@dataclass
class Standing:
    """step: steps done. sums: of the epoch that is under way. history: the records of the evaluated epochs."""

    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    pace: Pace = field(default_factory=Pace)
    best: Best = field(default_factory=Best)
    history: list[Record] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the best weights are arrays, and are saved as such."""
        best = self.best
        return {
            "step": self.step,
            "epoch": len(self.history),
            "sums": asdict(self.sums),
            "pace": {
                "train_seconds": self.pace.train_seconds,
                "samples": self.pace.samples,
                "steps": self.pace.steps,
                "last_loss": _number(self.pace.last_loss),
            },
            "best": best.evaluation
            and {"score": best.score, "epoch": best.epoch, "evaluation": asdict(best.evaluation)},
            "history": list(self.history),
        }

    @staticmethod
    def from_json(saved: Mapping[str, Any], best_params: Params | None) -> "Standing":
        """The inverse of `to_json`."""
        pace, best = saved["pace"], saved["best"]
        last_loss = math.nan if pace["last_loss"] is None else pace["last_loss"]
        history: Sequence[Record] = saved["history"]
        return Standing(
            saved["step"],
            EpochSums(**saved["sums"]),
            Pace(pace["train_seconds"], pace["samples"], pace["steps"], last_loss),
            Best(best["score"], best["epoch"], Evaluation(**best["evaluation"]), best_params)
            if best
            else Best(),
            list(history),
        )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
