"""What a text table consists of: its dialect, the names of its columns, and whether the first row holds them."""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.readers.dialect import DELIMITERS, NUMBERS, Dialect, Row, find_dialect
from neuroforge_jax.data.readers.missing import Marks
from neuroforge_jax.data.readers.source import TextSource
from neuroforge_jax.errors import DataError

MARKS = ("", "NA", "N/A", "NaN", "nan", "null", "None", "?")
"""Cells that mean a missing value, when blanks around them are left out."""
MIN_NUMBERS = 3
"""So many whole numbers, each one more than the last, are headings."""

WHOLE = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Layout:
    """dialect: how the cells are written. marks: texts of a missing value. named_marks: those of them that the user
    named. names: a name a column; of a column without one it is `column 3`. unnamed: positions of those.
    has_header: whether the first row holds the names. facts: what is not as in the plain case, commas, points,
    UTF-8 and a header, for a note.
    """

    dialect: Dialect
    marks: frozenset[str]
    named_marks: frozenset[str]
    names: tuple[str, ...]
    unnamed: frozenset[int]
    has_header: bool
    facts: tuple[str, ...]


def find_layout(source: TextSource, config: DataConfig, like: Mapping[str, str]) -> Layout:
    """The layout of a text, from its start, and from `config` where that says something.

    like: "number" or "text" by the name of a column, of a file that this one should be as. Raises DataError where
    there is no table, ConfigError for a delimiter that cannot be one.
    """
    start = source.start.decode("utf-8", "ignore")  # a character at its end may be cut
    dialect, rows = find_dialect(start, source.whole, config)
    if not source.whole and not rows:
        raise DataError(f"{source.name}: its first row does not end within a megabyte; is it no table?")
    if not rows:
        raise DataError(
            f"{source.name}: is empty; a header with the names of the columns and rows are needed"
        )
    _refuse_title(source.name, rows)
    missing = Marks(config.missing, dialect.decimal).texts
    marks = frozenset(MARKS) | missing
    cells = [[cell.strip() for cell in row.cells] for row in rows]
    judge = _HeaderJudge(cells, dialect.decimal, marks)
    has_header = config.header == "yes" if config.header != "auto" else judge.find_header(like)
    if has_header:
        names, header_fact = _header_names(cells, judge)
    else:
        names, header_fact = _invent_names(len(cells[0]), list(like))
    unnamed = frozenset(at for at, name in enumerate(names) if not name)
    names = [name or f"column {at}" for at, name in enumerate(names, 1)]
    _refuse_twins(source.name, names)
    empty = {at for at in unnamed if not any(row[at] for row in cells[1:] if at < len(row))}
    if len(names) - len(empty) < 2 and not set(names) & set(like):
        raise DataError(
            f"{source.name}: has one column only, {_shorten(names[0])}, when {_plural(dialect)} separate cells; a "
            "target and an input are needed, or another --delimiter"
        )
    return Layout(
        dialect,
        marks,
        missing - frozenset(MARKS),
        tuple(names),
        unnamed,
        has_header,
        _facts(dialect, source.encoding, header_fact),
    )


def _refuse_title(name: str, rows: Sequence[Row]) -> None:
    """Where one cell stands above rows of several, all of one width, it is no header."""
    if len(rows) < 3 or len(rows[0].cells) > 1:
        return
    width, times = Counter(len(row.cells) for row in rows[1:]).most_common(1)[0]
    if width > 1 and times == len(rows) - 1:
        raise DataError(
            f"{name} line {rows[0].line}: has 1 cell, and the rows below have {width}; "
            "remove what stands above the header"
        )


@dataclass(frozen=True)
class _HeaderJudge:
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
        names = list(filter(None, map(_name, first)))
        known = set(names) & set(like)
        if len(set(names)) == len(names) and 2 * len(known) > min(len(names), len(like)) > 0:
            return True
        if len(first) == len(like) and self._fit(first, like.values()):
            return False
        if self.find_count():
            return True
        columns = [[row[at] for row in below if at < len(row)] for at in range(len(first))]
        numeric = [at for at, column in enumerate(columns) if self._numeric(column)]
        if not below:
            return not any(map(self.is_number, first))
        titled = sum(not self.is_number(first[at]) and first[at] not in self.marks for at in numeric)
        numbered = sum(self.is_number(first[at]) for at in numeric)
        if titled or numbered:
            return titled >= numbered
        return not any(_is_among(cell, column) for cell, column in zip(first, columns, strict=True))

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
        present = [cell for cell in column if cell not in self.marks]
        return bool(present) and all(map(self.is_number, present))

    def _fit(self, cells: Sequence[str], kinds: Iterable[str]) -> bool:
        """Whether the cells in columns of numbers are numbers, where they are not missing."""
        return self._numeric(cell for cell, kind in zip(cells, kinds, strict=True) if kind == "number")


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


def _header_names(cells: Sequence[Sequence[str]], judge: _HeaderJudge) -> tuple[list[str], str]:
    names = [_name(cell) for cell in cells[0]]
    # Each line but the header ends in a delimiter.
    if len(cells) > 1 and all(len(row) == len(names) + 1 and not row[-1] for row in cells[1:]):
        names.append("")
    if counted := judge.find_count():
        return names, f"headings are the numbers {counted[0]} to {counted[1]}"
    odd = next(filter(judge.is_number, names), "")
    return names, f"the first row is taken for the header, with {_shorten(odd)} as a name" if odd else ""


def _invent_names(width: int, like: Sequence[str]) -> tuple[list[str], str]:
    names = [f"column {at}" for at in range(1, width + 1)]
    if len(like) == width and like != names:
        return list(like), "no header: columns are named, in order, as those that it is read like"
    return names, f"no header: columns are {names[0]} … {names[-1]}"


def _name(cell: str) -> str:
    return " ".join(cell.split())


def _refuse_twins(file: str, names: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for at, name in enumerate(names, 1):
        before = first.setdefault(name, at)
        if before != at:
            raise DataError(f"{file}: columns {before} and {at} are both named {_shorten(name)}; rename one")


def _shorten(text: str) -> str:
    """A text from a file, in quotes, in a line of an error."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _plural(dialect: Dialect) -> str:
    return DELIMITERS.get(dialect.delimiter, f"characters {dialect.delimiter!r}")


def _facts(dialect: Dialect, encoding: str, header: str) -> tuple[str, ...]:
    read = [
        _plural(dialect) if dialect.delimiter != "," else "",
        "decimal commas" if dialect.decimal == "," else "",
        "single quotes" if dialect.single_quotes else "",
        "quotes as they are" if not dialect.quote else "",
        "" if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii") else encoding,
    ]
    how = f"read with {', '.join(filter(None, read))}" if any(read) else ""
    return tuple(filter(None, (how, header)))
