"""The loop of steps on a GPU: what XLA's command buffers and unrolled steps are worth there.

    python benchmarks/gpu_loop.py --output benchmarks/gpu_loop.json

Microseconds a step of 470 steps in one dispatch, candidates in turn, of the flagship at batch 512 and of the
network of configs/speedrun.py. digest: the sum of the absolute weights of one layer; where it is that of `default`,
the weights are in all likelihood the same bits.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from jax import lax
from measuring import spread, take_turns, write_sections

import neuroforge_jax as nf
from neuroforge_jax.backends.executors import scanned
from neuroforge_jax.backends.executors.orders import order_program, shape_of_orders
from neuroforge_jax.benchmarking.cases import random_pixels
from neuroforge_jax.benchmarking.speedrun import RECIPES
from neuroforge_jax.data.batch import BatchRows, to_device
from neuroforge_jax.data.shuffle import order_bits
from neuroforge_jax.job.job import Job
from neuroforge_jax.training.step import make_step

GRAPHS = {
    "xla_gpu_enable_command_buffer": (
        "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CONDITIONAL,WHILE,DYNAMIC_SLICE_FUSION"
    ),
    "xla_gpu_graph_min_graph_size": 1,
}
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "default": ({}, 1),
    "loop in a command buffer": (GRAPHS, 1),
    "8 steps unrolled": ({}, 8),
    "8 steps unrolled, loop in a command buffer": (GRAPHS, 8),
    "no Triton products": ({"xla_gpu_enable_triton_gemm": False}, 1),
    "cuBLASLt": ({"xla_gpu_enable_cublaslt": True}, 1),
}
"""XLA's options, and how many steps are written out in the body of the loop."""

CONFIGS = {
    "784-1024-512-10, batch 512, Adam": nf.TrainConfig(
        hidden=(1024, 512), batch_size=512, optimizer="adam", learning_rate=0.002
    ),
    "configs/speedrun.py": RECIPES[0.98],
}
FIRST, STEPS = 235, 470


@dataclass(frozen=True)
class Options:
    """Measure the loop, and write one JSON record."""

    output: Path
    """The record."""
    repetitions: int = 5
    """Turns of each candidate."""


class Unrolled:
    """`jax.lax` whose loop over steps has several of them written out in its body."""

    def __init__(self, unroll: int) -> None:
        self._unroll = unroll

    def __getattr__(self, name: str) -> Any:
        return getattr(lax, name)

    def fori_loop(self, low: Any, high: Any, body: Callable[[Any, Any], Any], start: Any) -> Any:
        if body.__name__ != "run_step" or self._unroll == 1:
            return lax.fori_loop(low, high, body, start)

        def block(index: Any, carry: Any) -> Any:
            for step in range(self._unroll):
                carry = body(low + index * self._unroll + step, carry)
            return carry

        blocks = (high - low) // self._unroll
        carry = lax.fori_loop(0, blocks, block, start)
        return lax.fori_loop(low + blocks * self._unroll, high, body, carry)


def measure(config: nf.TrainConfig, dataset: nf.Dataset, options: Options) -> dict[str, Any]:
    candidates = {name: Candidate(config, dataset, *variant) for name, variant in VARIANTS.items()}
    times = take_turns({name: candidate.turn for name, candidate in candidates.items()}, options.repetitions)
    found = {}
    for name, values in times.items():
        found[name] = {"microseconds_per_step": spread(values), "digest": candidates[name].digest()}
        print(f"{name:<44}{found[name]['microseconds_per_step']['median']:8.1f} µs a step", flush=True)
    return found


class Candidate:
    """A training that is compiled with these options, and has taken its first steps."""

    def __init__(
        self, config: nf.TrainConfig, dataset: nf.Dataset, options: dict[str, Any], unroll: int
    ) -> None:
        job = Job.build(config, dataset)
        state, fitted = job.start(), jax.device_put(job.model.fitted, job.device)
        data, per_epoch = to_device(dataset.train, job.device), job.steps_per_epoch
        epochs = -(-(FIRST + STEPS) // per_epoch)
        _, positions = shape_of_orders(data.rows, config.batch_size)
        order = jax.jit(order_program(order_bits(data.rows), (epochs, positions), job.placement))
        begin = FIRST // per_epoch
        first, then = (order(state.key_data, at, epochs, data.samples) for at in (0, begin))
        self._turn = fitted, data, then, np.int32(FIRST), np.int32(FIRST + STEPS)
        program = scanned.segment_program(
            make_step(job.parts),
            rows=BatchRows.of(config.batch_size),
            capacity=FIRST + STEPS,
            placement=job.placement,
        )
        jitted = jax.jit(program, donate_argnums=0, compiler_options=options or None)
        scanned.lax = Unrolled(unroll)  # type: ignore[assignment]
        try:
            self._compiled = jitted.lower(state, *self._turn).compile()
        finally:
            scanned.lax = lax
        self._state, _ = self._compiled(state, fitted, data, first, np.int32(0), np.int32(FIRST))
        jax.block_until_ready(self._state.params)

    def turn(self) -> float:
        """Microseconds a step of so many steps more."""
        begun = time.perf_counter()
        self._state, _ = self._compiled(self._state, *self._turn)
        jax.block_until_ready(self._state.params)
        return 1e6 * (time.perf_counter() - begun) / STEPS

    def digest(self) -> float:
        weights = np.asarray(jax.tree.leaves(self._state.params)[0], np.float64)
        return float(np.abs(weights).sum())


def main() -> None:
    options = tyro.cli(Options)
    dataset = random_pixels(60_000)
    measures = {
        name: lambda config=config: measure(replace(config, backend="mixed", epochs=50), dataset, options)
        for name, config in CONFIGS.items()
    }
    write_sections(options.output, "python benchmarks/gpu_loop.py --output FILE", measures, list(CONFIGS))


if __name__ == "__main__":
    main()
