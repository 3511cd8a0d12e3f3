"""A user's training lowered and compiled for a target: which need not be here, as nothing is run.

    compilation = compile_for(TARGETS["v5e"], config, dataset)
    compilation.peak_bytes, compilation.state_is_aliased, compilation.roofline_s

On several chips the training is divided as the config's mesh says, over all of them: unless it says otherwise the
samples of a step are, every chip has the whole state, and gradients are summed over the chips before the update.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractDevice, AbstractMesh, NamedSharding, PartitionSpec
from jax.stages import Compiled

from neuroforge_jax.backends.executors.scanned import segment_program
from neuroforge_jax.backends.resolve import find, find_kernels
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data import targets
from neuroforge_jax.data.batch import Batch, DeviceData, bucket
from neuroforge_jax.data.mapped import MappedRows
from neuroforge_jax.data.packing import words_wide
from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.job.job import Job
from neuroforge_jax.kernels import DenseKernel, Implementation
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.mlp import train_flops
from neuroforge_jax.portability.targets import Target
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Step, Training, make_parts, make_step

Abstract = Any
"""A pytree of `jax.ShapeDtypeStruct` in the place of arrays."""


@dataclass(frozen=True)
class Compilation:
    """What the compiler says of one epoch of a training; bytes and operations are those of one chip.

    argument, output, temporary, alias_bytes: as XLA has planned its memory; alias_bytes are arguments that results
    are written to. peak_bytes: XLA's own sum, in which a TPU's on-chip memory counts too.
    state_is_aliased: whether each array of the state is, so that the state is in memory once.
    flops: of a step; flops_by: "compiler", or "hand" for the products alone where the compiler counts none, which
    is so for GPUs and for hand-written kernels.
    least_bytes: a step's state and samples read once, and its state written once.
    roofline_s: what a step takes at least, by its products, least_bytes and the chip's rates (Williams et al.,
    2009, doi:10.1145/1498765.1498785); what chips send to each other is not in it.
    """

    target: str
    argument_bytes: int
    output_bytes: int
    temporary_bytes: int
    alias_bytes: int
    peak_bytes: int
    memory_bytes: int
    state_is_aliased: bool
    flops: float
    flops_by: str
    least_bytes: int
    roofline_s: float

    @property
    def needed_bytes(self) -> int:
        """Of the chip's main memory."""
        return self.argument_bytes + self.output_bytes - self.alias_bytes + self.temporary_bytes

    @property
    def fits(self) -> bool:
        """Whether the chip has as much as is needed."""
        return self.needed_bytes <= self.memory_bytes


@dataclass(frozen=True, eq=False)
class Programs:
    """The programs of a training and the shapes of what they take."""

    model: Model
    training: Training
    placement: Placement
    step: Step
    epoch: Callable[..., Any]
    state: Abstract
    fitted: Abstract
    data: Abstract
    batch: Abstract

    @property
    def step_arguments(self) -> tuple[Abstract, ...]:
        """What `step` takes: state, fitted, batch."""
        return self.state, self.fitted, self.batch

    @property
    def epoch_arguments(self) -> tuple[Abstract, ...]:
        """What `epoch` takes: state, fitted, data, first and last step."""
        number = jax.ShapeDtypeStruct((), jnp.int32)
        return self.state, self.fitted, self.data, number, number


def compile_for(target: Target, config: TrainConfig, dataset: Dataset | None = None) -> Compilation:
    """Compile an epoch and a step of this training. Raises DeviceError where the compiler is not here.

    Of the dataset only shapes are used; without one they are MNIST's.
    """
    programs = make_programs(config, dataset, target)
    epoch = compile_function(target, programs.epoch, *programs.epoch_arguments, donate=(0,))
    memory: Any = epoch.memory_analysis()
    chip = target.chip
    by_hand = train_flops(programs.model.mlp) * config.batch_size / target.chips
    # In one part: XLA counts the body of a loop once.
    counted = _counted_flops(target, make_programs(replace(config, accumulate=1), dataset, target))
    by_compiler = counted is not None and counted > 0.9 * by_hand
    least_bytes = 2 * _bytes(programs.state) + _bytes(programs.batch) // target.chips
    rate = chip.flops_per_s[_products(programs.model.policy)]
    return Compilation(
        target=target.name,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        alias_bytes=memory.alias_size_in_bytes,
        peak_bytes=memory.peak_memory_in_bytes,
        memory_bytes=chip.memory_bytes,
        state_is_aliased=aliases(epoch.as_text() or "") >= len(jax.tree.leaves(programs.state)),
        flops=counted if counted is not None and by_compiler else by_hand,
        flops_by="compiler" if by_compiler else "hand",
        least_bytes=least_bytes,
        roofline_s=max(by_hand / rate, least_bytes / chip.bytes_per_s),
    )


