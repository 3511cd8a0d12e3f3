"""Units of shards: the rows as a network stores them, from files that are opened where they are read.

A reader of files gives blocks of them; a decoder makes a split of each, and says which of its rows count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from jaxtyping import Int64

from neuroforge_jax.data.shards.selection import Selection
from neuroforge_jax.data.types import Split
from neuroforge_jax.typing import Bool

Data_co = TypeVar("Data_co", covariant=True)
Data_contra = TypeVar("Data_contra", contravariant=True)
Data = TypeVar("Data")

ROWS_AT_ONCE = 4096
"""Rows of a block at most."""


class Place(NamedTuple):
    """Where a block comes from. shard: what errors call its file. row: its first one, in the file. number: the same
    in the whole part, by which rows are selected.
    """

    shard: str
    row: int
    number: int


class Blocks(Protocol[Data_co]):
    """Files that are read in units, block by block."""

    @property
    def rows(self) -> Int64[np.ndarray, " U"]:
        """Of each unit, as they are stored."""
        ...

    def read(self, unit: int, skip: int = 0) -> Iterator[tuple[Place, Data_co]]:
        """The blocks of a unit from row `skip` on, of at most ROWS_AT_ONCE rows. Raises DataError."""
        ...


class Decoder(Protocol[Data_contra]):
    """What makes samples of what lies in the files."""

    @property
    def like(self) -> Split:
        """A split of no samples with the dtypes and widths of those that are made."""
        ...

    def decode(self, data: Data_contra, place: Place) -> tuple[Split, Bool[np.ndarray, " N"] | None]:
        """The samples of those rows that have a target, and which have; None for all. Raises DataError."""
        ...

    def with_weights_times(self, factor: float) -> "Decoder[Data_contra]":
        """The same, but for the weights of rows, where they have such."""
        ...


@dataclass(frozen=True, eq=False)
class SelectedUnits(Generic[Data]):
    """The selected rows of each unit, decoded. sizes: how many each has."""

    blocks: Blocks[Data]
    decoder: Decoder[Data]
    selection: Selection
    sizes: Int64[np.ndarray, " U"]

    @property
    def like(self) -> Split:
        """See `shards.source.Units`."""
        return self.decoder.like

    def read(self, unit: int, skip: int) -> Iterator[Split]:
        """See `shards.source.Units`."""
        if self.sizes[unit] == self.blocks.rows[unit]:
            for place, data in self.blocks.read(unit, skip):
                yield self.decoder.decode(data, place)[0]
            return
        for place, data in self.blocks.read(unit):
            split = self.decode(data, place)
            if len(split) > skip:
                yield split[skip:] if skip else split
            skip = max(0, skip - len(split))

    def decode(self, data: Data, place: Place) -> Split:
        """The selected samples of a block."""
        return choose_samples(self.selection, *self.decoder.decode(data, place), place)

    def read_all(self) -> Iterator[Split]:
        """All of them, unit by unit."""
        for unit in np.flatnonzero(self.sizes).tolist():
            yield from self.read(unit, 0)


def choose_samples(
    selection: Selection, split: Split, there: Bool[np.ndarray, " N"] | None, place: Place
) -> Split:
    """The selected ones of the samples of a block. there: which of its rows these are; None for all."""
    if selection.is_all:
        return split
    rows = len(split) if there is None else len(there)
    chosen = selection.choose(place.number, place.number + rows)
    return split[chosen if there is None else chosen[there]]


def spread_evenly(rows: Int64[np.ndarray, " U"], count: int) -> list[int]:
    """`count` of the units that have rows, spread evenly over the data; all of them where they are fewer."""
    there = np.flatnonzero(rows)
    chosen: list[int] = there[
        np.linspace(0, len(there) - 1, min(len(there), count)).astype(np.int64)
    ].tolist()
    return chosen
