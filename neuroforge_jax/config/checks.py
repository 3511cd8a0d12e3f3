"""What the fields of a config accept: values of any library are converted, and wrong ones are refused by name."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from neuroforge_jax.errors import ConfigError


def convert_fields(config: object) -> None:
    """Give every field a plain value of its declared type: NumPy's numbers, lists and paths are taken too.

    Raises ConfigError for a value of another kind.
    """
    for field in fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        base, _, optional = _type_text(field.type).partition(" | ")
        if value is None and optional:
            continue
        convert, wanted = _KINDS.get(base, (None, ""))
        if convert is None:
            continue
        try:
            object.__setattr__(config, field.name, convert(value))
        except (TypeError, ValueError, OverflowError):
            ends = f"{wanted} or None" if optional else wanted
            raise ConfigError(f"{field.name} is {value!r}: it takes {ends}") from None


def _type_text(kind: object) -> str:
    """As it is written: `int`, `Path | None`."""
    written = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return re.sub(r"^pathlib\.(\w+\.)?", "", written)


def _text(value: Any) -> str:
    if isinstance(value, str | PathLike):
        return str(fspath(value))
    raise TypeError


def _whole_number(value: Any) -> int:
    if _is_truth(value):
        raise TypeError
    return operator.index(value)


def _is_truth(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")


def _real_number(value: Any) -> float:
    if _is_truth(value) or isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise TypeError
    # An int stays one: it is shown and saved as it was written.
    return value if type(value) is int else float(value)


def _truth(value: Any) -> bool:
    if not _is_truth(value):
        raise TypeError
    return bool(value)


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:  # as version 0.2 wrote that there is none
        return ()
    return (value,) if isinstance(value, str) else tuple(map(_text, _items(value)))


def _items(value: Any) -> Sequence[Any]:
    """Of a list, a tuple or a one-dimensional array."""
    if isinstance(value, str | bytes | Mapping | set | frozenset) or not hasattr(value, "__len__"):
        raise TypeError
    return list(value)


_KINDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "str": (_text, "a string"),
    "Path": (lambda value: Path(_text(value)), "a path"),
    "int": (_whole_number, "a whole number"),
    "float": (_real_number, "a number"),
    "bool": (_truth, "true or false"),
    "tuple[int, ...]": (lambda value: tuple(map(_whole_number, _items(value))), "a tuple of whole numbers"),
    "tuple[float, ...]": (lambda value: tuple(map(_real_number, _items(value))), "a tuple of numbers"),
    "tuple[str, ...]": (_texts, "a tuple of strings"),
}
"""Declared type → what makes one of a value, and what it is called."""


def check_choice(config: object, name: str, *words: str) -> None:
    """One of these words."""
    if (value := getattr(config, name)) not in words:
        shown = " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
        raise ConfigError(f"{flag_of(name)} {value}: it takes {shown}")


def flag_of(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def check_whole(config: object, name: str, low: int, high: int, *, optional: bool = False) -> None:
    """A whole number from low to high."""
    value = getattr(config, name)
    if (value is None and optional) or low <= value <= high:
        return
    raise ConfigError(f"{flag_of(name)} {value}: it takes a whole number from {low} to {high}")


@dataclass(frozen=True)
class Range:
    """Numbers from low to high; `above` and `below` leave the bound itself out. NaN is never within."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value is finite and within."""
        from_low = self.low < value if self.above else self.low <= value
        to_high = value < self.high if self.below else value <= self.high
        return from_low and to_high and math.isfinite(value)

    def __str__(self) -> str:
        lower = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        upper = f"to below {self.high:g}" if self.below else f"to {self.high:g}"
        return f"{lower} {upper if math.isfinite(self.high) else 'upwards'}"


def check_number(config: object, name: str, allowed: Range, *, optional: bool = False) -> None:
    """A finite number within a range."""
    value = getattr(config, name)
    if not (value is None and optional) and not allowed.holds(value):
        raise ConfigError(f"{flag_of(name)} {value}: it takes a finite number {allowed}")
