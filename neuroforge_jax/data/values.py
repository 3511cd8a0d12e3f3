"""The values of a column, whatever they were read from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int32


@dataclass(frozen=True, eq=False)
class Values:
    """A column as it is read: numbers, NaN where one is missing, or codes of texts, −1 where one is missing.

    kind: number, category, yes/no, time, text or key. numbers: float64 [N] of a number or a time (seconds since
    1970). codes: i32 [N], indices of `texts`. said: what was made of the cells, where that is not plain.
    written_as_digits: of times, whether they are numbers such as 20240131.
    """

    kind: str
    numbers: Float64[np.ndarray, " N"] | None = None
    codes: Int32[np.ndarray, " N"] | None = None
    texts: Sequence[str] = ()
    said: str = ""
    written_as_digits: bool = False

    def __len__(self) -> int:
        return len(self.numbers if self.numbers is not None else self.known_codes)

    @property
    def known_codes(self) -> Int32[np.ndarray, " N"]:
        """The codes of a column that has them."""
        assert self.codes is not None
        return self.codes

    @property
    def missing(self) -> np.ndarray:
        """Bool [N]."""
        return np.isnan(self.numbers) if self.numbers is not None else self.known_codes < 0

    def __getitem__(self, rows: np.ndarray) -> "Values":
        numbers, codes = self.numbers, self.codes
        return replace(
            self,
            numbers=None if numbers is None else numbers[rows],
            codes=None if codes is None else codes[rows],
        )

    def distinct(self) -> int:
        """Different values, missing ones apart."""
        if self.numbers is not None:
            return len(np.unique(self.numbers[~np.isnan(self.numbers)]))
        return len(np.unique(self.known_codes[self.known_codes >= 0]))


class SelectedRows(Mapping[str, Values]):
    """Some rows of columns, taken out when a column is asked for."""

    def __init__(self, columns: Mapping[str, Values], rows: np.ndarray) -> None:
        self._columns, self._rows = columns, rows

    def __getitem__(self, name: str) -> Values:
        return self._columns[name][self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def write_number(number: float) -> str:
    """As the name of a category or class: a whole number without a point."""
    return str(int(number)) if number == np.floor(number) and abs(number) < 1e15 else repr(float(number))


def is_number(text: str) -> bool:
    """Whether a text is a finite number, written as in Python."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def rewrite_number(text: str) -> str:
    """A text that is a number as `write_number` writes it; others as they are."""
    return write_number(float(text)) if is_number(text) else text


def sort_key(text: str) -> tuple[int, float, str]:
    """Finite numbers by their value, before other texts by their letters: nan is in no order with numbers."""
    return (0, float(text), text) if is_number(text) else (1, 0.0, text)


def names_of(columns: Sequence[str], most: int = 8) -> str:
    """For a sentence."""
    shown = ", ".join(map(repr, columns[:most]))
    return shown if len(columns) <= most else f"{shown} and {len(columns) - most} more"
