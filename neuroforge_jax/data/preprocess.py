"""What is learnt from training rows before any training. A named tuple is a pytree to jax, which is not
imported.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

Inputs = UInt8[np.ndarray, "N I"] | Float32[np.ndarray, "N I"]

BLOCK = 4096
"""Rows looked at at once."""

PICTURES_MEASURED = 10_000


class Fitted(NamedTuple):
    """x → (x − shift) · scale: zero mean and unit variance over the training rows.

    A pytree that every program takes beside the parameters, so that other data need no other program. Both are
    f32 [] for images (one mean and deviation over all pixels, so that the picture keeps its contrasts) or f32 [I]
    for tables (one a column; a constant column has scale 0, so that it says nothing).
    """

    shift: np.ndarray
    scale: np.ndarray

    def standardize(self, inputs: Any) -> Any:
        """Float inputs [N, I], of NumPy or jax, as the first layer gets them."""
        return (inputs - self.shift) * self.scale


def fit_inputs(inputs: Inputs) -> Fitted:
    """Measure training rows, in float64; images by their first 10,000."""
    if inputs.dtype == np.uint8:
        counts = np.bincount(inputs[:PICTURES_MEASURED].ravel(), minlength=256).astype(np.float64)
        levels = np.arange(256.0)
        mean = (counts * levels).sum() / counts.sum()
        deviation = np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum())
    else:
        # In blocks, for the inputs may be mapped from a file larger than the memory.
        mean = sum(block.sum(axis=0, dtype=np.float64) for block in in_blocks(inputs)) / len(inputs)
        squares = sum(((block - mean) ** 2).sum(axis=0) for block in in_blocks(inputs))
        deviation = np.sqrt(squares / len(inputs))
    # A column that only rounding makes vary must not be blown up to unit variance.
    constant = deviation <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
    scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
    return Fitted(np.asarray(mean, np.float32), np.asarray(scale, np.float32))


def in_blocks(inputs: np.ndarray) -> Iterator[np.ndarray]:
    """The rows, some thousands at a time."""
    return (inputs[at : at + BLOCK] for at in range(0, len(inputs), BLOCK))
