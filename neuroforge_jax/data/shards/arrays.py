"""Shards of arrays: pairs of `.npy` files, inputs and targets, read a run of rows at a time.

They are read by position and not mapped: pages of a mapped file count as memory of the process.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int64

from neuroforge_jax.data.readers.arrays import map_array
from neuroforge_jax.data.shards.units import ROWS_AT_ONCE, Place
from neuroforge_jax.errors import DataError

RUN = 1024
"""Rows of a unit: a file of arrays is read from any row on, so that units may be small, which mixes better."""

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file. shape: [N, …] of `dtype`, whose first byte is at `offset`; bytes: of the file."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    bytes: int

    @staticmethod
    def open(path: Path) -> "ArrayFile":
        """What its header says. Raises DataError for a file that is damaged, or no array of numbers by rows."""
        array = map_array(path)
        if not array.flags.c_contiguous or array.dtype.kind not in "fiub" or not array.dtype.isnative:
            raise DataError(
                f"{path}: holds {array.dtype.str} {array.shape}, which is not read by rows; save numbers by "
                "numpy.save(file, numpy.ascontiguousarray(x))"
            )
        assert isinstance(array, np.memmap)
        return ArrayFile(path, array.shape, array.dtype, array.offset, path.stat().st_size)

    @property
    def row_bytes(self) -> int:
        """Of one sample."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def read(self, file: BinaryIO, first: int, rows: int) -> np.ndarray:
        """Rows of it, in memory."""
        file.seek(self.offset + first * self.row_bytes)
        values = np.fromfile(file, self.dtype, rows * self.row_bytes // self.dtype.itemsize)
        if values.nbytes < rows * self.row_bytes:
            raise changed(self.path)
        return values.reshape(rows, *self.shape[1:])


def changed(path: Path) -> DataError:
    """The error for a shard that is not what it was."""
    return DataError(
        f"{path}: this shard changed since it was first looked at; start again when nothing writes it"
    )


@dataclass(frozen=True, eq=False)
class ArrayBlocks:
    """Pairs of files, inputs and targets of as many rows, as runs of rows."""

    files: Sequence[tuple[ArrayFile, ArrayFile]]

    @cached_property
    def _runs(self) -> list[tuple[int, int, int, int]]:
        """Of each unit its pair, its first row there and in all, and its rows."""
        runs, before = [], 0
        for pair, (x, _) in enumerate(self.files):
            samples = x.shape[0]
            runs += [(pair, at, before + at, min(RUN, samples - at)) for at in range(0, samples, RUN)]
            before += samples
        return runs

    @cached_property
    def rows(self) -> Int64[np.ndarray, " U"]:
        """See `Blocks`."""
        return np.array([rows for *_, rows in self._runs], np.int64)

    def read(self, unit: int, skip: int = 0) -> Iterator[tuple[Place, Pair]]:
        """See `Blocks`."""
        pair, first, number, rows = self._runs[unit]
        x, y = self.files[pair]
        try:
            with x.path.open("rb") as inputs, y.path.open("rb") as targets:
                for array in (x, y):
                    if array.path.stat().st_size != array.bytes:
                        raise changed(array.path)
                for at in range(skip, rows, ROWS_AT_ONCE):
                    size = min(ROWS_AT_ONCE, rows - at)
                    place = Place(str(x.path), first + at, number + at)
                    yield place, (x.read(inputs, first + at, size), y.read(targets, first + at, size))
        except OSError as error:
            path = error.filename or x.path
            raise DataError(f"{path}: this shard cannot be read ({error.strerror or error})") from None
