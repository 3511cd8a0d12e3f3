"""A user's training as the programs that a target is to run, and the shapes of what they take.

On several chips the training is divided as the config's mesh says, over all of them: unless it says otherwise the
samples of a step are, every chip has the whole state, and gradients are summed over the chips before the update.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from neuroforge_jax.backends.executors.orders import order_program, orders_like, shape_of_orders
from neuroforge_jax.backends.executors.scanned import segment_program
from neuroforge_jax.backends.resolve import check_kernels_divide, choose, find, find_kernels
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data import targets
from neuroforge_jax.data.batch import Batch, DeviceData, bucket
from neuroforge_jax.data.mapped import MappedRows
from neuroforge_jax.data.packing import words_wide
from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.data.shuffle import order_bits
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.job.job import Job
from neuroforge_jax.kernels import DenseKernel, Implementation
from neuroforge_jax.model.model import Model
from neuroforge_jax.portability.targets import Target
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Step, Training, make_parts, make_step

Abstract = Any
"""A pytree of `jax.ShapeDtypeStruct` in the place of arrays."""


@dataclass(frozen=True, eq=False)
class Programs:
    """The programs of a training and the shapes of what they take."""

    model: Model
    training: Training
    placement: Placement
    step: Step
    epoch: Callable[..., Any]
    order: Callable[..., Any]
    state: Abstract
    fitted: Abstract
    data: Abstract
    orders: Abstract
    batch: Abstract

    @property
    def step_arguments(self) -> tuple[Abstract, ...]:
        """What `step` takes: state, fitted, batch."""
        return self.state, self.fitted, self.batch

    @property
    def epoch_arguments(self) -> tuple[Abstract, ...]:
        """What `epoch` takes: state, fitted, data, orders, first and last step."""
        number = jax.ShapeDtypeStruct((), jnp.int32)
        return self.state, self.fitted, self.data, self.orders, number, number

    @property
    def order_arguments(self) -> tuple[Abstract, ...]:
        """What `order` takes: the bits of the seed's key, first and last epoch, how many samples there are."""
        number = jax.ShapeDtypeStruct((), jnp.int32)
        return self.state.key_data, number, number, number


def make_programs(
    config: TrainConfig,
    dataset: Dataset | None = None,
    target: Target | None = None,
    implementation: Implementation | None = None,
) -> Programs:
    """The programs of a training as they are on a target, with hand-written kernels where the config takes them.

    implementation: of the layers, in the place of the config's. Raises DeviceError for a mesh of more chips than
    the target has, ConfigError for one that this training cannot be divided over.
    """
    dataset = dataset or mnist_like()
    backend = find("optimized" if config.backend == "auto" else config.backend)
    kernels = find_kernels(config.kernels or backend.kernels)
    if implementation is None and isinstance(kernels, DenseKernel):
        implementation = kernels
    if implementation is None:
        implementation = target.chip.kernels if target and kernels == "pallas" else "xla"
    precision = config.precision or ("bf16" if config.mixed_precision else backend.precision)
    # Of a backend that any machine has: the platform of the named one need not be here.
    plain = replace(config, backend="optimized", precision=precision, kernels=None, mixed_precision=False)
    here = choose(replace(plain, mesh=None))
    mesh = _mesh(config, target)
    if mesh is not None:
        check_kernels_divide(str(config.mesh), mesh, implementation)
    job = Job.build(plain, dataset, replace(here, mesh=mesh))
    model, placement = replace(job.model.spec, implementation=implementation), job.placement
    # What draws the parameters runs, and is made for a device that is here.
    state = replace(job, placement=Placement(here.backend.device)).state_like
    step = make_step(make_parts(model, job.training, placement))
    rows, data = job.rows_of(config.batch_size), _data_like(dataset.train)
    _, positions = shape_of_orders(data.rows, config.batch_size)
    return Programs(
        model,
        job.training,
        placement,
        _place_result(step, placement),
        segment_program(step, rows=rows, capacity=job.steps_per_epoch, placement=placement),
        order_program(order_bits(data.rows), (1, positions), placement),
        placement.lay_out(state, many=False),
        jax.tree.map(_like, job.model.fitted),
        data,
        orders_like((1, positions), placement) if job.training.shuffles else None,
        _batch_like(dataset.train, len(rows), placement),
    )


def _mesh(config: TrainConfig, target: Target | None) -> Mesh | None:
    """Of the chips of a target; none where there is one chip and nobody asks for a mesh."""
    if target is None or (target.chips == 1 and config.mesh is None):
        return None
    return target.mesh(config.mesh or "auto")


def _place_result(step: Step, placement: Placement) -> Step:
    def placed_step(state: TrainState, fitted: Fitted, batch: Batch) -> tuple[TrainState, Any]:
        state, metrics = step(state, fitted, batch)
        return placement.mark_state(state), metrics

    return placed_step


def mnist_like() -> Dataset:
    """A dataset with the shapes of MNIST and nothing in it, which takes no memory."""
    pixel, label = np.uint8(0), np.int32(0)
    train, test = (
        Split(np.broadcast_to(pixel, (n, 784)), np.broadcast_to(label, (n,))) for n in (60_000, 10_000)
    )
    # Not 0 and 1, which the compiler would drop.
    fitted = Fitted(np.asarray(33.3, np.float32), np.asarray(1 / 78.6, np.float32))
    target = targets.Target("classification", classes=tuple("0123456789"))
    return Dataset("mnist-like", train, test, target, (28, 28), Preprocessor(784, pixels=True), fitted)


def _data_like(split: Split) -> Abstract:
    samples, inputs = split.inputs.shape
    rows, packed = bucket(samples), split.inputs.dtype == np.uint8
    words: Abstract = (
        jax.ShapeDtypeStruct((rows, words_wide(inputs)), jnp.uint32) if packed else _like(split.inputs, rows)
    )
    count: Abstract = jax.ShapeDtypeStruct((), jnp.int32)
    return DeviceData(words, _like(split.targets, rows), None, count, inputs)


def _batch_like(split: Split, rows: int, placement: Placement) -> Abstract:
    mask: Abstract = jax.ShapeDtypeStruct((rows,), jnp.float32)
    batch = Batch(_like(split.inputs, rows), _like(split.targets, rows), mask)
    if placement.mesh is None:
        return batch
    divided = placement.sharding("batch")
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=divided), batch)


def _like(array: np.ndarray | MappedRows, rows: int | None = None) -> Abstract:
    """With its shape, or with so many rows."""
    shape = array.shape if rows is None else (rows, *array.shape[1:])
    return jax.ShapeDtypeStruct(shape, array.dtype)
