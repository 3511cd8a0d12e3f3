"""What a mesh costs: `JAX_NUM_CPU_DEVICES=8 python benchmarks/mesh.py --output benchmarks/mesh.json`.

one_device: a training over a mesh of one device beside one without a mesh, in turn. shards: `--deterministic-shards
8` beside none, on 1, 2 and 8 devices of one CPU, which share its cores: structure, and no speed of devices.
784-1024-512-10, plain SGD, float32.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from measuring import ratios, segments, spread, take_turns, write_sections

import neuroforge_jax as nf

SAMPLES = 16_384


@dataclass(frozen=True)
class Options:
    """Measure, and write the record."""

    output: Path
    repetitions: int = 15
    """Times that each is measured."""
    sections: tuple[str, ...] = ("one_device", "shards")
    """What is measured."""
    batches: tuple[int, ...] = (64, 1024, 4096)
    """Sizes of a batch."""


def pixels() -> nf.Dataset:
    """Random pictures of the size of MNIST's."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (SAMPLES, 784)).astype(np.uint8)
    labels = rng.integers(0, 10, SAMPLES).astype(np.int32)
    return nf.Dataset.from_arrays(inputs, labels, inputs[:100], labels[:100], name="pixels")


CONFIG = nf.TrainConfig(hidden=(1024, 512), backend="optimized", learning_rate=0.001)


def compare(
    options: Options, dataset: nf.Dataset, plain: nf.TrainConfig, other: nf.TrainConfig
) -> dict[str, Any]:
    """Samples a second of both, and the time of a step of the other ÷ that of the plain one, pair by pair."""
    candidates = {"plain": segments(plain, dataset, SAMPLES), "other": segments(other, dataset, SAMPLES)}
    turns = take_turns(candidates, options.repetitions)
    return {
        "samples_per_second": {name: spread(rates) for name, rates in turns.items()},
        "time": ratios(turns["plain"], turns["other"]),
    }


def one_device(options: Options) -> Iterator[tuple[str, Any]]:
    """By batch size and execution."""
    dataset = pixels()
    for backend in ("optimized", "async"):
        for batch in options.batches:
            plain = replace(CONFIG, backend=backend, batch_size=batch)
            yield f"{backend}, batch {batch}", compare(options, dataset, plain, replace(plain, mesh="data=1"))


def shards(options: Options) -> Iterator[tuple[str, Any]]:
    """By batch size and devices."""
    dataset = pixels()
    for devices in (1, 2, 8):
        for batch in options.batches:
            plain = replace(CONFIG, batch_size=batch, mesh=f"data={devices}")
            sharded = replace(plain, deterministic_shards=8)
            yield f"data={devices}, batch {batch}", compare(options, dataset, plain, sharded)


if __name__ == "__main__":
    asked = tyro.cli(Options)
    write_sections(
        asked.output,
        "JAX_NUM_CPU_DEVICES=8 python benchmarks/mesh.py --output benchmarks/mesh.json",
        {"one_device": partial(one_device, asked), "shards": partial(shards, asked)},
        asked.sections,
    )
