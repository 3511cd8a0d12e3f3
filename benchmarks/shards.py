"""Data in shards: `python benchmarks/shards.py --folder FOLDER --output benchmarks/shards.json`.

order        how well rows mix, beside a permutation of all rows: shards sorted by class
throughput   784-1024-512-10 from shards of Parquet in the page cache, and from memory, in turn
memory       of a process that trains a small network on shards of 0.1 GB and of 20 GB

FOLDER takes the shards, MNIST over and over, which are removed at the end; needs MNIST in the data folder.
"""

import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from measuring import ratios, segments, spread, take_turns, write_sections

import neuroforge_jax as nf
from neuroforge_jax.data.shards.order import LaneOrder
from neuroforge_jax.data.shuffle import ROUNDS, order_on_host
from neuroforge_jax.system.memory import resident_bytes

SECTIONS = ("order", "throughput", "memory")
GROUP = 4096


@dataclass(frozen=True)
class Options:
    """Measure, and write or update one JSON record."""

    output: Path
    folder: Path
    """An empty folder for the shards."""
    sections: tuple[str, ...] = SECTIONS
    gigabytes: float = 4.0
    """Of the shards whose reading is timed."""
    large_gigabytes: float = 20.0
    """Of those whose memory is measured."""
    repetitions: int = 7


def write_shards(folder: Path, gigabytes: float, kind: str) -> None:
    """Files of 60,000 rows, not compressed: pixels as lists of uint8, or as blocks of bytes."""
    (folder / "train").mkdir(parents=True)
    mnist = nf.load_dataset("mnist").train
    pixels = np.asarray(mnist.inputs)
    column = (
        pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), 784)
        if kind == "lists"
        else pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(784), len(pixels), [None, pa.py_buffer(pixels.tobytes())]
        )
    )
    first = folder / "train" / "00000.parquet"
    table = pa.table({"pixels": column, "label": mnist.targets})
    pq.write_table(table, first, compression="none", row_group_size=GROUP)
    for at in range(1, max(1, round(gigabytes * 1e9 / first.stat().st_size))):
        shutil.copyfile(first, folder / "train" / f"{at:05d}.parquet")


