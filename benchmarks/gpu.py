"""All that needs a GPU, in one command, on any machine that has one:

    python benchmarks/gpu.py --folder benchmarks [--minutes 8]

    tests      `pytest -m gpu`: every kernel and backend against the reference and the oracle
    kernels    benchmarks/kernels.py: the kernels against XLA, tiles tuned
    ladder     `bench --suite gpu`: naive → stepped → async → optimized → mixed → pallas beside PyTorch on CUDA
    speedrun   `bench --suite speedrun`: MNIST to 98.0 % and 98.5 %, beside PyTorch on CUDA

Each part is a process of its own, and its outcome is written as soon as it is there: a run that is cut off goes on
with what is missing. Records and pages of the last two are bench_<part>_<device>.json and .html.
"""

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


def command_of(part: str, folder: Path, device: str) -> list[str]:
    here = str(ROOT / "benchmarks")
    record = folder.resolve() / f"bench_{part}_{device}.json"
    bench = [sys.executable, "-m", "neuroforge_jax.bench"]
    bench += ["--output", str(record), "--report", str(record.with_suffix(".html"))]
    kernels_record = folder / f"kernels_{device}.json"
    return {
        "tests": [
            sys.executable,
            "-m",
            "pytest",
            "tests/kernels/test_on_gpu.py",
            "-m",
            "gpu",
            "-n",
            "0",
            "-q",
            "--no-header",
        ],
        "kernels": [sys.executable, f"{here}/kernels.py", "--output", str(kernels_record)],
        "ladder": [*bench, "--suite", "gpu"],
        "speedrun": [*bench, "--suite", "speedrun", "--seeds", "10"],
    }[part]


def environment() -> dict[str, Any]:
    """Of the machine, from a process that ends: the GPU's memory is for the parts."""
    code = (
        "import json; from neuroforge_jax.backends.table import BACKENDS; "
        "print(json.dumps(BACKENDS['cuda-optimized'].environment(512)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"no GPU can be used here: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = tyro.cli(Options)
    begun, about = time.monotonic(), environment()
    device = re.sub(r"[^a-z0-9]+", "_", about["device"].lower().replace("nvidia", "")).strip("_")
    path = options.folder / f"gpu_{device}.json"
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
                command_of(part, options.folder, device), cwd=ROOT, env=environ, capture_output=True, text=True,
                check=False, timeout=left + 60,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print(
                f"{part}: cut off after {time.monotonic() - part_begun:.0f} s; run again to go on", flush=True
            )
            continue
        outcome: dict[str, Any] = {"exit_code": done.returncode, "seconds": time.monotonic() - part_begun}
        lines = done.stdout.strip().splitlines() or [""]
        outcome["said"] = lines[-30:] + (done.stderr.splitlines()[-30:] if done.returncode else [])
        record[part], record["environment"] = outcome, about
        path.write_text(json.dumps(record, indent=2) + "\n")
        print(f"{part}: exit code {done.returncode}, {outcome['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
