"""A step taken apart: gathering its batch, forward, backward, optimizer, each compiled and timed on its own.

Inside a run they are one program, in which XLA fuses across these borders, so that the parts may add up to more
than the step. Backward is the time of loss and gradients together less that of the loss alone.
"""

from collections.abc import Mapping

import jax
import numpy as np

from neuroforge_jax.backends.resolve import choose
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.batch import Batch, gather, to_device
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.job.pieces import init, make_training
from neuroforge_jax.profiling.profiler import PerformanceProfiler
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Array


def step_seconds(config: TrainConfig, dataset: Dataset) -> Mapping[str, float]:
    """Median seconds of data, forward, backward and optimizer for one batch of this training."""
    backend = choose(config).backend
    model, state = init(config, dataset)
    parts = backend.parts(model, make_training(config, dataset))
    options = dict(backend.options(config.batch_size)) or None
    data = to_device(dataset.train, backend.device)
    rng = np.random.default_rng(config.seed)
    indices = jax.device_put(rng.integers(0, len(data), config.batch_size).astype(np.int32), backend.device)
    weights = jax.device_put(np.ones(config.batch_size, np.float32), backend.device)

    def loss(state: TrainState, batch: Batch) -> Array:
        return parts.metrics(parts.forward(state.params, batch.inputs, None), batch).loss

    profiler = PerformanceProfiler()
    batch = profiler.measure("data", jax.jit(gather), data, indices, weights)
    profiler.measure("forward", jax.jit(loss, compiler_options=options), state, batch)
    gradients, _ = profiler.measure(
        "gradients", jax.jit(parts.backward, compiler_options=options), state, batch
    )
    profiler.measure("optimizer", jax.jit(parts.optimize, compiler_options=options), state, gradients)
    median = {name: measurement.median for name, measurement in profiler.measurements.items()}
    return {
        "data": median["data"],
        "forward": median["forward"],
        "backward": max(median["gradients"] - median["forward"], 0.0),
        "optimizer": median["optimizer"],
    }
