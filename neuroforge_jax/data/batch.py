"""Samples on a device: a split as it lies there, and the batches that are gathered from it."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jax.sharding import Sharding

from neuroforge_jax.data.packing import pack, pad_rows, unpack
from neuroforge_jax.data.shuffle import order_bits, positions_of_step, sample_order, steps_per_epoch
from neuroforge_jax.data.types import Split
from neuroforge_jax.system.placing import put
from neuroforge_jax.system.spans import span
from neuroforge_jax.typing import Array, Float, Integer, Num, PRNGKey

ROWS_OF_A_BUCKET = 16
"""Buckets between a power of two and the next, so that at most a sixteenth of the rows is padding."""


@struct.dataclass
class Batch:
    """Samples of one step.

    inputs: uint8 or f32 [B, I], unscaled; targets: i32 [B] or f32 [B, O]; mask: f32 [B], 0 for padding, which
    counts for nothing; weight: f32 [B], how much a sample counts, 1 on average over the training samples; None
    where all count alike.
    """

    inputs: Num[Array, "B I"]
    targets: Num[Array, "B ..."]
    mask: Float[Array, " B"]
    weight: Float[Array, " B"] | None = None


@struct.dataclass
class DeviceData:
    """A split as it lies on a device: uint8 inputs packed four to a word, which quarters a gather's work.

    words: u32 [R, ⌈I/4⌉], or f32 [R, I] as it is; weights: f32 [R] or None; samples: i32 [], the real ones
    among the R rows, which come first: other data with as many rows are other arguments of the same program.
    inputs: I.
    """

    words: Num[Array, "R W"]
    targets: Num[Array, "R ..."]
    weights: Float[Array, " R"] | None
    samples: Integer[Array, ""]
    inputs: int = struct.field(pytree_node=False)

    @property
    def rows(self) -> int:
        """Real ones and padding."""
        return self.words.shape[0]


@dataclass(frozen=True)
class BatchRows:
    """The rows in which the samples of a step lie, of which some may be padding.

    size: samples. parts: in which they are computed one after another, all of as many samples. shares: of every
    part, one for each device or shard, whose rows of all parts lie together, part after part. share_rows: rows of a
    share of a part.

        of 8 samples in 2 parts and 2 shares        0 1 4 5 │ 2 3 6 7
    """

    size: int
    parts: int
    shares: int
    share_rows: int

    @staticmethod
    def of(size: int, parts: int = 1, shares: int = 1) -> "BatchRows":
        """The fewest rows that divide into so many parts, and each of these into so many shares."""
        return BatchRows(size, parts, shares, -(-size // (parts * shares)))

    def __len__(self) -> int:
        return self.parts * self.shares * self.share_rows

    @property
    def is_plain(self) -> bool:
        """Whether the samples lie one after another, without padding."""
        return len(self) == self.size and 1 in (self.parts, self.shares)

    @property
    def position_of(self) -> Integer[np.ndarray, " R"]:
        """The position in the batch of what is in each row, i32; −1 for padding."""
        rows = np.arange(len(self), dtype=np.int32).reshape(self.shares, self.parts, self.share_rows)
        share, part, row = np.indices(rows.shape, np.int32)
        samples = self.size // self.parts
        in_part = share * self.share_rows + row
        return np.where(in_part < samples, part * samples + in_part, -1).ravel()

    @property
    def row_of(self) -> Integer[np.ndarray, " B"]:
        """The row in which each sample lies, by its position in the batch."""
        return np.argsort(self.position_of)[len(self) - self.size :]

    def spread(self, of_batch: Array) -> Array:
        """What the samples have [B, …] as what the rows have [R, …], 0 in padding."""
        if self.is_plain:
            return of_batch
        position = self.position_of
        taken = jnp.take(of_batch, jnp.maximum(position, 0), axis=0)
        return jnp.where((position >= 0).reshape(-1, *(1,) * (taken.ndim - 1)), taken, 0)


def bucket(samples: int) -> int:
    """Rows in which so many samples lie: at most a sixteenth more, and never beyond the next power of two.

    Within a power of two the shuffle's structure is one (`shuffle.py`).
    """
    step = max(1, (1 << max(samples - 1, 1).bit_length()) // (2 * ROWS_OF_A_BUCKET))
    return -(-samples // step) * step


def to_device(split: Split, device: jax.Device | Sharding | None = None) -> DeviceData:
    """Move a split to a device, or to all of a sharding, once and for all, its rows padded to a bucket."""
    with span("transfer"):
        rows = bucket(len(split))
        weights = None if split.weights is None else pad_rows(split.weights, rows)
        arrays = pack(split.inputs, rows), pad_rows(split.targets, rows), weights
        words, targets, weights, samples = put((*arrays, np.int32(len(split))), device)
    return DeviceData(words, targets, weights, samples, split.inputs.shape[1])


def draw_batch(
    data: DeviceData,
    key: PRNGKey,
    step: Integer[Array, ""],
    batch_size: int,
    *,
    shuffles: bool = True,
) -> Batch:
    """The samples of a step of a training, counted from 0. key: of the order of samples; shuffles: whether they
    have another one in every epoch, and not the one in which they are stored.
    """
    per_epoch = steps_per_epoch(data.samples, batch_size)
    positions = positions_of_step(step % per_epoch, batch_size)
    if not shuffles:
        return take_stored(data, positions, BatchRows.of(batch_size))
    indices = sample_order(key, step // per_epoch, data.samples, positions, order_bits(data.rows))
    return gather(data, indices, (positions < data.samples).astype(jnp.float32))


def gather(data: DeviceData, indices: Integer[Array, " B"], mask: Float[Array, " B"]) -> Batch:
    """The samples at these indices, all of which are within the data."""

    def take(array: Array) -> Array:
        return jnp.take(array, indices, axis=0, mode="clip")

    return _batch(data, take, mask)


def take_stored(data: DeviceData, positions: Integer[Array, " B"], rows: BatchRows) -> Batch:
    """The samples at the positions of a step, in the order in which they are stored."""
    mask = (positions < data.samples).astype(jnp.float32)
    # The last batch of an epoch may reach beyond the rows.
    if not rows.is_plain or data.rows % len(positions):
        return gather(data, rows.spread(positions), rows.spread(mask))

    def take(array: Array) -> Array:
        return lax.dynamic_slice_in_dim(array, positions[0], len(mask))

    return _batch(data, take, mask)


def take_batch(chunk: DeviceData, index: Integer[Array, ""], mask: Float[Array, " B"]) -> Batch:
    """One of the batches of a chunk, whose arrays are [K, B, …]. index: i32 [], below K."""

    def take(array: Array) -> Array:
        return lax.dynamic_index_in_dim(array, index, keepdims=False)

    return _batch(chunk, take, mask)


def _batch(data: DeviceData, take: Callable[[Array], Array], mask: Array) -> Batch:
    rows = take(data.words)
    inputs = unpack(rows, data.inputs) if rows.dtype == jnp.uint32 else rows
    return Batch(inputs, take(data.targets), mask, None if data.weights is None else take(data.weights))
