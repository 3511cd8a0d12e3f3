"""Numbers as people read them on the pages: short, with their unit, and speeds as faster or slower."""

import re
from collections.abc import Callable, Sequence

Format = Callable[[float, int], str]
"""From a value and a number of digits to its text."""

MOST_DIGITS = 9

CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, marks of direction and halves of characters; not tab and line feed."""


def spell_controls(text: str) -> str:
    r"""`\u202e` in the place of a mark that turns round what follows: a name is data, and moves nothing else."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def format_number(value: float, digits: int = 3) -> str:
    """`1.5 k`, `20 M`, `3 G`, `0.02`: a number as an axis or a bar has room for."""
    value = round_to_digits(value, digits)
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{unit}"
    return f"{value:.{digits}g}"


def format_percent(share: float, digits: int = 4) -> str:
    """`97.5%`, of 0.975."""
    return f"{100 * share:.{digits}g}%"


def format_quantity(value: float, unit: str, digits: int = 3) -> str:
    """`193 GFLOP/s`, `12 B`: a number with its prefix and its unit."""
    number = format_number(value, digits)
    return f"{number}{unit}" if " " in number else f"{number} {unit}"


def format_bytes(size: float, digits: int = 3) -> str:
    """`454 MB`, `512 B`: in powers of 1,000."""
    return format_quantity(size, "B", digits)


def format_ticks(values: Sequence[float], show: Format) -> list[str]:
    """With as few digits as tell the values apart: ticks from 454.2 MB to 454.6 MB must not all read 454 MB."""
    texts: list[str] = []
    for digits in range(3, MOST_DIGITS + 1):
        texts = [show(value, digits) for value in values]
        if len(set(texts)) == len(texts):
            break
    return texts


def format_duration(seconds: float) -> str:
    """`1.5 s`, `20 ms`, `350 µs`."""
    seconds = round_to_digits(seconds, 3)
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:,.6g} {unit}"
    return f"{seconds * 1e6:,.6g} µs"


def round_to_digits(value: float, digits: int) -> float:
    """Rounded before the unit is chosen: 999.9 is 1 k, and would else be written as 1e+03."""
    return float(f"{value:.{digits}g}")


def format_speed(ratio: float) -> str:
    """`1.57 × faster`, `12.6 × slower`, `as fast`: a ratio of two speeds, which says little to people below 1."""
    factor = _format_factor(ratio)
    return "as fast" if factor == "1" else f"{factor} × {_choose_word(ratio)}"


def format_speed_interval(low: float, high: float) -> str:
    """`7.12 to 10.3` beside a speed that says which way, `1.18 slower to 1.43 faster` where it may be both."""
    if _choose_word(low) != _choose_word(high):
        return f"{_format_factor(low)} slower to {_format_factor(high)} faster"
    # Of two that are slower, the smaller ratio is the larger factor.
    first, last = (low, high) if low >= 1 else (high, low)
    return f"{_format_factor(first)} to {_format_factor(last)}"


def _choose_word(ratio: float) -> str:
    return "faster" if ratio >= 1 else "slower"


def _format_factor(ratio: float) -> str:
    return f"{round_to_digits(max(ratio, 1 / ratio), 3):,.6g}"
