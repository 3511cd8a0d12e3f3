"""Whether the tests find a fault: small changes of the code, each of which some test must fail on.

    python benchmarks/mutants.py draw
    python benchmarks/mutants.py run --tree DIR --output FILE
    python benchmarks/mutants.py table FILE [FILE]

draw    100 of the mutations that cosmic-ray has for the packages of cosmic-ray.toml, by a fixed seed, in
        mutants.json
run     each in a copy of a source tree, against the tests of its package and a run of the flagship config;
        continues where it was stopped; what tests need, such as NEUROFORGE_DATA_DIR, comes from the environment
table   how many were killed, before and after, and what survived

`pip install cosmic-ray` first: draw asks it (`mutations.py`).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from typing import Any

import tyro
from mutations import CONFIG, Mutant, mutations, sample

HERE = Path(__file__).parent
LIST = HERE / "mutants.json"
COMMAND = "python benchmarks/mutants.py run --tree DIR --output FILE"
ROOMS = {
    "training": ("tests/training", "tests/test_run.py", "tests/callbacks"),
    "model": ("tests/model", "tests/kernels/test_choice.py"),
    "precision": ("tests/precision",),
    "nn": ("tests/nn",),
    "checkpoint": ("tests/checkpoint",),
    "data": ("tests/data",),
}
"""Package → its tests, in the order in which they are run."""

FLAGSHIP = ("tests/test_flagship.py", "-m", "slow", "-k", "embedded_data and mixed.py")


def draw(tree: Path = HERE.parent, count: int = 100, seed: int = 0) -> None:
    """Draw from the mutations of this tree, and write the list."""
    found = mutations(tree)
    drawn = sample(found, tree, count, seed)
    record = {
        "command": "python benchmarks/mutants.py draw",
        "seed": seed,
        "commit": _commit(tree),
        "mutations": {package: len(specs) for package, specs in found.items()},
        "mutants": [asdict(mutant) for mutant in drawn],
    }
    LIST.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(drawn)} mutants of {sum(map(len, found.values()))} mutations")


def run(
    tree: Path,
    output: Path,
    jobs: int = 2,
    timeout: float = CONFIG["timeout"],
    only: str = "",
    failed_of: Path | None = None,
) -> None:
    """Run the tests on each mutant of this tree that the output does not have yet.

    timeout: seconds for one start of pytest. only: part of a mutant's name. failed_of: a record, of whose
    mutants only those are taken that survived.
    """
    mutants = [Mutant(**one) for one in json.loads(LIST.read_text())["mutants"]]
    record = json.loads(output.read_text()) if output.exists() else {}
    record = {"command": COMMAND, "commit": _commit(tree), "results": {}, **record}
    results: dict[str, Any] = record["results"]
    survived = {} if failed_of is None else _outcomes(failed_of, "survived")
    mutants = [
        mutant
        for mutant in mutants
        if only in mutant.name and mutant.name not in results and (not failed_of or mutant.name in survived)
    ]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        copies: Queue[Path] = Queue()
        for job in range(jobs):
            skipped = shutil.ignore_patterns(".git", ".hypothesis", "__pycache__", ".*_cache")
            copies.put(shutil.copytree(tree, Path(folder) / str(job) / "tree", ignore=skipped))
        writing = threading.Lock()

        def test(mutant: Mutant) -> None:
            with _lent(copies) as copy:
                begun = time.perf_counter()
                result = _tested(mutant, copy, timeout)
                result["seconds"] = round(time.perf_counter() - begun, 1)
            with writing:
                results[mutant.name] = result
                output.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
                print(len(results), mutant.name, *result.values(), flush=True)

        def check(tests: Sequence[str]) -> None:
            with _lent(copies) as copy:
                found = _failure(copy, tests, timeout)
            if found:
                raise SystemExit(f"{' '.join(tests)} fail on the tree itself: {found}")

        for copy in tuple(copies.queue):
            _check_import(copy)
        packages = dict.fromkeys(mutant.package for mutant in mutants)
        rooms = [(tests,) for package in packages for tests in ROOMS[package]]
        list(pool.map(check, [*rooms, FLAGSHIP] if rooms else []))
        list(pool.map(test, mutants))


@contextmanager
def _lent(copies: Queue[Path]) -> Iterator[Path]:
    copy = copies.get()
    try:
        yield copy
    finally:
        copies.put(copy)


def _check_import(copy: Path) -> None:
    """Refuse to go on where the tests would import another package than the one that is mutated."""
    code = "import neuroforge_jax; print(neuroforge_jax.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy.parent,
        env=_environment(copy),
        capture_output=True,
        text=True,
        check=True,
    )
    print("tests import", done.stdout.strip(), flush=True)
    if not Path(done.stdout.strip()).is_relative_to(copy):
        raise SystemExit(f"the tests import {done.stdout.strip()}, which is not of {copy}")


def _environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(copy), "JAX_PLATFORMS": "cpu"}


def _tested(mutant: Mutant, copy: Path, timeout: float) -> dict[str, Any]:
    path = copy / mutant.path
    source = path.read_text()
    changed = mutant.of(source)
    if changed is None:
        return {"outcome": "gone"}
    try:
        path.write_text(changed)
        for tests in _stages(mutant, copy):
            # Compiled modules are told apart by size and second: those of the last mutant must not be taken.
            shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
            if found := _failure(copy, tests, timeout):
                return found
        return {"outcome": "survived"}
    finally:
        path.write_text(source)
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)


def _stages(mutant: Mutant, copy: Path) -> Iterator[Sequence[str]]:
    """The tests of the module's own name, those of its package, the flagship."""
    first, *users = ROOMS[mutant.package]
    tests = sorted(str(path.relative_to(copy)) for path in (copy / first).rglob("test_*.py"))
    own = [path for path in tests if Path(path).stem.startswith(f"test_{Path(mutant.path).stem}")]
    others = [path for path in tests if path not in own]
    yield from filter(None, (own, others))
    for user in users:
        yield (user,)
    yield FLAGSHIP


