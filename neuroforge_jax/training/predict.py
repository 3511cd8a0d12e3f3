"""The outputs of a network for any number of rows, by a few programs: rows go through it in blocks of a few sizes.

60,000 rows → 7 blocks of 8,192, 2 of 1,024 and 5 of 128        5 rows → a block of 16, 11 of them padding
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.data.mapped import select_rows
from neuroforge_jax.data.packing import pack, unpack
from neuroforge_jax.data.preprocess import Fitted, Inputs
from neuroforge_jax.model.model import FittedModel, Model
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.typing import Array, CompileOptions, Float, Num, Params

CHUNK = 1024
"""Rows computed at once: enough to fill the units of a GPU, few enough to stay in a CPU's cache."""

BLOCKS = (8 * CHUNK, CHUNK, 128, 16)
"""Rows of a block: what a program takes."""

NARROW = 128
"""A network without a wider layer, its inputs included, is handed more rows at once: its products are short."""

NARROW_CHUNK = 8 * CHUNK
NARROW_BLOCKS = (32 * CHUNK, 4 * CHUNK, 256, 16)

CALL_ROWS = 64
"""A block costs about as much as this many rows, beside its own."""

IN_FLIGHT = 4
"""Blocks that lie on the device at once."""


def predict_outputs(
    model: FittedModel, params: Params, rows: Inputs, device: jax.Device, options: CompileOptions
) -> Float[np.ndarray, "N C"]:
    """What the network says of rows as they are stored, f32: logits, or scaled quantities; nothing of no rows.

    The device computes a block while the host prepares the next.
    """
    outputs = np.empty((len(rows), model.mlp.outputs), np.float32)
    program = _prediction(model.spec.without_names, rows.shape[1], options)
    fitted = jax.device_put(model.fitted, device)
    computing: deque[tuple[slice, jax.Array]] = deque()
    sizes = NARROW_BLOCKS if _is_narrow(model.spec) else BLOCKS
    for part, size in split_rows(len(rows), sizes):
        if len(computing) == IN_FLIGHT:
            _take(computing, outputs)
        block = jax.device_put(pack(select_rows(rows, part), size), device)
        computing.append((part, program(params, fitted, block)))
    while computing:
        _take(computing, outputs)
    return outputs


def _take(computing: "deque[tuple[slice, jax.Array]]", outputs: Float[np.ndarray, "N C"]) -> None:
    part, block = computing.popleft()
    outputs[part] = np.asarray(block)[: part.stop - part.start]


def device_of(params: Params) -> jax.Device:
    """Where the parameters are: their device, or jax's default for arrays of NumPy."""
    leaf = jax.tree.leaves(params)[0]
    return next(iter(leaf.devices())) if isinstance(leaf, jax.Array) else jax.local_devices()[0]


def _is_narrow(model: Model) -> bool:
    return max(model.plan.record, *model.mlp.hidden, model.mlp.inputs) <= NARROW


def split_rows(rows: int, sizes: Sequence[int] = BLOCKS) -> Iterator[tuple[slice, int]]:
    """The rows of each block, and its size, padding included. sizes: of blocks, the largest first."""
    first = 0
    while first < rows:
        size = _choose_size(rows - first, sizes)
        last = min(first + size, rows)
        yield slice(first, last), size
        first = last


def _choose_size(left: int, sizes: Sequence[int]) -> int:
    """The largest that is full, or padded is cheaper than blocks of the next size."""
    for size, smaller in pairwise(sizes):
        if left >= size or size + CALL_ROWS <= -(-left // smaller) * (smaller + CALL_ROWS):
            return size
    return sizes[-1]


@by_structure
def _prediction(model: Model, inputs: int, options: CompileOptions) -> jax.stages.Wrapped:
    def program(params: Params, fitted: Fitted, words: Num[Array, "R W"]) -> Float[Array, "R C"]:
        def outputs(chunk: Array) -> Array:
            rows = unpack(chunk, inputs) if chunk.dtype == jnp.uint32 else chunk
            return model.logits(params, fitted, rows)

        chunk = NARROW_CHUNK if _is_narrow(model) else CHUNK
        if len(words) <= chunk:
            return outputs(words)
        chunks = words.reshape(-1, chunk, words.shape[1])
        return lax.map(outputs, chunks).reshape(len(words), -1)

    return jax.jit(program, compiler_options=dict(options) or None)
