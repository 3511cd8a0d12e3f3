"""MNIST to an accuracy from the command: seconds from the start of a process until it says what it reached."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from neuroforge_jax.benchmarking.cases import skipped_case
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.peers.launch import peer_environment
from neuroforge_jax.benchmarking.race import Candidate, Outcome, Train, race
from neuroforge_jax.benchmarking.speedrun import (
    RECIPES,
    check_torch,
    names_of_race,
    order_for_torch,
    our_configs,
    torch_modes,
    write_for_torch,
)
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.system.files import write_json

COMMANDS = 5
"""Of each candidate, from the start of a process to its accuracy."""


def names() -> list[str]:
    """Of the rows."""
    return names_of_race(_race_name())


def cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """A case for every candidate by the first recipe. Raises DataError where MNIST is not there to be had.

    reference: of the harness, which tells how fast the machine was beside each process.
    """
    dataset = load_dataset("mnist", data_dir=options.data_dir)
    wanted, config = next(iter(RECIPES.items()))
    rounds = min(options.seeds, COMMANDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_for_torch(dataset, folder / "mnist.npz")
        candidates = {
            label: Candidate(our_command(ours, options.data_dir, folder), rounds, config=ours)
            for label, ours in our_configs(replace(config, dataset="mnist")).items()
        }
        for mode in torch_modes():
            label = f"torch {mode}"
            if not options.selects(f"{_race_name()}/{label}"):
                continue
            try:
                check_torch(options.python)
            except DeviceError as error:
                yield skipped_case(f"{_race_name()}/{label}", str(error))
            else:
                train = torch_command(options.python, order_for_torch(folder, config, mode), folder)
                candidates[label] = Candidate(train, rounds)
        yield from race(_race_name(), candidates, wanted, reference)


def _race_name() -> str:
    return f"speedrun/{100 * next(iter(RECIPES)):g} % from the command"


def our_command(config: TrainConfig, data_dir: Path | None, folder: Path) -> Train:
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


def torch_command(python: Path, order: Mapping[str, Any], folder: Path) -> Train:
    """A process that imports torch, reads MNIST, trains, and says its accuracy."""
    command = [str(python), "-m", "neuroforge_jax.benchmarking.peers.torch_speedrun", json.dumps(order)]
    environment = peer_environment(order["threads"])
    return lambda seed: _time_command([*command, str(seed)], folder, environment, _accuracy_of_answer)


def _accuracy_of_epoch(line: str, epoch: int) -> float | None:
    """Of the console's line `epoch   3   train 0.3   97 %   test 0.1  98.04%   …`, where it is of this epoch."""
    words = line.split()
    if words[:2] != ["epoch", str(epoch)]:
        return None
    return float(words[words.index("test") + 2].rstrip("%")) / 100


def _accuracy_of_answer(line: str) -> float | None:
    """Of `{"seconds": 0.9, "accuracy": 0.98}`; PyTorch may print what it likes before it."""
    try:
        return float(json.loads(line)["accuracy"])
    except (ValueError, TypeError, KeyError):
        return None


def _time_command(
    command: list[str],
    folder: Path,
    environment: Mapping[str, str] | None,
    accuracy_in: Callable[[str], float | None],
) -> Outcome:
    """Seconds until the process prints a line with an accuracy in it; it is waited for all the same.

    Raises DeviceError where it prints none, or fails after it.
    """
    begun = time.perf_counter()
    outcome = None
    with (
        (folder / "errors").open("w+") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if outcome is None and (accuracy := accuracy_in(line)) is not None:
                outcome = Outcome(time.perf_counter() - begun, accuracy)
        process.wait()
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["without a word"])[-1]
    if outcome is None or process.returncode:
        raise DeviceError(f"{' '.join(command[1:4])} ended with code {process.returncode} ({last})")
    return outcome
