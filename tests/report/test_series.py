"""No two series of a chart look alike: in either theme, without colour, and for readers who see no red or green."""

import itertools
import re

import numpy as np
import pytest

from neuroforge_jax.report.axes import Axis
from neuroforge_jax.report.charts import draw_line_chart, draw_roofline
from neuroforge_jax.report.pictures import MARKERS as MATPLOTLIB_MARKERS
from neuroforge_jax.report.series import DARK, DASHES, LIGHT, MARKERS, Series, choose_look

pytestmark = pytest.mark.smoke

PAPERS = {"light": "#ffffff", "dark": "#0d1117"}
PALETTES = {"light": LIGHT, "dark": DARK}
SIGHT = {
    "all colours": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
"""From linear RGB to what is seen (Machado, Oliveira & Fernandes 2009, severity 1)."""
TO_CONES = np.array(
    [
        [0.41222147, 0.53633254, 0.05144599],
        [0.21190350, 0.68069955, 0.10739696],
        [0.08830246, 0.28171884, 0.62997870],
    ]
)
TO_OKLAB = np.array(
    [
        [0.21045426, 0.79361779, -0.00407205],
        [1.97799850, -2.42859221, 0.45059371],
        [0.02590404, 0.78277177, -0.80867577],
    ]
)
"""Linear RGB to Oklab, in which distances are those that people see (Ottosson 2020)."""


def linear(colour):
    value = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


def distance(a, b, sight):
    seen = [np.clip(np.array(SIGHT[sight]) @ linear(colour), 0, 1) for colour in (a, b)]
    one, other = (TO_OKLAB @ np.cbrt(TO_CONES @ colour) for colour in seen)
    return float(np.linalg.norm(one - other))


@pytest.mark.parametrize("theme", PALETTES)
def test_every_colour_stands_out_from_its_paper(theme):
    """WCAG 2.1, 1.4.11: graphics by 3 to 1."""
    assert all(contrast(colour, PAPERS[theme]) >= 3 for colour in PALETTES[theme])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", PALETTES)
def test_any_two_colours_differ_for_every_sight(theme, sight):
    closest = min(itertools.combinations(PALETTES[theme], 2), key=lambda pair: distance(*pair, sight))
    assert distance(*closest, sight) > 0.07, closest


def test_looks_do_not_repeat():
    looks = [choose_look(index) for index in range(len(LIGHT) * len(MARKERS) * len(DASHES))]
    assert len(set(looks)) == len(looks) == 200
    points = {(look.colour, look.marker) for look in looks[:40]}
    assert len(points) == 40, "points have no dashes"
    for one, other in itertools.pairwise(looks):
        assert one.colour != other.colour
        assert one.marker != other.marker, "without colour, neighbours differ still"


def looks_of_lines(chart):
    """Of each line as it is drawn: its stroke, and the element of its first marker without its place."""
    lines = re.findall(r'<polyline [^>]*style="(.*?)"/>\n(<\w+ class="marker".*?>)', chart)
    return [(style, re.sub(r'(?<=[dxy]=")M?[\d. ]+', "", marker)) for style, marker in lines]


@pytest.mark.parametrize("count", [2, 9, 41, 60])
def test_two_series_of_one_chart_never_look_alike(count):
    series = [Series(f"line {index}", [1, 2], [index, index + 1]) for index in range(count)]
    looks = looks_of_lines(draw_line_chart(series, Axis("x"), Axis("y"), title="lines"))
    assert len(looks) == count
    assert len(set(looks)) == count


def test_kinds_of_points_in_a_roofline_never_look_alike():
    points = [(f"case {index}", f"kind {index}", 1.0 + index, 1e9) for index in range(30)]
    chart = draw_roofline({"f32": 1e11}, 1e10, points, title="roofline")
    legend = re.findall(r'class="marker" ([^>]*)></', chart)
    looks = {re.sub(r'(?<=[dxy]=")M?[\d. ]+', "", look) for look in legend}
    assert len(legend) == 30
    assert len(looks) == 30


def test_a_line_can_keep_its_look_whatever_is_beside_it():
    test = Series("test", [1, 2], [1, 2], look=2)
    alone = looks_of_lines(draw_line_chart([test], Axis("x"), Axis("y"), title="one"))
    third = looks_of_lines(draw_line_chart([test, test, test], Axis("x"), Axis("y"), title="three"))[2]
    assert alone == [third]
    assert "--c2" in alone[0][0]


def test_matplotlib_has_a_name_for_every_marker():
    assert MATPLOTLIB_MARKERS.keys() == set(MARKERS)
    assert len(set(MATPLOTLIB_MARKERS.values())) == len(MARKERS)
