"""How a product is cut into tiles: sizes that fit a device's on-chip memory, and what is cut off at the edges."""

from dataclasses import dataclass

import jax.numpy as jnp

from neuroforge_jax.typing import Array


@dataclass(frozen=True)
class Tiles:
    """The tile of a product [M, K]·[K, N]: so many rows, columns, and terms of the sum at a time."""

    rows: int
    columns: int
    terms: int

    def __str__(self) -> str:
        return f"{self.rows}×{self.columns}×{self.terms}"


TILES = Tiles(512, 512, 512)
"""Unless others were measured to be faster. In bf16 with float32 results: two buffers of each operand and of the
result, and the sum, are 5 MB."""


def fit_tiles(tiles: Tiles, m: int, n: int, k: int) -> Tiles:
    """These tiles for a product of this size; an axis no longer than its tile is one tile, as long as the axis."""
    return Tiles(min(m, tiles.rows), min(n, tiles.columns), min(k, tiles.terms))


def blocks(length: int, tile: int) -> int:
    """Tiles along an axis; the last may hang over its end."""
    return -(-length // tile)


def round_up(length: int, unit: int) -> int:
    """The next multiple of the unit."""
    return blocks(length, unit) * unit


def whole_tiles(array: Array, rows: int, columns: int) -> Array:
    """A matrix, padded with zeros to whole tiles."""
    wanted = round_up(array.shape[0], rows), round_up(array.shape[1], columns)
    short = [(0, full - length) for full, length in zip(wanted, array.shape, strict=True)]
    return jnp.pad(array, short) if array.shape != wanted else array
