"""How far a run has come, and how fast: plain numbers, apart from its arrays, that are saved and read back."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

Record = Mapping[str, float | int | str | None]
"""What a line of metrics.jsonl holds; the names carry their units."""

SEGMENT_SECONDS = 0.4
"""How long the device is left alone: short enough for a live bar and Ctrl-C, long enough to cost nothing."""

GROWTH = 8
"""How much longer one segment may be than the one before, whose time may have been luck."""


@dataclass
class Throughput:
    """The sums of a run so far; train_seconds has no compile, evaluation, loading or saving in it."""

    train_seconds: float = 0.0
    samples: float = 0.0
    steps: int = 0
    _next: int = field(default=1, repr=False)

    def next_segment(self, remaining: int) -> int:
        """Steps to train next: one at first, then what fills SEGMENT_SECONDS."""
        return min(self._next, remaining)

    def add(self, steps: int, samples: float, seconds: float) -> None:
        """Take note of a finished segment."""
        self.train_seconds += seconds
        self.samples += samples
        self.steps += steps
        self._next = max(1, min(steps * GROWTH, round(steps * SEGMENT_SECONDS / max(seconds, 1e-9))))

    @property
    def samples_per_second(self) -> float:
        """Over the whole run."""
        return self.samples / self.train_seconds


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
        samples: Float[np.ndarray, " S"],
        skipped: int,
        seconds: float,
    ) -> None:
        """Add the steps of a segment: mean loss, right answers and samples of each."""
        finite, counted = np.isfinite(loss), samples
        if not finite.all():
            loss, counted = np.where(finite, loss, 0), samples * finite
        products = np.multiply(loss, samples, dtype=np.float64)
        if len(products):
            # cumsum adds one after the other; sum would add in pairs, and differently for each length.
            products[0] += self.loss
            self.loss = float(products.cumsum()[-1])
        self.counted += float(counted.sum(dtype=np.float64))
        self.correct += float(correct.sum(dtype=np.float64))
        self.skipped += skipped
        self.seconds += seconds

    @property
    def mean_loss(self) -> float | None:
        """Over the samples that counted; None where none did."""
        return self.loss / self.counted if self.counted else None


@dataclass
class TrainProgress:
    """step: steps done. sums: of the epoch that is under way. history: the records of the evaluated epochs.

    last_loss: of the last segment whose losses are all finite; NaN before the first.
    """

    step: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    throughput: Throughput = field(default_factory=Throughput)
    last_loss: float = math.nan
    history: list[Record] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Epochs that are evaluated."""
        return len(self.history)

    def end_epoch(self, record: Record) -> None:
        """Take the record of an epoch, and begin the next."""
        self.history.append(record)
        self.sums = EpochSums()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        pace = self.throughput
        return {
            "step": self.step,
            "epoch": self.epoch,
            "sums": asdict(self.sums),
            "pace": {
                "train_seconds": pace.train_seconds,
                "samples": pace.samples,
                "steps": pace.steps,
                "last_loss": self.last_loss if math.isfinite(self.last_loss) else None,
            },
            "history": list(self.history),
        }

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> "TrainProgress":
        """The inverse of `to_json`."""
        pace = saved["pace"]
        last_loss = math.nan if pace["last_loss"] is None else pace["last_loss"]
        return TrainProgress(
            saved["step"],
            EpochSums(**saved["sums"]),
            Throughput(pace["train_seconds"], pace["samples"], pace["steps"]),
            last_loss,
            list(saved["history"]),
        )
