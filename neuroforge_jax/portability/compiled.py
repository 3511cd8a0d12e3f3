"""A user's training lowered and compiled for a target: which need not be here, as nothing is run.

compilation = compile_for(TARGETS["v5e"], config, dataset)
compilation.peak_bytes, compilation.state_is_aliased, compilation.roofline_s
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractDevice, AbstractMesh, NamedSharding, PartitionSpec
from jax.stages import Compiled

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.nn.mlp import abstract_params, train_flops
from neuroforge_jax.portability.collectives import Collective, find_collectives
from neuroforge_jax.portability.programs import Abstract, Programs, make_programs
from neuroforge_jax.portability.targets import Target
from neuroforge_jax.precision.policy import Policy


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
    mesh: over which it is divided, empty for one chip; devices: its chips. collectives: of a step, and links_s the
    time that the chip's links need for them one after another. alone_s: the roofline of the same step on one chip.
    """

    target: str
    mesh: str
    devices: int
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
    collectives: tuple[Collective, ...]
    links_s: float
    alone_s: float

    @property
    def step_s(self) -> tuple[float, float]:
        """Seconds that a step takes at least: where sending overlaps with all else, and where it does not."""
        return max(self.roofline_s, self.links_s), self.roofline_s + self.links_s

    @property
    def efficiency(self) -> tuple[float, float]:
        """Of the chips, against one that does the same steps alone: without overlap, and with it."""
        overlapped, serial = self.step_s
        return self.alone_s / (self.devices * serial), self.alone_s / (self.devices * overlapped)

    @property
    def needed_bytes(self) -> int:
        """Of the chip's main memory."""
        return self.argument_bytes + self.output_bytes - self.alias_bytes + self.temporary_bytes

    @property
    def fits(self) -> bool:
        """Whether the chip has as much as is needed."""
        return self.needed_bytes <= self.memory_bytes


def compile_for(target: Target, config: TrainConfig, dataset: Dataset | None = None) -> Compilation:
    """Compile an epoch and a step of this training. Raises DeviceError where the compiler is not here.

    Of the dataset only shapes are used; without one they are MNIST's.
    """
    programs = make_programs(config, dataset, target)
    epoch = compile_function(target, programs.epoch, *programs.epoch_arguments, donate=(0,))
    memory: Any = epoch.memory_analysis()
    hlo, chip, placement = epoch.as_text() or "", target.chip, programs.placement
    by_hand = _product_flops(programs, config.batch_size)
    rate = chip.flops_per_s[_products(programs.model.policy)]
    # In one part: XLA counts the body of a loop once.
    counted = _counted_flops(target, make_programs(replace(config, accumulate=1), dataset, target))
    by_compiler = counted is not None and counted > 0.9 * by_hand
    least_bytes = 2 * bytes_of_device(programs.state) + bytes_of_device(programs.batch)
    collectives = find_collectives(hlo, placement.devices, config.accumulate)
    return Compilation(
        target=target.name,
        mesh=str(placement),
        devices=placement.devices,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        alias_bytes=memory.alias_size_in_bytes,
        peak_bytes=memory.peak_memory_in_bytes,
        memory_bytes=chip.memory_bytes,
        state_is_aliased=aliases(hlo) >= len(jax.tree.leaves(programs.state)),
        flops=counted if counted is not None and by_compiler else by_hand,
        flops_by="compiler" if by_compiler else "hand",
        least_bytes=least_bytes,
        roofline_s=max(by_hand / rate, least_bytes / chip.bytes_per_s),
        collectives=collectives,
        links_s=sum(each.sent_bytes / chip.sent_bytes_per_s(each.group) for each in collectives),
        alone_s=_alone_s(target, programs, config.batch_size),
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


def _alone_s(target: Target, programs: Programs, samples: int) -> float:
    """The roofline of a whole step on one chip."""
    flops = train_flops(programs.model.mlp) * samples
    moved_bytes = 2 * _bytes(programs.state) + _bytes(programs.batch)
    rate = target.chip.flops_per_s[_products(programs.model.policy)]
    return max(flops / rate, moved_bytes / target.chip.bytes_per_s)


def _product_flops(programs: Programs, samples: int) -> float:
    """Of the products of a step on one chip: its rows by its part of each kernel."""
    placement = programs.placement
    kernels = [layer["kernel"] for layer in abstract_params(programs.model.mlp).values()]
    first, *_ = numbers = [
        math.prod(-(-size // placement.parts(axis)) for size, axis in zip(leaf.shape, leaf.axes, strict=True))
        for leaf in kernels
    ]
    # Three products a kernel, of which the first has no gradient of its inputs.
    return (6 * sum(numbers) - 2 * first) * samples / placement.parts("batch")


def bytes_of_device(tree: Abstract) -> int:
    """Of the parts of arrays that lie on one device; all of an array that does not say where it lies."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape)
        * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def _bytes(tree: Abstract) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
