"""Charts as SVG: lines with bands, bars with intervals, rooflines, matrices. Pure functions from numbers to text.

Colours are the page's variables, so that a chart follows the reader's theme. The place that words need is estimated
from their characters (`estimate_width`): nothing here knows the reader's font, and no two words may overlap.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neuroforge_jax.report.formats import Format, format_number, format_quantity, format_ticks
from neuroforge_jax.report.page import escape_text
from neuroforge_jax.report.series import Look, Series, choose_look, choose_looks

WIDTH, HEIGHT = 560, 330
RIGHT, TOP, BOTTOM = 16, 14, 44
FONT_SIZE = 12
LINE_HEIGHT = 15
LEGEND_ROW = 18
LEGEND_KEY = 30
"""Width of a legend's sample of line and marker, with the gap after it."""
LONGEST_NAME = 44
LONGEST_LABEL = 34


@dataclass(frozen=True)
class Bar:
    """A bar: label, value with its interval, and a note after it."""

    label: str
    value: float
    interval: tuple[float, float] | None = None
    note: str = ""


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


def draw_line_chart(series: Sequence[Series], x: Axis, y: Axis, *, title: str) -> str:
    """Lines over a common pair of axes, with a legend below where there are several."""
    xs = [value for line in series for value in line.x]
    ys = [value for line in series for part in (line.y, line.low, line.high) for value in part]
    frame = _draw_axes(x, y, xs, ys)
    looks = choose_looks(series)
    parts = [frame.drawing]
    for line, look in zip(series, looks, strict=True):
        if line.low and line.high:
            edge = [*zip(line.x, line.high, strict=True), *reversed([*zip(line.x, line.low, strict=True)])]
            parts.append(
                f'<polygon points="{_join_points(frame, edge)}" style="fill:{_colour(look)};opacity:.18"/>'
            )
    for line, look in zip(series, looks, strict=True):
        points = [*zip(line.x, line.y, strict=True)]
        parts.append(f'<polyline points="{_join_points(frame, points)}" style="{_style_line(look)}"/>')
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
    legend, height = _draw_legend(entries if len(series) > 1 else [], frame.left, lines=True)
    return draw_svg(title, HEIGHT + height, [*parts, *legend])


def draw_bar_chart(bars: Sequence[Bar], *, title: str, show: Callable[[float], str] = format_number) -> str:
    """Horizontal bars from 0 on, with an interval as a whisker."""
    row = 30
    labels = [shorten(bar.label, LONGEST_LABEL) for bar in bars]
    label_width = 10 + max(map(estimate_width, labels))
    largest = max(max(bar.value, *(bar.interval or (0.0,))) for bar in bars)
    note_width = 12 + max(estimate_width(f"{show(bar.value)}  {bar.note}") for bar in bars)
    room = max(WIDTH - label_width - note_width, 60)
    parts = []
    for index, (bar, label) in enumerate(zip(bars, labels, strict=True)):
        top, length = 6 + index * row, room * bar.value / largest
        middle, end = top + 11, label_width + length
        parts.append(_draw_text(label_width - 6, middle + 4, label, "end", soft=False))
        parts.append(
            f'<rect x="{label_width:.1f}" y="{top}" width="{max(length, 1):.1f}" height="22" rx="2" '
            'style="fill:var(--c0);opacity:.85"/>'
        )
        if bar.interval is not None:
            low, high = (label_width + room * limit / largest for limit in bar.interval)
            ends = "".join(f"M{place:.1f} {middle - 4}v8" for place in (low, high))
            parts.append(f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}{ends}"/>')
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
    frame = _draw_axes(Axis("FLOP per byte moved", log=True), Axis("FLOP/s", log=True), xs, [*ys, lowest])
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
    legend, height = _draw_legend([*looks.items()], frame.left, lines=False)
    return draw_svg(title, HEIGHT + height, [*parts, *legend])


def _draw_roof_names(peaks: dict[str, float], frame: Frame) -> list[str]:
    """Above the roofs at their right ends, from the top down; where roofs lie close, the lower name moves down."""
    parts, free = [], 0.0
    for name, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        y = max(frame.down(peak) - 5, free)
        free = y + LINE_HEIGHT
        parts.append(_draw_text(WIDTH - RIGHT, y, name, "end", halo=True))
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
                parts.append(_draw_text(margin + (i + 0.5) * cell, 15, heading, "middle"))
    return draw_svg(title, 26 + size * cell, parts)


