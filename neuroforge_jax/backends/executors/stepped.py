"""One compiled step a dispatch, with a donated state: the usual training loop in JAX.

The data lie on the device here too; what differs from `scanned` is that Python dispatches every step, which
decides the speed of small networks.
"""

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax.backends.executors.base import CompiledRun, Run, StretchMetrics, check_stretch
from neuroforge_jax.data.batch import DeviceData, gather, to_device
from neuroforge_jax.data.shuffle import positions_of_step, sample_order, steps_per_epoch
from neuroforge_jax.data.types import Split
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Step, StepMetrics
from neuroforge_jax.typing import Array, CompileOptions


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
    """Compile one step for this state and data."""
    data = to_device(train, device)
    samples = len(data)
    compiled = _jitted(step, samples, batch_size, options).lower(state_like, data, np.int32(0)).compile()

    def run(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, StretchMetrics]:
        check_stretch(first_step, last_step)
        chunks = []
        for index in range(first_step, last_step):
            state, metrics = compiled(state, data, np.int32(index))
            chunks.append((metrics, 1))
        return state, StretchMetrics(tuple(chunks), first_step, last_step, samples, batch_size)

    return CompiledRun(run, {"step": compiled})


@by_structure
def _jitted(step: Step, samples: int, batch_size: int, options: CompileOptions) -> jax.stages.Wrapped:
    per_epoch = steps_per_epoch(samples, batch_size)

    def program(state: TrainState, data: DeviceData, index: Array) -> tuple[TrainState, StepMetrics]:
        positions = positions_of_step(index % per_epoch, batch_size)
        indices = sample_order(state.order_key, index // per_epoch, samples, positions)
        return step(state, gather(data, indices, (positions < samples).astype(jnp.float32)))

    return jax.jit(program, donate_argnums=0, compiler_options=dict(options) or None)
