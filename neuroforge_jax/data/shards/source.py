"""A source of rows in shards: it reads each lane on from where it was, and begins anew where a caller jumps."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from jaxtyping import Int64

from neuroforge_jax.data.shards.order import EpochOrder, LaneOrder
from neuroforge_jax.data.stream import HostBuffer
from neuroforge_jax.data.types import Split
from neuroforge_jax.typing import UInt32


class Units(Protocol):
    """Units of rows that are read from their beginning on, as a network stores them."""

    @property
    def like(self) -> Split:
        """A split of no samples with the dtypes and widths of these."""
        ...

    @property
    def sizes(self) -> Int64[np.ndarray, " U"]:
        """Rows of each unit."""
        ...

    def read(self, unit: int, skip: int) -> Iterator[Split]:
        """The rows of a unit from row `skip` on, some thousands at a time at most. Raises DataError."""
        ...


class ShardSource:
    """Samples of units in the order of `LaneOrder`, of which a window a lane is in memory.

    `read` takes any positions, in any order. Positions that follow those that were read last, lane by lane, cost
    what reading the units costs; to jump is to read some units from their beginning. Raises DataError as the units
    do.
    """

    def __init__(self, units: Units, order: LaneOrder) -> None:
        self.units, self.order = units, order
        self.like = units.like[:0]
        self._epoch: EpochOrder | None = None
        self._lanes: dict[int, _Lane] = {}

    def __len__(self) -> int:
        return len(self.order)

    def read(self, epoch: int, keys: UInt32[np.ndarray, " R"], first: int, out: HostBuffer) -> None:
        """See `Source`."""
        if self._epoch is None or not np.array_equal(self._epoch.keys, keys):
            self._epoch, self._lanes = self.order.epoch(np.array(keys)), {}
        positions = np.arange(first, min(first + len(out), len(self)))
        lanes, at = self.order.locate(positions)
        for lane in np.unique(lanes).tolist():
            here = np.flatnonzero(lanes == lane)
            if lane not in self._lanes:
                self._lanes[lane] = _Lane(self.units, self._epoch, lane)
            self._lanes[lane].write(at[here], here, out)
        for array in (out.words, out.targets, *([] if out.weights is None else [out.weights])):
            array[len(positions) :] = array[:1] if len(positions) else 0


class _Lane:
    """One lane of an epoch: its window in memory, and the rows that come after it."""

    def __init__(self, units: Units, epoch: EpochOrder, lane: int) -> None:
        self._units, self._epoch, self._lane = units, epoch, lane
        self._window, self._size = -1, epoch.order.lane_window
        self._rows = HostBuffer.empty(units.like, min(self._size, epoch.order.window_of(lane, 0)[1]))
        self._order: np.ndarray = np.arange(0)
        self._at = -1  # where in the sequence of rows the reading stands
        self._rest: Iterator[Split] = iter(())
        self._left = units.like[:0]

    def write(self, rows: Int64[np.ndarray, " S"], to: Int64[np.ndarray, " S"], out: HostBuffer) -> None:
        """Write these rows of the lane, counted from its first, to these places."""
        windows = rows // self._size
        for window in np.unique(windows).tolist():
            here = windows == window
            self._load(window)
            taken, places = self._order[rows[here] - window * self._size], to[here]
            out.words[places] = self._rows.words[taken]
            out.targets[places] = self._rows.targets[taken]
            if out.weights is not None and self._rows.weights is not None:
                out.weights[places] = self._rows.weights[taken]

    def _load(self, window: int) -> None:
        if window == self._window:
            return
        first, size = self._epoch.order.window_of(self._lane, window)
        self._window = -1  # nothing, should reading fail
        if first != self._at:
            self._rest, self._left = self._read_from(first), self._units.like[:0]
        filled = 0
        while filled < size:
            part = self._left if len(self._left) else next(self._rest)
            taken, self._left = part[: size - filled], part[size - filled :]
            _store(taken, self._rows[filled : filled + len(taken)])
            filled += len(taken)
        self._at = first + size
        self._order = self._epoch.within(self._lane, window)
        self._window = window

    def _read_from(self, row: int) -> Iterator[Split]:
        turn, skip = self._epoch.find(row)
        for unit in self._epoch.units[turn:].tolist():
            yield from self._units.read(unit, skip)
            skip = 0


def _store(rows: Split, out: HostBuffer) -> None:
    out.rows[:], out.targets[:] = rows.inputs, rows.targets
    if rows.weights is not None and out.weights is not None:
        out.weights[:] = rows.weights
