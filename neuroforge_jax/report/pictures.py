"""The pictures of a run: its learning curve and its worst mistakes, drawn from the run's folder alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from neuroforge_jax.report.grid import image_grid
from neuroforge_jax.system.files import read_json

COLOURS = {"train": "#4c72b0", "validation": "#dd8452", "test": "#c44e52"}


def draw_pictures(folder: Path) -> list[Path]:
    """Draw what the folder has data for; returns the files, which lie in it."""
    pictures = [draw_learning_curve(folder)]
    if (mistakes := draw_worst_mistakes(folder)) is not None:
        pictures.append(mistakes)
    return pictures


def draw_learning_curve(folder: Path) -> Path:
    """Loss and, for classes, accuracy over the epochs: `learning_curve.png`."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [record for record in map(json.loads, lines) if record["event"] == "epoch"]
    result = read_json(folder / "result.json")
    classifies = result["test_accuracy"] is not None
    figure = Figure(figsize=(9 if classifies else 5, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots(1, 2 if classifies else 1, squeeze=False)[0]
    _curves(axes[0], epochs, "loss")
    if classifies:
        _curves(axes[1], epochs, "accuracy")
        axes[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.suptitle(
        f"{result['dataset']}, {result['backend']}: {result['epochs']} epochs in {result['train_seconds']:.2f} s",
        fontsize=11,
    )
    path = folder / "learning_curve.png"
    figure.savefig(path)
    return path


def draw_worst_mistakes(folder: Path) -> Path | None:
    """The surest wrong answers as pictures: `worst_mistakes.png`; None where the samples are no pictures."""
    model = read_json(folder / "model.json")
    with np.load(folder / "predictions.npz", allow_pickle=False) as saved:
        if len(model["shape"]) != 2 or "worst" not in saved or not len(saved["worst"]):
            return None
        worst, classes = saved["worst"], model["classes"]
        titles = [
            f"{classes[saved['labels'][index]]} read as {classes[saved['predicted'][index]]}, "
            f"{saved['confidence'][index]:.0%}"
            for index in worst
        ]
        images = saved["worst_inputs"].reshape(-1, *model["shape"])
        wrong = int((saved["labels"] != saved["predicted"]).sum())
        heading = f"The {len(worst)} surest of {wrong} mistakes in {len(saved['labels']):,} test samples"
    return image_grid(images, titles, folder / "worst_mistakes.png", columns=8, heading=heading)


def _curves(axes: Axes, epochs: list[dict[str, Any]], quantity: str) -> None:
    for part, colour in COLOURS.items():
        key = f"{part}_{quantity}"
        values = [record[key] for record in epochs if record.get(key) is not None]
        if values:
            numbers = [record["epoch"] for record in epochs]
            axes.plot(numbers, values, "o-", markersize=3.5, linewidth=1.6, color=colour, label=part)
    axes.set_xlabel("epoch")
    axes.set_title(quantity, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
