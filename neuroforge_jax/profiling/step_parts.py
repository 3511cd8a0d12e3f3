"""A step taken apart: gathering its batch, forward, backward, optimizer, each compiled and timed on its own.

Inside a run they are one program, in which XLA fuses across these borders, so that the parts may add up to more
than the step. Backward is the time of loss and gradients together less that of the loss alone.
"""

from collections.abc import Mapping

import jax
import numpy as np

from neuroforge_jax.data.batch import Batch, gather, to_device
from neuroforge_jax.job.job import Job
from neuroforge_jax.profiling.profiler import PerformanceProfiler
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Array


def step_seconds(job: Job) -> Mapping[str, float]:
    """Median seconds of data, forward, backward and optimizer for one batch of this training."""
    parts, device, fitted, batch_size = job.parts, job.device, job.model.fitted, job.training.batch_size
    state, options = job.start(), dict(job.compile_options) or None
    data = to_device(job.dataset.train, device)
    indices = np.random.default_rng(0).integers(0, len(job.dataset.train), batch_size).astype(np.int32)
    picked = jax.device_put((indices, np.ones(batch_size, np.float32)), device)

    def loss(state: TrainState, batch: Batch) -> Array:
        return parts.metrics(parts.forward(state.params, fitted, batch.inputs, None), batch, state.hyper).loss

    profiler = PerformanceProfiler()
    batch = profiler.measure("data", jax.jit(gather), data, *picked)
    profiler.measure("forward", jax.jit(loss, compiler_options=options), state, batch)
    gradients, _ = profiler.measure(
        "gradients", jax.jit(parts.backward, compiler_options=options), state, fitted, batch
    )
    profiler.measure("optimizer", jax.jit(parts.optimize, compiler_options=options), state, gradients)
    median = {name: measurement.median for name, measurement in profiler.measurements.items()}
    return {
        "data": median["data"],
        "forward": median["forward"],
        "backward": max(median["gradients"] - median["forward"], 0.0),
        "optimizer": median["optimizer"],
    }
