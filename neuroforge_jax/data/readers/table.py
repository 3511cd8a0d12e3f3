"""Tables from .csv files: every cell is understood, or the line that is not is named.

A column is numbers or categories, by its first cell, and never both. Categories are those of the whole file,
test rows included, so that no test row meets an input that does not exist. Without a split of its own a file
is split 80/20 by a fixed seed, class by class.
"""

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from jaxtyping import Float32

from neuroforge_jax.data.types import Column, Dataset
from neuroforge_jax.errors import ConfigError, DataError, unknown

MAX_CATEGORIES = 100
MAX_CLASSES = 1000
SPLIT_SEED = 0
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, eq=False)
class Table:
    """The columns of a file that were read: numbers as float64 [N], text as a list of N cells.

    lines: of the file, where each row starts.
    """

    path: Path
    columns: dict[str, np.ndarray | list[str]]
    lines: Sequence[int]


def load_csv(path: Path, target: str | None = None) -> Dataset:
    """A dataset from a .csv file with a header: `target`, or else the last column, is what to predict.

    Text, or whole numbers with at most 100 different values, are classes; other numbers are a regression.
    Raises DataError naming file, line and column, ConfigError for a target that is no column.
    """
    table = read_csv(path)
    names = list(table.columns)
    if target is not None and target not in names:
        shown = names if len(names) <= 30 else [*names[:15], "…", *names[-5:]]
        raise ConfigError(f"{path}: {unknown('target column', target, shown)}")
    target = names[-1] if target is None else target
    columns = tuple(_column(table, name) for name in names if name != target)
    if not columns:
        marks = [word for mark, word in DELIMITERS.items() if mark in target]
        hint = f"commas, not {marks[0]}, are" if marks else "a target and an input are"
        raise DataError(f"{path}: has one column only; {hint} needed")
    classes, y = _classes(table, target)
    x = encode(columns, table)
    train, test = split_80_20(path.name, y if classes else None, len(y))
    kind = f"class of {len(classes)}" if classes else "number"
    return Dataset.from_arrays(
        x[train], y[train], x[test], y[test],
        name=path.name, classes=classes or None, columns=columns,
        origin=f"{len(y):,} rows; from {len(columns)} columns to {target!r}, a {kind}; fixed 80/20 split",
    )  # fmt: skip