def compile_function(
    target: Target, f: Callable[..., Any], *arguments: Abstract, donate: tuple[int, ...] = ()
) -> Compiled:
    """Compile a function for a target; every chip has the whole of each argument that does not say where it lies.

    Hand-written kernels and measured choices see the target as the device that they are made for.
    """
    first = next((x.sharding for x in jax.tree.leaves(arguments) if x.sharding is not None), None)
    mesh = first.mesh if isinstance(first, NamedSharding) else target.mesh()
    everywhere = NamedSharding(mesh, PartitionSpec())
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding or everywhere), arguments
    )
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return jax.jit(f, donate_argnums=donate).lower(*placed).compile()


KERNEL_CALLS = ("mosaic_gpu_v2", "mosaic_gpu", "__gpu$xla.gpu.triton", "triton_kernel_call")
"""Names in a lowered program that stand for kernels of this project; `jax.export` knows no promise about them."""

DEVICES = {
    "tpu": AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu"),
    "cuda": AbstractDevice(device_kind="NVIDIA H200", num_cores=132, platform="gpu"),
}
"""Platform → the device that kernels are lowered for."""


def lower_function(platform: str, f: Callable[..., Any], *arguments: Abstract) -> jax.export.Exported:
    """Lower a function for a platform, tpu or cuda, as far as StableHLO, which needs no package but jax."""
    checks = [jax.export.DisabledSafetyCheck.custom_call(name) for name in KERNEL_CALLS]
    mesh = AbstractMesh((1,), ("data",), abstract_device=DEVICES[platform])
    with jax.sharding.use_abstract_mesh(mesh):
        return jax.export.export(jax.jit(f), platforms=[platform], disabled_checks=checks)(*arguments)


def make_programs(
    config: TrainConfig,
    dataset: Dataset | None = None,
    target: Target | None = None,
    implementation: Implementation | None = None,
) -> Programs:
    """The programs of a training as they are on a target, with hand-written kernels where the config takes them.

    implementation: of the layers, in the place of the config's. Raises DeviceError for a mesh of more chips than
    the target has.
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
    plain = replace(
        config, backend="optimized", precision=precision, kernels=None, mixed_precision=False, mesh=None
    )
    job = Job.build(plain, dataset)
    model = replace(job.model.spec, implementation=implementation)
    mesh = target.mesh(config.mesh or "auto") if target and target.chips > 1 else None
    placement = Placement(job.device if mesh is None else mesh.devices.flat[0], mesh, model.mlp)
    job = replace(job, placement=placement)
    step = make_step(make_parts(model, job.training, placement))
    spec = job.spec()
    return Programs(
        model,
        job.training,
        placement,
        _place_result(step, placement),
        segment_program(
            step,
            rows=spec.batch_rows,
            capacity=job.steps_per_epoch,
            placement=placement,
            shuffles=job.training.shuffles,
        ),
        job.state_like,
        jax.tree.map(_like, job.model.fitted),
        _data_like(dataset.train),
        _batch_like(dataset.train, len(spec.batch_rows), placement),
    )


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


def aliases(hlo: str) -> int:
    """How many results a compiled program writes to the memory of its arguments."""
    header = hlo.partition("\n")[0]
    return len(re.findall(r"\(\d+, \{[\d, ]*\}, (?:may|must)-alias\)", header))


def _products(policy: Policy) -> str:
    """The rate at which a policy multiplies, by its name in `Chip.flops_per_s`."""
    return policy.matmul if policy.compute == jnp.float32 else "bf16"


def _counted_flops(target: Target, programs: Programs) -> float | None:
    """Of a step; None where the compiler counts nothing."""
    if target.chip.platform != "tpu":
        return None
    counts: Any = compile_function(target, programs.step, *programs.step_arguments).cost_analysis()
    return float(counts["flops"])


def _bytes(tree: Abstract) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


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
