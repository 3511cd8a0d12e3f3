"""Charts as SVG: lines with bands, bars with intervals, rooflines, matrices. Pure functions from numbers to text.

Colours are the page's variables, so that a chart follows the reader's theme.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from neuroforge_jax.report.page import text

WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 44
COLOURS = 8


@dataclass(frozen=True)
class Series:
    """A line: name, points, and a band from low to high around it where those are given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Bar:
    """A bar: label, value with its interval, and a note behind it."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """label: with the unit. log: by powers of ten. show: of a number beside a tick."""

    label: str
    log: bool = False
    show: Callable[[float], str] = field(default=lambda value: short(value))


def short(value: float) -> str:
    """`1.5 k`, `20 M`, `3 G`, `0.02`: a number as an axis or a bar has room for."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def percent(value: float) -> str:
    """Of a share."""
    return f"{100 * value:.4g}%"


def line_chart(series: Sequence[Series], x: Axis, y: Axis, *, title: str) -> str:
    """Lines over a common pair of axes, with a legend below where there are several."""
    xs = [value for line in series for value in line.x]
    ys = [value for line in series for part in (line.y, line.low, line.high) for value in part]
    rows = legend_rows([line.name for line in series]) if len(series) > 1 else []
    across, down = _scale(xs, x.log, LEFT, WIDTH - RIGHT), _scale(ys, y.log, HEIGHT - BOTTOM, TOP)
    parts = [_axes(x, y, xs, ys, across, down)]
    for index, line in enumerate(series):
        colour = f"var(--c{index % COLOURS})"
        if line.low and line.high:
            edge = [*zip(line.x, line.high, strict=True), *reversed([*zip(line.x, line.low, strict=True)])]
            points = " ".join(f"{across(a):.1f},{down(b):.1f}" for a, b in edge)
            parts.append(f'<polygon points="{points}" style="fill:{colour};opacity:.18"/>')
        points = " ".join(f"{across(a):.1f},{down(b):.1f}" for a, b in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline points="{points}" style="fill:none;stroke:{colour};stroke-width:2"/>')
        parts += [
            f'<circle cx="{across(a):.1f}" cy="{down(b):.1f}" r="2.6" style="fill:{colour}">'
            f"<title>{text(line.name)}: {text(x.show(a))}, {text(y.show(b))}</title></circle>"
            for a, b in zip(line.x, line.y, strict=True)
        ]
    return svg(title, HEIGHT + 18 * len(rows), [*parts, *_legend(rows, HEIGHT + 4)])


def bar_chart(bars: Sequence[Bar], *, title: str, show: Callable[[float], str] = short) -> str:
    """Horizontal bars from 0 on, with an interval as a whisker."""
    row, label_width = 30, 8 + 7 * max(len(bar.label) for bar in bars)
    label_width = min(label_width, 210)
    largest = max(max(bar.value, *(bar.interval or (0.0,))) for bar in bars)
    note_width = 10 + 6.4 * max(len(f"{show(bar.value)}  {bar.note}") for bar in bars)
    room = max(WIDTH - label_width - note_width, 60)
    parts = []
    for index, bar in enumerate(bars):
        top, length = 6 + index * row, room * bar.value / largest
        middle, end = top + 11, label_width + length
        parts.append(
            f'<text x="{label_width - 6}" y="{middle + 4}" text-anchor="end">{text(bar.label)}</text>'
        )
        parts.append(
            f'<rect x="{label_width}" y="{top}" width="{max(length, 1):.1f}" height="22" rx="2" '
            'style="fill:var(--c0);opacity:.85"/>'
        )
        if bar.interval is not None:
            low, high = (label_width + room * limit / largest for limit in bar.interval)
            ends = "".join(f"M{place:.1f} {middle - 4}v8" for place in (low, high))
            parts.append(f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}{ends}"/>')
            end = max(end, high)
        words = f"{text(show(bar.value))}  <tspan class='soft'>{text(bar.note)}</tspan>"
        parts.append(f'<text x="{end + 7:.1f}" y="{middle + 4}">{words}</text>')
    return svg(title, 8 + row * len(bars), parts)


def roofline_chart(
    peaks: dict[str, float], bandwidth: float, points: Sequence[tuple[str, str, float, float]], *, title: str
) -> str:
    """Operations a second over operations a byte: the peaks of the dtypes as flat roofs, the slope of the fastest
    memory before them, and a point a case: (name, kind by which it is coloured, FLOP a byte, FLOP/s).
    """
    ridge = max(peaks.values()) / bandwidth
    xs = [*(point[2] for point in points), ridge / 8, ridge * 8]
    ys = [*(point[3] for point in points), *peaks.values()]
    x, y = Axis("FLOP a byte moved", log=True), Axis("FLOP/s", log=True)
    across, down = (
        _scale(xs, True, LEFT, WIDTH - RIGHT),
        _scale([*ys, min(ys) / 2], True, HEIGHT - BOTTOM, TOP),
    )
    parts = [_axes(x, y, xs, [*ys, min(ys) / 2], across, down)]
    for name, peak in peaks.items():
        begin = max(min(xs), min(peak / bandwidth, max(xs)))
        height = down(peak)
        parts.append(f'<path class="whisker" d="M{across(begin):.1f} {height:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="soft" x="{WIDTH - RIGHT}" y="{height - 5:.1f}" text-anchor="end">{text(name)}</text>'
        )
    top, low = max(peaks.values()), max(min(ys) / 2, min(xs) * bandwidth)
    parts.append(
        f'<path class="whisker" d="M{across(low / bandwidth):.1f} {down(low):.1f}'
        f'L{across(top / bandwidth):.1f} {down(top):.1f}"/>'
    )
    kinds = list(dict.fromkeys(kind for _, kind, _, _ in points))
    rows = legend_rows(kinds)
    for name, kind, intensity, rate in points:
        colour = f"var(--c{kinds.index(kind) % COLOURS})"
        parts.append(
            f'<circle cx="{across(intensity):.1f}" cy="{down(rate):.1f}" r="5" style="fill:{colour};opacity:.85">'
            f"<title>{text(name)}: {text(short(rate))}FLOP/s</title></circle>"
        )
    return svg(title, HEIGHT + 18 * len(rows), [*parts, *_legend(rows, HEIGHT + 4)])


def matrix_chart(counts: Sequence[Sequence[int]], classes: Sequence[str], *, title: str) -> str:
    """How often a sample of each class (row) was taken for each (column); shades by the share of the row."""
    size = len(classes)
    longest = max(len(name) for name in classes)
    margin = 30 + 6.5 * min(longest, 14)
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
                f"<title>{text(classes[i])} taken for {text(classes[j])}: {count:,} of {whole:,}</title></rect>"
            )
            if cell >= 20 and count:
                parts.append(
                    f'<text x="{left + cell / 2:.1f}" y="{top + cell / 2 + 4:.1f}" text-anchor="middle" '
                    f'font-size="{min(11.0, cell / 3):.1f}">{count}</text>'
                )
        if labels:
            parts.append(
                f'<text x="{margin - 6:.1f}" y="{22 + (i + 0.5) * cell + 4:.1f}" text-anchor="end" '
                f'font-size="{min(12.0, cell):.1f}">{text(_cut(classes[i], 14))}</text>'
            )
            if cell >= 20:
                parts.append(
                    f'<text class="soft" x="{margin + (i + 0.5) * cell:.1f}" y="15" text-anchor="middle" '
                    f'font-size="11">{text(_cut(classes[i], int(cell / 6.5)))}</text>'
                )
    return svg(title, 26 + size * cell, parts)


