"""A contact sheet: pictures side by side, each with a title, exact to the pixel.

Every picture is enlarged by a whole factor, so its pixels stay squares, and all are pasted into one canvas:
a figure with one axes for each picture would be slower and resample them.
"""

import textwrap
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neuroforge_jax.data.pictures import are_pictures

TILE = 112  # the side of a picture in pixels that is aimed for
GAP = 18
MARGIN = 28
LINE = 17
CHARACTER = 7.2  # mean width at TITLE_POINTS
MAX_LINES = 3
DPI = 100
TITLE_POINTS = 9.0
HEADING_POINTS = 12.5


def draw_image_grid(
    images: np.ndarray,
    titles: Sequence[str],
    path: Path,
    *,
    columns: int = 8,
    heading: str | None = None,
) -> Path:
    """Draw images [K, H, W] (uint8 or float, dark where high) or [K, H, W, 3] (their colours) under their titles as
    a PNG; returns `path`.

    Levels span all images together, so that a faint one looks faint. Raises ValueError for images that are neither
    or do not match their titles.
    """
    if not are_pictures(images.shape[1:]) or len(images) != len(titles) or 0 in images.shape:
        raise ValueError(
            f"{len(titles)} titles for images of shape {images.shape}; give one title for each picture of "
            "[K, H, W] or [K, H, W, 3]"
        )
    count, height, width = images.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    factor = max(1, round(TILE / max(height, width)))
    tile_height, tile_width = height * factor, width * factor
    step_x = max(tile_width, TILE * 3 // 4) + GAP
    wrapped = [_wrap_title(title, int((step_x - GAP // 2) / CHARACTER)) for title in titles]
    caption = LINE * max(len(lines) for lines in wrapped) + 6
    step_y = tile_height + caption + GAP
    top = MARGIN + (44 if heading else 0)
    left = MARGIN + (step_x - GAP - tile_width) // 2
    canvas_width = 2 * MARGIN + columns * step_x - GAP
    canvas = np.ones((top + rows * step_y - GAP + MARGIN, canvas_width, *images.shape[3:]))
    paint = 1 - _measure_levels(images) if images.ndim == 3 else _measure_levels(images)

    figure = Figure(figsize=(canvas.shape[1] / DPI, canvas.shape[0] / DPI), dpi=DPI, facecolor="white")

    def write(text: str, x: float, y: float, **style: object) -> None:
        # Without parse_math a class named "$a_1$" would be set as a formula.
        place = (x / canvas.shape[1], 1 - y / canvas.shape[0])
        figure.text(*place, _keep_direction(text), parse_math=False, va="baseline", **style)  # type: ignore[arg-type]

    for index, (picture, lines) in enumerate(zip(paint, wrapped, strict=True)):
        row, column = divmod(index, columns)
        y, x = top + row * step_y + caption, left + column * step_x
        # A hairline around each picture shows where it ends, for white on white has no edge.
        canvas[y - 1 : y + tile_height + 1, x - 1 : x + tile_width + 1] = 0.82
        canvas[y : y + tile_height, x : x + tile_width] = picture.repeat(factor, 0).repeat(factor, 1)
        for number, line in enumerate(reversed(lines)):
            place = (x + tile_width / 2, y - 9 - LINE * number)
            write(line, *place, ha="center", size=TITLE_POINTS, color="#222222")
    if heading:
        write(heading, MARGIN, MARGIN + 10, ha="left", size=HEADING_POINTS, color="#111111")
    figure.figimage(canvas, cmap="gray", vmin=0, vmax=1, origin="upper")
    save_figure(figure, path, dpi=DPI, metadata={"Software": None})
    return path


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """As a PNG. A character that the font lacks is drawn as a box, which says it; a warning would say it twice."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, format="png", **options)


def _keep_direction(text: str) -> str:
    """From left to right, whatever script it begins in: of two Hebrew names, `X read as Y` must not become
    `Y read as X`.
    """
    turned = any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)
    return f"\N{LEFT-TO-RIGHT MARK}{text}" if turned else text


def _measure_levels(images: np.ndarray) -> np.ndarray:
    """Levels from 0 to 1: of grey ones how dark, of colours how bright. Bytes keep 0, and bytes of colours 255 too;
    a constant sheet is 0.
    """
    values = np.nan_to_num(images.astype(np.float64))
    low = min(0.0, values.min()) if images.dtype == np.uint8 else values.min()
    span = 255.0 if images.dtype == np.uint8 and images.ndim == 4 else values.max() - low
    return (values - low) / (span if span > 0 else 1.0)


def _wrap_title(title: str, characters: int) -> list[str]:
    return textwrap.wrap(title, characters, max_lines=MAX_LINES, placeholder="…") or [""]