def read_csv(path: Path, names: Sequence[str] | None = None) -> Table:
    """The columns `names` of a .csv file, or all. Raises DataError with the line of what cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _parse_csv(path, _rows(path, file), names)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def encode(columns: Sequence[Column], table: Table) -> Float32[np.ndarray, "N I"]:
    """The inputs of a model with these columns: a number as it is, a category as a one among zeros.

    Raises DataError for a column that is missing or of the other kind, and for a category not seen before.
    """
    x = np.zeros((len(table.lines), sum(len(column.categories) or 1 for column in columns)), np.float32)
    at = 0
    for column in columns:
        values = table.columns.get(column.name)
        if values is None:
            raise DataError(f"{table.path}: has no column {column.name!r}")
        if isinstance(values, list) != bool(column.categories):
            kinds = ("text", "numbers") if column.categories else ("numbers", "text")
            raise DataError(f"{table.path}: column {column.name!r} must hold {kinds[0]} and holds {kinds[1]}")
        if isinstance(values, list):
            place = {category: at + index for index, category in enumerate(column.categories)}
            for row, cell in enumerate(values):
                if cell not in place:
                    known = ", ".join(map(_quote, column.categories[:20]))
                    where = f"{table.path} line {table.lines[row]}, column {column.name!r}"
                    raise DataError(f"{where}: {_quote(cell)} is no known category: known are {known}")
                x[row, place[cell]] = 1
        else:
            x[:, at] = values
        at += len(column.categories) or 1
    return x


def split_80_20(name: str, labels: np.ndarray | None, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the test samples, a fifth rounded up, in the order of the data.

    With labels every class gives its fifth, the largest remainders first, and keeps a training sample. The
    old RandomState is meant: NumPy promises its numbers for ever, and the split is part of a result.
    """
    random = np.random.RandomState(SPLIT_SEED)
    groups = np.zeros(samples, np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    counts = np.bincount(groups)
    quota = counts // 5
    spare = np.argsort(-(counts % 5), kind="stable")
    spare = spare[(counts[spare] % 5 > 0) & (counts[spare] > 1)]
    quota[spare[: -(-samples // 5) - quota.sum()]] += 1
    if quota.sum() == 0:
        raise DataError(f"{name}: {samples} samples are too few to split; at least two of a class are needed")
    chosen = [random.permutation(np.nonzero(groups == group)[0])[:size] for group, size in enumerate(quota)]
    test = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(samples), test, assume_unique=True), test


def _classes(table: Table, target: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes, none for a regression, and the targets: indices [N], or float32 [N]."""
    values = table.columns[target]
    if isinstance(values, list):
        names = sorted(set(values))
        index = {name: at for at, name in enumerate(names)}
        y = np.array([index[cell] for cell in values])
    else:
        distinct = np.unique(values)
        if len(distinct) > MAX_CATEGORIES or (distinct != np.floor(distinct)).any():
            return (), values.astype(np.float32)
        names = [str(int(value)) for value in distinct]
        y = np.searchsorted(distinct, values)
    if not 2 <= len(names) <= MAX_CLASSES:
        raise DataError(
            f"{table.path}: target {target!r} has {len(names)} different values; "
            f"there can be 2 to {MAX_CLASSES} classes; choose another --target"
        )
    return tuple(names), y


def _column(table: Table, name: str) -> Column:
    values = table.columns[name]
    if not isinstance(values, list):
        return Column(name)
    categories = sorted(set(values))
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"{table.path}: column {name!r} has {len(categories)} different texts; "
            f"at most {MAX_CATEGORIES} can be categories; remove it or group them"
        )
    return Column(name, tuple(categories))


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The rows with the line that each starts on; empty lines are no rows."""
    reader = csv.reader(file, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path} line {line}: not well-formed ({error})") from None


def _parse_csv(path: Path, rows: Iterator[tuple[int, list[str]]], names: Sequence[str] | None) -> Table:
    header = _header(path, next(rows, (1, []))[1])
    if missing := [name for name in names or () if name not in header]:
        raise DataError(f"{path}: has no column {missing[0]!r}; its columns are {', '.join(header[:20])}")
    wanted = [header.index(name) for name in (header if names is None else names)]
    numeric: list[int] = []
    numbers, texts, lines = array("d"), dict[int, list[str]](), array("q")
    known: dict[int, dict[str, str]] = {}
    first: list[str] = []
    values = _Numbers()
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path} line {line}: has {len(row)} cells, and the header has {len(header)}")
        if not first:
            first = row
            numeric = [at for at in wanted if _is_number(row[at])]
            texts = {at: [] for at in wanted if not _is_number(row[at])}
            known = {at: {} for at in texts}
        lines.append(line)
        try:
            numbers.extend([values[row[at]] for at in numeric])
        except ValueError:
            at = next(at for at in numeric if not _is_number(row[at]))
            raise _odd_cell(path, line, header[at], row[at], lines[0], first[at]) from None
        for at, column in texts.items():
            cell = row[at].strip()
            if cell not in known[at]:
                if not cell or _is_number(cell):
                    raise _odd_cell(path, line, header[at], cell, lines[0], first[at])
                known[at][cell] = cell
            column.append(known[at][cell])  # one string a category, however long the table
    if not lines:
        raise DataError(f"{path}: has a header and no rows")

    matrix = np.asarray(numbers).reshape(len(lines), len(numeric))
    _check_numbers(path, matrix, lines, [header[at] for at in numeric])
    place = {at: index for index, at in enumerate(numeric)}
    columns = {header[at]: texts[at] if at in texts else matrix[:, place[at]] for at in wanted}
    return Table(path, columns, lines)


def _check_numbers(path: Path, matrix: np.ndarray, lines: Sequence[int], names: Sequence[str]) -> None:
    """Raises DataError for the first number that is none, or that float32 does not hold."""
    # NaN compares false too; what float32 cannot hold would become infinite in training.
    bad = np.argwhere(~(np.abs(matrix) <= np.finfo(np.float32).max))
    if len(bad):
        row_at, column_at = bad[0]
        raise DataError(
            f"{path} line {lines[row_at]}, column {names[column_at]!r}: "
            f"{matrix[row_at, column_at]} is no finite float32 number; mend or remove the row"
        )


def _header(path: Path, cells: list[str]) -> list[str]:
    header = [" ".join(cell.split()) for cell in cells]
    seen: set[str] = set()
    if not header:
        raise DataError(f"{path}: is empty; a header row with the names of the columns is needed")
    for number, name in enumerate(header, 1):
        if not name:
            raise DataError(f"{path}: column {number} has no name in the header; name it or remove it")
        if name in seen or (_is_number(name) and not name.isdigit()):
            raise DataError(
                f"{path}: {_quote(name)} cannot head column {number}; the first row must hold distinct names"
            )
        seen.add(name)
    return header


class _Numbers(dict[str, float]):
    """The number that a text is, remembered: pixels repeat 256 texts, and reading one takes 0.2 µs."""

    def __missing__(self, cell: str) -> float:
        if "_" in cell:  # float() reads 1_000 too, which nobody writes for a number in a table
            raise ValueError(cell)
        value = float(cell)
        if len(self) < 5_000:
            self[cell] = value
        return value


def _is_number(cell: str) -> bool:
    try:
        _Numbers()[cell]
    except ValueError:
        return False
    return True


def _odd_cell(path: Path, line: int, column: str, cell: str, first_line: int, first: str) -> DataError:
    where = f"{path} line {line}, column {column!r}"
    if not cell.strip():
        return DataError(f"{where}: the cell is empty; fill it or remove the row")
    return DataError(
        f"{where}: {_quote(cell)} is {'a number' if _is_number(cell) else 'no number'}, and "
        f"line {first_line} has {_quote(first)}; a column is all numbers or all text"
    )


def _quote(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