def measure_order() -> dict[str, Any]:
    """Of 2,000,000 rows in units of two sizes, the ten classes one after the other, at three batch sizes."""
    rows, found = 2_000_000, {}
    labels, positions = np.arange(rows) * 10 // rows, np.arange(rows)
    for batch_size in (64, 512, 4096):
        keys = np.random.default_rng(0).integers(0, 2**32, ROUNDS, dtype=np.uint32)
        whole = order_on_host(keys, rows, positions)
        found[f"batch {batch_size}, a permutation of all"] = describe_order(whole, labels, batch_size)
        for unit in (1000, 16_000):
            order = LaneOrder(np.full(rows // unit, unit), batch_size)
            figures = describe_order(order.rows(keys, positions), labels, batch_size)
            found[f"batch {batch_size}, units of {unit}"] = figures | {"lanes": order.lanes}
    return found


def describe_order(order: np.ndarray, labels: np.ndarray, batch_size: int) -> dict[str, float]:
    """displacement: mean distance between place and row, in rows ÷ all. neighbours: share of pairs of following
    places that hold following rows. near: share of pairs of rows of a batch that are of the same 1,000 rows.
    class_variance: of the number of rows of a class in a batch, over what random batches have. correlation: of
    the mean label of a batch with that of the next.
    """
    rows = len(order)
    whole = rows // batch_size * batch_size
    batches = labels[order[:whole]].reshape(-1, batch_size)
    counts = np.stack([(batches == label).sum(axis=1) for label in range(10)])
    units = np.sort(order[:whole].reshape(-1, batch_size) // 1000, axis=1)
    starts = np.diff(units, axis=1, prepend=-1) != 0
    runs = np.diff(np.append(np.flatnonzero(starts.ravel()), starts.size))
    pairs = batch_size * (batch_size - 1) * len(units)
    means = batches.mean(axis=1)
    return {
        "displacement": float(np.abs(order - np.arange(rows)).mean() / rows),
        "neighbours": float((np.diff(order) == 1).mean()),
        "near": float((runs.astype(np.float64) * (runs - 1)).sum() / pairs),
        "class_variance": float(counts.var(axis=1).mean() / (batch_size * 0.09)),
        "correlation": float(np.corrcoef(means[:-1], means[1:])[0, 1]),
    }


def measure_throughput(options: Options) -> Any:
    """Samples a second from shards and from memory, in turn, and their ratio, pair by pair."""
    memory = nf.load_dataset("mnist")
    for kind in ("lists", "bytes"):
        folder = options.folder / kind
        write_shards(folder, options.gigabytes, kind)
        for file in sorted((folder / "train").iterdir()):
            file.read_bytes()  # into the page cache
        begun = time.perf_counter()
        streamed = nf.load_dataset(folder)
        load_seconds = time.perf_counter() - begun
        for batch_size in (64, 512):
            config = nf.TrainConfig(batch_size=batch_size, epochs=100)
            candidates = {
                "memory": segments(config, memory, 65_536),
                "shards": segments(config, streamed, 65_536),
            }
            rates = take_turns(candidates, options.repetitions)
            yield (
                f"{kind}, batch {batch_size}",
                {
                    **{name: spread(of) for name, of in rates.items()},
                    "shards_to_memory": ratios(rates["shards"], rates["memory"]),
                    "bytes": sum(file.stat().st_size for file in (folder / "train").iterdir()),
                    "rows": streamed.samples,
                    "load_seconds": load_seconds,
                },
            )
        shutil.rmtree(folder)


def measure_memory(options: Options) -> Any:
    """One epoch of 784-32-10 at batch 512, in a process of its own: of a few rows, and of many."""
    peaks = []
    for gigabytes in (0.1, options.large_gigabytes):
        folder = options.folder / "large"
        write_shards(folder, gigabytes, "bytes")
        command = [sys.executable, __file__, "stream", str(folder)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        shutil.rmtree(folder)
        figures = json.loads(told.splitlines()[-1])
        peaks.append(figures["resident_bytes_peak"])
        yield f"{gigabytes:g} GB", figures | {"peak_beyond_the_smaller": peaks[-1] - peaks[0]}


def stream(folder: str) -> None:
    """Train one epoch and print rate and memory as JSON."""
    start = resident_bytes() or 0
    peak, over = [start], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peak.append(resident_bytes() or 0)

    threading.Thread(target=watch, daemon=True).start()
    begun = time.perf_counter()
    dataset = nf.load_dataset(folder)
    load_seconds, loaded = time.perf_counter() - begun, max(peak)
    config = nf.TrainConfig(hidden=(32,), batch_size=512)
    model, state = nf.init(config, dataset)
    run = nf.prepare(config, model, dataset)
    steps, size = nf.steps_per_epoch(config, dataset), 4096
    state, metrics = run(state, 0, 1)
    assert np.isfinite(metrics.loss).all()
    compiled = resident_bytes() or 0
    quarters, begun = [], time.perf_counter()
    for first in range(1, steps, size):
        state, metrics = run(state, first, min(steps, first + size))
        assert np.isfinite(metrics.loss).all()
        quarters.append(resident_bytes() or 0)
    seconds = time.perf_counter() - begun
    over.set()
    figures = {
        "bytes": sum(file.stat().st_size for file in (Path(folder) / "train").iterdir()),
        "rows": dataset.samples,
        "load_seconds": load_seconds,
        "samples_per_second": (dataset.samples - 512) / seconds,
        "resident_bytes_with_the_package": start,
        "resident_bytes_peak_of_loading": loaded,
        "resident_bytes_after_the_first_step": compiled,
        "resident_bytes_peak": max(peak),
        "peak_beyond_the_first_step": max(peak) - compiled,
        "resident_bytes_in_turn": quarters[:: max(1, len(quarters) // 12)],
    }
    print(json.dumps(figures))


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    options.folder.mkdir(parents=True, exist_ok=True)
    measure = {
        "order": measure_order,
        "throughput": lambda: measure_throughput(options),
        "memory": lambda: measure_memory(options),
    }
    command = "python benchmarks/shards.py --folder FOLDER --output benchmarks/shards.json"
    write_sections(options.output, command, measure, options.sections)


if __name__ == "__main__":
    if sys.argv[1:2] == ["stream"]:
        stream(sys.argv[2])
    else:
        main()
