"""The order in which the rows of shards are seen: one function of the epoch's keys and a few sizes.

    units, permuted      u₇ u₂ u₉ u₀ …            as one sequence of n rows
    lanes                ├── 0 ──┼── 1 ──┼── …    each a contiguous part of it
    windows of a lane    ├─┼─┼─┼─┤                rows are permuted within each
    batch                [ b of lane 0 | b of lane 1 | … ]

A unit is what is read from its beginning: a row group of Parquet, a run of rows of an array. A permutation of all
rows would read each unit as often as it has rows; here each is read once a lane that it lies in, by turns, and a
window of each lane is in memory. The batch's rows are L equal blocks and block l comes from lane l: who reads only
rows lo … hi − 1 of every batch reads the lanes of these rows alone. Nothing depends on who reads or on what was
read before: the row at any position can be computed, and a run resumed in the middle of an epoch goes on as one
that was never interrupted.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from neuroforge_jax.data.shuffle import ROUNDS, order_on_host
from neuroforge_jax.typing import UInt32

MOST_LANES = 16
"""More mix better and take more files open at once; each reads a part of a unit in vain, half of one on average."""

WINDOW = 65_536
"""Rows that are in memory and shuffled among each other, of all lanes together."""

Positions = Int64[np.ndarray, " S"]


@dataclass(frozen=True, eq=False)
class LaneOrder:
    """The order of rows in units of these sizes, epoch by epoch.

    sizes: rows of each unit, which may be 0. shuffles: whether it is another one in every epoch, and not the one in
    which the rows are stored. window: rows shuffled among each other, of all lanes together.
    """

    sizes: Int64[np.ndarray, " U"]
    batch_size: int
    shuffles: bool = True
    window: int = WINDOW

    def __len__(self) -> int:
        return int(self.sizes.sum())

    @cached_property
    def lanes(self) -> int:
        """The largest divisor of the batch size up to 16; 1 where nothing is shuffled."""
        most = min(MOST_LANES, self.batch_size) if self.shuffles else 1
        return next(lanes for lanes in range(most, 0, -1) if self.batch_size % lanes == 0)

    @property
    def block(self) -> int:
        """Rows of a batch that one lane gives."""
        return self.batch_size // self.lanes

    @property
    def lane_window(self) -> int:
        """Rows of a window of one lane."""
        return max(1, self.window // self.lanes)

    @cached_property
    def lane_starts(self) -> Int64[np.ndarray, " _"]:
        """Where each lane begins in the sequence of rows, and n; of the last, short batch the first blocks are
        full.
        """
        batches, rest = divmod(len(self), self.batch_size)
        of_last = np.clip(rest - np.arange(self.lanes) * self.block, 0, self.block)
        return np.concatenate([[0], np.cumsum(batches * self.block + of_last)]).astype(np.int64)

    def locate(self, positions: Positions) -> tuple[Positions, Positions]:
        """The lane of each position of an epoch, and which of the lane's rows it takes, both from 0."""
        step, within = np.divmod(positions, self.batch_size)
        lane, at = np.divmod(within, self.block)
        return lane, step * self.block + at

    def window_of(self, lane: int, window: int) -> tuple[int, int]:
        """Where a window of a lane begins in the sequence of rows, and how many it has."""
        start, end = (int(at) for at in self.lane_starts[lane : lane + 2])
        first = start + window * self.lane_window
        return first, max(0, min(self.lane_window, end - first))

    def epoch(self, keys: UInt32[np.ndarray, " R"]) -> "EpochOrder":
        """The order of the epoch that has these round keys."""
        count = np.arange(len(self.sizes))
        units = order_on_host(keys, len(count), count) if self.shuffles and len(count) else count
        starts = np.concatenate([[0], np.cumsum(self.sizes[units])]).astype(np.int64)
        return EpochOrder(self, keys, units, starts)

    def rows(self, keys: UInt32[np.ndarray, " R"], positions: Positions) -> Positions:
        """The rows at these positions, counted from the first of the first unit: what `Source.read` gives, without
        reading. For tests and for measuring the order.
        """
        epoch, (lanes, at) = self.epoch(keys), self.locate(positions)
        sequence = np.empty(len(positions), np.int64)
        windows = at // self.lane_window
        for lane, window in np.unique(np.stack([lanes, windows], 1), axis=0).tolist():
            here = np.flatnonzero((lanes == lane) & (windows == window))
            order = epoch.within(lane, window)
            first, _ = self.window_of(lane, window)
            sequence[here] = first + order[at[here] - window * self.lane_window]
        turn = np.searchsorted(epoch.starts, sequence, side="right") - 1
        unit_starts = np.cumsum(self.sizes) - self.sizes
        return unit_starts[epoch.units[turn]] + sequence - epoch.starts[turn]


@dataclass(frozen=True, eq=False)
class EpochOrder:
    """The order of one epoch. units: in their turn. starts: where each begins in the sequence of rows, and n."""

    order: LaneOrder
    keys: UInt32[np.ndarray, " R"]
    units: Int64[np.ndarray, " U"]
    starts: Int64[np.ndarray, " _"]

    def within(self, lane: int, window: int) -> Positions:
        """In which order the rows of a window are given."""
        _, size = self.order.window_of(lane, window)
        rows = np.arange(size)
        if not self.order.shuffles or size < 2:
            return rows
        # Another window is another permutation, as another epoch is; units have that of the keys as they are.
        salt = np.random.SeedSequence((lane, window)).generate_state(ROUNDS, np.uint32)
        return order_on_host(self.keys ^ salt, size, rows)

    def find(self, row: int) -> tuple[int, int]:
        """The turn of the unit in which a row of the sequence lies, and where in it."""
        turn = int(np.searchsorted(self.starts, row, side="right")) - 1
        return turn, row - int(self.starts[turn])