def draw_svg(title: str, height: float, parts: Sequence[str]) -> str:
    """The drawing around its parts; the title is read by those who do not see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape_text(title)}">'
        f"<title>{escape_text(title)}</title>\n" + "\n".join(parts) + "\n</svg>"
    )


# Marks.


def draw_marker(look: Look, x: float, y: float, *, size: float = 2.8, tooltip: str = "") -> str:
    """A marker around this place. size: half its width."""
    outlines = {
        "square": f"M{x - size:.1f} {y - size:.1f}h{2 * size:.1f}v{2 * size:.1f}h{-2 * size:.1f}z",
        "triangle": f"M{x:.1f} {y - 1.2 * size:.1f}l{1.2 * size:.1f} {2.2 * size:.1f}h{-2.4 * size:.1f}z",
        "triangle down": f"M{x:.1f} {y + 1.2 * size:.1f}l{1.2 * size:.1f} {-2.2 * size:.1f}h{-2.4 * size:.1f}z",
        "diamond": f"M{x:.1f} {y - 1.4 * size:.1f}l{1.4 * size:.1f} {1.4 * size:.1f}"
        f"l{-1.4 * size:.1f} {1.4 * size:.1f}l{-1.4 * size:.1f} {-1.4 * size:.1f}z",
    }
    if look.marker == "circle":
        tag, shape = "circle", f'cx="{x:.1f}" cy="{y:.1f}" r="{size}"'
    else:
        tag, shape = "path", f'd="{outlines[look.marker]}"'
    inner = f"<title>{escape_text(tooltip)}</title>" if tooltip else ""
    return f'<{tag} class="marker" {shape} style="fill:{_colour(look)}">{inner}</{tag}>'


def _colour(look: Look) -> str:
    return f"var(--c{look.colour})"


def _style_line(look: Look) -> str:
    dashes = f";stroke-dasharray:{' '.join(map(str, look.dash))}" if look.dash else ""
    return f"fill:none;stroke:{_colour(look)};stroke-width:2{dashes}"


def _join_points(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{frame.across(a):.1f},{frame.down(b):.1f}" for a, b in points)


def _draw_text(
    x: float, y: float, content: str, anchor: str, *, soft: bool = True, halo: bool = False
) -> str:
    classes = " ".join(name for name, wanted in (("soft", soft), ("halo", halo)) if wanted)
    attribute = f'class="{classes}" ' if classes else ""
    return f'<text {attribute}x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape_text(content)}</text>'


# The legend.


def _draw_legend(entries: Sequence[tuple[str, Look]], left: float, *, lines: bool) -> tuple[list[str], int]:
    """The drawing below a chart, and the height it adds. lines: with a piece of each line behind its marker."""
    parts: list[str] = []
    row, x = 0, left
    for name, look in entries:
        shown = shorten(name, LONGEST_NAME)
        width = LEGEND_KEY + estimate_width(shown) + 14
        if x > left and x + width > WIDTH:
            row, x = row + 1, left
        y = HEIGHT + 4 + LEGEND_ROW * row
        if lines:
            parts.append(f'<path class="key" d="M{x:.1f} {y + 5}h24" style="{_style_line(look)}"/>')
        parts.append(draw_marker(look, x + 12, y + 5, size=4))
        parts.append(_draw_text(x + LEGEND_KEY, y + 9, shown, "start", soft=False))
        x += width
    return parts, LEGEND_ROW * (row + 1) if entries else 0


# Axes.


def _draw_axes(x: Axis, y: Axis, xs: Sequence[float], ys: Sequence[float]) -> Frame:
    """The frame is as far from the left edge as the labels of its ticks are wide."""
    rows = y.choose_ticks(ys)
    row_labels = format_ticks(rows, y.show)
    left = 32 + max(map(estimate_width, row_labels))
    across = _scale(xs, x.log, left, WIDTH - RIGHT)
    down = _scale(ys, y.log, HEIGHT - BOTTOM, TOP)
    parts = []
    for value, label in zip(rows, row_labels, strict=True):
        parts.append(f'<path class="axis" d="M{left:.1f} {down(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_draw_text(left - 7, down(value) + 4, label, "end"))
    columns = x.choose_ticks(xs)
    free = 0.0
    for value, label in zip(columns, format_ticks(columns, x.show), strict=True):
        place, half = across(value), estimate_width(label) / 2
        parts.append(f'<path class="axis" d="M{place:.1f} {HEIGHT - BOTTOM}v5"/>')
        if place - half >= free:
            parts.append(_draw_text(place, HEIGHT - BOTTOM + 18, label, "middle"))
            free = place + half + 6
    parts.append(_draw_text((left + WIDTH) / 2, HEIGHT - 6, x.label, "middle"))
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


# Words.

CHARACTER_WIDTHS = (("ijl.,:;|'! ", 0.33), ("ftrI()[]/-", 0.44), ("mwMW%@—", 1.0))
"""In parts of the font's size, by the widest of the usual fonts. Capitals take 0.76, all else 0.65."""


def estimate_width(content: str, size: float = FONT_SIZE) -> float:
    """How wide a text is at most, in the drawing's units."""
    return size * sum(map(_character_width, content))


def _character_width(character: str) -> float:
    for characters, width in CHARACTER_WIDTHS:
        if character in characters:
            return width
    if ord(character) >= 0x1100:
        return 1.0  # wide scripts
    return 0.76 if character.isupper() else 0.65


def shorten(name: str, length: int) -> str:
    """At most so many characters, with an ellipsis where some are left out."""
    return name if len(name) <= length else name[: max(length - 1, 1)] + "…"


def shorten_to_width(name: str, width: float) -> str:
    """The most characters that fit, and one at least."""
    length = next(
        (length for length in range(len(name), 1, -1) if estimate_width(shorten(name, length)) <= width), 1
    )
    return name[:1] if length == 1 else shorten(name, length)
