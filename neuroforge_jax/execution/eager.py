"""Every operation dispatched on its own, and a batch copied from the host each step: the baseline to learn from.

Nothing is compiled as a whole, nothing is donated, nothing lies on the device but the state. What the other
executions gain, they gain over this.
"""

import jax
import numpy as np

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.order import order_on_host, round_keys, steps_per_epoch
from neuroforge_jax.data.types import Split
from neuroforge_jax.execution.interface import Run, StretchMetrics, check_stretch
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Step
from neuroforge_jax.typing import CompileOptions


def prepare(
    step: Step,
    state_like: TrainState,
    train: Split,
    device: jax.Device,
    *,
    batch_size: int,
    steps: int,
    options: CompileOptions,
) -> Run:
    """Nothing to prepare: jax compiles each operation when it first meets it, without these options."""
    samples = len(train)
    per_epoch = steps_per_epoch(samples, batch_size)

    def run(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, StretchMetrics]:
        check_stretch(first_step, last_step)
        chunks = []
        epoch, keys = -1, np.zeros(0, np.uint32)
        for index in range(first_step, last_step):
            if index // per_epoch != epoch:
                epoch = index // per_epoch
                keys = np.asarray(round_keys(state.order_key, epoch))
            positions = index % per_epoch * batch_size + np.arange(batch_size)
            picked = train[order_on_host(keys, samples, positions)]
            weights = (positions < samples).astype(np.float32)
            batch = Batch(*jax.device_put((picked.inputs, picked.targets, weights), device))
            state, metrics = step(state, batch)
            chunks.append((metrics, 1))
        return state, StretchMetrics(tuple(chunks), first_step, last_step, samples, batch_size)

    return run
