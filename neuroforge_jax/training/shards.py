"""The gradients of a batch from those of its shards, summed in one order, whatever the devices:

    ((g₀ + g₁) + (g₂ + g₃)) + ((g₄ + g₅) + (g₆ + g₇))

A device computes neighbouring shards one after another, all by the same program, and sums them as far as they are a
branch of the tree. Of the branches each device gets a part of the numbers from all others, sums these in the order
of the tree, and gives the sum to all: a reduce-scatter in a fixed order, and an all-gather.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.typing import Array, Integer

AXIS = "data"

Tree = Any


def sum_over_shards(
    of_shard: Callable[..., Tree], shards: int, mesh: Mesh | None, arguments: Tree, batch: Batch
) -> Tree:
    """The sum of a tree of arrays over the shards of a batch.

    of_shard: (arguments, batch of the shard, its number i32 [], its share f32 [] of the real samples) → the tree.
    shards: a power of two. mesh: its axis `data` divides the shards; all else is the same on every device.
    """
    arguments = arguments, jnp.maximum(batch.mask.sum(), 1)
    if mesh is None:
        return _sum_here(of_shard, shards, 1, arguments, _pad(batch, shards))
    devices = mesh.shape.get(AXIS, 1)
    whole, rows = PartitionSpec(), PartitionSpec(AXIS if AXIS in mesh.axis_names else None)

    def sum_on_device(arguments: Tree, batch: Batch) -> Tree:
        return _sum_over_devices(_sum_here(of_shard, shards, devices, arguments, batch), devices)

    divided = jax.shard_map(
        sum_on_device, mesh=mesh, in_specs=(whole, rows), out_specs=whole, check_vma=False
    )
    # Fused with what takes the sum apart, the optimizer would round otherwise.
    return lax.optimization_barrier(divided(arguments, _pad(batch, shards)))


def _pad(batch: Batch, shards: int) -> Batch:
    """With as many rows in each shard."""
    missing = -len(batch.mask) % shards
    if not missing:
        return batch
    return jax.tree.map(lambda x: jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)), batch)


def _sum_here(
    of_shard: Callable[..., Tree], shards: int, devices: int, arguments: Tree, batch: Batch
) -> Tree:
    """The sum over the shards of this device."""
    here = shards // devices
    first = 0 if devices == 1 else lax.axis_index(AXIS) * here
    rows = len(batch.mask) // here
    plain, total = arguments

    def compute(index: Integer[Array, ""]) -> Tree:
        part = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, index * rows, rows), batch)
        # Between the barriers lies the same program, however many shards a device has: fused with the sums it
        # would round otherwise.
        part = lax.optimization_barrier(part)
        share = part.mask.sum() / total
        return lax.optimization_barrier(of_shard(plain, part, first + index, share))

    return _sum_branch(compute, here, jnp.int32(0))


def _sum_branch(compute: Callable[[Array], Tree], count: int, first: Array) -> Tree:
    """Of the shards first … first + count − 1: half of them, and the other half."""
    if count == 1:
        return compute(first)

    def add_half(index: Array, total: Tree) -> Tree:
        half = _sum_branch(compute, count // 2, first + index * (count // 2))
        return jax.tree.map(lambda t, h: jnp.where(index == 0, h, t + h), total, half)

    zeros = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), jax.eval_shape(compute, first))
    return lax.fori_loop(0, 2, add_half, zeros)


def _sum_over_devices(branch: Tree, devices: int) -> Tree:
    """Of the branches of all devices, all numbers of a dtype at once."""
    leaves, structure = jax.tree.flatten(branch)
    dtypes = {leaf.dtype for leaf in leaves}
    sums = {dtype: _sum_vector([leaf for leaf in leaves if leaf.dtype == dtype], devices) for dtype in dtypes}
    return jax.tree.unflatten(structure, [sums[leaf.dtype].pop(0) for leaf in leaves])


def _sum_vector(leaves: list[Array], devices: int) -> list[Array]:
    """Each device adds up a part of all numbers, and gives it to the others: as much is sent as in any sum."""
    numbers = jnp.concatenate([leaf.reshape(-1) for leaf in leaves])
    parts = jnp.pad(numbers, (0, -len(numbers) % devices)).reshape(devices, -1)
    branches = lax.all_to_all(parts, AXIS, 0, 0, tiled=True)
    while len(branches) > 1:
        branches = branches[0::2] + branches[1::2]
    total = lax.all_gather(branches[0], AXIS, tiled=True)
    ends = np.cumsum([leaf.size for leaf in leaves])
    return [total[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(leaves, ends, strict=True)]
