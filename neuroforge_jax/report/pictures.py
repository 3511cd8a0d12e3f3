"""The pictures of a run as PNG files in its folder: its learning curves and its most confident mistakes.

These files can be put into a document or a message as they are, which an HTML page cannot. A PNG needs a renderer
of text and lines, and matplotlib is one; the page stays SVG (`charts.py`), which follows the reader's theme, shows
values under the pointer, and is small. Both draw the same lines in the same colours, markers and dashes: what is
shown comes from `run_files.py`, and how it looks from `series.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from neuroforge_jax.report.formats import spell_controls
from neuroforge_jax.report.grid import draw_image_grid, save_figure
from neuroforge_jax.report.run_files import (
    RunFiles,
    count_mistakes,
    read_run,
    select_learning_curves,
    select_mistakes,
)
from neuroforge_jax.report.series import LIGHT, Look, Series, choose_looks

MARKERS = {"circle": "o", "square": "s", "triangle": "^", "triangle down": "v", "diamond": "D"}
"""The markers of `series.py` by matplotlib's names."""


def draw_pictures(folder: Path) -> list[Path]:
    """Draw what the folder has data for; returns the files, which lie in it. Raises what `read_run` raises."""
    run = read_run(folder)
    pictures = [draw_learning_curves(run, folder / "learning_curve.png")]
    if mistakes := draw_mistakes(run, folder / "worst_mistakes.png"):
        pictures.append(mistakes)
    return pictures


def draw_learning_curves(run: RunFiles, path: Path) -> Path:
    """Loss and, for classes, accuracy over the epochs, side by side; returns `path`."""
    curves = select_learning_curves([run])
    figure = Figure(figsize=(5 if len(curves) == 1 else 9, 3.6), dpi=150, layout="constrained")
    for axes, (quantity, series) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        _draw_lines(axes, series, quantity)
        if quantity == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if result := run.result:
        title = (
            f"{result['dataset']}, {result['backend']}: "
            f"{result['epochs']} epochs in {result['train_seconds']:.2f} s"
        )
        figure.suptitle(spell_controls(title), fontsize=11, parse_math=False)
    save_figure(figure, path)
    return path


def draw_mistakes(run: RunFiles, path: Path) -> Path | None:
    """The most confident mistakes as a grid; None where there are none, or where the samples are no pictures."""
    mistakes = select_mistakes(run)
    if not mistakes:
        return None
    wrong, samples = count_mistakes(run)
    heading = f"The {len(mistakes)} most confident of {wrong:,} mistakes in {samples:,} test samples"
    images = np.stack([mistake.image for mistake in mistakes])
    captions = [mistake.caption for mistake in mistakes]
    return draw_image_grid(images, captions, path, columns=8, heading=heading)


def _draw_lines(axes: Axes, series: Sequence[Series], quantity: str) -> None:
    for line, look in zip(series, choose_looks(series), strict=True):
        axes.plot(line.x, line.y, label=line.name, markersize=3.5, linewidth=1.6, **_style_line(look))
    axes.set_xlabel("epoch")
    axes.set_title(quantity, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _style_line(look: Look) -> dict[str, Any]:
    dashes: Any = (0, look.dash) if look.dash else "-"
    return {"color": LIGHT[look.colour], "marker": MARKERS[look.marker], "linestyle": dashes}
