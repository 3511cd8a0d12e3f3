"""All that needs an NVIDIA GPU, in one command of 8 minutes, on any machine that has one:

    python benchmarks/gpu.py --folder benchmarks [--minutes 8]

    ladder     `bench --suite gpu` at batch 64: naive → async → optimized → mixed → pallas beside NumPy by hand,
               CUDA C with cuBLAS and PyTorch on CUDA, and the nine verdicts on the original's claims
    speedrun   `bench --suite speedrun`: MNIST to 98.0 % and 98.5 %, beside PyTorch on CUDA
    tests      `pytest -m gpu`: every backend against the oracle, every kernel against the reference, CUDA C,
               and that 1,000 steps allocate nothing
    kernels    benchmarks/kernels.py: the kernels against XLA, tiles tuned, and measured.json for the package
    batches    the ladder at batch 512 and 4,096

Each part is a process of its own with a share of the time, and what those before it have left of theirs. What it
has measured is written as soon as it is there; called again, what is missing is run. The record of the run is
gpu_run_<device>.json; those of the ladders and of the speedrun are bench_<part>_<device>.json, each with a page.

    python benchmarks/gpu.py --rehearse

is the same without a GPU, in 3 minutes: the same commands through `rehearsal.py`, where the CPU stands for the GPU,
networks are small and kernels are interpreted. Its records go to a folder that is removed.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))  # a GPU machine need not have the package installed

from neuroforge_jax.system.files import write_json

ROOT = Path(__file__).parents[1]
HERE = ROOT / "benchmarks"
BENCH = ("-m", "neuroforge_jax.bench")
TESTS = ("tests/kernels/test_on_gpu.py", "tests/benchmarking/test_cublas_peer.py")
PYTEST = ("-m", "pytest", *TESTS, "-m", "gpu", "-v", "-p", "no:cacheprovider")
IN_PARALLEL = ("-n", "6", "-p", "no:benchmark")
IN_ONE_PROCESS = ("-n", "0", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Which has imported what pytest would like to import itself."""


@dataclass(frozen=True)
class Part:
    """arguments: of Python; {folder} and {device} are put in. small: added in a rehearsal. seconds: its share of 8
    minutes. record: whether it is a record of `bench`, and has a page.
    """

    name: str
    seconds: int
    arguments: tuple[str, ...]
    small: tuple[str, ...] = ()
    record: bool = True

    def command(self, folder: Path, device: str, options: "Options") -> list[str]:
        """Of the process that does it."""
        arguments = [argument.format(folder=folder, device=device) for argument in self.arguments]
        if self.record:
            arguments += ["--output", str(self.output(folder, device))]
            arguments += ["--report", str(self.output(folder, device).with_suffix(".html"))]
            if options.peer_python is not None:
                arguments += ["--peer-python", str(options.peer_python)]
        if not options.rehearse:
            return [sys.executable, *arguments]
        return [sys.executable, str(HERE / "rehearsal.py"), *arguments, *self.small]

    def output(self, folder: Path, device: str) -> Path:
        """The record of `bench`."""
        return folder / f"bench_{self.name}_{device}.json"


PARTS = {
    part.name: part
    for part in (
        Part(
            "ladder",
            200,
            (*BENCH, "--suite", "gpu", "--only", "backends/b64/*", "--repetitions", "7"),
            ("--repetitions", "2", "--turn-seconds", "0.01"),
        ),
        Part(
            "speedrun",
            110,
            (*BENCH, "--suite", "speedrun", "--only", "speedrun", "--seeds", "10"),
            ("--seeds", "1"),
        ),
        Part("tests", 70, (*PYTEST, *IN_PARALLEL), ("-k", "small", *IN_ONE_PROCESS), record=False),
        Part(
            "kernels",
            60,
            (
                *(str(HERE / "kernels.py"), "--output", "{folder}/kernels_{device}.json"),
                *("--table", "{folder}/measured.json", "--batches", "512", "8192"),
            ),
            ("--small", "--repetitions", "2", "--seconds", "0.01"),
            record=False,
        ),
        Part(
            "batches",
            30,
            (*BENCH, "--suite", "gpu", "--only", "backends/b[45]*", "--repetitions", "5"),
            ("--repetitions", "2", "--turn-seconds", "0.01", "--only", "backends/b512/cuda-*"),
        ),
    )
}  # fmt: skip
"""In the order of what is most wanted."""


@dataclass(frozen=True)
class Options:
    """Run what needs a GPU, and write gpu_run_<device>.json beside the records of its parts."""

    folder: Path = HERE
    """Where the records go."""
    minutes: float = 8.0
    """In all."""
    parts: tuple[str, ...] = tuple(PARTS)
    """What to run; parts that the record has already are left out."""
    again: bool = False
    """Run them all the same."""
    peer_python: Path | None = None
    """The Python that has PyTorch and TensorFlow (else this one)."""
    rehearse: bool = False
    """Without a GPU, in small, into a folder that is removed."""