def svg(title: str, height: float, parts: Sequence[str]) -> str:
    """The drawing around its parts; the title is read by those who do not see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{text(title)}">'
        f"<title>{text(title)}</title>\n" + "\n".join(parts) + "\n</svg>"
    )


def legend_rows(names: Sequence[str]) -> list[list[tuple[int, str]]]:
    """The names with their numbers, in rows that fit the width."""
    rows: list[list[tuple[int, str]]] = []
    used = WIDTH
    for index, name in enumerate(names):
        width = 26 + 6.6 * len(_cut(name, 44))
        if used + width > WIDTH - LEFT:
            rows.append([])
            used = 0
        rows[-1].append((index, _cut(name, 44)))
        used += int(width)
    return rows


def _legend(rows: Sequence[Sequence[tuple[int, str]]], top: float) -> list[str]:
    parts = []
    for number, row in enumerate(rows):
        left, y = float(LEFT), top + 18 * number
        for index, name in row:
            parts.append(
                f'<rect x="{left:.0f}" y="{y:.0f}" width="12" height="10" rx="2" '
                f'style="fill:var(--c{index % COLOURS})"/>'
                f'<text x="{left + 17:.0f}" y="{y + 9:.0f}">{text(name)}</text>'
            )
            left += 26 + 6.6 * len(name)
    return parts


def _axes(
    x: Axis,
    y: Axis,
    xs: Sequence[float],
    ys: Sequence[float],
    across: Callable[[float], float],
    down: Callable[[float], float],
) -> str:
    parts = []
    for value in ticks(min(ys), max(ys), log=y.log):
        height = down(value)
        parts.append(f'<path class="axis" d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text class="soft" x="{LEFT - 7}" y="{height + 4:.1f}" text-anchor="end">{text(y.show(value))}</text>'
        )
    for value in ticks(min(xs), max(xs), log=x.log):
        left = across(value)
        parts.append(f'<path class="axis" d="M{left:.1f} {HEIGHT - BOTTOM}v5"/>')
        parts.append(_soft(left, HEIGHT - BOTTOM + 18, x.show(value), "middle"))
    parts.append(
        f'<text class="soft" x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{text(x.label)}</text>'
    )
    parts.append(
        f'<text class="soft" transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{text(y.label)}</text>'
    )
    return "\n".join(parts)


def _soft(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text class="soft" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(words)}</text>'


def ticks(low: float, high: float, *, log: bool) -> list[float]:
    """About five round numbers between the two, ends included where they are round."""
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        steps = (1, 2, 5) if last - first <= 2 else (1,)
        every = max(1, (last - first) // 5) if len(steps) == 1 else 1
        values = [step * 10.0**power for power in range(first, last + 1, every) for step in steps]
        return [value for value in values if low * 0.999 <= value <= high * 1.001] or [low, high]
    if high <= low:
        return [low]
    rough = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _scale(values: Sequence[float], log: bool, begin: float, end: float) -> Callable[[float], float]:
    """From a value to a place between begin and end, with a little air at both."""
    low, high = min(values), max(values)
    if log:
        low, high = math.log(low), math.log(high)
    if high - low < 1e-12 * max(abs(high), 1e-300):
        low, high = low - 0.5, high + 0.5
    air = 0.04 * (end - begin)

    def place(value: float) -> float:
        at = math.log(value) if log else value
        return begin + air + (end - begin - 2 * air) * (at - low) / (high - low)

    return place


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else name[: max(length - 1, 1)] + "…"
