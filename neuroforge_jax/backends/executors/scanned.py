"""Many steps in one dispatch: the data lie on the device, and nothing is allocated or waited for.

The program is a loop over epochs around a loop over steps, both with traced bounds: a run cut anywhere, for
an evaluation or a glance at the clock, is the same program and the same bits. Each epoch's order is computed
once, before its steps.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.backends.executors.base import CompiledRun, Run, StretchMetrics, check_stretch
from neuroforge_jax.data.batch import DeviceData, gather, to_device
from neuroforge_jax.data.shuffle import positions_of_step, sample_order, steps_per_epoch
from neuroforge_jax.data.types import Split
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Step, StepMetrics
from neuroforge_jax.typing import Array, CompileOptions

MAX_CAPACITY = 1 << 16
"""Steps whose metrics one dispatch can hold; a longer stretch takes several."""

Carry = tuple[TrainState, StepMetrics]


def stretch_program(
    step: Step, *, samples: int, batch_size: int, capacity: int
) -> Callable[[TrainState, DeviceData, Array, Array], Carry]:
    """The pure program (state, data, first, last) → (state, metrics f32 [capacity])."""
    per_epoch = steps_per_epoch(samples, batch_size)

    def program(state: TrainState, data: DeviceData, first: Array, last: Array) -> Carry:
        def run_epoch(epoch: Array, carry: Carry) -> Carry:
            positions = jnp.arange(per_epoch * batch_size, dtype=jnp.int32)
            order = sample_order(carry[0].order_key, epoch, samples, positions)

            def run_step(index: Array, carry: Carry) -> Carry:
                state, metrics = carry
                in_epoch = index - epoch * per_epoch
                indices = lax.dynamic_slice(order, (in_epoch * batch_size,), (batch_size,))
                weights = (positions_of_step(in_epoch, batch_size) < samples).astype(jnp.float32)
                state, now = step(state, gather(data, indices, weights))
                return state, jax.tree.map(lambda all_, one: all_.at[index - first].set(one), metrics, now)

            begin = jnp.maximum(first, epoch * per_epoch)
            end = jnp.minimum(last, (epoch + 1) * per_epoch)
            return lax.fori_loop(begin, end, run_step, carry)

        metrics = StepMetrics.zeros((capacity,), scaled=state.loss_scale is not None)
        return lax.fori_loop(first // per_epoch, (last - 1) // per_epoch + 1, run_epoch, (state, metrics))

    return program


@by_structure
def _jitted(
    step: Step, samples: int, batch_size: int, capacity: int, options: CompileOptions
) -> jax.stages.Wrapped:
    program = stretch_program(step, samples=samples, batch_size=batch_size, capacity=capacity)
    return jax.jit(program, donate_argnums=0, compiler_options=dict(options) or None)


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
    """Compile the program for this state and data; `steps` is the length of the whole run."""
    data = to_device(train, device)
    # Rounded up to a power of two: a few epochs more are the same program.
    samples, capacity = len(data), min(1 << (max(steps, 1) - 1).bit_length(), MAX_CAPACITY)
    jitted = _jitted(step, samples, batch_size, capacity, options)
    compiled = jitted.lower(state_like, data, np.int32(0), np.int32(0)).compile()

    def run(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, StretchMetrics]:
        check_stretch(first_step, last_step)
        chunks = []
        for first in range(first_step, last_step, capacity):
            last = min(last_step, first + capacity)
            state, metrics = compiled(state, data, np.int32(first), np.int32(last))
            chunks.append((metrics, last - first))
        return state, StretchMetrics(tuple(chunks), first_step, last_step, samples, batch_size)

    return CompiledRun(run, {"stretch": compiled})