def _failure(copy: Path, tests: Sequence[str], timeout: float) -> dict[str, Any] | None:
    """What the first test that fails says; None where all pass."""
    scratch = copy.parent / "scratch"
    flags = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=short", f"--basetemp={scratch}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *flags, *tests],
        cwd=copy,
        env=_environment(copy),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"outcome": "timeout", "test": " ".join(tests)}
    finally:
        _end(process)
    if process.returncode == 0:
        return None
    test = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", said, re.MULTILINE)
    why = re.search(r"^[ |]*E +(.*)$", said, re.MULTILINE)
    return {
        "outcome": "killed",
        "test": test[1] if test else f"{' '.join(tests)} (exit status {process.returncode})",
        "why": (why[1] if why else said.strip().splitlines()[-1]).replace(f"{copy.parent}/", "")[:200],
    }


def _end(process: subprocess.Popen) -> None:
    """With all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def table(files: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """By package in Markdown: of one record, or of one before and one after."""
    record = json.loads(LIST.read_text())
    mutants = [Mutant(**one) for one in record["mutants"]]
    results = [json.loads(file.read_text())["results"] for file in files]
    print("| package | drawn | killed | of these by timeout | survived | gone |\n|---|---|---|---|---|---|")
    for package in (*ROOMS, "all"):
        names = [mutant.name for mutant in mutants if package in ("all", mutant.package)]
        counts = [Counter(one[name]["outcome"] for name in names if name in one) for one in results]
        cells = (
            [count["killed"] + count["timeout"] for count in counts],
            *([count[outcome] for count in counts] for outcome in ("timeout", "survived", "gone")),
        )
        print(f"| {package} | {len(names)} |", " | ".join(" → ".join(map(str, cell)) for cell in cells), "|")
    for file in files:
        survivors = _outcomes(file, "survived")
        print(f"\nSurvived in {file.name}: {len(survivors)}\n")
        for mutant in mutants:
            if mutant.name in survivors:
                change = " → ".join(f"`{' '.join(text.split())}`" for text in (mutant.before, mutant.after))
                print(f"- {mutant.path}:{mutant.line} {change}")


def _outcomes(file: Path, outcome: str) -> dict[str, Any]:
    results = json.loads(file.read_text())["results"]
    return {name: result for name, result in results.items() if result["outcome"] == outcome}


def _commit(tree: Path) -> str:
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"draw": draw, "run": run, "table": table})
