"""What every execution is, and what it gives back: a function that runs any stretch of steps, and its metrics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from neuroforge_jax.data.shuffle import steps_per_epoch
from neuroforge_jax.data.types import Split
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Step, StepMetrics
from neuroforge_jax.typing import CompileOptions


@dataclass(frozen=True, eq=False)
class StretchMetrics:
    """The metrics of the steps first_step … last_step − 1, left on the device until they are asked for.

    chunks: pairs of device metrics (f32 [≥ steps] each) and how many of their entries are valid.
    """

    chunks: tuple[tuple[StepMetrics, int], ...]
    first_step: int
    last_step: int
    samples: int
    batch_size: int

    @cached_property
    def loss(self) -> Float[np.ndarray, " S"]:
        """The loss of each step; reading it waits for the steps to be done."""
        return self._read("loss")

    @cached_property
    def correct(self) -> Float[np.ndarray, " S"]:
        """How many samples of each step were classified rightly before its update."""
        return self._read("correct")

    @cached_property
    def skipped(self) -> Float[np.ndarray, " S"]:
        """1 for each step whose gradients overflowed, so that it updated nothing; else 0."""
        if any(metrics.skipped is None for metrics, _ in self.chunks):
            return np.zeros(self.last_step - self.first_step, np.float32)
        return self._read("skipped")

    @property
    def mean_loss(self) -> float:
        """Over the samples of the steps whose loss is finite; NaN where there is none."""
        finite = np.isfinite(self.loss)
        counted = float(self.weights @ finite)
        return float(np.where(finite, self.loss, 0) @ self.weights) / counted if counted else math.nan

    @cached_property
    def weights(self) -> Float[np.ndarray, " S"]:
        """How many real samples each step had; the last step of an epoch may have fewer."""
        positions = np.arange(self.first_step, self.last_step) % steps_per_epoch(
            self.samples, self.batch_size
        )
        return np.minimum(self.batch_size, self.samples - positions * self.batch_size).astype(np.float32)

    def followed_by(self, rest: "StretchMetrics") -> "StretchMetrics":
        """Of this stretch and the one that begins where it ends, as one."""
        return replace(self, chunks=self.chunks + rest.chunks, last_step=rest.last_step)

    def _read(self, name: str) -> Float[np.ndarray, " S"]:
        parts = [np.atleast_1d(np.asarray(getattr(metrics, name)))[:valid] for metrics, valid in self.chunks]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


@runtime_checkable
class Run(Protocol):
    """A prepared training: it advances a state over the steps first_step … last_step − 1.

    The state given in is donated: its buffers are used again, and it must not be used any more.
    """

    def __call__(
        self, state: TrainState, first_step: int, last_step: int
    ) -> tuple[TrainState, StretchMetrics]:
        """Returns at once; the state and the metrics are futures of the device."""
        ...


@dataclass(frozen=True, eq=False)
class CompiledRun:
    """A run whose programs can be looked at. programs: what XLA compiled for it, by name."""

    advance: Run
    programs: Mapping[str, jax.stages.Compiled]

    def __call__(
        self, state: TrainState, first_step: int, last_step: int
    ) -> tuple[TrainState, StretchMetrics]:
        """See `Run`."""
        return self.advance(state, first_step, last_step)


@runtime_checkable
class Execution(Protocol):
    """A way to run many steps: it prepares a training on the samples of `train`."""

    def __call__(
        self,
        step: Step,
        state_like: TrainState,
        train: Split,
        device: jax.Device,
        *,
        batch_size: int,
        steps: int,
        options: CompileOptions,
    ) -> Run:
        """Compile what is needed.

        state_like: the shapes and dtypes of the state. steps: of the whole run. options: XLA's, for `jax.jit`.
        """
        ...


def check_stretch(first_step: int, last_step: int) -> None:
    """A stretch is a range of steps; it may be empty."""
    if not 0 <= first_step <= last_step:
        raise ValueError(
            f"steps {first_step} to {last_step}: a stretch begins at 0 or later and ends after that"
        )
