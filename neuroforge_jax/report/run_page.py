"""A page about runs, from their folders alone: learning curves, numbers side by side, mistakes."""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neuroforge_jax.report import page
from neuroforge_jax.report.axes import Axis
from neuroforge_jax.report.charts import draw_line_chart, draw_matrix
from neuroforge_jax.report.formats import Format, format_bytes, format_number, format_percent
from neuroforge_jax.report.quality_page import render_class_table, render_quality
from neuroforge_jax.report.run_files import (
    RunFiles,
    class_names,
    count_mistakes,
    select_learning_curves,
    select_mistakes,
)
from neuroforge_jax.report.series import Series

MOST_SHAPES = 20
MOST_CLASSES = 100
"""Of a confusion matrix that can still be read."""

EPOCH = Axis("epoch", whole=True)
AXES = {"loss": Axis("loss"), "accuracy": Axis("accuracy", show=format_percent)}


def render_run_page(runs: Sequence[RunFiles]) -> str:
    """The page of one run, or of several drawn over each other."""
    first = runs[0]
    title = first.name if len(runs) == 1 else f"{len(runs)} runs: {', '.join(run.name for run in runs)}"
    sections = [
        _render_tiles(first) if len(runs) == 1 else "",
        page.render_section("Learning curves", page.render_grid(_draw_curves(runs))),
        page.render_section("Side by side", _compare_runs(runs)) if len(runs) > 1 else "",
        *(_render_mistakes(run, several=len(runs) > 1) for run in runs),
        render_quality(first) if len(runs) == 1 else "",
        page.render_section("Memory", _render_memory(first.memory))
        if len(runs) == 1 and first.memory
        else "",
        page.render_section("Training", _render_settings(first.config)) if len(runs) == 1 else "",
        page.render_section("Environment", _render_settings(_flatten(first.environment))),
    ]
    return page.render_document(title, _describe_run(first), sections)


def _describe_run(run: RunFiles) -> str:
    shown = strip_paths(run.result or run.config)
    where = run.environment.get("device", "")
    return f"{shown['dataset']}, backend {shown['backend']}, on {where}, jax {run.environment['versions']['jax']}"


def _render_tiles(run: RunFiles) -> str:
    result = run.result
    if result is None:
        return page.render_note("This run has not ended: the curves show the epochs so far.")
    training = f"training, {result['epochs']} epochs"
    peak = f"of the {result['matmul_peak_dtype']} matrix-product peak"
    labels = {"train_seconds": training, "compile_seconds": "compilation", "share_of_peak": peak}
    if (majority := result.get("test_majority_share")) is not None:
        labels["test_accuracy"] = f"test accuracy; the largest class has {majority:.1%}"
    facts = [
        (show(result[key]), labels.get(key, label))
        for key, (label, show) in RESULTS.items()
        if result.get(key) is not None
    ]
    return page.render_tiles(facts)


def render_result(run: RunFiles) -> str:
    """What a notebook shows of a result: curves, numbers and mistakes, in a frame with a style of its own."""
    sections = [
        _render_tiles(run),
        page.render_section("Learning curves", page.render_grid(_draw_curves([run]))),
        _render_mistakes(run, several=False),
        render_quality(run),
    ]
    inside = page.escape_text(page.render_document(run.name, _describe_run(run), sections))
    return f'<iframe srcdoc="{inside}" style="width: 100%; height: 44em; border: 0"></iframe>'


def _draw_curves(runs: Sequence[RunFiles]) -> list[str]:
    figures = []
    for quantity, series in select_learning_curves(runs).items():
        caption = f"{quantity} by epoch"
        drawing = draw_line_chart(series, EPOCH, AXES[quantity], title=caption)
        bands = "; bands: from the lowest to the highest seed" if any(line.low for line in series) else ""
        figures.append(page.render_figure(drawing, caption + bands))
    figures.append(_draw_figure_of(runs, "samples_per_second", "samples per second", format_number))
    if all(run.select_curve("memory_bytes")[0] for run in runs):
        about = ": of arrays on an accelerator, of the process on a CPU"
        figures.append(_draw_figure_of(runs, "memory_bytes", "memory", format_bytes, about))
    return figures


def _draw_figure_of(runs: Sequence[RunFiles], key: str, name: str, show: Format, about: str = "") -> str:
    """One line for each run."""
    series = [Series(run.name, *run.select_curve(key)) for run in runs]
    caption = f"{name} by epoch"
    drawing = draw_line_chart(series, EPOCH, Axis(name, show=show), title=caption)
    return page.render_figure(drawing, caption + about)


