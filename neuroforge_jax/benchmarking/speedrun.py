"""MNIST to an accuracy: seconds from the command to it, and of training alone, over many seeds, beside PyTorch.

Our programs are compiled once, since the seed is data: a state with the key of its seed is all that differs.
PyTorch trains by the same recipe in a process of its own, and takes its turns between ours. Either side trains in
float32 and in bf16; the faster one of ours is what the others are compared with.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from neuroforge_jax.backends.executors.base import CompiledRun
from neuroforge_jax.benchmarking.conversation import Conversation
from neuroforge_jax.benchmarking.harness import beside
from neuroforge_jax.benchmarking.peers.launch import environment, launch_peer
from neuroforge_jax.benchmarking.peers.process import absence
from neuroforge_jax.benchmarking.statistics import Spread, paired_ratio
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.pieces import evaluate, init
from neuroforge_jax.profiling import trace
from neuroforge_jax.system.files import write_json

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

COMMANDS = 5
"""Of each candidate, from the start of a process to its accuracy."""

TRACED_STEPS = 100


@dataclass(frozen=True)
class Outcome:
    """Of one training. seconds: of its loop, or of the whole command."""

    seconds: float
    accuracy: float


@dataclass
class Candidate:
    """train: by a seed. outcomes: one a round, as many as it takes part in. config: of ours alone; version: of
    PyTorch.
    """

    train: Callable[[int], Outcome]
    rounds: int
    outcomes: list[Outcome] = field(default_factory=list)
    reference_seconds: list[float] = field(default_factory=list)
    config: TrainConfig | None = None
    version: str | None = None


def cases(
    seeds: int,
    data_dir: Path | None,
    peer_python: Path | None,
    threads: int,
    reference: Callable[[], float],
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Tell a case for every recipe and candidate. Raises DataError where MNIST is not there to be had.

    reference: of the harness, which tells how fast the machine was beside each training.
    """
    dataset = load_dataset("mnist", data_dir=data_dir)
    modes, python, reason = _torch(peer_python)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_for_torch(dataset, folder / "mnist.npz")
        for wanted, config in RECIPES.items():
            name = f"speedrun/{100 * wanted:g} %"
            for mode in modes if reason else []:
                candidate = f"torch {mode}"
                tell(
                    {
                        "name": f"{name}/{candidate}",
                        "group": "speedrun",
                        "contender": candidate,
                        "skipped": reason,
                    }
                )
            trainings = {
                label: Candidate(our_training(ours, dataset), seeds, config=ours)
                for label, ours in _ours(config).items()
            }
            for mode in [] if reason else modes:
                talk = launch_peer(f"torch {mode}", python, "torch_speedrun", threads)
                stack.callback(talk.close)
                version = talk.ask(_order(folder, config, mode, threads))["version"]
                rounds = min(seeds, TORCH_SEEDS)
                trainings[f"torch {mode}"] = Candidate(_ask_for_outcome(talk), rounds, version=version)
            for case in race(name, trainings, wanted, reference):
                if "ratio" not in case:
                    fastest = _ours(config)[case["contender"]]
                    case["operations"] = operations_of(fastest, dataset, folder / f"trace {wanted}")
                tell(case)


