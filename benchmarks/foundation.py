"""The figures of the main job on a CPU: `python benchmarks/foundation.py --output benchmarks/foundation.json`.

    throughput   784-1024-512-10, plain SGD, float32 and bf16 interleaved in one process, per batch size
    dispatch     64-32-10, batch 32: many steps a dispatch against one
    speedrun     configs/speedrun.py over seeds, the whole run one dispatch, after compilation
    mixed        configs/mixed.py as a command: rate, accuracy, first step, wall time, peak memory
    startup      import of the package with everything that `fit` needs; configs/quick.py from command to table

Needs MNIST in the data folder and an idle machine. Times are wall clock, in seconds; medians with quartiles.
"""

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from measuring import ROOT, ratios, segments, spread, take_turns, write_sections

import neuroforge_jax as nf
from neuroforge_jax.commands.config_files import load_config

SECTIONS = ("throughput", "dispatch", "speedrun", "mixed", "startup")


@dataclass(frozen=True)
class Options:
    """Measure, and write or update one JSON record."""

    output: Path
    """The record; sections that are not measured now are left as they are."""
    sections: tuple[str, ...] = SECTIONS
    """What to measure."""
    seeds: int = 30
    """Seeds of the speedrun."""


def throughput() -> dict[str, Any]:
    dataset = nf.load_dataset("mnist")
    record = {}
    for batch_size in (8, 32, 64, 128, 512, 2048):
        config = nf.TrainConfig(batch_size=batch_size)
        candidates = {
            name: segments(dataclasses.replace(config, backend=backend), dataset, 20_000)
            for name, backend in {"f32": "optimized", "bf16": "mixed"}.items()
        }
        rates = take_turns(candidates, 15)
        record[str(batch_size)] = {
            "f32_samples_per_second": spread(rates["f32"]),
            "bf16_samples_per_second": spread(rates["bf16"]),
            "bf16_over_f32": ratios(rates["bf16"], rates["f32"]),
        }
        print(
            batch_size, {name: round(float(np.median(values))) for name, values in rates.items()}, flush=True
        )
    return record


def dispatch() -> dict[str, Any]:
    dataset = nf.load_dataset("digits")
    config = nf.TrainConfig(hidden=(32,), batch_size=32)
    candidates = {
        name: segments(dataclasses.replace(config, backend=name), dataset, 32 * 2_000)
        for name in ("optimized", "stepped")
    }
    rates = take_turns(candidates, 15)
    return {
        "scanned_microseconds_per_step": spread([32e6 / rate for rate in rates["optimized"]]),
        "stepped_microseconds_per_step": spread([32e6 / rate for rate in rates["stepped"]]),
    }


def speedrun(seeds: int) -> dict[str, Any]:
    dataset = nf.load_dataset("mnist")
    config = load_config(ROOT / "configs" / "speedrun.py")
    steps = config.epochs * nf.steps_per_epoch(config, dataset)
    seconds, accuracies = [], []
    model, state = nf.init(config, dataset)
    run = nf.prepare(config, model, dataset)
    for seed in range(-1, seeds):
        # The programs are compiled once: the state, with the key of its seed, is all that differs.
        _, state = nf.init(dataclasses.replace(config, seed=max(seed, 0)), dataset)
        jax.block_until_ready(state.params)
        begun = time.perf_counter()
        state, _ = run(state, 0, steps)
        jax.block_until_ready(state.params)
        if seed >= 0:
            seconds.append(time.perf_counter() - begun)
            accuracies.append(nf.evaluate(model, state.params, dataset.test).accuracy)
    return {
        "config": dataclasses.asdict(config),
        "train_seconds": {**spread(seconds), "mean": float(np.mean(seconds))},
        "test_accuracy": {**spread(accuracies), "mean": float(np.mean(accuracies))},
    }


def command(config: str, dataset: list[str]) -> dict[str, Any]:
    """Run the training command in a process of its own; times from its start."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        words = ["--config", str(ROOT / "configs" / config), "--run-dir", str(run_dir), "--log-every", "1"]
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "neuroforge_jax.train", *words, *dataset],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        metrics, first = run_dir / "metrics.jsonl", None
        while process.poll() is None:
            if first is None and metrics.exists() and metrics.stat().st_size:
                first = time.perf_counter() - begun
            time.sleep(0.005)
        wall = time.perf_counter() - begun
        if process.returncode:
            raise SystemExit(f"{config} ended with code {process.returncode}")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        result = json.loads((run_dir / "result.json").read_text())
        return {
            "first_step_seconds": first,
            "wall_seconds": wall,
            "peak_resident_bytes": peak,
            "result": result,
        }


def mixed() -> dict[str, Any]:
    runs = [command("mixed.py", ["--dataset", "mnist"]) for _ in range(5)]
    return {
        "samples_per_second": spread([run["result"]["samples_per_second"] for run in runs]),
        "train_seconds": spread([run["result"]["train_seconds"] for run in runs]),
        "compile_seconds": spread([run["result"]["compile_seconds"] for run in runs]),
        "share_of_peak": spread([run["result"]["share_of_peak"] for run in runs]),
        "first_step_seconds": spread([run["first_step_seconds"] for run in runs]),
        "wall_seconds": spread([run["wall_seconds"] for run in runs]),
        "peak_resident_bytes": max(run["peak_resident_bytes"] for run in runs),
        "test_accuracy": runs[0]["result"]["test_accuracy"],
    }


def startup() -> dict[str, Any]:
    def seconds_of(script: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
        return time.perf_counter() - begun

    bare = [seconds_of("pass") for _ in range(7)]
    light = [seconds_of("import neuroforge_jax") for _ in range(7)]
    whole = [seconds_of("from neuroforge_jax import fit, load_dataset, evaluate, load") for _ in range(7)]
    quick = [command("quick.py", []) for _ in range(5)]
    return {
        "bare_interpreter_seconds": spread(bare),
        "import_package_seconds": spread(light),
        "import_everything_seconds": spread(whole),
        "quick_wall_seconds": spread([run["wall_seconds"] for run in quick]),
        "quick_test_accuracy": quick[0]["result"]["test_accuracy"],
    }


def main() -> None:
    options = tyro.cli(Options)
    measure = {
        "throughput": throughput,
        "dispatch": dispatch,
        "speedrun": lambda: speedrun(options.seeds),
        "mixed": mixed,
        "startup": startup,
    }
    command_line = f"python {Path(__file__).relative_to(ROOT)} --output FILE"
    write_sections(options.output, command_line, measure, options.sections)


if __name__ == "__main__":
    main()
