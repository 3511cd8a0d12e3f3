"""What this machine can do at most, measured in the same run: products, memory by size, the cost of one dispatch.

The roofline of a step (Williams, Waterman & Patterson 2009): with f operations and b bytes that must move, it
cannot run faster than min(peak, f/b · bandwidth). The bandwidth is that of the memory which holds what the step
works on: the weights of a small net lie in a cache that is ten times as fast as the memory behind it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.backends.peak import matmul_peak_flops
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.benchmarking.harness import time_call
from neuroforge_jax.nn.mlp import MLP, count, train_flops
from neuroforge_jax.precision.policy import short_name

WORKING_SETS = tuple(1 << power for power in (18, 20, 22, 24, 26, 28))
"""From what a core's own cache holds to several times what any cache does."""

MOVED_BYTES = 1 << 28
"""Of one measurement of a bandwidth: so many passes over the working set that the dispatch does not count."""

DISPATCHES = 2000
SMALL_STEP_FLOPS = 5e6
"""Below it a step is not bound by what it computes but by how fast its threads find each other."""

REFERENCE_SIZES = {
    # platform, whether the steps are small: batch and widths
    ("cpu", False): (64, 784, 1024, 512, 10),
    ("cpu", True): (32, 64, 32, 10),
    ("accelerator", False): (4096, 4096, 4096, 4096),
    ("accelerator", True): (64, 256, 256, 10),
}
"""Of the references: a machine's moods befall large steps and small ones in different ways."""

REFERENCE_SECONDS = 0.04
LARGE_BATCH = 512
"""Whose compile options the products of a peak have: the ones that large products are fastest with."""


@dataclass(frozen=True)
class Peaks:
    """matmul: FLOP/s of the best product by dtype (f32, bf16, …). bytes_per_second: by the size of the working set.
    dispatch_seconds: of the smallest program.
    """

    matmul_flops_per_second: dict[str, float]
    bytes_per_second: dict[int, float]
    dispatch_seconds: float

    def bandwidth(self, working_set_bytes: float) -> float:
        """Of the memory that holds so much."""
        large_enough = [size for size in self.bytes_per_second if size >= working_set_bytes]
        return self.bytes_per_second[min(large_enough, default=max(self.bytes_per_second))]

    def roofline(self, dtype: str, flops: float, moved_bytes: float, working_set_bytes: float) -> float:
        """FLOP/s that a step with so many operations and moved bytes cannot exceed."""
        peak = self.matmul_flops_per_second[dtype]
        return min(peak, flops / moved_bytes * self.bandwidth(working_set_bytes))

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return {
            "matmul_flops_per_second": self.matmul_flops_per_second,
            "copy_bytes_per_second": self.bandwidth(math.inf),
            "bytes_per_second": [[size, rate] for size, rate in self.bytes_per_second.items()],
            "dispatch_seconds": self.dispatch_seconds,
        }


def measure_peaks(backends: list[Backend]) -> Peaks:
    """The peaks of the device of these backends, for the dtypes that they multiply."""
    device = backends[0].device
    peaks = {}
    for backend in backends:
        dtype = backend.policy.multiplied_in(device.platform)
        if short_name(dtype) not in peaks:
            options = backend.options(LARGE_BATCH)
            peaks[short_name(dtype)] = matmul_peak_flops(device, dtype, options, backend.policy.precision)
    return Peaks(peaks, bandwidths(device), dispatch_seconds(device))


def bandwidths(device: jax.Device) -> dict[int, float]:
    """Bytes a second by the size of what is passed over again and again: the better of two passes.

    One adds 1 to every number in place, which reads and writes it; one multiplies a matrix and a vector, which
    reads it. A byte that is read and written counts twice.
    """
    return {size: max(_time_addition(size, device), _time_product(size, device)) for size in WORKING_SETS}


