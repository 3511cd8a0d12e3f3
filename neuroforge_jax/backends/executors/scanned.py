"""Many steps in one dispatch: the data lie on the device, and nothing is allocated or waited for.

The program is a loop over steps with traced bounds: a run cut anywhere, for an evaluation or a glance at the
clock, is the same program and the same bits. The orders of the epochs are computed before (`orders.py`).
"""

from collections.abc import Callable

import jax
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
from neuroforge_jax.backends.executors.orders import prepare_orders, take_step
from neuroforge_jax.data.batch import BatchRows, DeviceData, to_device
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.shuffle import steps_per_epoch
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
    step: Step, *, rows: BatchRows, capacity: int, placement: Placement
) -> Callable[[TrainState, Fitted, DeviceData, Array | None, Array, Array], Carry]:
    """The pure program (state, fitted, data, orders, first, last) → (state, metrics f32 [capacity]).

    orders: of the epochs from that of the step `first` on, i32 [E, S]; None for samples as they are stored.
    """

    def program(
        state: TrainState, fitted: Fitted, data: DeviceData, orders: Array | None, first: Array, last: Array
    ) -> Carry:
        per_epoch = steps_per_epoch(data.samples, rows.size)
        begin = lax.div(first, per_epoch) * per_epoch

        def run_step(index: Array, carry: Carry) -> Carry:
            state, metrics = carry
            with jax.named_scope("data"):
                batch = placement.mark_batch(take_step(data, orders, index - begin, rows))
            state, now = step(state, fitted, batch)
            return state, jax.tree.map(lambda all_, one: all_.at[index - first].set(one), metrics, now)

        metrics = StepMetrics.zeros((capacity,), scaled=state.loss_scale is not None)
        return placement.mark_state(lax.fori_loop(first, last, run_step, (state, metrics)))

    return program


@by_structure
def _jit_program(
    step: Step, rows: BatchRows, capacity: int, options: CompileOptions, many: bool, placement: Placement
) -> jax.stages.Wrapped:
    """many: networks at once, which share data and steps and meet nowhere else."""
    program = segment_program(step, rows=rows, capacity=capacity, placement=placement)
    if many:
        program = placement.vmap(program, in_axes=(0, None, None, 0, None, None))
    return jax.jit(program, donate_argnums=0, compiler_options=dict(options) or None)


def prepare(spec: ExecutorSpec) -> Run:
    """Compile the programs for this state and data."""
    everywhere = spec.placement.sharding()
    data, fitted = to_device(spec.train, everywhere), put(spec.fitted, everywhere)
    orders, capacity = prepare_orders(spec, data), capacity_of(spec.sized_for)
    many = spec.members is not None
    jitted = _jit_program(spec.step, spec.batch_rows, capacity, spec.options, many, spec.placement)
    zero = np.int32(0)
    given = spec.state_like, fitted, data, orders.like, zero, zero
    compiled = start_compiling(jitted, spec.device, *given).result()

    def run(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, SegmentMetrics]:
        check_segment(first_step, last_step)
        chunks = []
        for first, last, epoch in orders.pieces(first_step, last_step, capacity):
            order = orders.of(state, data, epoch, last)
            state, metrics = compiled(state, fitted, data, order, np.int32(first), np.int32(last))
            chunks.append((metrics, last - first))
        return state, SegmentMetrics(tuple(chunks), first_step, last_step)

    return CompiledRun(run, {"segment": compiled, **orders.programs})


def capacity_of(steps: int) -> int:
    """Steps whose metrics a dispatch holds, in a run of `steps` steps.

    Rounded up to a power of two: a few epochs or rows more are the same program.
    """
    return min(1 << (max(steps, 1) - 1).bit_length(), MAX_CAPACITY)


SCANNED = Execution("scanned", prepare, trains_many=True, keeps_order=True, takes_mesh=True)
