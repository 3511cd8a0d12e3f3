"""A run that is looked at while it trains: what it holds at its end, and a trace of some of its steps."""

from pathlib import Path

import jax

from neuroforge_jax.backends.executors.base import Run, StretchMetrics
from neuroforge_jax.profiling import trace
from neuroforge_jax.training.state import TrainState


class InstrumentedRun:
    """A run that keeps its last state, and traces `steps` steps into `folder`, from the second on.

    The first one pays for what happens once. state: None before the first stretch. traced: steps so far.
    """

    def __init__(self, run: Run, folder: Path, steps: int = 0) -> None:
        self.run, self._folder, self._steps = run, folder, steps
        self.state: TrainState | None = None
        self.traced = 0
        self._tracing = False

    def __call__(
        self, state: TrainState, first_step: int, last_step: int
    ) -> tuple[TrainState, StretchMetrics]:
        """See `Run`; a stretch is cut where the trace begins and where it ends."""
        warm, last = self.state is not None, last_step
        if self.traced < self._steps and first_step < last_step:
            last = min(last_step, first_step + self._steps - self.traced) if warm else first_step + 1
            if warm and not self._tracing:
                trace.start(self._folder)
                self._tracing = True
        state, metrics = self.run(state, first_step, last)
        self.state = state
        if last < last_step or self._tracing:
            jax.block_until_ready(state)
        if self._tracing:
            self.traced += last - first_step
            if self.traced == self._steps:
                self.close()
        if last == last_step:
            return state, metrics
        state, rest = self(state, last, last_step)
        return state, metrics.followed_by(rest)

    def close(self) -> None:
        """Write what has been traced."""
        if self._tracing:
            self._tracing = False
            trace.stop()
