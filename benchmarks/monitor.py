"""What the monitor of a run costs: `python benchmarks/monitor.py --output benchmarks/monitor.json`.

span       seconds of one span, from its beginning to its end, on and off; nested as a run nests them
runs       configs/mixed.py on MNIST with the monitor on and off, in turn: seconds of training, and how many spans
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from measuring import ROOT, ratios, spread, write_sections

import neuroforge_jax as nf
from neuroforge_jax.commands.config_files import load_config

SPANS = 100_000


@dataclass(frozen=True)
class Options:
    """Measure, and write the record."""

    output: Path
    pairs: int = 5
    sections: tuple[str, ...] = ("span", "runs")


def span() -> dict[str, Any]:
    record = {}
    for name, enabled in (("on", True), ("off", False)):
        seconds = []
        for _ in range(7):
            monitor = nf.PerformanceMonitor(enabled=enabled)
            begun = time.perf_counter()
            for _ in range(SPANS // 2):
                with monitor.track("train"), monitor.track("steps"):
                    pass
            seconds.append((time.perf_counter() - begun) / SPANS)
        record[f"seconds_{name}"] = spread(seconds)
    return record


def runs(pairs: int) -> dict[str, Any]:
    config, dataset = load_config(ROOT / "configs" / "mixed.py"), nf.load_dataset("mnist")
    config = dataclasses.replace(config, dataset="mnist", epochs=4)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    spans = 0
    nf.fit(config, dataset)
    for _ in range(pairs):
        for enabled in (True, False):
            monitor = nf.PerformanceMonitor(enabled=enabled)
            with monitor.listening():
                seconds[enabled].append(nf.fit(config, dataset).figures["train_seconds"])
            spans = max(spans, sum(row["count"] for row in monitor.rows()))
    return {
        "epochs": config.epochs,
        "spans": spans,
        "train_seconds_on": spread(seconds[True]),
        "train_seconds_off": spread(seconds[False]),
        "on_to_off": ratios(seconds[True], seconds[False]),
    }


def main() -> None:
    options = tyro.cli(Options)
    measure = {"span": span, "runs": lambda: runs(options.pairs)}
    record = write_sections(
        options.output, "python benchmarks/monitor.py --output FILE", measure, options.sections
    )
    if {"span", "runs"} <= record.keys():
        cost = record["runs"]["spans"] * record["span"]["seconds_on"]["median"]
        share = cost / record["runs"]["train_seconds_on"]["median"]
        print(f"{record['runs']['spans']} spans: {1e6 * cost:.0f} µs of a run, {share:.4%} of its training")


if __name__ == "__main__":
    main()
