"""One compiled step a dispatch, with a donated state: the usual training loop in JAX.

The data lie on the device here too; what differs from `scanned` is that Python dispatches every step, which
decides the speed of small networks.
"""

from dataclasses import replace

import jax
import numpy as np

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
from neuroforge_jax.system.placing import put
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.compiling import start_compiling
from neuroforge_jax.training.gradients import StepMetrics
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Step
from neuroforge_jax.typing import Array, CompileOptions


def prepare(spec: ExecutorSpec) -> Run:
    """Compile one step for this state and data."""
    everywhere = spec.placement.sharding()
    data, fitted = to_device(spec.train, everywhere), put(spec.fitted, everywhere)
    orders = prepare_orders(spec, data)
    jitted = _jit_program(spec.step, spec.batch_rows, spec.options, spec.placement)
    moving, hyper = _take_hyper(spec.state_like)
    given = moving, hyper, fitted, data, orders.like, np.int32(0)
    compiled = start_compiling(jitted, spec.device, *given).result()

    def run(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, SegmentMetrics]:
        check_segment(first_step, last_step)
        chunks = []
        moving, hyper = _take_hyper(state)
        for first, last, epoch in orders.pieces(first_step, last_step, last_step - first_step):
            order = orders.of(moving, data, epoch, last)
            for index in range(first, last):
                in_order = np.int32(index - epoch * orders.per_epoch)
                moving, metrics = compiled(moving, hyper, fitted, data, order, in_order)
                chunks.append((metrics, 1))
        return replace(moving, hyper=hyper), SegmentMetrics(tuple(chunks), first_step, last_step)

    return CompiledRun(run, {"step": compiled, **orders.programs})


def _take_hyper(state: TrainState) -> tuple[TrainState, Hyper]:
    """The state without the values that no step changes: to hand them back each time would take a while."""
    return replace(state, hyper=None), state.hyper  # type: ignore[arg-type]


@by_structure
def _jit_program(
    step: Step, rows: BatchRows, options: CompileOptions, placement: Placement
) -> jax.stages.Wrapped:
    def program(
        moving: TrainState, hyper: Hyper, fitted: Fitted, data: DeviceData, order: Array | None, index: Array
    ) -> tuple[TrainState, StepMetrics]:
        with jax.named_scope("data"):
            batch = placement.mark_batch(take_step(data, order, index, rows))
        after, metrics = step(replace(moving, hyper=hyper), fitted, batch)
        return placement.mark_state((_take_hyper(after)[0], metrics))

    return jax.jit(program, donate_argnums=0, compiler_options=dict(options) or None)


STEPPED = Execution("stepped", prepare, keeps_order=True, takes_mesh=True)
