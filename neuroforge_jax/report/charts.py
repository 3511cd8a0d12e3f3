"""Charts as SVG: lines with bands, bars with intervals, rooflines, matrices. Pure functions from numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neuroforge_jax.report.axes import Axis, Frame, draw_axes, join_points
from neuroforge_jax.report.formats import format_number, format_quantity
from neuroforge_jax.report.marks import (
    HEIGHT,
    LINE_HEIGHT,
    RIGHT,
    WIDTH,
    colour_of,
    draw_legend,
    draw_marker,
    draw_svg,
    draw_text,
    estimate_width,
    shorten,
    shorten_to_width,
    style_line,
)
from neuroforge_jax.report.page import escape_text
from neuroforge_jax.report.series import Series, choose_look, choose_looks

LONGEST_LABEL = 34


@dataclass(frozen=True)
class Bar:
    """A bar: label, value with its interval, and a note after it."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    note: str = ""


def draw_line_chart(series: Sequence[Series], x: Axis, y: Axis, *, title: str) -> str:
    """Lines over a common pair of axes, with a legend below where there are several."""
    xs = [value for line in series for value in line.x]
    ys = [value for line in series for part in (line.y, line.low, line.high) for value in part]
    frame = draw_axes(x, y, xs, ys)
    looks = choose_looks(series)
    parts = [frame.drawing]
    for line, look in zip(series, looks, strict=True):
        if line.low and line.high:
            edge = [*zip(line.x, line.high, strict=True), *reversed([*zip(line.x, line.low, strict=True)])]
            parts.append(
                f'<polygon points="{join_points(frame, edge)}" style="fill:{colour_of(look)};opacity:.18"/>'
            )
    for line, look in zip(series, looks, strict=True):
        points = [*zip(line.x, line.y, strict=True)]
        parts.append(f'<polyline points="{join_points(frame, points)}" style="{style_line(look)}"/>')
        parts += [
            draw_marker(
                look,
                frame.across(a),
                frame.down(b),
                tooltip=f"{line.name}: {x.show(a, 6)}, {y.show(b, 4)}",
            )
            for a, b in points
        ]
    entries = [(line.name, look) for line, look in zip(series, looks, strict=True)]
    legend, height = draw_legend(entries if len(series) > 1 else [], frame.left, lines=True)
    return draw_svg(title, HEIGHT + height, [*parts, *legend])


def draw_bar_chart(bars: Sequence[Bar], *, title: str, show: Callable[[float], str] = format_number) -> str:
    """Horizontal bars from 0 on, with an interval as a whisker, which may begin below 0."""
    row = 30
    labels = [shorten(bar.label, LONGEST_LABEL) for bar in bars]
    label_width = 10 + max(map(estimate_width, labels))
    ends = [end for bar in bars for end in (bar.value, *(bar.interval or ()))]
    lowest = min(0.0, *ends)
    span = max(0.0, *ends) - lowest or 1.0
    note_width = 12 + max(estimate_width(f"{show(bar.value)}  {bar.note}") for bar in bars)
    room = max(WIDTH - label_width - note_width, 60)
    zero = label_width - room * lowest / span
    parts = []
    for index, (bar, label) in enumerate(zip(bars, labels, strict=True)):
        top, length = 6 + index * row, room * bar.value / span
        middle, end = top + 11, zero + max(length, 0)
        parts.append(draw_text(label_width - 6, middle + 4, label, "end", soft=False))
        parts.append(
            f'<rect x="{zero + min(length, 0):.1f}" y="{top}" width="{max(abs(length), 1):.1f}" height="22" rx="2" '
            'style="fill:var(--c0);opacity:.85"/>'
        )
        if bar.interval is not None:
            low, high = (zero + room * limit / span for limit in bar.interval)
            caps = "".join(f"M{place:.1f} {middle - 4}v8" for place in (low, high))
            parts.append(f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}{caps}"/>')
            end = max(end, high)
        note = f"{escape_text(show(bar.value))}  <tspan class='soft'>{escape_text(bar.note)}</tspan>"
        parts.append(f'<text x="{end + 7:.1f}" y="{middle + 4}">{note}</text>')
    return draw_svg(title, 8 + row * len(bars), parts)


