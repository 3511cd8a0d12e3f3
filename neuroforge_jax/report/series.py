"""What a chart shows before it is drawn: lines of points, and the look that tells each line from the others.

The page draws as SVG (`charts.py`), a run's folder holds PNG files (`pictures.py`); both take their lines, colours,
markers and dashes from here, so that a line looks the same wherever it is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LIGHT = ("#0072b2", "#d55e00", "#00a070", "#7e1c7b", "#924a00", "#2f97d0", "#3a3a3a", "#b3277a")
DARK = ("#56b4e9", "#ff9e4a", "#2dd19c", "#a96dff", "#f5e664", "#4f5fc5", "#ced4e0", "#e4549a")
"""Colours on white and on near-black paper. Any two of them differ for readers who see no red or no green, too;
each stands out from its paper (tests/report/test_series.py holds the limits)."""

MARKERS = ("circle", "square", "triangle", "diamond", "triangle down")
DASHES: tuple[tuple[int, ...], ...] = ((), (7, 3), (2, 3), (9, 3, 2, 3), (14, 4))
"""Lengths of line and gap in turn; the first is a solid line."""


@dataclass(frozen=True)
class Look:
    """colour: its index in LIGHT and DARK. marker: one of MARKERS. dash: one of DASHES."""

    colour: int
    marker: str
    dash: tuple[int, ...]


def choose_look(index: int) -> Look:
    """The look of the series of this number: neighbours differ in colour and in marker, so that a chart can be read
    without colour. The first 200 looks differ, and the first 40 do so in colour and marker alone, as points need.
    """
    turn, colour = divmod(index, len(LIGHT))
    marker = MARKERS[(colour + turn + 2 * (turn // len(DASHES))) % len(MARKERS)]
    return Look(colour, marker, DASHES[turn % len(DASHES)])


@dataclass(frozen=True)
class Series:
    """A line: name, points, and a band from low to high around it where those are given.

    look: the number of its look, where it must not depend on the other lines of the chart.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    look: int | None = None


def choose_looks(series: Sequence[Series]) -> list[Look]:
    """The look of each: its own where it has one, else by its place."""
    return [choose_look(place if line.look is None else line.look) for place, line in enumerate(series)]
