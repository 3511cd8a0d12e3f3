"""What reading a large text table costs: `python benchmarks/reading.py --output benchmarks/reading.json`.

A table of 1,000,000 rows and 20 columns, 5 of them text, is written to a temporary folder. Each time, in a process
of its own, it is read, its schema is inferred, and it is split, encoded, fitted and moved to the device: seconds
after the imports, and the most memory beyond that of the process before. Measure on an idle machine.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.csv
import tyro

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.batch import to_device
from neuroforge_jax.data.readers.csv import read_csv
from neuroforge_jax.data.tables import make_dataset
from neuroforge_jax.system.cpu import processor_model, processor_name
from neuroforge_jax.system.files import write_json
from neuroforge_jax.system.memory import peak_resident_bytes, resident_bytes
from neuroforge_jax.system.provenance import commit, installed_version

NUMBERS, TEXTS = 15, 5
WORDS = np.array(["north", "south", "east", "west", "centre", "harbour", "old town", "airport"])


@dataclass(frozen=True)
class Options:
    """Measure, and write the record where one is named."""

    output: Path | None = None
    """The record, as JSON."""
    rows: int = 1_000_000
    repetitions: int = 5
    read: Path | None = None
    """Read this file once in this process and print the figures; the table above is written unless given."""


def write_table(path: Path, rows: int) -> None:
    """Numbers of several lengths, whole ones among them, with gaps; words, and texts with one value a row."""
    rng = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {}
    for at in range(NUMBERS):
        values = rng.integers(0, 10 ** (1 + at % 5), rows) if at % 3 == 0 else rng.normal(size=rows).round(3)
        columns[f"number {at}"] = pa.array(values, mask=rng.random(rows) < 0.02 * (at % 2))
    for at in range(TEXTS):
        texts = WORDS[rng.integers(0, len(WORDS), rows)]
        columns[f"text {at}"] = pa.array(
            [f"{text} {row}" for row, text in enumerate(texts)] if at == 0 else texts
        )
    pyarrow.csv.write_csv(pa.table(columns), path)


def read_once(path: Path) -> dict[str, Any]:
    """Seconds, and the most memory beyond what the process had before, both also in terms of the file."""
    before, begun = resident_bytes() or 0, time.perf_counter()
    table = read_csv(path, DataConfig())
    read = time.perf_counter() - begun
    about = {
        "rows": len(table),
        "columns": len(table.columns),
        "texts": sum(pa.types.is_string(column.type) for column in table.columns.values()),
    }
    config = DataConfig(str(path))
    dataset = make_dataset(table, config, {}, path.name)
    encoded = time.perf_counter() - begun
    jax.block_until_ready(to_device(dataset.train))
    seconds = time.perf_counter() - begun
    peak = peak_resident_bytes() - before
    size = path.stat().st_size
    return {
        **about,
        "file_bytes": size,
        "read_seconds": read,
        "encoded_after_seconds": encoded,
        "seconds": seconds,
        "peak_bytes": peak,
        "peak_over_file": peak / size,
    }


def read_elsewhere(path: Path) -> dict[str, Any]:
    """The same in a process of its own, whose memory nothing else has raised before."""
    command = [sys.executable, __file__, "--read", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(rows: int, repetitions: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write_table(path, rows)
        runs = [read_elsewhere(path) for _ in range(repetitions)]
    return {
        "command": "python benchmarks/reading.py --output FILE",
        "processor": processor_name(),
        "processor_model": processor_model(),
        "cores": pa.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: installed_version(name) for name in ("pyarrow", "numpy")},
        "commit": commit(),
        "median_seconds": float(np.median([run["seconds"] for run in runs])),
        "median_peak_over_file": float(np.median([run["peak_over_file"] for run in runs])),
        "runs": runs,
    }


def main() -> None:
    options = tyro.cli(Options)
    if options.read is not None:
        print(json.dumps(read_once(options.read)))
        return
    record = measure(options.rows, options.repetitions)
    if options.output is not None:
        write_json(options.output, record)
    run, versions = record["runs"][0], record["versions"]
    print(
        f"{run['rows']:,} rows × {run['columns']} columns, {run['file_bytes'] / 1e6:.0f} MB, "
        f"on {record['processor']}, {record['cores']} cores, pyarrow {versions['pyarrow']}: "
        f"{record['median_seconds']:.2f} s, "
        f"peak {record['median_peak_over_file']:.2f} × the file beyond the process before "
        f"(medians of {len(record['runs'])})"
    )


if __name__ == "__main__":
    main()
