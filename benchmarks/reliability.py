"""How much a run survives: `python benchmarks/reliability.py --output benchmarks/reliability.json`.

kills      kill -9 at random moments of runs that save as often as the disk takes it; the newest step must load,
           must not be older than one that was seen before the kill, and the run must reach its end
flips      single bits flipped in checkpoints of runs; each must be found
fuzz       damaged and random inputs for each parser; each must be read, or refused by a declared error
overhead   configs/mixed.py on MNIST as a command, saving every epoch and not at all, in turn
signals    SIGTERM to the end of the process, in training
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from fuzzing import fuzz
from measuring import ROOT, ratios, spread, write_sections

from neuroforge_jax.checkpoint import files

sys.path.insert(0, str(ROOT))
from tests.reliability.processes import QUICK, start, steps, stop, wait_for, write_data

RUN = [
    *QUICK,
    "--run-dir",
    "run",
    "--resume",
    "auto",
    "--backend",
    "stepped",
    "--checkpoint-every",
    "40 steps",
]


@dataclass(frozen=True)
class Options:
    """Kill, flip, fuzz, measure; write the record."""

    output: Path
    sections: tuple[str, ...] = ("kills", "flips", "fuzz", "overhead", "signals")
    kills: int = 200
    flips: int = 1000
    inputs: int = 100_000
    """Of each parser."""
    parsers: tuple[str, ...] = ()
    """That are fuzzed, all of fuzzing.PARSERS unless given."""
    repetitions: int = 5
    stops: int = 20


def kills(options: Options) -> dict[str, Any]:
    """Two machines' worth at a time; each folder is killed ten times and then brought to its end."""
    folders = -(-options.kills // 10)
    with ThreadPoolExecutor(2) as pool:
        counts = sum(pool.map(_killed_ten_times, range(folders)), Counter())
    return {
        "execution": "stepped",
        "when": "three in ten while starting, compiling or restoring; the others up to 0.5 s after a new step",
        **counts,
    }


def _killed_ten_times(seed: int) -> Counter[str]:
    rng, counts = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        while counts["tried"] < 10:
            before = max(steps(folder / "run"), default=0)
            process = start([*RUN, "--epochs", "100000"], folder)
            starting = rng.random() < 0.3
            if not starting:
                wait_for(lambda before=before: max(steps(folder / "run"), default=0) > before, process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.2, 3.0) if starting else rng.uniform(0, 0.5))
            seen = max(steps(folder / "run"), default=0)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            counts["tried"] += 1
            counts["while starting" if starting else "in training"] += 1
            saved, damaged = (
                files.newest(folder / "run" / "checkpoints") if (folder / "run").is_dir() else (None, [])
            )
            if saved is not None:
                saved.arrays()
            counts["survived"] += not damaged and (saved.progress["step"] if saved else 0) >= seen
        reached = max(steps(folder / "run"), default=0)
        process = start([*RUN, "--epochs", str(reached // 50 + 2)], folder)
        process.communicate(timeout=300)
        counts["runs"] += 1
        counts["runs brought to their end"] += process.returncode == 0
    return counts


def flips(options: Options) -> dict[str, Any]:
    """Half of them spread over the files evenly, half by size; the checkpoint is that of a small Adam run."""
    found, where = 0, Counter[str]()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        start([*QUICK, "--run-dir", "run", "--epochs", "3"], folder).communicate()
        step = folder / "run" / "checkpoints" / str(steps(folder / "run")[0])
        paths = [path for path in sorted(step.rglob("*")) if path.is_file() and path.stat().st_size]
        sizes = np.asarray([path.stat().st_size for path in paths])
        for count in range(options.flips):
            at = count % len(paths) if count % 2 else int(rng.choice(len(paths), p=sizes / sizes.sum()))
            content = bytearray(paths[at].read_bytes())
            index, bit = int(rng.integers(len(content))), int(rng.integers(8))
            content[index] ^= 1 << bit
            paths[at].write_bytes(content)
            try:
                files.read(step).arrays()
            except files.DamagedError as error:
                found += paths[at].name in str(error)
            content[index] ^= 1 << bit
            paths[at].write_bytes(content)
            kind = "array data" if "d" in paths[at].parts else paths[at].name
            where[kind] += 1
        files.read(step).arrays()
    return {"tried": options.flips, "found and named": found, "files": dict(where)}


def overhead(options: Options) -> dict[str, Any]:
    """Seconds of the whole command and of its training, saving every epoch and never, in turn."""
    seconds: dict[str, list[float]] = {"epoch": [], "never": []}
    train: dict[str, list[float]] = {"epoch": [], "never": []}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(options.repetitions):
            for every in seconds:
                run = Path(name) / "run"
                command = ["--config", str(ROOT / "configs" / "mixed.py"), "--run-dir", str(run)]
                begun = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "neuroforge_jax.train", *command, "--checkpoint-every", every],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                seconds[every].append(time.perf_counter() - begun)
                result = json.loads((run / "result.json").read_text())
                train[every].append(result["train_seconds"])
                shutil.rmtree(run)
    return {
        "dataset": result["dataset"],
        "command_seconds": {every: spread(values) for every, values in seconds.items()},
        "train_seconds": {every: spread(values) for every, values in train.items()},
        "command_epoch_to_never": ratios(seconds["epoch"], seconds["never"]),
        "train_epoch_to_never": ratios(train["epoch"], train["never"]),
    }


def signals(options: Options) -> dict[str, Any]:
    """Of a run of 784-1024-512-10 that trains on with Adam: what it saves has 16 MB."""
    seconds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, samples=4000, inputs=784, classes=10)
        for count in range(options.stops):
            flags = [
                "--dataset",
                "data.npz",
                "--optimizer",
                "adam",
                "--batch-size",
                "64",
                "--epochs",
                "20000",
            ]
            process = start([*flags, "--run-dir", f"run{count}"], folder)
            wait_for((folder / f"run{count}" / "metrics.jsonl").exists, process)
            wait_for(lambda log=folder / f"run{count}" / "metrics.jsonl": log.stat().st_size, process)
            time.sleep(random.Random(count).uniform(0, 1))
            code, _, spent = stop(process, signal.SIGTERM, 60)
            assert code == 143
            seconds.append(spent)
    return {"phase": "training", "seconds": spread(seconds)}


def main() -> None:
    options = tyro.cli(Options)
    measure = {
        section.__name__: lambda section=section: section(options)
        for section in (kills, flips, overhead, signals)
    }
    measure["fuzz"] = lambda: fuzz(options.inputs, options.parsers)
    command = "python benchmarks/reliability.py --output FILE"
    write_sections(options.output, command, measure, options.sections)


if __name__ == "__main__":
    main()
