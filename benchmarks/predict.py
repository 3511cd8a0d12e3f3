"""How fast a trained network answers: `python benchmarks/predict.py --output FILE`.

memory: `nf.predict` of 60,000 rows of bytes by 784-1024-512-10, warm, in float32 and bf16, as a share of the
fastest matrix product, measured in turn with it. command: seconds of the command from its start to its end, for one
row of a table and for one picture, less those of `import jax`, in turn with it.
"""

import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from measuring import ratios, spread, take_turns, write_sections
from PIL import Image

import neuroforge_jax as nf
from neuroforge_jax.backends.compiler import compile_options
from neuroforge_jax.backends.peak import matmul_peak_flops
from neuroforge_jax.model.io import save
from neuroforge_jax.training.predict import CHUNK

ROWS, CLASSES = 60_000, 10


@dataclass(frozen=True)
class Options:
    """Measure, and write the record."""

    output: Path
    repetitions: int = 5
    """Times that each is measured."""
    sections: tuple[str, ...] = ("memory", "command")
    """What is measured."""


def memory(options: Options) -> dict[str, Any]:
    """Of each precision: rows a second, FLOP/s, and their share of the peak."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (ROWS, 784)).astype(np.uint8)
    labels = (np.arange(ROWS) % CLASSES).astype(np.int32)
    dataset = nf.Dataset.from_arrays(rows, labels, rows[:100], labels[:100], name="bytes")
    found = {}
    for precision in ("f32", "bf16"):
        model, state = nf.init(
            nf.TrainConfig(hidden=(1024, 512), precision=precision, batch_size=64), dataset
        )
        widths = (model.mlp.inputs, *model.mlp.hidden, model.mlp.outputs)
        flops = 2.0 * ROWS * sum(a * b for a, b in pairwise(widths))
        turns = take_turns(
            {"predict": _predicting(model, state.params, rows, flops), "peak": _multiplying(model)},
            options.repetitions,
        )
        found[precision] = {
            "rows_per_second": spread([rate * ROWS / flops for rate in turns["predict"]]),
            "flops_per_second": spread(turns["predict"]),
            "matmul_peak_flops_per_second": spread(turns["peak"]),
            "share_of_peak": ratios(turns["predict"], turns["peak"]),
        }
    return found


def _predicting(model: Any, params: Any, rows: np.ndarray, flops: float) -> Callable[[], float]:
    def go() -> float:
        begun = time.perf_counter()
        nf.predict(model, params, rows)
        return flops / (time.perf_counter() - begun)

    go()
    return go


def _multiplying(model: Any) -> Callable[[], float]:
    device = jax.local_devices()[0]
    dtype = jnp.dtype(model.policy.multiplied_in(device.platform))
    options = compile_options(device.platform, model.policy, CHUNK)
    return lambda: matmul_peak_flops(device, dtype, options, model.policy.precision)


def command(options: Options) -> dict[str, Any]:
    """Of each input: seconds of the command, and of `import jax` beside it."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, (model, source) in {
            "table": _table(Path(folder)),
            "picture": _picture(Path(folder)),
        }.items():
            words = ["-m", "neuroforge_jax.predict", str(model), str(source)]
            _run(words)  # its program is kept
            turns = take_turns(
                {"command": lambda words=words: _run(words), "import": lambda: _run(["-c", "import jax"])},
                options.repetitions,
            )
            pairs = zip(turns["command"], turns["import"], strict=True)
            found[name] = {
                "seconds": spread(turns["command"]),
                "import_jax_seconds": spread(turns["import"]),
                "seconds_beyond_import": spread([whole - jax_alone for whole, jax_alone in pairs]),
            }
        return found


def _run(words: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - begun


def _table(folder: Path) -> tuple[Path, Path]:
    """A model of four numbers and a category at the widths of the main job, and a row of its table."""
    rng = np.random.default_rng(0)
    rows = [[*rng.normal(size=4).round(3), "abc"[at % 3], ("no", "yes")[at % 2]] for at in range(200)]
    for name, some in (("table.csv", rows), ("row.csv", rows[:1])):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([["a", "b", "c", "d", "kind", "target"], *some])
    return _save(folder / "of a table", nf.load_dataset(folder / "table.csv")), folder / "row.csv"


def _picture(folder: Path) -> tuple[Path, Path]:
    """A model of digits, and one of them as a picture."""
    digits = nf.load_dataset("digits")
    pixels = digits.test.inputs[0].reshape(digits.shape)
    Image.fromarray((pixels * 15).astype(np.uint8)).resize((80, 80)).save(folder / "digit.png")
    return _save(folder / "of digits", digits), folder / "digit.png"


def _save(folder: Path, dataset: nf.Dataset) -> Path:
    model, state = nf.init(nf.TrainConfig(hidden=(1024, 512), batch_size=16), dataset)
    folder.mkdir()
    save(folder, model, state.params)
    return folder


def main() -> None:
    options = tyro.cli(Options)
    write_sections(
        options.output,
        "python benchmarks/predict.py --output FILE",
        {"memory": lambda: memory(options), "command": lambda: command(options)},
        options.sections,
    )


if __name__ == "__main__":
    main()
