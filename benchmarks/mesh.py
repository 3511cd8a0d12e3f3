"""What a mesh costs: `JAX_NUM_CPU_DEVICES=8 python benchmarks/mesh.py --output benchmarks/mesh.json`.

one_device: a training over a mesh of one device beside one without a mesh, in turn. shards: `--deterministic-shards
8` beside none, on 1, 2 and 8 devices of one CPU, which share its cores: structure, and no speed of devices.
processes: two processes of one core each, started by hand, beside one process with both, in turn; the samples a
second that each run says. 784-1024-512-10, plain SGD, float32.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
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
    sections: tuple[str, ...] = ("one_device", "shards", "processes")
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


FLAGS = ("--dataset", "pixels.npz", "--batch-size", "4096", "--epochs", "20", "--learning-rate", "0.001")


def processes(options: Options) -> dict[str, Any]:
    """Samples a second of one process and of two, and those of two ÷ those of one."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = pixels()
        arrays = {"x_train": dataset.train.inputs, "y_train": dataset.train.targets}
        np.savez(
            Path(folder, "pixels.npz"),
            **arrays,
            x_test=arrays["x_train"][:100],
            y_test=arrays["y_train"][:100],
        )
        one, two = partial(_rate, Path(folder), [None]), partial(_rate, Path(folder), [0, 1])
        turns = take_turns({"one": one, "two": two}, min(options.repetitions, 3))
    return {name: spread(rates) for name, rates in turns.items()} | {
        "share": ratios(turns["two"], turns["one"])
    }


def _rate(folder: Path, cores: Sequence[int | None]) -> float:
    """Samples a second of a run by as many processes as there are cores; None stands for all."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
    started = []
    for process, core in enumerate(cores):
        join = ["--coordinator", where, "--num-processes", str(len(cores)), "--process-id", str(process)]
        command = [sys.executable, "-m", "neuroforge_jax.train", *FLAGS, "--run-dir", "run"]
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
        started.append(
            subprocess.Popen(
                [*pinned, *command, *(join if len(cores) > 1 else [])],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
            )
        )
    assert [process.wait() for process in started] == [0] * len(cores)
    return float(json.loads((folder / "run" / "result.json").read_text())["samples_per_second"])


if __name__ == "__main__":
    asked = tyro.cli(Options)
    write_sections(
        asked.output,
        "JAX_NUM_CPU_DEVICES=8 python benchmarks/mesh.py --output benchmarks/mesh.json",
        {
            "one_device": partial(one_device, asked),
            "shards": partial(shards, asked),
            "processes": partial(processes, asked),
        },
        asked.sections,
    )
