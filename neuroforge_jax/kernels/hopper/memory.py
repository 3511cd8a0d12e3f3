"""Tiles in shared memory, and what is copied there or read from it."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.typing import DTypeLike

from neuroforge_jax.kernels.versions import load
from neuroforge_jax.typing import Array

Ref = Any
"""A kernel's view of memory; Pallas has no public type for it."""

SWIZZLE_BYTES = 128
"""Rows of a tile in shared memory are broken at this width and their pieces permuted: no bank is hit twice."""


def shared_memory(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    """Place for tiles, as wgmma and the copy engine want them to lie."""
    return plgpu.SMEM(shape, dtype, transforms=_transforms(dtype))


def tile_spec(
    tile: tuple[int, int], dtype: DTypeLike, index: Callable[[Any], tuple[Any, Any]], delay: int = 0
) -> plgpu.BlockSpec:
    """The tile of each step of a pipeline. delay: steps after its own before it may be written over."""
    return plgpu.BlockSpec(tile, index, transforms=_transforms(dtype), delay_release=delay)


def fetch(source: Ref, place: Ref, arrived: Ref) -> None:
    """Copy into shared memory, and wait for it."""
    plgpu.copy_gmem_to_smem(source, place, arrived)
    plgpu.barrier_wait(arrived)


def load_row(row: Ref, shape: tuple[int, ...]) -> Array:
    """A row of numbers in memory, repeated for each row of a sum in a warpgroup's registers."""
    values = load(row, plgpu.Layout.WGMMA.reduce(0), optimized=False)
    return lax.broadcast_in_dim(values, shape, (1,))


def transpose_if(transposed: bool, tile: Ref) -> Ref:
    """A tile as it is multiplied, where it may lie transposed."""
    return tile.T if transposed else tile


def _transforms(dtype: DTypeLike) -> tuple[Any, ...]:
    tiling: Any = plgpu.TilingTransform
    swizzle: Any = plgpu.SwizzleTransform
    return tiling((8, SWIZZLE_BYTES // jnp.dtype(dtype).itemsize)), swizzle(SWIZZLE_BYTES)
