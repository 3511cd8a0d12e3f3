"""All that needs an NVIDIA GPU, in one command of 14 minutes, on any machine that has one:

    python benchmarks/gpu.py --folder benchmarks [--minutes 14]

    ladder     `bench --suite gpu` at batch 64: naive → async → optimized → mixed → pallas beside NumPy by hand,
               CUDA C with cuBLAS and PyTorch on CUDA, and the nine verdicts on the original's claims
    tests      `pytest -m gpu`: every backend against the oracle, every kernel against the reference, CUDA C,
               and that a step allocates nothing
    speedrun   `bench --suite speedrun`: MNIST to 98.0 %, beside PyTorch on CUDA
    kernels    benchmarks/kernels.py: the kernels against XLA, tiles tuned, and measured.json for the package
    batches    our ladder at batch 512 and 4,096, beside CUDA C
    further    MNIST to 98.5 %, beside PyTorch on CUDA

Each part is a process of its own, in the order of what is most wanted: one begins while there is time, and is cut
off where that ends, or where it takes half as long again as it should. What it has measured is written as soon as
it is there, and why a test failed is printed at once. Called again, what is missing is run: of the tests, at the
same commit, those that have not passed yet.

The record of the run is gpu_run_<device>.json; those of the ladders and of the speedruns are
bench_<part>_<device>.json, each with a page.

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
PYTEST = (
    *("-m", "pytest", *TESTS, "-m", "gpu", "-v", "--tb=short"),
    *("-p", "no:cacheprovider", "-p", "tests.failures_at_once"),
)
PASSED = re.compile(r" PASSED (\S+?::.*)$")
LINES_KEPT = 400
"""Of what a part printed: the tests print two lines each, and some for one that fails."""
MARGIN = 1.5
"""Times its seconds that a part may take."""
IN_PARALLEL = ("-n", "6", "-p", "no:benchmark")
IN_ONE_PROCESS = ("-n", "0", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Which has imported what pytest would like to import itself."""


@dataclass(frozen=True)
class Part:
    """seconds: that it takes on a machine of 16 cores with an H200. arguments: of Python; {folder} and {device} are
    put in. small: added in a rehearsal. record: whether it is a record of `bench`, and has a page.
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
            215,
            (*BENCH, "--suite", "gpu", "--only", "backends/b64/*", "--repetitions", "7"),
            ("--repetitions", "2", "--turn-seconds", "0.01"),
        ),
        Part("tests", 130, (*PYTEST, *IN_PARALLEL), ("-k", "small", *IN_ONE_PROCESS), record=False),
        Part(
            "speedrun",
            120,
            (*BENCH, "--suite", "speedrun", "--only", "speedrun/98 %/*", "--seeds", "5"),
            ("--seeds", "1"),
        ),
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
            150,
            (*BENCH, "--suite", "gpu", "--only", "backends/b[45]*/[!t]*", "--repetitions", "5"),
            ("--repetitions", "2", "--turn-seconds", "0.01", "--only", "backends/b512/cuda-*"),
        ),
        Part(
            "further",
            140,
            (*BENCH, "--suite", "speedrun", "--only", "speedrun/98.5 %/*", "--seeds", "5"),
            ("--seeds", "1"),
        ),
    )
}  # fmt: skip
"""In the order of what is most wanted. The seconds of the first three follow from gpu_run_gpu_h200.json; the others
are guesses.
"""

MINUTES = float(-(-sum(part.seconds for part in PARTS.values()) // 60))
"""Of all parts."""


@dataclass(frozen=True)
class Options:
    """Run what needs a GPU, and write gpu_run_<device>.json beside the records of its parts."""

    folder: Path = HERE
    """Where the records go."""
    minutes: float = MINUTES
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
    empty = {"command": "python benchmarks/gpu.py", "parts": {}}
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty
    parts = record["parts"]
    done = () if options.again else [name for name, outcome in parts.items() if outcome["exit_code"] == 0]
    failed, deadline = [], begun + 60 * options.minutes
    longer = MARGIN * max(1.0, options.minutes / MINUTES)
    for part in (PARTS[name] for name in options.parts if name not in done):
        left = deadline - time.monotonic()
        if left <= 0:
            print(f"{part.name}: no time is left", flush=True)
            failed.append(part.name)
            continue
        print(f"{part.name} …", flush=True)
        passed = [] if options.again or part.name != "tests" else passed_before(record, about)
        command = part.command(folder, device, options)
        command += [argument for test in passed for argument in ("--deselect", test)]
        seconds = left if options.rehearse else min(left, longer * part.seconds)
        at = time.time()
        outcome = run_part(command, folder, seconds, rehearse=options.rehearse)
        if part.name == "tests":
            outcome |= {"passed": passed + outcome["passed"], "commit": about.get("commit")}
        else:
            del outcome["passed"]
        parts[part.name], record["environment"] = outcome, about
        write_json(path, record)
        print_outcome(part, outcome)
        if outcome["exit_code"] != 0:
            failed.append(part.name)
        if part.record and is_written_since(at, output := part.output(folder, device)):
            print_verdicts(json.loads(output.read_text(encoding="utf-8")))
    return failed


def print_outcome(part: Part, outcome: dict[str, Any]) -> None:
    """How it ended; of one that failed, what it printed."""
    how = "cut off" if outcome["exit_code"] is None else f"exit code {outcome['exit_code']}"
    print(f"{part.name}: {how}, {outcome['seconds']:.0f} s", flush=True)
    if outcome["exit_code"] or (outcome["exit_code"] is None and not part.record):
        print("\n".join(outcome["said"]), flush=True)


def passed_before(record: dict[str, Any], about: dict[str, Any]) -> list[str]:
    """The tests that passed in the run that was cut off, where the code is the same still."""
    before, commit = record["parts"].get("tests", {}), about.get("commit")
    known = before.get("commit") == commit and not str(commit).endswith("+")
    return list(before.get("passed", ())) if known else []


def passed_of(said: list[str]) -> list[str]:
    """The names of the tests that passed, as pytest printed them."""
    return [match[1].strip() for line in said if (match := PASSED.search(line))]


def is_written_since(at: float, output: Path) -> bool:
    """Whether a part has written its record: one of an earlier run says nothing of it. at: `time.time()`."""
    return output.exists() and output.stat().st_mtime >= at


def run_part(command: list[str], folder: Path, seconds: float, *, rehearse: bool) -> dict[str, Any]:
    """Exit code (None where it was cut off), seconds, the last lines that it printed, and the tests that passed."""
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=variables(folder, rehearse=rehearse), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=seconds,
        )  # fmt: skip
        code, said = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, said = None, (error.stdout or b"").decode(errors="replace")
    lines, seconds = said.strip().splitlines(), time.monotonic() - begun
    return {"exit_code": code, "seconds": seconds, "said": lines[-LINES_KEPT:], "passed": passed_of(lines)}


def variables(folder: Path, *, rehearse: bool) -> dict[str, str]:
    """Of the environment of a part. A rehearsal leaves the user's cache alone."""
    own = {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")} if rehearse else {}
    return {
        **os.environ,
        "JAX_PLATFORMS": "cuda,cpu",
        "PYTHONUNBUFFERED": "1",  # what a part that is cut off had printed is not lost
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
