"""A page about runs, from their folders alone: curves over each other, figures side by side, mistakes."""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroforge_jax.errors import CheckpointError
from neuroforge_jax.report import page
from neuroforge_jax.report.charts import Axis, Series, line_chart, matrix_chart, percent, short
from neuroforge_jax.system.files import read_json
from neuroforge_jax.system.memory import text as bytes_text

PARTS = ("train", "validation", "test")
MOST_SHAPES = 20
MOST_CLASSES = 100
"""Of a confusion matrix that can still be read."""


@dataclass(frozen=True)
class RunFiles:
    """What a folder holds. result, model: None of a run that has not ended. memory: of a run with --memory-profile.
    predictions: arrays by name.
    """

    name: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    result: Mapping[str, Any] | None
    model: Mapping[str, Any] | None
    memory: Mapping[str, Any] | None
    predictions: Mapping[str, np.ndarray]

    @property
    def setting(self) -> dict[str, Any]:
        """The config but for the seed: runs that have it in common are repetitions of each other."""
        return {name: value for name, value in self.config.items() if name != "seed"}

    def curve(self, key: str) -> tuple[list[float], list[float]]:
        """Epochs and values of what was measured in them."""
        pairs = [(record["epoch"], record[key]) for record in self.epochs if record.get(key) is not None]
        return [float(epoch) for epoch, _ in pairs], [float(value) for _, value in pairs]


