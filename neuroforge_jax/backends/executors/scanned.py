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

from neuroforge_jax.backends.executors.base import (
    CompiledRun,
    Execution,
    ExecutorSpec,
    Run,
    SegmentMetrics,
    check_segment,
)
from neuroforge_jax.data.batch import Batch, BatchRows, DeviceData, gather, take_stored, to_device
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.shuffle import order_bits, positions_of_step, sample_order, steps_per_epoch
from neuroforge_jax.system.placing import put
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.compiling import start_compiling
from neuroforge_jax.training.gradients import StepMetrics
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Step
from neuroforge_jax.typing import Array, CompileOptions

MAX_CAPACITY = 1 << 16
"""Steps whose metrics one dispatch can hold; a longer segment takes several."""

Carry = tuple[TrainState, StepMetrics]


def segment_program(
    step: Step, *, rows: BatchRows, capacity: int, placement: Placement, shuffles: bool = True
) -> Callable[[TrainState, Fitted, DeviceData, Array, Array], Carry]:
    """The pure program (state, fitted, data, first, last) → (state, metrics f32 [capacity])."""
    batch_size = rows.size

    def order_of(state: TrainState, epoch: Array, data: DeviceData) -> Array | None:
        if not shuffles:
            return None
        positions = jnp.arange(steps_per_epoch(data.rows, batch_size) * batch_size, dtype=jnp.int32)
        return sample_order(state.order_key, epoch, data.samples, positions, order_bits(data.rows))

    def take(data: DeviceData, order: Array | None, in_epoch: Array) -> Batch:
        positions = positions_of_step(in_epoch, batch_size)
        if order is None:
            return take_stored(data, positions, rows)
        indices = lax.dynamic_slice(order, (in_epoch * batch_size,), (batch_size,))
        return gather(data, rows.spread(indices), rows.spread((positions < data.samples).astype(jnp.float32)))

    def program(state: TrainState, fitted: Fitted, data: DeviceData, first: Array, last: Array) -> Carry:
        per_epoch = steps_per_epoch(data.samples, batch_size)

        def run_epoch(epoch: Array, carry: Carry) -> Carry:
            with jax.named_scope("data"):
                order = order_of(carry[0], epoch, data)

            def run_step(index: Array, carry: Carry) -> Carry:
                state, metrics = carry
                with jax.named_scope("data"):
                    batch = placement.mark_batch(take(data, order, index - epoch * per_epoch))
                state, now = step(state, fitted, batch)
                return state, jax.tree.map(lambda all_, one: all_.at[index - first].set(one), metrics, now)

            begin = jnp.maximum(first, epoch * per_epoch)
            end = jnp.minimum(last, (epoch + 1) * per_epoch)
            return lax.fori_loop(begin, end, run_step, carry)

        metrics = StepMetrics.zeros((capacity,), scaled=state.loss_scale is not None)
        epochs = first // per_epoch, (last - 1) // per_epoch + 1
        return placement.mark_state(lax.fori_loop(*epochs, run_epoch, (state, metrics)))

    return program


@by_structure
def _jit_program(
    step: Step,
    rows: BatchRows,
    capacity: int,
    shuffles: bool,
    options: CompileOptions,
    many: bool,
    placement: Placement,
) -> jax.stages.Wrapped:
    """many: networks at once, which share data and steps and meet nowhere else."""
    program = segment_program(step, rows=rows, capacity=capacity, shuffles=shuffles, placement=placement)
    if many:
        program = placement.vmap(program, in_axes=(0, None, None, None, None))
    return jax.jit(program, donate_argnums=0, compiler_options=dict(options) or None)


def prepare(spec: ExecutorSpec) -> Run:
    """Compile the program for this state and data."""
    everywhere = spec.placement.sharding()
    data, fitted = to_device(spec.train, everywhere), put(spec.fitted, everywhere)
    capacity = capacity_of(spec.sized_for)
    many = spec.members is not None
    jitted = _jit_program(
        spec.step, spec.batch_rows, capacity, spec.shuffles, spec.options, many, spec.placement
    )
    zero = np.int32(0)
    compiled = start_compiling(jitted, spec.device, spec.state_like, fitted, data, zero, zero).result()

    def run(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, SegmentMetrics]:
        check_segment(first_step, last_step)
        chunks = []
        for first in range(first_step, last_step, capacity):
            last = min(last_step, first + capacity)
            state, metrics = compiled(state, fitted, data, np.int32(first), np.int32(last))
            chunks.append((metrics, last - first))
        return state, SegmentMetrics(tuple(chunks), first_step, last_step)

    return CompiledRun(run, {"segment": compiled})


def capacity_of(steps: int) -> int:
    """Steps whose metrics a dispatch holds, in a run of `steps` steps.

    Rounded up to a power of two: a few epochs or rows more are the same program.
    """
    return min(1 << (max(steps, 1) - 1).bit_length(), MAX_CAPACITY)


SCANNED = Execution("scanned", prepare, trains_many=True, keeps_order=True, takes_mesh=True)