def command_cases(
    seeds: int,
    data_dir: Path | None,
    peer_python: Path | None,
    threads: int,
    reference: Callable[[], float],
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """As `cases`, of the first recipe from the start of a process to its accuracy."""
    dataset = load_dataset("mnist", data_dir=data_dir)
    modes, python, reason = _torch(peer_python)
    wanted, config = next(iter(RECIPES.items()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_for_torch(dataset, folder / "mnist.npz")
        commands = {
            label: Candidate(our_command(ours, data_dir, folder), min(seeds, COMMANDS), config=ours)
            for label, ours in _ours(replace(config, dataset="mnist")).items()
        }
        for mode in [] if reason else modes:
            train = torch_command(python, _order(folder, config, mode, threads), folder)
            commands[f"torch {mode}"] = Candidate(train, min(seeds, COMMANDS))
        for case in race(f"speedrun/{100 * wanted:g} % from the command", commands, wanted, reference):
            tell(case)


def _torch(peer_python: Path | None) -> tuple[list[str], Path, str]:
    """The modes that PyTorch trains in here, the Python that has it, and why it cannot be run; "" where it can."""
    where = " cuda" if jax.default_backend() == "gpu" else ""
    python = peer_python or Path(sys.executable)
    return [f"{mode}{where}" for mode in TORCH_MODES], python, absence("torch", python)


def _order(folder: Path, recipe: TrainConfig, mode: str, threads: int) -> dict[str, Any]:
    """What PyTorch's process is asked to train."""
    return {"data": str(folder / "mnist.npz"), "recipe": asdict(recipe), "mode": mode, "threads": threads}


def _ours(recipe: TrainConfig) -> dict[str, TrainConfig]:
    return {name: replace(recipe, backend=backend) for name, backend in OUR_BACKENDS.items()}


def race(
    name: str, candidates: Mapping[str, Candidate], wanted: float, reference: Callable[[], float]
) -> list[dict[str, Any]]:
    """Let them take turns, seed by seed, and describe each, compared with the fastest of ours."""
    for candidate in candidates.values():
        candidate.train(0)  # warms up
    for seed in range(max(candidate.rounds for candidate in candidates.values())):
        for candidate in candidates.values():
            if seed < candidate.rounds:
                outcome, reference_seconds = beside(reference, partial(candidate.train, seed))
                candidate.outcomes.append(outcome)
                candidate.reference_seconds.append(reference_seconds)
    baseline = min(
        (label for label, candidate in candidates.items() if candidate.config),
        key=lambda label: np.median([outcome.seconds for outcome in candidates[label].outcomes]),
    )
    found = []
    for label, candidate in candidates.items():
        seconds = [outcome.seconds for outcome in candidate.outcomes]
        accuracies = [outcome.accuracy for outcome in candidate.outcomes]
        case = {
            "name": f"{name}/{label}",
            "group": "speedrun",
            "contender": label,
            "axis": {},
            "seconds": {**Spread.of(seconds).to_json(), "mean": float(np.mean(seconds))},
            "reference_seconds": candidate.reference_seconds,
            "accuracy": {**Spread.of(accuracies).to_json(), "mean": float(np.mean(accuracies))},
            "reached": float(np.mean(accuracies)) >= wanted,
            "version": candidate.version,
            "config": None if candidate.config is None else asdict(candidate.config),
        }
        if label != baseline:
            ours = [outcome.seconds for outcome in candidates[baseline].outcomes]
            ratio = paired_ratio(ours[: len(seconds)], seconds[: len(ours)])
            case["ratio"] = {"to": f"{name}/{baseline}", **ratio.to_json()}
        found.append(case)
    return found


def build_for_many_seeds(config: TrainConfig, dataset: Dataset) -> Job:
    """The job of a recipe, compiled as a long training is: its program trains every seed."""
    job = Job.build(config, dataset)
    return replace(job, compile_options=job.backend.options(config.batch_size))


def our_training(config: TrainConfig, dataset: Dataset) -> Callable[[int], Outcome]:
    """Train and evaluate by a seed; the seconds are those of the training, from a state that lies ready."""
    job = build_for_many_seeds(config, dataset)
    model, run, steps, test = job.model, job.compile(), job.training.steps, test_split(dataset)

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
    trace.start(folder)
    jax.block_until_ready(run(state, 1, 1 + TRACED_STEPS))
    trace.stop()
    programs = run.programs if isinstance(run, CompiledRun) else {}
    found = trace.operations(folder, programs)
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


def our_command(config: TrainConfig, data_dir: Path | None, folder: Path) -> Callable[[int], Outcome]:
    """The command as a user gives it, until it prints the accuracy of the last epoch."""
    recipe = folder / f"{config.backend}.json"
    write_json(recipe, asdict(config))

    def train(seed: int) -> Outcome:
        run_dir = tempfile.mkdtemp(dir=folder)
        command = [sys.executable, "-m", "neuroforge_jax.train", "--config", str(recipe)]
        command += ["--seed", str(seed), "--run-dir", f"{run_dir}/run"]
        command += ["--data-dir", str(data_dir.resolve())] if data_dir else []
        return _time_command(command, folder, None, lambda line: _accuracy_of_epoch(line, config.epochs))

    return train


def torch_command(python: Path, order: Mapping[str, Any], folder: Path) -> Callable[[int], Outcome]:
    """A process that imports torch, reads MNIST, trains, and says its accuracy."""
    command = [str(python), "-m", "neuroforge_jax.benchmarking.peers.torch_speedrun", json.dumps(order)]

    def accuracy(line: str) -> float | None:
        return float(json.loads(line)["accuracy"])

    return lambda seed: _time_command([*command, str(seed)], folder, environment(order["threads"]), accuracy)


def test_split(dataset: Dataset) -> Split:
    """The test data, which every dataset of a recipe has."""
    assert dataset.test is not None
    return dataset.test


def write_for_torch(dataset: Dataset, path: Path) -> None:
    """As `torch_speedrun` reads it."""
    parts = {"train": dataset.train, "test": test_split(dataset)}
    arrays = {f"x_{name}": part.inputs.reshape(len(part), -1) for name, part in parts.items()}
    arrays |= {f"y_{name}": part.targets.astype(np.int64) for name, part in parts.items()}
    np.savez(path, allow_pickle=False, **arrays)


def _ask_for_outcome(talk: Conversation) -> Callable[[int], Outcome]:
    return lambda seed: Outcome(**talk.ask({"seed": seed}))


def _accuracy_of_epoch(line: str, epoch: int) -> float | None:
    """Of the console's line `epoch   3   train 0.3   97 %   test 0.1  98.04%   …`, where it is of this epoch."""
    words = line.split()
    if words[:2] != ["epoch", str(epoch)]:
        return None
    return float(words[words.index("test") + 2].rstrip("%")) / 100


def _time_command(
    command: list[str], folder: Path, env: dict[str, str] | None, accuracy_in: Callable[[str], float | None]
) -> Outcome:
    """Seconds until the process prints a line with an accuracy in it; it is waited for all the same."""
    begun = time.perf_counter()
    outcome = None
    with (
        (folder / "errors").open("w+") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder, env=env
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if outcome is None and (accuracy := accuracy_in(line)) is not None:
                outcome = Outcome(time.perf_counter() - begun, accuracy)
        process.wait()
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["without a word"])[-1]
    if outcome is None:
        raise DeviceError(f"{' '.join(command[1:4])} ended with code {process.returncode} ({last})")
    return outcome