def read_run(folder: Path) -> RunFiles:
    """Raises CheckpointError for a folder that holds no run, or one without an epoch in its log."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: there is no run in this folder; give one that train wrote")
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        epochs = tuple(record for record in records if record["event"] == "epoch")
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"{folder}: its metrics.jsonl is missing or damaged; there is nothing to show"
        ) from None
    if not epochs:
        raise CheckpointError(f"{folder}: no epoch of this run has ended; there is nothing to show yet")
    predictions: dict[str, np.ndarray] = {}
    if (folder / "predictions.npz").is_file():
        with np.load(folder / "predictions.npz", allow_pickle=False) as saved:
            predictions = {name: saved[name] for name in saved.files}
    return RunFiles(
        folder.resolve().name,
        read_json(folder / "config.json"),
        read_json(folder / "environment.json"),
        epochs,
        _where_there(folder / "result.json"),
        _where_there(folder / "model.json"),
        _where_there(folder / "memory.json"),
        predictions,
    )


def _where_there(path: Path) -> Mapping[str, Any] | None:
    return read_json(path) if path.is_file() else None


def run_page(runs: Sequence[RunFiles]) -> str:
    """The page of one run, or of several over each other."""
    first = runs[0]
    title = first.name if len(runs) == 1 else f"{len(runs)} runs: {', '.join(run.name for run in runs)}"
    sections = [
        _tiles(first) if len(runs) == 1 else "",
        page.section("Learning curves", page.grid(_curves(runs))),
        page.section("Side by side", _side_by_side(runs)) if len(runs) > 1 else "",
        *(_mistakes(run, several=len(runs) > 1) for run in runs),
        page.section("Memory", _memory(first.memory)) if len(runs) == 1 and first.memory else "",
        page.section("Training", _settings(first.config)) if len(runs) == 1 else "",
        page.section("Environment", _settings(_flat(first.environment))),
    ]
    return page.document(title, _lead(first), sections)


def _lead(run: RunFiles) -> str:
    shown = without_paths(run.result or run.config)
    where = run.environment.get("device", "")
    return f"{shown['dataset']}, backend {shown['backend']}, on {where}, jax {run.environment['versions']['jax']}"


def _tiles(run: RunFiles) -> str:
    result = run.result
    if result is None:
        return page.paragraph("This run has not ended: the curves are those of the epochs so far.")
    facts = []
    if result["test_accuracy"] is not None:
        facts.append((f"{result['test_accuracy']:.2%}", "test accuracy"))
    facts += [
        (f"{result['test_loss']:.4g}", "test loss"),
        (f"{result['train_seconds']:.3g} s", f"training, {result['epochs']} epochs"),
        (f"{result['compile_seconds']:.3g} s", "compiling"),
        (f"{result['samples_per_second']:,.0f}", "samples a second"),
        (f"{result['share_of_peak']:.0%}", f"of the {result['matmul_peak_dtype']} product peak"),
        (f"{result['parameters']:,}", "parameters"),
        (bytes_text(result["peak_memory_bytes"]), "peak memory"),
    ]
    return page.tiles(facts)


def _curves(runs: Sequence[RunFiles]) -> list[str]:
    figures = []
    for quantity, axis in (("loss", Axis("loss")), ("accuracy", Axis("accuracy", show=percent))):
        series = [
            line for group in _repetitions(runs) for line in _lines(group, quantity, many=len(runs) > 1)
        ]
        if series:
            banded = any(line.low for line in series)
            caption = f"{quantity} by epoch" + (
                "; bands: from the lowest to the highest seed" if banded else ""
            )
            drawing = line_chart(series, Axis("epoch"), axis, title=f"{quantity} by epoch")
            figures.append(page.figure(drawing, caption))
    rates = [Series(run.name, *run.curve("samples_per_second")) for run in runs]
    drawing = line_chart(rates, Axis("epoch"), Axis("samples a second"), title="samples a second by epoch")
    figures.append(page.figure(drawing, "samples a second by epoch"))
    taken = [Series(run.name, *run.curve("memory_bytes")) for run in runs]
    if all(series.x for series in taken):
        drawing = line_chart(taken, Axis("epoch"), Axis("memory", show=bytes_text), title="memory by epoch")
        figures.append(
            page.figure(drawing, "memory by epoch: of arrays on an accelerator, of the process on a CPU")
        )
    return figures


def _memory(profile: Mapping[str, Any]) -> str:
    """What `--memory-profile` found: the programs, and the arrays that were alive at the end."""
    programs = [
        [name, *map(bytes_text, sizes.values())] for name, sizes in profile["programs"].items() if sizes
    ]
    headings = ["program", "argument", "output", "temporary", "aliased", "code", "peak"]
    arrays = [
        (
            f"{row['dtype']}[{', '.join(map(str, row['shape']))}]",
            f"{row['count']:,}",
            bytes_text(row["bytes"]),
        )
        for row in profile["arrays"][:MOST_SHAPES]
    ]
    return "\n".join(
        [
            page.table(headings, programs) if programs else "",
            page.table(["arrays alive at the end", "count", "in all"], arrays),
        ]
    )


def _repetitions(runs: Sequence[RunFiles]) -> list[list[RunFiles]]:
    groups: list[list[RunFiles]] = []
    for run in runs:
        for group in groups:
            if group[0].setting == run.setting:
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _lines(group: Sequence[RunFiles], quantity: str, *, many: bool) -> list[Series]:
    lines = []
    name = group[0].name if len(group) == 1 else f"{group[0].name}, {len(group)} seeds"
    for part in PARTS:
        curves = [run.curve(f"{part}_{quantity}") for run in group]
        length = min(len(values) for _, values in curves)
        if not length:
            continue
        values = np.array([values[:length] for _, values in curves])
        label = f"{name}: {part}" if many else part
        band = (values.min(axis=0).tolist(), values.max(axis=0).tolist()) if len(group) > 1 else ((), ())
        lines.append(Series(label, curves[0][0][:length], values.mean(axis=0).tolist(), *band))
    return lines


FIGURES = {
    "test_accuracy": lambda value: f"{value:.2%}",
    "test_loss": lambda value: f"{value:.4g}",
    "train_seconds": lambda value: f"{value:.3g} s",
    "compile_seconds": lambda value: f"{value:.3g} s",
    "samples_per_second": lambda value: f"{value:,.0f}",
    "share_of_peak": lambda value: f"{value:.0%}",
    "parameters": lambda value: f"{value:,}",
    "peak_memory_bytes": bytes_text,
}


def _side_by_side(runs: Sequence[RunFiles]) -> str:
    rows: list[list[str]] = []
    for key, show in FIGURES.items():
        values = [(run.result or {}).get(key) for run in runs]
        rows.append([key.replace("_", " "), *("–" if value is None else show(value) for value in values)])
    for name in runs[0].config:
        values = [without_paths(run.config).get(name) for run in runs]
        if any(value != values[0] for value in values):
            rows.append([name.replace("_", " "), *map(_setting, values)])
    return page.table(["", *(run.name for run in runs)], rows)


def _mistakes(run: RunFiles, *, several: bool) -> str:
    """The confusion matrix, and the surest mistakes where samples are pictures."""
    classes, predictions = (run.model or {}).get("classes") or [], run.predictions
    if "labels" not in predictions or not 2 <= len(classes) <= MOST_CLASSES:
        return ""
    labels, predicted = predictions["labels"], predictions["predicted"]
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    wrong = int((labels != predicted).sum())
    title = f"{wrong:,} mistakes in {len(labels):,} test samples"
    matrix = page.figure(
        matrix_chart(counts.tolist(), classes, title=title),
        "rows: what it is; columns: what it was taken for; shades by the share of a row",
    )
    shape = (run.model or {})["shape"]
    shown = ""
    if len(shape) == 2 and len(predictions["worst"]):
        images = [
            (
                _png(image.reshape(shape)),
                f"{classes[labels[index]]} taken for {classes[predicted[index]]}, "
                f"{predictions['confidence'][index]:.0%}",
            )
            for index, image in zip(predictions["worst"], predictions["worst_inputs"], strict=True)
        ]
        shown = page.pictures(images) + page.paragraph("The surest mistakes, the surest first.")
    heading = f"{run.name}: {title}" if several else title
    return page.section(heading, f'<div class="grid">\n{matrix}\n<div>{shown}</div>\n</div>')


def _png(image: np.ndarray) -> str:
    from PIL import Image

    numbers = image.astype(np.float64)
    low, high = numbers.min(), numbers.max()
    grey = np.zeros(image.shape) if high == low else (numbers - low) / (high - low) * 255
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _settings(values: Mapping[str, Any]) -> str:
    rows = [(name.replace("_", " "), _setting(value)) for name, value in without_paths(values).items()]
    return page.table(["", ""], rows, words=True)


def _setting(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return short(value) if value and abs(value) < 1e-3 else f"{value:g}"
    return "–" if value is None else str(value)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{before}{name}: ") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat


def without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same without folders: of a file that a run names, its name is enough."""
    return {
        name: re.sub(r"(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^\s'\";,]*[/\\])?", "", value)
        if isinstance(value, str) and name in ("dataset", "dataset_origin", "config")
        else value
        for name, value in values.items()
    }
