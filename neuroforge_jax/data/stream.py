"""Sources: samples on the host that need fit neither a device nor memory, read in the order of an epoch.

`ArraySource` takes arrays, those of a mapped file too, in the same order as every other execution.
`IteratorSource` takes whatever yields samples one after another, and shuffles within a window of them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from neuroforge_jax.data.mapped import MappedRows
from neuroforge_jax.data.packing import empty_aligned, words_wide
from neuroforge_jax.data.shuffle import order_on_host, stored_order
from neuroforge_jax.data.types import Split
from neuroforge_jax.errors import DataError
from neuroforge_jax.typing import Num, UInt32

Batches = Iterable[tuple[np.ndarray, np.ndarray]]
"""Inputs [n, ...] and targets [n, ...], of any n ≥ 1 that may change from one to the next."""


@dataclass(frozen=True, eq=False)
class HostBuffer:
    """Room for samples on the host, laid out as `DeviceData` is.

    words: u32 [S, ⌈I/4⌉] or f32 [S, I]; targets: i32 [S] or f32 [S, O]; weights: f32 [S] or None; inputs: I.
    """

    words: Num[np.ndarray, "S W"]
    targets: Num[np.ndarray, "S ..."]
    weights: Num[np.ndarray, " S"] | None
    inputs: int

    @staticmethod
    def empty(like: Split, samples: int) -> "HostBuffer":
        """A buffer for samples of the kind of `like`, zero where they leave padding within a word."""
        inputs = like.inputs.shape[1]
        pixels = like.inputs.dtype == np.uint8
        shape = (samples, words_wide(inputs) if pixels else inputs)
        words = empty_aligned(shape, np.dtype("<u4") if pixels else like.inputs.dtype)
        targets = empty_aligned((samples, *like.targets.shape[1:]), np.dtype(like.targets.dtype))
        weights = None if like.weights is None else empty_aligned((samples,), np.dtype(np.float32))
        return HostBuffer(words, targets, weights, inputs)

    def __getitem__(self, part: slice) -> "HostBuffer":
        weights = None if self.weights is None else self.weights[part]
        return HostBuffer(self.words[part], self.targets[part], weights, self.inputs)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def rows(self) -> Num[np.ndarray, "S I"]:
        """The inputs as they are stored, uint8 or f32 [S, I]: a view of the words."""
        if self.words.dtype != np.uint32:
            return self.words
        return self.words.view(np.uint8)[:, : self.inputs]


@runtime_checkable
class Source(Protocol):
    """Samples that are read epoch by epoch, by one thread at a time."""

    @property
    def like(self) -> Split:
        """A split of no samples with the dtypes and widths of these."""
        ...

    def __len__(self) -> int:
        """Samples of one epoch."""
        ...

    def read(self, epoch: int, keys: UInt32[np.ndarray, " R"], first: int, out: HostBuffer) -> None:
        """Write the samples at positions first, first + 1, … of this epoch's order into `out`.

        keys: the epoch's round keys, all that its order may depend on. Positions from the end of the epoch
        on are padding: any real sample will do.
        """
        ...


@dataclass(frozen=True, eq=False)
class ArraySource:
    """The samples of a split, whose arrays may be mapped from files.

    shuffles: whether they have another order in every epoch, and not the one in which they are stored.
    """

    split: Split
    shuffles: bool = True

    @property
    def like(self) -> Split:
        """A split of no samples, with the dtypes and widths of these."""
        return self.split[:0]

    def __len__(self) -> int:
        return len(self.split)

    def read(self, epoch: int, keys: UInt32[np.ndarray, " R"], first: int, out: HostBuffer) -> None:
        """See `Source`; the order is that of `sample_order`, or the stored one."""
        positions, samples = np.arange(first, first + len(out)), len(self)
        indices = (
            order_on_host(keys, samples, positions) if self.shuffles else stored_order(samples, positions)
        )
        inputs = self.split.inputs
        if isinstance(inputs, MappedRows) and not inputs.is_stored:
            out.rows[:] = inputs[indices]
        elif isinstance(inputs, MappedRows):
            _take_rows(inputs.array, indices if inputs.rows is None else inputs.rows[indices], out)
        else:
            _take_rows(inputs, indices, out)
        np.take(self.split.targets, indices, axis=0, out=out.targets, mode="clip")
        if self.split.weights is not None and out.weights is not None:
            np.take(self.split.weights, indices, axis=0, out=out.weights, mode="clip")


def _take_rows(rows: np.ndarray, indices: np.ndarray, out: HostBuffer) -> None:
    to = out.rows
    if rows.dtype == np.uint8 and out.inputs % 4 == 0 and rows.flags.c_contiguous:
        rows, to = rows.view("<u4"), out.words  # a quarter of the items to move
    np.take(rows, indices, axis=0, out=to, mode="clip")


class IteratorSource:
    """The samples of an iterator, of which only a window is in memory.

    passes: takes the number of an epoch and returns an iterable of batches (inputs [n, ...], targets [n, ...]). An
    epoch must yield `samples` samples in all, the same ones in the same order whenever it is asked for again. like:
    a split with the dtypes and widths of the samples, such as a first part of the data. classes: how many there
    are; 0 for a regression. window: how many samples are shuffled among each other; 1 keeps the iterator's order.

    `read` raises DataError for samples of another kind, numbers that are not finite, labels outside the classes,
    and epochs that end early or late. What the iterator itself raises passes through.
    """

    def __init__(
        self,
        passes: Callable[[int], Batches],
        samples: int,
        *,
        like: Split,
        classes: int = 0,
        window: int = 16_384,
    ) -> None:
        if samples < 1 or window < 1:
            raise ValueError(f"{samples} samples in windows of {window}: both must be at least 1")
        self.like = Split(like.inputs[:0], like.targets[:0])  # an iterator gives no weights
        self._passes, self._samples, self._classes = passes, samples, classes
        self._window = min(window, samples)
        self._epoch, self._block = -1, -1
        self._rest: Iterator[Split] = iter(())
        self._left: Split = self.like
        self._samples_in_block: Split = self.like

    def __len__(self) -> int:
        return self._samples

    def read(self, epoch: int, keys: UInt32[np.ndarray, " R"], first: int, out: HostBuffer) -> None:
        """See `Source`. Going back, or to another epoch, begins a new pass and skips what comes before."""
        at = 0
        while at < len(out) and first + at < self._samples:
            block, offset = divmod(first + at, self._window)
            self._go_to(epoch, block)
            size = len(self._samples_in_block)
            count = min(len(out) - at, size - offset)
            # Another block is another permutation, as another epoch is.
            block_keys = keys ^ np.uint32(block * 0x9E3779B9 & 0xFFFFFFFF)
            indices = order_on_host(block_keys, size, np.arange(offset, offset + count))
            out.rows[at : at + count] = self._samples_in_block.inputs[indices]
            out.targets[at : at + count] = self._samples_in_block.targets[indices]
            at += count
        out.rows[at:], out.targets[at:] = out.rows[:1], out.targets[:1]

    def _go_to(self, epoch: int, block: int) -> None:
        if (epoch, block) == (self._epoch, self._block):
            return
        if epoch != self._epoch or block < self._block:
            self._epoch, self._block, self._left = epoch, -1, self.like
            self._rest = (self._check(epoch, *batch) for batch in self._passes(epoch))
        while self._block < block:
            self._block += 1
            self._samples_in_block = self._take(min(self._window, self._samples - self._block * self._window))
        if (block + 1) * self._window >= self._samples and (
            len(self._left) or next(self._rest, None) is not None
        ):
            raise DataError(f"the iterator of epoch {epoch} gives more than its {self._samples:,} samples")

    def _take(self, samples: int) -> Split:
        """The next samples of the pass, whatever the sizes of its batches."""
        parts, found = [self._left], len(self._left)
        while found < samples:
            batch = next(self._rest, None)
            if batch is None:
                before = self._block * self._window + found
                raise DataError(
                    f"the iterator of epoch {self._epoch} ended after {before:,} of {self._samples:,} samples"
                )
            parts.append(batch)
            found += len(batch)
        whole = Split(
            np.concatenate([part.inputs for part in parts]), np.concatenate([part.targets for part in parts])
        )
        self._left = whole[samples:]
        return whole[:samples]

    def _check(self, epoch: int, inputs: np.ndarray, targets: np.ndarray) -> Split:
        like, kind = self.like, f"the iterator of epoch {epoch} gives"
        x, y = np.asarray(inputs), np.asarray(targets)
        x = x.reshape(len(x), -1)
        if x.shape[1] != like.inputs.shape[1] or (x.dtype == np.uint8) != (like.inputs.dtype == np.uint8):
            raise DataError(
                f"{kind} inputs of {x.dtype} [{x.shape[1]}], and {like.inputs.dtype} "
                f"[{like.inputs.shape[1]}] are expected"
            )
        if len(x) != len(y) or (self._classes and (y.ndim != 1 or y.dtype.kind not in "iu")):
            raise DataError(f"{kind} {len(x)} inputs with targets of {y.dtype} {y.shape}")
        y = y.reshape(len(y), *like.targets.shape[1:])
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise DataError(f"{kind} a number that is not finite; every input and target must be")
        if self._classes and len(y) and not 0 <= int(y.min()) <= int(y.max()) < self._classes:
            outside = int(y.min()) if y.min() < 0 else int(y.max())
            raise DataError(f"{kind} the label {outside}; labels are from 0 to {self._classes - 1}")
        return Split(x.astype(like.inputs.dtype, copy=False), y.astype(like.targets.dtype, copy=False))
