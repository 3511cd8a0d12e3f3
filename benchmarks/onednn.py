"""When compiling through oneDNN repays: `python benchmarks/onednn.py --output benchmarks/onednn.json`.

For networks and batches of many sizes, in float32 and bf16: seconds of a step as a long training is compiled, and
without oneDNN, in turn; and the seconds that either takes to compile. A program through oneDNN cannot be kept on
disk, so it is compiled anew each time; `backends/compiler.py` takes oneDNN from the operations of a training on at
which that is repaid (`REPAYS_FROM_FLOPS`).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from measuring import spread, take_turns, write_sections

import neuroforge_jax as nf
from neuroforge_jax.backends.compiler import ONEDNN, YNN_FUSIONS
from neuroforge_jax.benchmarking.cases import random_pixels
from neuroforge_jax.job.job import Job
from neuroforge_jax.nn.mlp import train_flops

NETWORKS = ((32,), (144,), (256, 128), (1024, 512))
BATCHES = (8, 32, 64, 256, 512)
TURN_SECONDS = 0.1


@dataclass(frozen=True)
class Options:
    """Measure, and write the record."""

    output: Path
    repetitions: int = 7


def gains(repetitions: int) -> Iterator[tuple[str, dict[str, Any]]]:
    data = random_pixels()
    for hidden in NETWORKS:
        for batch in BATCHES:
            for backend in ("optimized", "mixed"):
                config = nf.TrainConfig(
                    hidden=hidden, batch_size=batch, backend=backend, optimizer="nesterov"
                )
                row = gain(config, data, repetitions)
                if row is not None:
                    name = f"{'-'.join(map(str, (784, *hidden, 10)))} batch {batch} {backend}"
                    print(f"{name}: {row['seconds_saved_per_tflop']:+.2f} s/TFLOP saved", flush=True)
                    yield name, row


def gain(config: nf.TrainConfig, data: nf.Dataset, repetitions: int) -> dict[str, Any] | None:
    """None where this CPU takes no oneDNN at this batch, however long the training is."""
    job = Job.build(config, data)
    options = job.backend.options(config.batch_size)
    without = tuple((name, value) for name, value in options if name not in (ONEDNN, YNN_FUSIONS))
    if ONEDNN not in dict(options):
        return None
    ways = {"onednn": options, "xla": without}
    started = {name: start(replace(job, compile_options=way)) for name, way in ways.items()}
    steps = take_turns({name: turn for name, (turn, _) in started.items()}, repetitions)
    seconds = {name: spread(found) for name, found in steps.items()}
    saved = seconds["xla"]["median"] - seconds["onednn"]["median"]
    compiling = {name: spent for name, (_, spent) in started.items()}
    per_tflop = saved / (train_flops(job.model.mlp) * config.batch_size) * 1e12
    repays = 1e12 * compiling["onednn"] / per_tflop if per_tflop > 0 else None
    return {
        "step_seconds": seconds,
        "compile_seconds": compiling,
        "seconds_saved_per_tflop": per_tflop,
        "repays_from_flops": repays,
    }


def start(job: Job) -> tuple[Callable[[], float], float]:
    """A function that trains some steps more and gives the seconds of one; and the seconds of compiling."""
    begun = time.perf_counter()
    run = job.compile()
    compiling = time.perf_counter() - begun
    state, _ = run(job.start(), 0, 2)
    jax.block_until_ready(state.params)
    box = [(state, 2)]

    def turn(steps: int) -> float:
        state, first = box[0]
        begun = time.perf_counter()
        state, _ = run(state, first, first + steps)
        jax.block_until_ready(state.params)
        box[0] = state, first + steps
        return (time.perf_counter() - begun) / steps

    steps = max(2, int(TURN_SECONDS / np.median([turn(2) for _ in range(3)])))
    return lambda: turn(steps), compiling


def main() -> None:
    options = tyro.cli(Options)
    jax.config.update("jax_enable_compilation_cache", False)
    command = "python benchmarks/onednn.py --output FILE"
    write_sections(options.output, command, {"gains": lambda: gains(options.repetitions)}, ["gains"])


if __name__ == "__main__":
    main()
