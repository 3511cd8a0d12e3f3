"""How a product is cut into tiles: sizes that fit a device's on-chip memory, and what is cut off at the edges."""

import math
from dataclasses import dataclass

LANES = 128
"""Numbers side by side in a TPU's vector register, and so the unit of a tile's last axis."""

NARROWEST = 16
"""Rows that a TPU's register of a two-byte dtype holds, and so the unit of a tile's first axis; of four-byte dtypes
it holds 8."""


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


def fitted(tiles: Tiles, m: int, n: int, k: int) -> Tiles:
    """These tiles for a product of this size; an axis no longer than its tile is one tile, as long as the axis."""
    return Tiles(_fitted(m, tiles.rows), _fitted(n, tiles.columns), _fitted(k, tiles.terms))


def _fitted(length: int, tile: int) -> int:
    return length if length <= tile else tile


def blocks(length: int, tile: int) -> int:
    """Tiles along an axis; the last may hang over its end."""
    return -(-length // tile)


def padded(length: int, unit: int) -> int:
    """The next multiple of the unit."""
    return math.ceil(length / unit) * unit