def _render_memory(profile: Mapping[str, Any]) -> str:
    """What `--memory-profile` found: the programs, and the arrays that were alive at the end of the run."""
    programs = [
        [name, *map(format_bytes, sizes.values())] for name, sizes in profile["programs"].items() if sizes
    ]
    headings = ["program", "argument", "output", "temporary", "aliased", "code", "peak"]
    arrays = [
        (
            f"{row['dtype']}[{', '.join(map(str, row['shape']))}]",
            f"{row['count']:,}",
            format_bytes(row["bytes"]),
        )
        for row in profile["arrays"][:MOST_SHAPES]
    ]
    return "\n".join(
        [
            page.render_table(headings, programs) if programs else "",
            page.render_table(["arrays alive at the end", "count", "total"], arrays),
        ]
    )


RESULTS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "test_accuracy": ("test accuracy", lambda value: f"{value:.2%}"),
    "test_balanced_accuracy": ("balanced accuracy", lambda value: f"{value:.2%}"),
    "test_roc_auc": ("ROC AUC", lambda value: f"{value:.4f}"),
    "test_loss": ("test loss", lambda value: f"{value:.4g}"),
    "test_rmse": ("test RMSE", lambda value: f"{value:.4g}"),
    "test_mae": ("test MAE", lambda value: f"{value:.4g}"),
    "test_r2": ("test R²", lambda value: f"{value:.4f}"),
    "test_pinball": ("test pinball loss", lambda value: f"{value:.4g}"),
    "train_seconds": ("training time", lambda value: f"{value:.3g} s"),
    "compile_seconds": ("compilation time", lambda value: f"{value:.3g} s"),
    "samples_per_second": ("samples per second", lambda value: f"{value:,.0f}"),
    "share_of_peak": ("share of the matrix-product peak", lambda value: f"{value:.0%}"),
    "parameters": ("parameters", lambda value: f"{value:,}"),
    "peak_memory_bytes": ("peak memory", format_bytes),
}
"""Of a result: the name that people read, and how its value is written."""


def _compare_runs(runs: Sequence[RunFiles]) -> str:
    rows: list[list[str]] = []
    for key, (label, show) in RESULTS.items():
        values = [(run.result or {}).get(key) for run in runs]
        rows.append([label, *("–" if value is None else show(value) for value in values)])
    for name in runs[0].config:
        values = [strip_paths(run.config).get(name) for run in runs]
        if any(value != values[0] for value in values):
            rows.append([name.replace("_", " "), *map(_format_setting, values)])
    return page.render_table(["", *(run.name for run in runs)], rows)


def _render_mistakes(run: RunFiles, *, several: bool) -> str:
    """The confusion matrix, each class's recall and precision, and pictures of the most confident mistakes."""
    classes, predictions = class_names(run.model), run.predictions
    if "labels" not in predictions or not classes:
        return ""
    labels, predicted = predictions["labels"], predictions["predicted"]
    wrong, samples = count_mistakes(run)
    title = f"{wrong:,} mistakes in {samples:,} test samples"
    parts = [_draw_confusion(classes, labels, predicted, title)] if 2 <= len(classes) <= MOST_CLASSES else []
    shown = ""
    if mistakes := select_mistakes(run):
        images = [(_encode_png(mistake.image), mistake.caption) for mistake in mistakes]
        shown = page.render_pictures(images) + page.render_note(
            "The most confident mistakes, with the probability of the predicted class; the most confident first."
        )
    heading = f"{run.name}: {title}" if several else title
    table = render_class_table(classes, labels, predicted)
    return page.render_section(heading, page.render_grid([*parts, table]), shown)


def _draw_confusion(classes: Sequence[str], labels: np.ndarray, predicted: np.ndarray, title: str) -> str:
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return page.render_figure(
        draw_matrix(counts.tolist(), classes, title=title),
        "rows: the true class; columns: the predicted class; shades: the share of the row",
    )


def _encode_png(image: np.ndarray) -> str:
    from PIL import Image

    if image.ndim == 2 or image.dtype != np.uint8:  # colours as bytes are shown as they are
        numbers = image.astype(np.float64)
        low, high = numbers.min(), numbers.max()
        levels = np.zeros(image.shape) if high == low else (numbers - low) / (high - low) * 255
        image = levels.astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


COLUMNS_NAMED = ("target", "drop", "categorical", "numeric", "time", "missing")
"""Settings that are not shown where they name nothing."""


def _render_settings(values: Mapping[str, Any]) -> str:
    given = {name: value for name, value in strip_paths(values).items() if value is not None}
    given = {name: value for name, value in given.items() if value or name not in COLUMNS_NAMED}
    rows = [(name.replace("_", " "), _format_setting(value)) for name, value in given.items()]
    return page.render_table(["", ""], rows, words=True)


def _format_setting(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return format_number(value) if value and abs(value) < 1e-3 else f"{value:g}"
    return "–" if value is None else str(value)


def _flatten(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flatten(value, f"{before}{name}: ") if isinstance(value, dict) else {f"{before}{name}": value}
        )
    return flat


def strip_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values, with the folders of every path left out: a file's name is enough."""
    return {
        name: re.sub(r"(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^\s'\";,]*[/\\])?", "", value)
        if isinstance(value, str) and name in ("dataset", "dataset_origin", "config")
        else value
        for name, value in values.items()
    }
