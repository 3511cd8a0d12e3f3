"""How fast a run goes, and so how many steps the device is given before the host looks up again."""

import math
from dataclasses import dataclass, field

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
