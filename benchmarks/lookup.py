"""From how many levels on categories are looked up: `python benchmarks/lookup.py --output benchmarks/lookup.json`.

A table of 4 numbers and of 4 categories with so many levels together; seconds of a training step as it is, with the
categories as ones and zeros that the first layer multiplies, and with the rows of its kernel looked up, in turn.
`model/network_inputs.py` looks up from LOOKUP_FROM levels on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from measuring import ratios, segments, spread, take_turns, write_sections

import neuroforge_jax as nf
from neuroforge_jax.model import network_inputs
from neuroforge_jax.system.program_cache import forget_programs

LEVELS = (24, 64, 100, 128, 200, 400)
SHAPES = ((32, (64, 64)), (256, (256,)), (256, (512, 256)))
"""Batch size, widths."""
COLUMNS, NUMBERS, ROWS, TURN_SAMPLES = 4, 4, 8192, 20_000


@dataclass(frozen=True)
class Options:
    """Measure, and write the record."""

    output: Path
    repetitions: int = 11


def table(levels: int) -> pd.DataFrame:
    """Every level occurs, most of them about as often."""
    rng = np.random.default_rng(0)
    own = levels // COLUMNS
    codes = (rng.permutation(np.arange(ROWS) % own) for _ in range(COLUMNS))
    categories = {f"category{at}": np.array([f"level {code}" for code in of]) for at, of in enumerate(codes)}
    numbers = {f"number{at}": rng.normal(size=ROWS) for at in range(NUMBERS)}
    return pd.DataFrame({**numbers, **categories, "kind": rng.choice(["a", "b"], ROWS)})


def steps(repetitions: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for levels in LEVELS:
        data = nf.load_dataset(table(levels), target="kind")
        for batch, hidden in SHAPES:
            config = nf.TrainConfig(hidden=hidden, batch_size=batch, optimizer="adam", backend="optimized")
            candidates = {}
            for way, limit in (("product", levels + 1), ("lookup", 0)):
                network_inputs.LOOKUP_FROM = limit
                forget_programs()
                candidates[way] = segments(config, data, TURN_SAMPLES)
            rates = take_turns(candidates, repetitions)
            row = {
                "levels": levels,
                "batch": batch,
                "hidden": hidden,
                "step_seconds": {
                    way: spread([batch / rate for rate in found]) for way, found in rates.items()
                },
                "lookup_to_product": ratios(rates["product"], rates["lookup"]),
            }
            name = f"{levels} levels, batch {batch}, {'-'.join(map(str, hidden))}"
            print(f"{name}: lookup takes {row['lookup_to_product']['median']:.2f} of the product", flush=True)
            yield name, row


def main() -> None:
    options = tyro.cli(Options)
    command = "python benchmarks/lookup.py --output FILE"
    write_sections(options.output, command, {"steps": lambda: steps(options.repetitions)}, ("steps",))


if __name__ == "__main__":
    main()
