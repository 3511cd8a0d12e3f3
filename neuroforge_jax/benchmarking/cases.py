"""What is measured: trainings of ours, each with a name, a config and what the record says of it."""

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np

from neuroforge_jax.backends.executors.base import programs_of
from neuroforge_jax.backends.peak import share_of_peak
from neuroforge_jax.backends.resolve import choose
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.benchmarking.harness import Measured, Started
from neuroforge_jax.benchmarking.peaks import (
    SMALL_STEP_FLOPS,
    Peaks,
    step_bytes,
    step_flops,
    working_set_bytes,
)
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.job.job import Job
from neuroforge_jax.population import build_population
from neuroforge_jax.precision.policy import short_name
from neuroforge_jax.profiling.memory import program_bytes
from neuroforge_jax.system.memory import peak_device_bytes

PIXELS, CLASSES = 784, 10
SAMPLES = 16_384
OPTIMIZER_SLOTS = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}


def random_pixels(samples: int = SAMPLES, inputs: int = PIXELS) -> Dataset:
    """Noise of MNIST's shape: speed does not depend on what the pictures show, and a fresh machine has none."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (samples + 64, inputs), np.uint8)
    labels = rng.integers(0, CLASSES, samples + 64).astype(np.int32)
    classes = [str(index) for index in range(CLASSES)]
    return Dataset.from_arrays(
        pixels[:-64], labels[:-64], pixels[-64:], labels[-64:], name="random pixels", classes=classes
    )


@dataclass(frozen=True, eq=False)
class Case:
    """A training to be timed.

    name: group/what/candidate. axis: where it lies on a curve. baseline: the name of the case that it is compared
    with, in the same round. multiplied_in: f32, bf16, …, of a peer. networks: that are trained at once, each from
    a seed of its own; times, rates and work are those of one of them.
    """

    name: str
    config: TrainConfig
    dataset: Dataset
    axis: dict[str, float] = field(default_factory=dict)
    baseline: str | None = None
    multiplied_in: str | None = None
    networks: int = 1

    @property
    def group(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    @property
    def candidate(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @cached_property
    def backend(self) -> Backend:
        """Raises DeviceError where it cannot train here."""
        return choose(self.config).backend

    @cached_property
    def job(self) -> Job:
        """The training, resolved, and compiled as a long one is."""
        if self.networks == 1:
            job = Job.build(self.config, self.dataset)
        else:
            job = build_population(self.config, self.dataset, range(self.networks))
        return replace(job, compile_options=job.backend.options(self.config.batch_size))

    @property
    def dtype(self) -> str:
        """What the large products are multiplied in: as said, else by the backend."""
        return self.multiplied_in or short_name(
            self.backend.policy.multiplied_in(self.backend.device.platform)
        )

    @property
    def is_small(self) -> bool:
        """Whether a step is bound by something else than its products; see `SMALL_STEP_FLOPS`."""
        return step_flops(self.job.model.mlp, self.config.batch_size) < SMALL_STEP_FLOPS

    def start(self) -> Started:
        """Compile the training, and take its first step."""
        begun = time.perf_counter()
        job = self.job
        state, run = job.start(), job.compile()
        programs = programs_of(run).values()
        compiled = time.perf_counter()
        state, _ = run(state, 0, 1)
        jax.block_until_ready(state.params)
        first = time.perf_counter() - compiled
        box = [(state, 1)]

        def turn(steps: int) -> float:
            state, at = box[0]
            begun = time.perf_counter()
            state, _ = run(state, at, at + steps)
            jax.block_until_ready(state.params)
            seconds = time.perf_counter() - begun
            box[0] = state, at + steps
            return seconds

        sizes = [told["peak"] for program in programs if (told := program_bytes(program))]
        return Started(turn, compiled - begun, first, max(sizes, default=None), self.networks)

    def record(self, measured: Measured, peaks: Peaks, baseline: Measured | None) -> dict[str, Any]:
        """What the record says of this case."""
        seconds, backend = measured.seconds_per_step, self.backend
        mlp, batch_size = self.job.model.mlp, self.config.batch_size
        flops = step_flops(mlp, batch_size)
        slots, compute = OPTIMIZER_SLOTS[self.config.optimizer], np.dtype(backend.policy.compute).itemsize
        pixels = self.dataset.train.inputs.dtype.itemsize
        moved = step_bytes(mlp, batch_size, input_bytes=pixels, slots=slots, compute_bytes=compute)
        worked_on = working_set_bytes(mlp, batch_size, slots=slots, compute_bytes=compute)
        roofline = peaks.roofline(self.dtype, flops, moved, worked_on)
        rate = flops / seconds.median
        return {
            "name": self.name,
            "group": self.group,
            "contender": self.candidate,
            "axis": self.axis,
            "widths": [mlp.inputs, *mlp.hidden, mlp.outputs],
            "batch_size": batch_size,
            "networks": self.networks,
            "backend": backend.name,
            "precision": str(backend.policy),
            "dtype": self.dtype,
            "compile_options": dict(backend.options(batch_size)),
            "steps_of_a_turn": measured.steps,
            "seconds_per_step": seconds.to_json(),
            "reference_seconds": list(measured.reference_seconds),
            "samples_per_second": batch_size / seconds.median,
            "compile_seconds": measured.started.compile_seconds,
            "first_step_seconds": measured.started.first_step_seconds,
            "flops_per_step": flops,
            "bytes_per_step": moved,
            "working_set_bytes": worked_on,
            "flops_per_second": rate,
            "share_of_peak": share_of_peak(rate, peaks.matmul_flops_per_second[self.dtype]),
            "roofline_flops_per_second": roofline,
            "share_of_roofline": share_of_peak(rate, roofline),
            "program_bytes": measured.started.program_bytes,
            "peak_resident_bytes": None,
            "peak_device_bytes": peak_device_bytes(backend.device),
            "ratio": None
            if baseline is None
            else {"to": self.baseline, **measured.faster_than(baseline).to_json()},
        }


def family(
    group: str,
    what: str,
    config: TrainConfig,
    dataset: Dataset,
    backends: tuple[str, ...],
    *,
    axis: dict[str, float] | None = None,
) -> tuple[Case, ...]:
    """The same training by several backends, all compared with the first."""
    names = [f"{group}/{what}/{backend}" for backend in backends]
    return tuple(
        Case(
            name,
            replace(config, backend=backend),
            dataset,
            axis or {},
            None if name == names[0] else names[0],
        )
        for name, backend in zip(names, backends, strict=True)
    )


def skipped_case(name: str, reason: str) -> dict[str, Any]:
    """What the record says of a candidate that could not be measured. name: group/what/candidate."""
    return {
        "name": name,
        "group": name.partition("/")[0],
        "contender": name.rpartition("/")[2],
        "skipped": reason,
    }
