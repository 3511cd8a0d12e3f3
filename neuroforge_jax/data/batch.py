"""Samples on a device: a split as it lies there, and the batches that are gathered from it."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from neuroforge_jax.data.types import Inputs, Split
from neuroforge_jax.system.spans import span
from neuroforge_jax.typing import Array, Float, Integer, Num, UInt8, UInt32


@struct.dataclass
class Batch:
    """Samples of one step. A sample of weight 0 is padding and counts for nothing.

    inputs: uint8 or f32 [B, I], unscaled; targets: i32 [B] or f32 [B, O]; weights: f32 [B].
    """

    inputs: Num[Array, "B I"]
    targets: Num[Array, "B ..."]
    weights: Float[Array, " B"]


@struct.dataclass
class DeviceData:
    """A split as it lies on a device: uint8 inputs packed four to a word, which quarters a gather's work.

    words: u32 [N, ⌈I/4⌉], or f32 [N, I] as it is; inputs: I.
    """

    words: Num[Array, "N W"]
    targets: Num[Array, "N ..."]
    inputs: int = struct.field(pytree_node=False)

    def __len__(self) -> int:
        return self.words.shape[0]


def to_device(split: Split, device: jax.Device | None = None) -> DeviceData:
    """Move a split to a device, once and for all."""
    with span("transfer"):
        words, targets = jax.device_put((pack(split.inputs), split.targets), device)
    return DeviceData(words, targets, split.inputs.shape[1])


def pack(inputs: Inputs) -> np.ndarray:
    """uint8 [N, I] → u32 [N, ⌈I/4⌉], rows padded with zeros, without a copy where I is a multiple of 4."""
    if inputs.dtype != np.uint8:
        return inputs
    if spare := -inputs.shape[1] % 4:
        inputs = np.pad(inputs, ((0, 0), (0, spare)))
    # XLA's bitcast puts the lowest byte first on every platform.
    return np.ascontiguousarray(inputs).view("<u4")


def words_wide(inputs: int) -> int:
    """Words that this many bytes take."""
    return -(-inputs // 4)


def unpack(words: UInt32[Array, "B W"], inputs: int) -> UInt8[Array, "B {inputs}"]:
    """The inverse of `pack`, on the device."""
    bytes_ = lax.bitcast_convert_type(words, jnp.uint8).reshape(len(words), -1)[:, :inputs]
    # Fused with what scales them, the bytes would be taken out of their words one by one: on a CPU 120 µs for 256
    # images instead of 65. Elsewhere the fusion is what one wants.
    return lax.platform_dependent(bytes_, cpu=lax.optimization_barrier, default=lambda x: x)


def gather(data: DeviceData, indices: Integer[Array, " B"], weights: Float[Array, " B"]) -> Batch:
    """The samples at these indices, all of which are within the data."""
    rows = jnp.take(data.words, indices, axis=0, mode="clip")
    return _batch(rows, jnp.take(data.targets, indices, axis=0, mode="clip"), data.inputs, weights)


def neighbours(data: DeviceData, first: Integer[Array, ""], weights: Float[Array, " B"]) -> Batch:
    """The samples at first, first + 1, …, as many as there are weights."""
    rows = lax.dynamic_slice_in_dim(data.words, first, len(weights))
    return _batch(rows, lax.dynamic_slice_in_dim(data.targets, first, len(weights)), data.inputs, weights)


def _batch(rows: Array, targets: Array, inputs: int, weights: Array) -> Batch:
    return Batch(unpack(rows, inputs) if rows.dtype == jnp.uint32 else rows, targets, weights)
