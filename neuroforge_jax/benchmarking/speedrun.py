"""MNIST to an accuracy: seconds of training alone, over many seeds, beside PyTorch.

Our programs are compiled once, since the seed is data: a state with the key of its seed is all that differs.
PyTorch trains by the same recipe in a process of its own, and takes its turns between ours. Either side trains in
float32 and in bf16; the faster one of ours is what the others are compared with.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from neuroforge_jax.backends.executors.base import programs_of
from neuroforge_jax.benchmarking.cases import skipped_case
from neuroforge_jax.benchmarking.conditions import threads
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.peers.launch import launch_peer
from neuroforge_jax.benchmarking.peers.process import absence
from neuroforge_jax.benchmarking.race import Candidate, Outcome, Train, race
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.pieces import evaluate, init
from neuroforge_jax.profiling import trace

RECIPES = {
    0.98: TrainConfig(
        backend="mixed", hidden=(144,), activation="silu", initializer="lecun", batch_size=256, epochs=2,
        optimizer="nesterov", learning_rate=0.3, schedule="one-cycle", warmup=0.4, label_smoothing=0.05,
    ),
    0.985: TrainConfig(
        backend="mixed", hidden=(192,), activation="silu", initializer="lecun", batch_size=256, epochs=5,
        optimizer="nesterov", learning_rate=0.4, weight_decay=1e-4, schedule="one-cycle", warmup=0.4,
        label_smoothing=0.05,
    ),
}  # fmt: skip
"""By the mean test accuracy that each is to reach. The first is configs/speedrun.py."""

OUR_BACKENDS = {"ours bf16": "mixed", "ours f32": "optimized"}
"""Which is the faster one is the device's to say."""

TORCH_MODES = ("eager f32", "eager bf16", "compiled f32", "compiled bf16")
TORCH_SEEDS = 10
"""At most: it takes some seconds a seed, and the interval of its mean is a few hundredths of them."""

TRACED_STEPS = 100


def names() -> list[str]:
    """Of the rows."""
    return [row for wanted in RECIPES for row in names_of_race(_race_name(wanted))]


def cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """A case for every recipe and candidate. Raises DataError where MNIST is not there to be had.

    reference: of the harness, which tells how fast the machine was beside each training.
    """
    dataset = load_dataset("mnist", data_dir=options.data_dir)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_for_torch(dataset, folder / "mnist.npz")
        for wanted in RECIPES:
            if any(map(options.selects, names_of_race(_race_name(wanted)))):
                yield from _cases_of_recipe(wanted, dataset, folder, options, reference)


def _cases_of_recipe(
    wanted: float, dataset: Dataset, folder: Path, options: BenchOptions, reference: Callable[[], float]
) -> Iterator[dict[str, Any]]:
    name, config = _race_name(wanted), RECIPES[wanted]
    candidates = {
        label: Candidate(our_training(ours, dataset), options.seeds, config=ours)
        for label, ours in our_configs(config).items()
    }
    with ExitStack() as stack:
        for mode in torch_modes():
            label = f"torch {mode}"
            if not options.selects(f"{name}/{label}"):
                continue
            try:
                candidates[label] = _launch_torch(
                    label, order_for_torch(folder, config, mode), options, stack
                )
            except DeviceError as error:
                yield skipped_case(f"{name}/{label}", str(error))
        for case in race(name, candidates, wanted, reference):
            if "ratio" not in case and "skipped" not in case:
                fastest = our_configs(config)[case["contender"]]
                case["operations"] = operations_of(fastest, dataset, folder / f"trace {wanted}")
            yield case


def _race_name(wanted: float) -> str:
    return f"speedrun/{100 * wanted:g} %"


def names_of_race(name: str) -> list[str]:
    """Of the rows of a race, ours first."""
    return [f"{name}/{label}" for label in (*OUR_BACKENDS, *(f"torch {mode}" for mode in torch_modes()))]


def our_configs(recipe: TrainConfig) -> dict[str, TrainConfig]:
    """By the labels of our candidates."""
    return {label: replace(recipe, backend=backend) for label, backend in OUR_BACKENDS.items()}


def torch_modes() -> list[str]:
    """That PyTorch trains in here."""
    where = " cuda" if jax.default_backend() == "gpu" else ""
    return [f"{mode}{where}" for mode in TORCH_MODES]


def check_torch(python: Path) -> None:
    """Raises DeviceError where this Python has no PyTorch."""
    if reason := absence("torch", python):
        raise DeviceError(reason)


def order_for_torch(folder: Path, recipe: TrainConfig, mode: str) -> dict[str, Any]:
    """What PyTorch's process is asked to train, on the samples that lie in this folder."""
    return {
        "data": str(folder / "mnist.npz"),
        "recipe": asdict(recipe),
        "mode": mode,
        "threads": threads()["cores"],
    }


def _launch_torch(label: str, order: Mapping[str, Any], options: BenchOptions, stack: ExitStack) -> Candidate:
    """In a process that lives as long as the stack. Raises DeviceError where it does not start."""
    check_torch(options.python)
    talk = launch_peer(label, options.python, "torch_speedrun", order["threads"])
    stack.callback(talk.close)
    version = talk.ask(order)["version"]
    return Candidate(
        lambda seed: Outcome(**talk.ask({"seed": seed})), min(options.seeds, TORCH_SEEDS), version=version
    )


def build_for_many_seeds(config: TrainConfig, dataset: Dataset) -> Job:
    """The job of a recipe, compiled as a long training is: its program trains every seed."""
    job = Job.build(config, dataset)
    return replace(job, compile_options=job.backend.options(config.batch_size))


def our_training(config: TrainConfig, dataset: Dataset) -> Train:
    """Train and evaluate by a seed; the seconds are those of the training, from a state that lies ready."""
    job = build_for_many_seeds(config, dataset)
    model, run, steps, test = job.model, job.compile(), job.training.steps, require_test(dataset)

    def train(seed: int) -> Outcome:
        _, state = init(replace(config, seed=seed), dataset)
        jax.block_until_ready(state.params)
        begun = time.perf_counter()
        state, _ = run(state, 0, steps)
        jax.block_until_ready(state.params)
        seconds = time.perf_counter() - begun
        return Outcome(seconds, evaluate(model, state.params, test).accuracy or 0.0)

    return train


def operations_of(config: TrainConfig, dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    """Where the time of a step goes: its longest operations, from a trace of some steps, which slows them down."""
    job = build_for_many_seeds(config, dataset)
    run, state = job.compile(), job.start()
    state, _ = run(state, 0, 1)
    jax.block_until_ready(state)
    with trace.record(folder):
        jax.block_until_ready(run(state, 1, 1 + TRACED_STEPS))
    found = trace.operations(folder, programs_of(run))
    total = sum(operation.seconds for operation in found)
    return [
        {
            "name": operation.name,
            "source": operation.source,
            "seconds_per_step": operation.seconds / TRACED_STEPS,
            "share": operation.seconds / total,
        }
        for operation in found[: trace.MOST_OPERATIONS]
    ]


def require_test(dataset: Dataset) -> Split:
    """The test data, which every dataset of a recipe has."""
    assert dataset.test is not None
    return dataset.test


def write_for_torch(dataset: Dataset, path: Path) -> None:
    """As `torch_speedrun` reads it."""
    parts = {"train": dataset.train, "test": require_test(dataset)}
    arrays = {f"x_{name}": np.asarray(part.inputs) for name, part in parts.items()}
    arrays |= {f"y_{name}": part.targets.astype(np.int64) for name, part in parts.items()}
    np.savez(path, allow_pickle=False, **arrays)
