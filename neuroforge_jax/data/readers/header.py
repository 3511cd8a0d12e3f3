"""Whether the first row of a table holds the names of its columns, and the second their units."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from neuroforge_jax.data.readers.dialect import NUMBERS
from neuroforge_jax.data.readers.missing import means_missing
from neuroforge_jax.data.readers.units import is_unit

MIN_NUMBERS = 3
"""So many whole numbers, each one more than the last, are headings, and so many numbers make a column of them."""

WHOLE = re.compile("[0-9]{1,9}")


def tidy_name(cell: str) -> str:
    """The name of a column: a heading, of one line and without blanks around it."""
    return " ".join(cell.split())


@dataclass(frozen=True)
class HeaderJudge:
    """Whether the first of some rows holds the names of the columns, or is a row as the others are."""

    cells: Sequence[Sequence[str]]
    decimal: str
    marks: frozenset[str]

    def find_header(self, like: Mapping[str, str]) -> bool:
        """The first of these that applies to the first row decides:

        1. Its cells are different, and most are names of the file that this one should be as: a header.
        2. It has as many cells as that file has columns, each of its column's kind, numbers among them: no header.
        3. Its numbers are three or more and whole, from left to right each one more than the last, and the next row
           does not go on with them: a header, as of tables whose columns are numbered.
        4. It is the only row: a header if it has no number.
        5. Of the columns that hold numbers below it, no fewer are headed by a text than by a number: a header, for
           a text there is no row; else no header.
        6. One of its cells occurs again below, or is written as most below it are (`12%` above `9%`): no header.
        7. Else: a header.
        """
        first, below = self.cells[0], self.cells[1:]
        names = list(filter(None, map(tidy_name, first)))
        known = set(names) & set(like)
        if len(set(names)) == len(names) and 2 * len(known) > min(len(names), len(like)) > 0:
            return True
        if len(first) == len(like) and self._fit(first, like.values()):
            return False
        if self.find_count():
            return True
        if not below:
            return not any(map(self.is_number, first))
        titled, numbered = self._count_headed()
        if titled or numbered:
            return titled >= numbered
        return not any(_is_among(cell, self._column(at, 1)) for at, cell in enumerate(first))

    @property
    def is_titled(self) -> bool:
        """Whether more of the columns that hold numbers are headed by a text than by a number."""
        titled, numbered = self._count_headed()
        return titled > numbered

    def find_count(self) -> tuple[str, str] | None:
        """The first and last of the whole numbers that head the columns, each one more than the last."""
        numbers = [cell for cell in self.cells[0] if self.is_number(cell)]
        if len(numbers) < MIN_NUMBERS or not all(map(WHOLE.fullmatch, numbers)) or len(self.cells) < 2:
            return None
        next_number = next(filter(WHOLE.fullmatch, self.cells[1]), "")
        counted = [*map(int, numbers)]
        goes_on = next_number == str(counted[-1] + 1)
        if goes_on or any(after != before + 1 for before, after in pairwise(counted)):
            return None
        return numbers[0], numbers[-1]

    def is_number(self, cell: str) -> bool:
        """Whether it is a plain number in the file's notation."""
        return NUMBERS[self.decimal].fullmatch(cell) is not None

    def _numeric(self, column: Iterable[str]) -> bool:
        present = (cell for cell in column if cell not in self.marks)
        first = next(present, "")
        return self.is_number(first) and all(map(self.is_number, present))

    def _fit(self, cells: Sequence[str], kinds: Iterable[str]) -> bool:
        """Whether the cells in columns of numbers are numbers, where they are not missing."""
        return self._numeric(cell for cell, kind in zip(cells, kinds, strict=True) if kind == "number")

    def _column(self, at: int, start: int) -> list[str]:
        """The cells of a column, from a row on."""
        return [row[at] for row in self.cells[start:] if at < len(row)]

    def _count_headed(self) -> tuple[int, int]:
        """How many columns of numbers are headed by a text, and how many by a number."""
        first = self.cells[0]
        heads = [first[at] for at in range(len(first)) if self._numeric(self._column(at, 1))]
        numbered = sum(map(self.is_number, heads))
        return len(heads) - sum(map(self._is_missing, heads)) - numbered, numbered

    def find_units(self) -> tuple[list[str], list[int]]:
        """The units in the second row, if the first is a header; and columns in which it has a text for a number.

        Columns of numbers are those that have nothing else in the rows below, three or more. It holds units where
        it has texts or nothing in all of them, and no cell that is written as those below; and where several are
        contradicted so, one of dates by a text without figures too, or all other cells are empty. One word alone,
        or again and again, must be a known unit; a word for a missing value is none.
        """
        if len(self.cells) < 2 + MIN_NUMBERS:
            return [], []
        row = self.cells[1]
        texts = [at for at, cell in enumerate(row) if cell not in self.marks and not self.is_number(cell)]
        odd = [at for at in texts if self._numeric(self._column(at, 2))]
        words = [row[at] for at in odd if self._says_something(row[at])]
        numeric = {at for at in range(len(row)) if self._numeric(self._column(at, 2))} if words else set()
        if not words or any(row[at] for at in numeric.difference(odd)):
            return [], odd
        if len(set(words)) == 1 and not is_unit(words[0]):
            return [], odd
        others = {at: self._column(at, 2) for at, cell in enumerate(row) if cell and at not in numeric}
        if any(_is_among(row[at], column) for at, column in others.items()):
            return [], odd
        dated = [
            at for at, column in others.items() if not _has_figure(row[at]) and all(map(_has_figure, column))
        ]
        certain = len(words) + len(dated) > 1 or not others
        return (words, []) if certain else ([], odd)

    def find_known_units(self, numeric: Collection[int]) -> list[str]:
        """The units in the second row, where each of its words is a known one, and one stands in these columns.

        For rows that must each be answered: what only may be a unit is none.
        """
        if len(self.cells) < 3:
            return []
        words = {at: cell for at, cell in enumerate(self.cells[1]) if self._says_something(cell)}
        silent = (cell for at, cell in enumerate(self.cells[1]) if at not in words)
        certain = all(map(is_unit, words.values())) and not any(map(_has_figure, silent))
        return list(words.values()) if certain and not words.keys().isdisjoint(numeric) else []

    def _says_something(self, cell: str) -> bool:
        """Whether there is a word or a unit in it, and none that means a missing value."""
        return not self._is_missing(cell) and any(mark.isalpha() or mark in "%‰°$€£¥" for mark in cell)

    def _is_missing(self, cell: str) -> bool:
        return cell in self.marks or means_missing(cell)


def _has_figure(cell: str) -> bool:
    return any(map(str.isdecimal, cell))


def _is_among(cell: str, column: Sequence[str]) -> bool:
    """Whether a cell occurs in a column, or has figures and is written as more than half of its cells are."""
    if not cell or not column:
        return False
    shape = _shape(cell)
    alike = "0" in shape and 2 * sum(_shape(other) == shape for other in column) > len(column)
    return alike or cell in column


def _shape(cell: str) -> str:
    """`$ 1,005` is `$ 0,0`: runs of figures, and of letters, are one."""
    kinds = ["0" if letter.isdecimal() else "a" if letter.isalpha() else letter for letter in cell]
    return "".join(kind for at, kind in enumerate(kinds) if at == 0 or kind != kinds[at - 1])
