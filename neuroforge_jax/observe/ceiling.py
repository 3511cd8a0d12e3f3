"""The machine's ceiling: the fastest matrix product that it was seen to compute, here and now."""

import time

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

SIZES = {"cpu": 2048}
"""Side of the square matrices on a CPU; accelerators need larger ones to show what they can do."""

ACCELERATOR_SIZE = 8192
REPETITIONS = 5


def matmul_peak_flops(
    device: jax.Device, dtype: DTypeLike, options: tuple[tuple[str, bool | int], ...]
) -> float:
    """FLOP/s of the best of a few n × n × n products of normally distributed matrices of this dtype.

    A product costs 2·n³ operations. The best is taken, not the median: a ceiling is what the machine can do.
    """
    size = SIZES.get(device.platform, ACCELERATOR_SIZE)
    with jax.default_device(device):
        operands = jax.jit(lambda key: jax.random.normal(key, (2, size, size), jnp.float32).astype(dtype))
        a, b = operands(jax.random.key(0))
        product = jax.jit(jnp.matmul, compiler_options=dict(options) or None)
        product(a, b).block_until_ready()
        best = min(_seconds(product, a, b) for _ in range(REPETITIONS))
    return 2 * size**3 / best


def _seconds(product: "jax.stages.Wrapped", a: jax.Array, b: jax.Array) -> float:
    start = time.perf_counter()
    product(a, b).block_until_ready()
    return time.perf_counter() - start
