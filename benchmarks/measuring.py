"""What the benchmark scripts share: candidates in turn, medians with quartiles, and one JSON record."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import neuroforge_jax as nf
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.system.files import write_json

ROOT = Path(__file__).parents[1]


def spread(values: Sequence[float]) -> dict[str, Any]:
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": median, "quartiles": [low, high], "best": [min(values), max(values)], "n": len(values)}


def segments(config: nf.TrainConfig, dataset: nf.Dataset, samples: int, **how: Any) -> Callable[[], float]:
    """A function that trains about so many samples more and returns the samples a second."""
    model, state = nf.init(config, dataset)
    run = nf.prepare(config, model, dataset, **how)
    steps = max(3, samples // config.batch_size)
    box = [(state, 0)]

    def go() -> float:
        state, first = box[0]
        begun = time.perf_counter()
        state, metrics = run(state, first, first + steps)
        jax.block_until_ready(state.params)
        seconds = time.perf_counter() - begun
        assert np.isfinite(metrics.loss).all()
        box[0] = state, first + steps
        return steps * config.batch_size / seconds

    go()
    return go


def take_turns(candidates: dict[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Each candidate in turn, so many times over: what disturbs the machine disturbs them all."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repetitions):
        for name, go in candidates.items():
            rates[name].append(go())
    return rates


def ratios(of: Sequence[float], to: Sequence[float]) -> dict[str, Any]:
    """Of ÷ to, pair by pair."""
    return spread([a / b for a, b in zip(of, to, strict=True)])


Rows = Mapping[str, Any] | Iterator[tuple[str, Any]]
"""Of a section: all at once, or one after the other, each of which is written at once."""


def write_sections(
    output: Path, command: str, measure: dict[str, Callable[[], Rows]], sections: Sequence[str]
) -> dict[str, Any]:
    """Measure these sections and write them into the record; the others are left as they are."""
    record = json.loads(output.read_text()) if output.exists() else {}
    for section in sections:
        print(f"{section} …", flush=True)
        rows = measure[section]()
        record[section] = {}
        record.setdefault("command", command)
        record["environment"] = BACKENDS["mixed"].environment(512)
        # Sections that are measured on their own keep the commit that they are of.
        record.setdefault("commits", {})[section] = record["environment"]["commit"]
        for name, row in rows.items() if isinstance(rows, Mapping) else rows:
            record[section][name] = row
            write_json(output, record)
    return record
