"""Rows that stay where they are, in a file or an array of another dtype: chosen by an index, and converted where
they are read.

A training set may be larger than the memory. What is held out of it is an index and no copy, and rows of another
dtype or order than the network takes are converted a block at a time.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from neuroforge_jax.system.cpu import usable_cores

BLOCK = 4096
"""Rows that are read at once."""

PARALLEL_BYTES = 16 << 20
"""From here on several cores write: the first touch of new memory takes longer than the conversion."""


class MappedRows:
    """Some rows of an array, which may lie in a file, as a network stores them: uint8 or float32 [N, I].

    A slice or an index of them is an array that is read now; `select` reads nothing.
    """

    ndim = 2

    def __init__(
        self,
        array: np.ndarray,
        rows: Int[np.ndarray, " N"] | None = None,
        origins: Float64[np.ndarray, " I"] | None = None,
    ) -> None:
        """array: [M, …] of numbers. rows: those that are meant, all unless given. origins: what is subtracted."""
        self.array, self.rows, self.origins = array, rows, origins
        samples = len(array) if rows is None else len(rows)
        self.shape = (samples, int(np.prod(array.shape[1:])))
        self.dtype = np.dtype(np.uint8 if array.dtype == np.uint8 and origins is None else np.float32)

    @property
    def is_stored(self) -> bool:
        """Whether a row in the file is a row as the network stores it."""
        array = self.array
        return (
            array.ndim == 2
            and array.dtype == self.dtype
            and array.flags.c_contiguous
            and self.origins is None
        )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(self._read(index), dtype=self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.empty(self.shape, self.dtype)
        self.write_to(whole)
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def write_to(self, out: np.ndarray) -> None:
        """Write all of them into an array [N, I] of their dtype."""

        def write(first: int) -> None:
            with np.errstate(over="ignore"):  # of this thread
                out[first : first + BLOCK] = self._read(slice(first, first + BLOCK))

        blocks = range(0, len(self), BLOCK)
        threads = min(int(usable_cores()), len(blocks)) if out.nbytes >= PARALLEL_BYTES else 1
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(write, blocks):
                    pass
        else:
            for first in blocks:
                write(first)

    def _read(self, index: Any) -> np.ndarray:
        """Rows [..., I] before they are converted."""
        rows = self.array[index if self.rows is None else self.rows[index]]
        flat = rows.reshape(*rows.shape[: rows.ndim - self.array.ndim + 1], self.shape[1])
        return flat if self.origins is None else flat - self.origins

    def select(self, index: slice | np.ndarray) -> "MappedRows":
        """Some of these rows, in that order."""
        if self.rows is not None:
            return MappedRows(self.array, self.rows[index], self.origins)
        if isinstance(index, slice):
            return MappedRows(self.array[index], None, self.origins)
        return MappedRows(self.array, np.arange(len(self))[index], self.origins)


def is_mapped(array: np.ndarray) -> bool:
    """Whether its numbers lie in a file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def select_rows(inputs: Any, index: slice | np.ndarray) -> Any:
    """Some rows of inputs; of those in a file an index is kept, and no copy made."""
    if isinstance(inputs, MappedRows):
        return inputs.select(index)
    if isinstance(index, np.ndarray) and is_mapped(inputs):
        return MappedRows(inputs, index)
    return inputs[index]
