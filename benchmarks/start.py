"""Where the time goes from the command to 98.0 % of MNIST: `python benchmarks/start.py --output FILE`.

The command is run again and again, its programs kept from the first time. Told are the seconds until each line that
a person sees, the spans of the run, and, of one more run, how long the modules of each package took to import.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from measuring import ROOT, spread, write_sections

COMMAND = [sys.executable, "-m", "neuroforge_jax.train", "--config", str(ROOT / "configs/speedrun.py")]
LINES = {
    "the header": r"data  ",
    "epoch 1": r"epoch +1 ",
    "epoch 2, 98.0 %": r"epoch +2 ",
    "the result": r". test accuracy",
}
"""What a person waits for, by how its line begins."""


@dataclass(frozen=True)
class Options:
    """Measure, and write the record."""

    output: Path
    repetitions: int = 15
    """Times that the command is run."""


def start(options: Options) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        runs = [run(Path(folder), index) for index in range(options.repetitions + 1)][1:]
        seconds = {name: spread([told[name] for told, _ in runs]) for name in [*LINES, "the end"]}
        names = {name for _, spans in runs for name in spans}
        spans = {name: spread([told.get(name, 0.0) for _, told in runs]) for name in sorted(names)}
        return {"seconds_until": seconds, "seconds_of_spans": spans, "import_seconds": imports(Path(folder))}


def run(folder: Path, index: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds until each line, and of each outer span."""
    record = folder / "benchmark.json"
    command = [*COMMAND, "--run-dir", str(folder / f"run {index}"), "--benchmark-output", str(record)]
    begun, seconds = time.perf_counter(), dict[str, float]()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            for name, pattern in LINES.items():
                if re.match(pattern, line):
                    seconds.setdefault(name, time.perf_counter() - begun)
        process.wait()
    seconds["the end"] = time.perf_counter() - begun
    spans = json.loads(record.read_text())["spans"]
    return seconds, {
        span["name"]: span["seconds"] for span in spans if span["depth"] == 0 and span["seconds"]
    }


def imports(folder: Path) -> dict[str, float]:
    """Seconds of the modules of each package, without those that they import, the longest first."""
    command = [COMMAND[0], "-X", "importtime", *COMMAND[1:], "--run-dir", str(folder / "imports")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stderr
    found: Counter[str] = Counter()
    for own, name in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", told, re.MULTILINE):
        package = name.partition(".")[0]
        found[
            "python" if package.lstrip("_") in sys.stdlib_module_names or package[0] == "_" else package
        ] += int(own)
    return {package: 1e-6 * own for package, own in found.most_common(12)}


def main() -> None:
    options = tyro.cli(Options)
    write_sections(
        options.output,
        "python benchmarks/start.py --output FILE",
        {"start": lambda: start(options)},
        ["start"],
    )


if __name__ == "__main__":
    main()
