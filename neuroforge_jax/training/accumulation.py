"""The gradients of a batch that is computed in parts, one after another: the same update in less memory.

    g = Σ nₚ/n · gₚ        over the parts p of n samples, of which nₚ are in p

Of several devices each has an equal share of the rows of every part (`BatchRows`). It adds up what its rows give
over all parts, and after the last one the devices sum, once a step: while the parts are computed nothing is sent
along `data`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.typing import Array, Float, Integer

AXIS = "data"

Tree = Any


class Share(NamedTuple):
    """What a device has of a part.

    device: which one, i32 [], of how many. of_part: f32 [], its fraction of the part's real samples.
    """

    device: tuple[Integer[Array, ""], int]
    of_part: Float[Array, ""]


class Part(NamedTuple):
    """A part of a batch, as far as it is on this device.

    number: i32 [], from 0. of_batch: f32 [], the part's fraction of the real samples of the batch, on all devices.
    share: None where the device has the whole part.
    """

    rows: Batch
    number: Integer[Array, ""]
    of_batch: Float[Array, ""]
    share: Share | None


def sum_over_parts(
    of_part: Callable[[Tree, Part], Tree],
    parts: int,
    zeros: Callable[[], Tree],
    arguments: Tree,
    batch: Batch,
    placement: Placement | None,
) -> Tree:
    """The sum of a tree of arrays over the parts of a batch, and over the devices that divide its rows.

    of_part: (arguments, part) → the tree. zeros: makes the tree, all 0. arguments: the same on every device.
    """
    total = jnp.maximum(batch.mask.sum(), 1)
    if placement is None or placement.parts("batch") == 1:
        split = _split(batch, parts)

        def of_whole_part(index: Array) -> Tree:
            rows = _take(split, index)
            return of_part(arguments, Part(rows, index, rows.mask.sum() / total, None))

        return _add_up(of_whole_part, parts, zeros)
    devices = placement.parts("batch")
    samples = batch.mask.reshape(devices, parts, -1).sum(axis=(0, 2))

    def sum_on_device(arguments: Tree, samples: Array, total: Array, batch: Batch) -> Tree:
        split, device = _split(batch, parts), (lax.axis_index(AXIS), devices)

        def of_share(index: Array) -> Tree:
            rows = _take(split, index)
            share = Share(device, rows.mask.sum() / jnp.maximum(samples[index], 1))
            return of_part(arguments, Part(rows, index, samples[index] / total, share))

        return lax.psum(_add_up(of_share, parts, zeros), AXIS)

    whole = PartitionSpec()
    divided = jax.shard_map(
        sum_on_device,
        mesh=placement.mesh,
        in_specs=(whole, whole, whole, placement.spec(("batch",))),
        out_specs=whole,
        axis_names=placement.divided_by_hand,
        check_vma=False,
    )
    return divided(arguments, samples, total, batch)


def _split(batch: Batch, parts: int) -> Batch:
    return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)


def _take(split: Batch, index: Array) -> Batch:
    return jax.tree.map(lambda x: x[index], split)


def _add_up(of_part: Callable[[Array], Tree], parts: int, zeros: Callable[[], Tree]) -> Tree:
    """A loop of the program; where each operation is dispatched on its own, one of Python's."""

    def add(index: Array, total: Tree) -> Tree:
        return jax.tree.map(jnp.add, total, of_part(index))

    total = zeros()
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(total)):
        return lax.fori_loop(0, parts, add, total)
    for index in range(parts):
        total = add(jnp.int32(index), total)
    return total