def main() -> int:
    options = tyro.cli(Options)
    if unknown := [name for name in options.parts if name not in PARTS]:
        raise SystemExit(f"no part {unknown[0]!r}: there are {', '.join(PARTS)}")
    if not options.rehearse:
        run_parts(options, options.folder)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        failed = run_parts(options, Path(folder))
    print(f"rehearsed: {', '.join(options.parts)}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def run_parts(options: Options, folder: Path) -> list[str]:
    """Each in turn, within its time; the names of those that failed."""
    folder = folder.resolve()
    begun, about = time.monotonic(), environment(folder, rehearse=options.rehearse)
    device = re.sub(r"[^a-z0-9]+", "_", about["device"].lower().replace("nvidia", "")).strip("_")
    path = folder / f"gpu_run_{device}.json"
    record = (
        json.loads(path.read_text(encoding="utf-8"))
        if path.exists()
        else {"command": "python benchmarks/gpu.py", "parts": {}}
    )
    parts = record["parts"]
    done = () if options.again else [name for name, outcome in parts.items() if outcome["exit_code"] == 0]
    wanted = [PARTS[name] for name in options.parts if name not in done]
    failed, deadline = [], begun + 60 * options.minutes
    for index, part in enumerate(wanted):
        later = options.minutes / 8 * sum(other.seconds for other in wanted[index + 1 :])
        print(f"{part.name} …", flush=True)
        command = part.command(folder, device, options)
        seconds, at = max(deadline - time.monotonic() - later, 1.0), time.time()
        outcome = run_part(command, folder, seconds, rehearse=options.rehearse)
        parts[part.name], record["environment"] = outcome, about
        write_json(path, record)
        how = "cut off" if outcome["exit_code"] is None else f"exit code {outcome['exit_code']}"
        print(f"{part.name}: {how}, {outcome['seconds']:.0f} s", flush=True)
        if outcome["exit_code"]:
            print("\n".join(outcome["said"]), flush=True)
        if outcome["exit_code"] != 0:
            failed.append(part.name)
        if part.record and is_written_since(at, output := part.output(folder, device)):
            print_verdicts(json.loads(output.read_text(encoding="utf-8")))
    return failed


def is_written_since(at: float, output: Path) -> bool:
    """Whether a part has written its record: one of an earlier run says nothing of it. at: `time.time()`."""
    return output.exists() and output.stat().st_mtime >= at


def run_part(command: list[str], folder: Path, seconds: float, *, rehearse: bool) -> dict[str, Any]:
    """Exit code (None where it was cut off), seconds, and the last lines that it printed."""
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=variables(folder, rehearse=rehearse), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=seconds,
        )  # fmt: skip
        code, said = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, said = None, (error.stdout or b"").decode(errors="replace")
    return {"exit_code": code, "seconds": time.monotonic() - begun, "said": said.strip().splitlines()[-60:]}


def variables(folder: Path, *, rehearse: bool) -> dict[str, str]:
    """Of the environment of a part. A rehearsal leaves the user's cache alone."""
    own = {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")} if rehearse else {}
    return {
        **os.environ,
        "JAX_PLATFORMS": "cuda,cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        # Several processes share the GPU: PyTorch's, and those of the tests.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **own,
    }


def environment(folder: Path, *, rehearse: bool) -> dict[str, Any]:
    """Of the machine, from a process that ends: the GPU's memory is for the parts."""
    code = (
        "import json; from neuroforge_jax.backends.table import BACKENDS; "
        "print(json.dumps(BACKENDS['cuda-optimized'].environment(512)))"
    )
    command = [sys.executable, *([str(HERE / "rehearsal.py")] if rehearse else []), "-c", code]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=variables(folder, rehearse=rehearse),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise SystemExit(f"no GPU can be used here: {last}; --rehearse needs none")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def print_verdicts(record: dict[str, Any]) -> None:
    """Of the original's claims, and how far a speedrun came."""
    verdicts = [claim for claim in record["claims"] if claim["verdict"] != "not measured"]
    for claim in verdicts:
        print(f"  {claim['claim']}: {claim['verdict']} ({claim['measured']})", flush=True)
    if record["claims"]:
        print(f"  {len(verdicts)} of {len(record['claims'])} claims have a verdict", flush=True)
    for case in record["cases"]:
        if case["group"] == "speedrun" and "seconds" in case:
            accuracy, seconds = case["accuracy"]["mean"], 1e3 * case["seconds"]["median"]
            print(f"  {case['name']}: {accuracy:.2%} in {seconds:.1f} ms", flush=True)


if __name__ == "__main__":
    sys.exit(main())
