"""One small training by a backend, for what is asked of its steps."""

from dataclasses import replace
from functools import cached_property
from typing import Any

import jax
import numpy as np

from neuroforge_jax.backends.executors.base import Run, SegmentMetrics
from neuroforge_jax.backends.resolve import Choice
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.job.job import Job
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.verification.bounds import Bounds
from neuroforge_jax.verification.checks import unit_roundoff
from neuroforge_jax.verification.verdict import Check

SAMPLES, INPUTS, CLASSES, BATCH = 181, 61, 7, 67
EPOCHS = 6
RAGGED = SAMPLES % BATCH
"""The last batch of an epoch has so many samples, and the others BATCH."""

STEPS_PER_EPOCH = -(-SAMPLES // BATCH)
STEPS = EPOCHS * STEPS_PER_EPOCH

CONFIG = TrainConfig(
    hidden=(33,), activation="tanh", batch_size=BATCH, epochs=EPOCHS, optimizer="momentum", learning_rate=0.05
)


class Trial:
    """The training by a backend, and by `stepped` of the same precision and kernels, which is its measure.

    follows: whether each of its steps was found to be that of `stepped`.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend, self.follows = backend, False

    def job_on(self, dataset: Dataset, seed: int = CONFIG.seed) -> Job:
        """The training by the backend, on these data."""
        return Job.build(replace(CONFIG, seed=seed), dataset, Choice(self._backend, ""))

    @cached_property
    def job(self) -> Job:
        """On the data that are drawn for it."""
        return self.job_on(draw_dataset())

    @cached_property
    def run(self) -> Run:
        """As the backend prepares it."""
        return self.job.compile()

    @cached_property
    def run_stepped(self) -> Run:
        """The same training, a step a dispatch."""
        return with_stepped(self.job).compile()

    @cached_property
    def whole(self) -> tuple[TrainState, SegmentMetrics]:
        """The state, on the host, and the metrics of all steps at once."""
        state, metrics = self.run(self.job.start(), 0, STEPS)
        return jax.device_get(state), metrics

    @property
    def bounds(self) -> Bounds:
        """How far two right steps may be from each other."""
        return Bounds(unit_roundoff(self._backend.policy), 2, BATCH)


def with_stepped(job: Job) -> Job:
    """The same training by `stepped`."""
    return replace(job, backend=replace(job.backend, execution="stepped"))


def draw_dataset() -> Dataset:
    """Classes that can be told apart, but not at once."""
    rng = np.random.default_rng(1)
    targets = rng.integers(0, CLASSES, SAMPLES).astype(np.int32)
    centres = rng.normal(size=(CLASSES, INPUTS))
    inputs = (centres[targets] + rng.normal(size=(SAMPLES, INPUTS))).astype(np.float32)
    return Dataset.from_arrays(inputs, targets, inputs[:9], targets[:9], name="drawn")


def on_device(state: TrainState, device: jax.Device) -> TrainState:
    """A state of the host as arrays of the device's own, which may be donated."""
    return jax.tree.map(lambda leaf: jax.device_put(np.array(leaf), device, may_alias=False), state)


def same_bits(one: Any, other: Any) -> bool:
    """Whether two pytrees have the same bits."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def first_that_differs(found: np.ndarray, wanted: np.ndarray) -> int | None:
    """The place of the first number that is another; None where there is none."""
    differs = np.nonzero(~np.equal(found, wanted))[0]
    return int(differs[0]) if len(differs) else None


def describe_error(check: Check) -> str:
    """What is off by how much, in words."""
    return f"{check.what} off by {check.error:.1e}, and {check.bound:.1e} is allowed"
