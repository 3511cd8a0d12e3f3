"""All that needs a GPU, in one command, on any machine that has one:

    python benchmarks/gpu.py --folder benchmarks [--minutes 8]

    tests      `pytest -m gpu`: every kernel and backend against the reference and the oracle
    kernels    benchmarks/kernels.py: the kernels against XLA, tiles tuned
    ladder     naive → stepped → async → optimized → mixed → pallas at batch 64 and 4,096, 784-1024-512-10
    speedrun   configs/speedrun.py as a command: seconds from the command to the table, and its accuracy

Each part is a process of its own, and its outcome is written as soon as it is there: a run that is cut off goes on
with what is missing. The data are MNIST where the data folder has it, else digits; the record says which.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

ROOT = Path(__file__).parents[1]
PARTS = ("tests", "kernels", "ladder", "speedrun")
LADDER = ("cuda-naive", "stepped", "cuda-async", "cuda-optimized", "cuda-mixed-precision", "pallas")


@dataclass(frozen=True)
class Options:
    """Run what needs a GPU, and write gpu_<device>.json and kernels_<device>.json."""

    folder: Path = ROOT / "benchmarks"
    """Where the records go."""
    minutes: float = 8.0
    """When to begin nothing more."""
    parts: tuple[str, ...] = PARTS
    """What to run; parts that the record has already are left out."""
    again: bool = False
    """Run them all the same."""
    part: str | None = None
    """For the process of one part; it prints its record."""


def command_of(part: str, kernels_record: Path) -> list[str]:
    here = str(ROOT / "benchmarks")
    return {
        "tests": [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "0", "-q", "--no-header"],
        "kernels": [sys.executable, f"{here}/kernels.py", "--output", str(kernels_record)],
        "ladder": [sys.executable, f"{here}/gpu.py", "--part", "ladder"],
        "speedrun": [sys.executable, f"{here}/gpu.py", "--part", "speedrun"],
    }[part]


def ladder() -> dict[str, Any]:
    from measuring import interleaved, ratios, spread, stretches

    import neuroforge_jax as nf
    from neuroforge_jax.errors import UserError

    dataset = nf.load_dataset("auto")
    record: dict[str, Any] = {"dataset": dataset.name}
    for batch in (64, min(4096, len(dataset.train))):
        config = nf.TrainConfig(batch_size=batch)
        contenders = {}
        for name in LADDER:
            try:
                contenders[name] = stretches(
                    dataclasses.replace(config, backend=name), dataset, 2_000 if "naive" in name else 60_000
                )
            except UserError as error:
                record[f"{name}, batch {batch}"] = str(error)
        rates = interleaved(contenders, 7)
        for name, values in rates.items():
            record[f"{name}, batch {batch}"] = {
                "samples_per_second": spread(values),
                "over_naive": ratios(values, rates["cuda-naive"]),
            }
    return record


def speedrun() -> dict[str, Any]:
    import tempfile

    seconds, results = [], []
    for seed in range(5):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "neuroforge_jax.train", "--config", str(ROOT / "configs/speedrun.py"),
                 "--seed", str(seed), "--run-dir", f"{folder}/run"],
                cwd=ROOT, check=True, capture_output=True,
            )  # fmt: skip
            seconds.append(time.perf_counter() - begun)
            results.append(json.loads((Path(folder) / "run" / "result.json").read_text()))
    told = ("test_accuracy", "train_seconds", "compile_seconds", "samples_per_second", "device", "dataset")
    return {
        "command_seconds": seconds,
        "results": [{name: result[name] for name in told} for result in results],
    }


def environment() -> dict[str, Any]:
    """Of the machine, from a process that ends: the GPU's memory is for the parts."""
    code = (
        "import json; from neuroforge_jax import environment; from neuroforge_jax.backends import BACKENDS; "
        "print(json.dumps(environment.describe(BACKENDS['cuda-optimized'], batch_size=512)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"no GPU can be used here: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = tyro.cli(Options)
    if options.part is not None:
        print(json.dumps({"ladder": ladder, "speedrun": speedrun}[options.part]()))
        return
    begun, about = time.monotonic(), environment()
    device = re.sub(r"[^a-z0-9]+", "_", about["device"].lower().replace("nvidia", "")).strip("_")
    path, kernels_record = (options.folder / f"{name}_{device}.json" for name in ("gpu", "kernels"))
    record = json.loads(path.read_text()) if path.exists() else {"command": "python benchmarks/gpu.py"}
    for part in options.parts:
        left = 60 * options.minutes - (time.monotonic() - begun)
        if (part in record and not options.again) or left < 0:
            continue
        print(f"{part} …", flush=True)
        environ = {**os.environ, "JAX_PLATFORMS": "cuda,cpu", "PYTHONPATH": str(ROOT)}
        part_begun = time.monotonic()
        try:
            done = subprocess.run(
                command_of(part, kernels_record), cwd=ROOT, env=environ, capture_output=True, text=True,
                check=False, timeout=left + 60,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print(
                f"{part}: cut off after {time.monotonic() - part_begun:.0f} s; run again to go on", flush=True
            )
            continue
        outcome: dict[str, Any] = {"exit_code": done.returncode, "seconds": time.monotonic() - part_begun}
        lines = done.stdout.strip().splitlines() or [""]
        if done.returncode == 0 and part in ("ladder", "speedrun"):
            outcome |= json.loads(lines[-1])
        else:
            outcome["said"] = lines[-30:] + (done.stderr.splitlines()[-30:] if done.returncode else [])
        record[part], record["environment"] = outcome, about
        path.write_text(json.dumps(record, indent=2) + "\n")
        print(f"{part}: exit code {done.returncode}, {outcome['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
