"""The machine's ceiling: the fastest matrix product that it was seen to compute, here and now."""

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from neuroforge_jax.typing import CompileOptions

SIZES = {"cpu": 1536}
"""Side of the square matrices on a CPU; accelerators need larger ones to show what they can do."""

ACCELERATOR_SIZE = 8192
REPETITIONS, SETTLED = 7, 2
"""The most products that are timed, and after how many in a row that gain less than a hundredth no more are."""


def matmul_peak_flops(
    device: jax.Device, dtype: DTypeLike, options: CompileOptions, precision: lax.Precision | None = None
) -> float:
    """FLOP/s of the best of a few n × n × n products of normally distributed matrices of this dtype.

    A product costs 2·n³ operations. The best is taken, not the median: a ceiling is what the machine can do.
    """
    size = SIZES.get(device.platform, ACCELERATOR_SIZE)
    # Drawn on the host: a program for one drawing would take longer to compile than all that follows.
    numbers = np.random.default_rng(0).standard_normal((size, size), np.float32)
    matrix = jax.device_put(numbers.astype(jnp.dtype(dtype)), device)
    product = jax.jit(partial(jnp.matmul, precision=precision), compiler_options=dict(options) or None)
    product(matrix, matrix).block_until_ready()
    best, slower = _seconds(product, matrix), 0
    for _ in range(REPETITIONS - 1):
        seconds = _seconds(product, matrix)
        slower = 0 if seconds < 0.99 * best else slower + 1
        best = min(best, seconds)
        if slower == SETTLED:
            break
    return 2 * size**3 / best


def share_of_peak(rate: float, peak: float) -> float:
    """Of the most that a machine can do, both in FLOP/s, at most 1: work that was faster than all that was measured
    before it is itself the peak.
    """
    return rate / max(rate, peak)


def _seconds(product: Callable[[jax.Array, jax.Array], jax.Array], matrix: jax.Array) -> float:
    start = time.perf_counter()
    product(matrix, matrix).block_until_ready()
    return time.perf_counter() - start
