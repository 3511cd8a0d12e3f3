"""What a fit costs beside its training: `python benchmarks/fits.py --output benchmarks/fits.json`.

first      seconds of the first fit of a process, which compiles, less its training
others     of each of 100 fits after it, with other data, another number of rows of one bucket, another seed and
           another learning rate each time; and how many programs they compile
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import numpy as np
import tyro
from measuring import spread, write_sections

import neuroforge_jax as nf

FITS = 100
COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclass(frozen=True)
class Options:
    """Measure, and write the record."""

    output: Path


def dataset(rows: int) -> nf.Dataset:
    rng = np.random.default_rng(rows)
    x, y = rng.normal(size=(rows + 100, 20)).astype(np.float32), rng.integers(0, 3, rows + 100)
    return nf.Dataset.from_arrays(x[100:], y[100:], x[:100], y[:100], classes=("a", "b", "c"))


def overhead(index: int) -> float:
    """Seconds beside the training."""
    data = dataset(1857 + index % 64)  # 1,857 to 1,920 rows are one bucket
    config = nf.TrainConfig(
        hidden=(32,), batch_size=32, epochs=2, seed=index, learning_rate=0.01 * (1 + index % 7)
    )
    begun = time.perf_counter()
    result = nf.fit(config, data)
    return time.perf_counter() - begun - result.figures["train_seconds"]


def fits() -> dict[str, Any]:
    first, compiled = overhead(0), list[str]()

    def note(event: str, duration: float, **details: Any) -> None:
        if event == COMPILED:
            compiled.append(str(details.get("fun_name", "program")))

    jax.monitoring.register_event_duration_secs_listener(note)
    seconds = [overhead(index) for index in range(1, FITS + 1)]
    return {"first_seconds": first, "other_seconds": spread(seconds), "compiled": compiled}


def main() -> None:
    options = tyro.cli(Options)
    record = write_sections(
        options.output, "python benchmarks/fits.py --output FILE", {"fits": fits}, ["fits"]
    )
    found = record["fits"]
    times, compiled = found["other_seconds"], len(found["compiled"])
    print(
        f"first {found['first_seconds']:.2f} s, each of {FITS} others {1e3 * times['median']:.1f} ms "
        f"(at most {1e3 * times['best'][1]:.1f}), {compiled} programs compiled"
    )


if __name__ == "__main__":
    main()