def _time_addition(size: int, device: jax.Device) -> float:
    passes = max(1, MOVED_BYTES // size)
    numbers = jax.device_put(np.zeros(size // 4, np.float32), device)
    program = jax.jit(lambda x: lax.fori_loop(0, passes, lambda _, x: x + 1, x))
    return 2 * size * passes / _best(lambda: program(numbers))


def _time_product(size: int, device: jax.Device) -> float:
    side = math.isqrt(size // 4)
    passes = max(1, MOVED_BYTES // (4 * side * side))
    matrix = jax.device_put(np.full((side, side), 1 / side, np.float32), device)
    vector = jax.device_put(np.ones(side, np.float32), device)
    program = jax.jit(lambda a, v: lax.fori_loop(0, passes, lambda _, v: a @ v, v))
    return 4 * side * side * passes / _best(lambda: program(matrix, vector))


def _best(work: Callable[[], jax.Array]) -> float:
    work().block_until_ready()
    return min(time_call(lambda: work().block_until_ready()) for _ in range(5))


def dispatch_seconds(device: jax.Device) -> float:
    """Median seconds from a call of a compiled program of one addition to its end."""
    one = jax.device_put(np.float32(1), device)
    program = jax.jit(lambda x: x + 1)
    program(one).block_until_ready()
    return float(np.median([time_call(lambda: program(one).block_until_ready()) for _ in range(DISPATCHES)]))


def reference_of(device: jax.Device, *, small: bool = False) -> Callable[[], float]:
    """The reference of a harness, for steps of its own kind: mean seconds of a step of a fixed training in plain
    jax, over some 40 ms of them.

    A training and not a product alone: what slows the memory of a machine down must slow its reference down too. It
    is none of ours and has no compile options of ours, for what is tuned here must not tune the reference.
    """
    rng = np.random.default_rng(0)
    batch, *widths = REFERENCE_SIZES["cpu" if device.platform == "cpu" else "accelerator", small]
    weights = tuple(rng.standard_normal(pair, np.float32) / pair[0] ** 0.5 for pair in pairwise(widths))
    sizes = ((batch, widths[0]), (batch, widths[-1]))
    x, y = (jax.device_put(rng.standard_normal(size, np.float32), device) for size in sizes)
    weights = jax.device_put(weights, device)

    def loss(weights: tuple[jax.Array, ...], x: jax.Array, y: jax.Array) -> jax.Array:
        for kernel in weights[:-1]:
            x = jnp.maximum(x @ kernel, 0)
        return jnp.square(x @ weights[-1] - y).mean()

    def steps(
        count: int, weights: tuple[jax.Array, ...], x: jax.Array, y: jax.Array
    ) -> tuple[jax.Array, ...]:
        def step(_: int, weights: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            return jax.tree.map(lambda w, g: w - 1e-3 * g, weights, jax.grad(loss)(weights, x, y))

        return lax.fori_loop(0, count, step, weights)

    program = jax.jit(steps)

    def seconds_of(count: int) -> float:
        return time_call(lambda: jax.block_until_ready(program(count, weights, x, y)))

    seconds_of(1)
    count = max(1, round(REFERENCE_SECONDS / min(seconds_of(4) / 4 for _ in range(5))))
    return lambda: seconds_of(count) / count


def step_flops(mlp: MLP, batch_size: int) -> float:
    """Operations of one training step: see `train_flops`."""
    return float(train_flops(mlp)) * batch_size


def step_bytes(mlp: MLP, batch_size: int, *, input_bytes: int, slots: int, compute_bytes: int) -> float:
    """Bytes that a step must move at the least, were nothing but its working set kept near the units.

    Each f32 weight is read for the forward pass, read again for the gradient of the layer below (all layers but the
    first), and read and written by the update, as are the optimizer's slots; the samples are read once; each
    activation is written and read back in the dtype of the products, and so is its gradient.
    """
    widths = (mlp.inputs, *mlp.hidden, mlp.outputs)
    first = widths[0] * widths[1]
    weights = 4 * (2 * count(mlp) - first) + 8 * count(mlp) * (1 + slots)
    return weights + batch_size * (mlp.inputs * input_bytes + 4 * compute_bytes * sum(widths[1:]))


def working_set_bytes(mlp: MLP, batch_size: int, *, slots: int, compute_bytes: int) -> float:
    """What a step comes back to: weights, gradients and the optimizer's slots, and the activations of a batch."""
    widths = (mlp.inputs, *mlp.hidden, mlp.outputs)
    return 4.0 * count(mlp) * (2 + slots) + batch_size * compute_bytes * 2 * sum(widths)
