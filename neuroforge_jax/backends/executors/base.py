"""What every execution is given, and what it gives back: a function that runs any segment of steps, and its
metrics.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from neuroforge_jax.data.batch import BatchRows
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.stream import Source
from neuroforge_jax.data.types import Split
from neuroforge_jax.training.gradients import StepMetrics
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Step
from neuroforge_jax.typing import CompileOptions

CHUNK_SAMPLES = 8192
"""Samples of a chunk, about. At batch 64 on a CPU 2,048 and more are as fast as data on the device, and 512 are 4
to 7 % slower; reading 1, 2 or 4 chunks ahead made no difference there."""


@dataclass(frozen=True)
class Streaming:
    """How far the host reads ahead of the device; neither number changes what is computed.

    chunk_steps: steps of one dispatch; unless given, as many as have about 8,192 samples. read_ahead: chunks that
    may be ready, besides the one that computes and the one that waits for it.
    """

    chunk_steps: int | None = None
    read_ahead: int = 2

    def steps_of_chunk(self, batch_size: int, steps: int) -> int:
        """Steps of one dispatch in a run of `steps` steps, a power of two of them where the run is short: a few
        steps more are the same program.
        """
        return min(self.chunk_steps or -(-CHUNK_SAMPLES // batch_size), 1 << (max(steps, 1) - 1).bit_length())

    @property
    def buffers(self) -> int:
        """Chunks on the host at most: one computes, one waits for it, the others are read ahead."""
        return self.read_ahead + 2


@dataclass(frozen=True, eq=False)
class ExecutorSpec:
    """All that an execution needs to know.

    step: the pure step. state_like: the shapes and dtypes of the state. fitted: what was learnt from the data
    before. train: the samples; source: others in their place, for an execution that takes a source. steps: of the
    whole run. rows: in which the samples of a step lie. metrics_held: steps whose metrics a dispatch has room
    for; those of the run unless given. shuffles: whether each epoch has an order of its own, and not the one in
    which samples are stored. options: XLA's, `dict(spec.options)` for `jax.jit`. members: of a population, whose
    state has an axis [P] before all others; None for one network.
    """

    step: Step
    state_like: TrainState
    fitted: Fitted
    train: Split
    placement: Placement
    batch_size: int
    steps: int
    shuffles: bool = True
    options: CompileOptions = ()
    source: Source | None = None
    streaming: Streaming = field(default_factory=Streaming)
    members: int | None = None
    metrics_held: int | None = None
    rows: BatchRows | None = None

    @property
    def sized_for(self) -> int:
        """Steps by which the program of a dispatch is sized."""
        return self.metrics_held or self.steps

    @property
    def device(self) -> jax.Device:
        """Where all of it is, or of several devices the first."""
        return self.placement.device

    @property
    def batch_rows(self) -> BatchRows:
        """The rows of a step's samples: as many as there are, unless others were given."""
        return self.rows or BatchRows.of(self.batch_size)


class HostMetrics(NamedTuple):
    """The metrics of the steps first_step … last_step − 1 as arrays of NumPy f32 [S], of a population [P, S]."""

    first_step: int
    last_step: int
    loss: np.ndarray
    correct: np.ndarray
    samples: np.ndarray
    skipped: np.ndarray


@dataclass(frozen=True, eq=False)
class SegmentMetrics:
    """The metrics of the steps first_step … last_step − 1, left on the device until they are asked for.

    chunks: pairs of device metrics (f32 [≥ steps] each) and how many of their entries are valid. Of a population
    they have an axis more, [P, S].
    """

    chunks: tuple[tuple[StepMetrics, int], ...]
    first_step: int
    last_step: int

    @cached_property
    def loss(self) -> Float[np.ndarray, " S"]:
        """The loss of each step; reading it waits for the steps to be done."""
        return self._read("loss")

    @cached_property
    def correct(self) -> Float[np.ndarray, " S"]:
        """How many samples of each step were classified rightly before its update."""
        return self._read("correct")

    @cached_property
    def samples(self) -> Float[np.ndarray, " S"]:
        """How many real samples each step had; the last step of an epoch may have fewer."""
        return self._read("samples")

    @cached_property
    def skipped(self) -> Float[np.ndarray, " S"]:
        """1 for each step whose gradients overflowed, so that it updated nothing; else 0."""
        if any(metrics.skipped is None for metrics, _ in self.chunks):
            return np.zeros_like(self.loss)
        return self._read("skipped")

    @property
    def mean_loss(self) -> float:
        """Over the samples of the steps whose loss is finite; NaN where there is none."""
        finite = np.isfinite(self.loss)
        counted = float(self.samples @ finite)
        return float(np.where(finite, self.loss, 0) @ self.samples) / counted if counted else math.nan

    def split(self, parts: int) -> Iterator[HostMetrics]:
        """So many parts of equally many steps, in turn."""
        arrays = self.loss, self.correct, self.samples, self.skipped
        steps = (self.last_step - self.first_step) // parts
        for at in range(0, steps * parts, steps):
            first = self.first_step + at
            yield HostMetrics(first, first + steps, *(each[..., at : at + steps] for each in arrays))

    def _read(self, name: str) -> Float[np.ndarray, " S"]:
        parts = [
            np.atleast_1d(np.asarray(getattr(metrics, name)))[..., :valid] for metrics, valid in self.chunks
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts, axis=-1) if parts else np.zeros(0, np.float32)


@runtime_checkable
class Run(Protocol):
    """A prepared training: it advances a state over the steps first_step … last_step − 1.

    The state given in is donated: its buffers are used again, and it must not be used any more.
    """

    def __call__(
        self, state: TrainState, first_step: int, last_step: int
    ) -> tuple[TrainState, SegmentMetrics]:
        """Returns at once; the state and the metrics are futures of the device."""
        ...


@dataclass(frozen=True, eq=False)
class CompiledRun:
    """A run whose programs can be looked at. programs: what XLA compiled for it, by name."""

    advance: Run
    programs: Mapping[str, jax.stages.Compiled]

    def __call__(
        self, state: TrainState, first_step: int, last_step: int
    ) -> tuple[TrainState, SegmentMetrics]:
        """See `Run`."""
        return self.advance(state, first_step, last_step)


def programs_of(run: Run) -> Mapping[str, jax.stages.Compiled]:
    """What XLA compiled for a run, by name; nothing of one that is not compiled as a whole."""
    return run.programs if isinstance(run, CompiledRun) else {}


@dataclass(frozen=True)
class Execution:
    """A way to run many steps, and what it can.

    prepare: compiles what is needed. resident: samples that lie on the device at once, for the estimate of memory.
    takes_source: whether samples may come from a source in the place of arrays. trains_many: whether the state may
    be that of a population, every leaf [P, …]. keeps_order: whether samples are taken in the order in which they
    are stored where `spec.shuffles` is False. takes_mesh: whether it trains on several devices.
    """

    name: str
    prepare: Callable[[ExecutorSpec], Run]
    resident: Callable[[ExecutorSpec], int] = lambda spec: len(spec.train)
    takes_source: bool = False
    trains_many: bool = False
    keeps_order: bool = False
    takes_mesh: bool = False


def check_segment(first_step: int, last_step: int) -> None:
    """A segment is a range of steps; it may be empty."""
    if not 0 <= first_step <= last_step:
        raise ValueError(
            f"steps {first_step} to {last_step}: a segment begins at 0 or later and ends after that"
        )
