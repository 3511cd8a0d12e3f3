"""Rows as they travel to a device: bytes four to a word, padded to as many rows as a program takes."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.data.mapped import MappedRows
from neuroforge_jax.data.preprocess import Inputs
from neuroforge_jax.typing import Array, UInt8, UInt32


def pad_rows(array: np.ndarray | MappedRows, rows: int) -> np.ndarray:
    """With rows of zeros below; an array as it is where it has as many."""
    if len(array) == rows and isinstance(array, np.ndarray):
        return array
    padded = empty_aligned((rows, *array.shape[1:]), array.dtype)
    if isinstance(array, MappedRows):
        array.write_to(padded[: len(array)])
    else:
        padded[: len(array)] = array
    return padded


def empty_aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes: jax can use them on a CPU without a copy."""
    size = int(np.prod(shape)) * dtype.itemsize
    store = np.zeros(size + 64, np.uint8)
    start = -store.ctypes.data % 64
    return store[start : start + size].view(dtype).reshape(shape)


def pack(inputs: Inputs, rows: int | None = None) -> np.ndarray:
    """uint8 [N, I] → u32 [R, ⌈I/4⌉], words and rows padded with zeros; f32 [N, I] → f32 [R, I].

    Without a copy where nothing is padded or converted.
    """
    rows = len(inputs) if rows is None else rows
    if inputs.dtype != np.uint8:
        return pad_rows(inputs, rows)
    wide = 4 * words_wide(inputs.shape[1])
    if (rows, wide) != inputs.shape:
        padded = empty_aligned((rows, wide), inputs.dtype)
        padded[: len(inputs), : inputs.shape[1]] = inputs
        inputs = padded
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
