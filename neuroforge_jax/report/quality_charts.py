"""Charts of how good predictions are, as SVG: what a stated probability is worth, and numbers against numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from neuroforge_jax.report.axes import Axis, Frame, draw_axes, join_points
from neuroforge_jax.report.formats import format_number, format_percent
from neuroforge_jax.report.marks import (
    HEIGHT,
    draw_marker,
    draw_svg,
    estimate_width,
    style_line,
)
from neuroforge_jax.report.series import choose_look
from neuroforge_jax.scoring.classification import ReliabilityBins

LOOK = choose_look(0)
PANEL = 76
"""Height of the bars below a reliability diagram."""
COUNT_SIZE = 10
"""Of the font of the counts above them."""
LARGEST_MARKER = 6.5
"""Of the bin with the most samples; the area of the others is their share of it."""

CELL = 11.0
"""Width of a hexagon."""
MOST_POINTS = 400
"""Samples that are drawn one by one."""
FAR = 20
"""From the middle half of the samples, in its widths: what is further away is not drawn."""


def draw_reliability(bins: ReliabilityBins, *, title: str) -> str:
    """The share that is right over the probability that was stated, beside the diagonal on which they agree; below,
    how many samples are in each bin.
    """
    whole = Axis("probability of the predicted class", show=format_percent)
    frame = draw_axes(whole, Axis("share that is right", show=format_percent), [0.0, 1.0], [0.0, 1.0])
    full = np.flatnonzero(bins.weight)
    points = [(float(bins.confidence[at]), float(bins.accuracy[at])) for at in full]
    parts = [frame.drawing, _draw_line(frame, (0.0, 0.0), (1.0, 1.0))]
    parts.append(f'<polyline points="{join_points(frame, points)}" style="{style_line(LOOK)}"/>')
    parts += [
        draw_marker(
            LOOK,
            frame.across(stated),
            frame.down(right),
            size=max(2.0, LARGEST_MARKER * math.sqrt(bins.weight[at] / bins.weight.max())),
            tooltip=f"stated {stated:.1%}, right {right:.1%} of {bins.weight[at]:,.0f}",
        )
        for at, (stated, right) in zip(full, points, strict=True)
    ]
    return draw_svg(title, HEIGHT + PANEL, [*parts, *_draw_counts(bins, frame)])


def _draw_counts(bins: ReliabilityBins, frame: Frame) -> list[str]:
    """A bar for each bin, with its count above it where there is room."""
    edges = [frame.across(at / len(bins.weight)) for at in range(len(bins.weight) + 1)]
    bottom, largest = HEIGHT + PANEL - 4, bins.weight.max()
    parts = [f'<path class="axis" d="M{edges[0]:.1f} {bottom}H{edges[-1]:.1f}"/>']
    for count, left, right in zip(bins.weight, edges, edges[1:], strict=False):
        if not count:
            continue
        height = max((PANEL - 24) * count / largest, 1)
        parts.append(
            f'<rect x="{left + 1:.1f}" y="{bottom - height:.1f}" width="{right - left - 2:.1f}" '
            f'height="{height:.1f}" style="fill:var(--c0);opacity:.45">'
            f"<title>{count:,.0f} samples</title></rect>"
        )
        texts = f"{count:,.0f}", format_number(float(count))
        if label := next(
            (text for text in texts if estimate_width(text, COUNT_SIZE) <= right - left + 4), ""
        ):
            parts.append(
                f'<text class="soft" x="{(left + right) / 2:.1f}" y="{bottom - height - 4:.1f}" '
                f'font-size="{COUNT_SIZE}" text-anchor="middle">{label}</text>'
            )
    return parts


@dataclass(frozen=True)
class Cloud:
    """Samples as points (x, y), those far outside left out. outside: how many."""

    x: Float[np.ndarray, " N"]
    y: Float[np.ndarray, " N"]
    outside: int = 0

    @staticmethod
    def within_reach(x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]) -> "Cloud":
        """Without those that are no numbers, and those `FAR` from the middle half of either: a fill value of
        1e20 would leave all others on one spot.
        """
        inside = np.isfinite(x) & np.isfinite(y)
        for values in (x, y):
            low, high = np.quantile(values[inside], [0.25, 0.75]) if inside.any() else (0.0, 0.0)
            if reach := FAR * (high - low):
                inside &= np.abs(values - (low + high) / 2) <= reach
        return Cloud(x[inside], y[inside], int((~inside).sum()))


def draw_cloud(cloud: Cloud, x: Axis, y: Axis, *, diagonal: bool, title: str) -> str:
    """Points, or for many samples hexagons that are the darker the more samples they hold; and a dashed line on
    which all would lie were every prediction right: the diagonal, else y = 0. The cloud must not be empty.
    """
    ends = float(cloud.x.min()), float(cloud.x.max())
    right = ends if diagonal else (0.0, 0.0)
    lowest, highest = float(cloud.y.min()), float(cloud.y.max())
    frame = draw_axes(x, y, ends, [lowest, highest, *right])
    places = (
        _place(values, frame_axis) for values, frame_axis in ((cloud.x, frame.across), (cloud.y, frame.down))
    )
    draw = _draw_points if len(cloud.x) <= MOST_POINTS else _draw_hexagons
    line = _draw_line(frame, (ends[0], right[0]), (ends[1], right[1]))
    return draw_svg(title, HEIGHT, [frame.drawing, *draw(*places), line])


def _place(values: Float[np.ndarray, " N"], place: Callable[[float], float]) -> Float[np.ndarray, " N"]:
    """Of values on an even axis, the places in the drawing."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.full(len(values), place(low))
    return place(low) + (values - low) / (high - low) * (place(high) - place(low))


def _draw_points(across: Float[np.ndarray, " N"], down: Float[np.ndarray, " N"]) -> list[str]:
    circles = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in zip(across, down, strict=True))
    return [f'<path class="points" d="{circles}"/>']


def _draw_hexagons(across: Float[np.ndarray, " N"], down: Float[np.ndarray, " N"]) -> list[str]:
    """The cells of a honeycomb are those of two lattices, one of them moved by half; a point belongs to the nearer
    centre (Carr et al., 1987).
    """
    tall = CELL * math.sqrt(3)
    x, y = across / CELL, down / tall
    corner, middle = (np.round(x), np.round(y)), (np.floor(x) + 0.5, np.floor(y) + 0.5)
    distances = ((x - cx) ** 2 + 3 * (y - cy) ** 2 for cx, cy in (corner, middle))
    nearer = np.less_equal(*distances)
    centres = np.stack([np.where(nearer, a, b) for a, b in zip(corner, middle, strict=True)], axis=1)
    cells, counts = np.unique(centres, axis=0, return_counts=True)
    shades = np.log1p(counts) / np.log1p(counts.max())
    side, half = CELL / math.sqrt(3), CELL / 2
    slopes = [f"l{dx:.2f} {dy:.2f}" for dx in (half, -half) for dy in (side / 2, -side / 2)]
    outline = f"{slopes[0]}v{side:.2f}{slopes[2]}{slopes[3]}v{-side:.2f}z"
    return [
        f'<path class="cell" opacity="{0.1 + 0.9 * shade:.2f}" '
        f'd="M{cx * CELL:.1f} {cy * tall - side:.1f}{outline}"><title>{count:,}</title></path>'
        for (cx, cy), count, shade in zip(cells, counts, shades, strict=True)
    ]


def _draw_line(frame: Frame, first: tuple[float, float], last: tuple[float, float]) -> str:
    return f'<polyline class="ideal" points="{join_points(frame, [first, last])}"/>'
