"""Arrays put to devices, of other processes too: each process has the whole array, and puts its own part of it."""

from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Sharding

Tree = TypeVar("Tree")


def put(tree: Any, where: jax.Device | Sharding | None, *, may_alias: bool | None = None) -> Any:
    """Arrays of the host or of a device of this process, as `jax.device_put` puts them; without a word between the
    processes where the devices are of several, which must all have the same arrays.
    """
    if not isinstance(where, Sharding) or where.is_fully_addressable:
        return jax.device_put(tree, where, may_alias=may_alias)
    return jax.tree.map(lambda leaf: _put_part(leaf, where), tree)


def put_own_rows(tree: Any, where: Sharding, rows: int) -> Any:
    """Arrays [K, R', …] of the rows that the devices of this process have, as parts of [K, R, …] over those of all.

    rows: R; as many as R' where the process has all rows at hand.
    """
    if jax.tree.leaves(tree)[0].shape[1] == rows:
        return put(tree, where)
    return jax.tree.map(
        lambda array: jax.make_array_from_process_local_data(
            where, array, (len(array), rows, *array.shape[2:])
        ),
        tree,
    )


def is_whole_here(tree: Any) -> bool:
    """Whether this process has every number of these arrays."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return all(leaf.is_fully_addressable or leaf.is_fully_replicated for leaf in leaves)


def take_own(tree: Tree) -> Tree:
    """Of arrays that every device of several processes has, those of the first device of this one."""
    return jax.tree.map(
        lambda leaf: leaf if getattr(leaf, "is_fully_addressable", True) else leaf.addressable_data(0), tree
    )


def _put_part(leaf: Any, where: Sharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and leaf.sharding == where:
        return leaf
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, where, lambda index: host[index])
