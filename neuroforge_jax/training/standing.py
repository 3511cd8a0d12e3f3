"""Where a run stands: everything but the arrays of its state, as plain numbers that can be saved and read back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from neuroforge_jax.observe.pace import Pace
from neuroforge_jax.observe.sinks import Record
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.selection import Best
from neuroforge_jax.typing import Params


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
