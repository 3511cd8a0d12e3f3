"""Rows that stay in their file: chosen by an index, and converted where they are read.

A training set may be larger than the memory. What is held out of it is an index and no copy, and rows of another
dtype or order than the network takes are converted a block at a time.
"""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int

BLOCK = 4096
"""Rows that are read at once."""


class MappedRows:
    """Some rows of an array in a file, as a network stores them: uint8 or float32 [N, I].

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
        rows = self.array[index if self.rows is None else self.rows[index]]
        flat = rows.reshape(*rows.shape[: rows.ndim - self.array.ndim + 1], self.shape[1])
        if self.origins is not None:
            flat = flat - self.origins
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(flat, dtype=self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.empty(self.shape, self.dtype)
        for first in range(0, len(self), BLOCK):
            whole[first : first + BLOCK] = self[first : first + BLOCK]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def select(self, index: slice | np.ndarray) -> "MappedRows":
        """Some of these rows, in that order."""
        rows = np.arange(len(self)) if self.rows is None else self.rows
        return MappedRows(self.array, rows[index], self.origins)


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