def draw_roofline(
    peaks: dict[str, float], bandwidth: float, points: Sequence[tuple[str, str, float, float]], *, title: str
) -> str:
    """Operations per second over operations per byte: the peaks of the dtypes as flat roofs, the slope of the
    fastest memory before them, and a point for each case: (name, kind that gives its look, FLOP per byte, FLOP/s).
    """
    ridge = max(peaks.values()) / bandwidth
    xs = [*(point[2] for point in points), ridge / 8, ridge * 8]
    ys = [*(point[3] for point in points), *peaks.values()]
    lowest = min(ys) / 2
    frame = draw_axes(Axis("FLOP per byte moved", log=True), Axis("FLOP/s", log=True), xs, [*ys, lowest])
    parts = [frame.drawing]
    for peak in peaks.values():
        begin = max(min(xs), min(peak / bandwidth, max(xs)))
        parts.append(
            f'<path class="whisker" d="M{frame.across(begin):.1f} {frame.down(peak):.1f}H{WIDTH - RIGHT}"/>'
        )
    top, low = max(peaks.values()), max(lowest, min(xs) * bandwidth)
    parts.append(
        f'<path class="whisker" d="M{frame.across(low / bandwidth):.1f} {frame.down(low):.1f}'
        f'L{frame.across(top / bandwidth):.1f} {frame.down(top):.1f}"/>'
    )
    looks = {
        kind: choose_look(place) for place, kind in enumerate(dict.fromkeys(point[1] for point in points))
    }
    parts += [
        draw_marker(
            looks[kind],
            frame.across(intensity),
            frame.down(rate),
            size=5,
            tooltip=f"{name}: {format_quantity(rate, 'FLOP/s')}",
        )
        for name, kind, intensity, rate in points
    ]
    parts += _draw_roof_names(peaks, frame)
    legend, height = draw_legend([*looks.items()], frame.left, lines=False)
    return draw_svg(title, HEIGHT + height, [*parts, *legend])


def _draw_roof_names(peaks: dict[str, float], frame: Frame) -> list[str]:
    """Above the roofs at their right ends, from the top down; where roofs lie close, the lower name moves down."""
    parts, free = [], 0.0
    for name, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        y = max(frame.down(peak) - 5, free)
        free = y + LINE_HEIGHT
        parts.append(draw_text(WIDTH - RIGHT, y, name, "end", halo=True))
    return parts


def draw_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], *, title: str) -> str:
    """How often samples of each class (row) were read as each class (column); shades by the share of the row."""
    size = len(classes)
    names = [shorten(name, 14) for name in classes]
    margin = 12 + max(map(estimate_width, names))
    cell = min(46.0, (WIDTH - margin - 8) / size)
    labels = size <= 40
    parts = []
    for i, row in enumerate(counts):
        whole = max(sum(row), 1)
        for j, count in enumerate(row):
            share = count / whole
            left, top = margin + j * cell, 22 + i * cell
            colour = "var(--c2)" if i == j else "var(--c1)"
            # The root, so that one mistake in a hundred is seen.
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}" '
                f'style="fill:{colour};opacity:{0.06 + 0.8 * math.sqrt(share):.3f}">'
                f"<title>{escape_text(f'{classes[i]} read as {classes[j]}: {count:,} of {whole:,}')}</title></rect>"
            )
            if cell >= 20 and count:
                parts.append(
                    f'<text x="{left + cell / 2:.1f}" y="{top + cell / 2 + 4:.1f}" text-anchor="middle" '
                    f'font-size="{min(11.0, cell / 3):.1f}">{count}</text>'
                )
        if labels:
            parts.append(
                f'<text x="{margin - 6:.1f}" y="{22 + (i + 0.5) * cell + 4:.1f}" text-anchor="end" '
                f'font-size="{min(12.0, 0.85 * cell):.1f}">{escape_text(names[i])}</text>'
            )
            if cell >= 20:
                heading = shorten_to_width(classes[i], cell - 2)
                parts.append(draw_text(margin + (i + 0.5) * cell, 15, heading, "middle"))
    return draw_svg(title, 26 + size * cell, parts)
