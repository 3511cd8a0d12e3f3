"""The pair of axes of a chart: round numbers at its ticks, and the places of values between them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neuroforge_jax.report.formats import Format, format_number, format_ticks
from neuroforge_jax.report.marks import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH, draw_text, estimate_width
from neuroforge_jax.report.page import escape_text


@dataclass(frozen=True)
class Axis:
    """label: with the unit. log: by powers of ten. whole: ticks at whole numbers only. show: writes its values."""

    label: str
    log: bool = False
    whole: bool = False
    show: Format = format_number

    def choose_ticks(self, values: Sequence[float]) -> list[float]:
        """Round numbers within the values."""
        return choose_ticks(min(values), max(values), log=self.log, whole=self.whole)


@dataclass(frozen=True)
class Frame:
    """The pair of axes of a chart. across, down: from a value to its place in the drawing."""

    left: float
    across: Callable[[float], float]
    down: Callable[[float], float]
    drawing: str


def join_points(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    """Values as the points of a line in this frame."""
    return " ".join(f"{frame.across(a):.1f},{frame.down(b):.1f}" for a, b in points)


def draw_axes(x: Axis, y: Axis, xs: Sequence[float], ys: Sequence[float]) -> Frame:
    """Axes that hold these values. The frame is as far from the left edge as the labels of its ticks are wide."""
    rows = y.choose_ticks(ys)
    row_labels = format_ticks(rows, y.show)
    left = 32 + max(map(estimate_width, row_labels))
    across = _scale(xs, x.log, left, WIDTH - RIGHT)
    down = _scale(ys, y.log, HEIGHT - BOTTOM, TOP)
    parts = []
    for value, label in zip(rows, row_labels, strict=True):
        parts.append(f'<path class="axis" d="M{left:.1f} {down(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(draw_text(left - 7, down(value) + 4, label, "end"))
    columns = x.choose_ticks(xs)
    free = 0.0
    for value, label in zip(columns, format_ticks(columns, x.show), strict=True):
        place, half = across(value), estimate_width(label) / 2
        parts.append(f'<path class="axis" d="M{place:.1f} {HEIGHT - BOTTOM}v5"/>')
        if place - half >= free:
            parts.append(draw_text(place, HEIGHT - BOTTOM + 18, label, "middle"))
            free = place + half + 6
    parts.append(draw_text((left + WIDTH) / 2, HEIGHT - 6, x.label, "middle"))
    parts.append(
        f'<text class="soft" transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape_text(y.label)}</text>'
    )
    return Frame(left, across, down, "\n".join(parts))


def choose_ticks(low: float, high: float, *, log: bool = False, whole: bool = False) -> list[float]:
    """Three to about nine round numbers between the two, the ends included where they are round."""
    if high <= low:
        return [low]
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = max(1, (last - first) // 5)
        for powers, steps in ((range(first, last + 1, every), (1,)), (range(first, last + 1), (1, 2, 5))):
            values = [step * 10.0**power for power in powers for step in steps]
            within = [value for value in values if low * 0.999 <= value <= high * 1.001]
            if len(within) >= 3:
                return within
        # Less than a decade: steps of one size.
    rough = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)] or [low]


def _scale(values: Sequence[float], log: bool, begin: float, end: float) -> Callable[[float], float]:
    """From a value to a place between begin and end, with a small margin at both."""
    low, high = min(values), max(values)
    if log:
        low, high = math.log(low), math.log(high)
    if high - low < 1e-12 * max(abs(high), 1e-300):
        low, high = low - 0.5, high + 0.5
    margin = 0.04 * (end - begin)

    def place(value: float) -> float:
        at = math.log(value) if log else value
        return begin + margin + (end - begin - 2 * margin) * (at - low) / (high - low)

    return place
