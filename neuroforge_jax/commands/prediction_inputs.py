"""What is to be predicted, piece by piece: tables by name, arrays by position, pictures, standard input."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.preprocess import Inputs
from neuroforge_jax.data.schema import Column, Schema
from neuroforge_jax.data.targets import Targets, encode_targets, find_classes
from neuroforge_jax.data.values import Values, is_number, names_of
from neuroforge_jax.errors import ConfigError, DataError, unknown
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.model.rows import read_columns, read_rows

if TYPE_CHECKING:
    from neuroforge_jax.data.table import Table

ROWS, PICTURES_AT_ONCE = 32_768, 1024
"""Rows of a piece."""

PICTURES = (".png", ".jpg", ".jpeg")
ARRAYS = (".npy", ".npz")
STANDARD_INPUT = "-"
ROW, FILE = "row", "file"

NAMED = 3
"""Cells that a note shows."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of an input.

    names: columns that say which rows they are. inputs: [N, I] as the model stores them. targets: what is right,
    where that is known; NaN or −1 in a row of which it is not.
    """

    names: Mapping[str, Sequence[str] | np.ndarray]
    inputs: Inputs
    targets: Targets | None = None


@dataclass(eq=False)
class CellCounts:
    """Cells that could not be used, by column and by what was made of them, over all pieces."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def add(self, column: str, outcome: str, cells: Sequence[str]) -> None:
        """Count cells of one outcome, which reads on from `cells that`."""
        if cells:
            self.counts[column, outcome] += len(cells)
            shown = self.examples.setdefault((column, outcome), set())
            shown.update(sorted(set(cells) - shown)[: NAMED - len(shown)])

    def notes(self) -> list[str]:
        """A sentence for each column and outcome."""
        return [
            f"{column!r}: cells that {outcome}: {count:,} ({names_of(sorted(self.examples[column, outcome]))})"
            for (column, outcome), count in self.counts.items()
        ]


@dataclass(eq=False)
class InputReader:
    """Reads inputs for a model.

    sources: paths, or - for standard input. config: how text tables are read. id: the column that names the rows,
    instead of that of the training. tell: is called with what was made of the inputs, each once.
    """

    model: FittedModel
    sources: Sequence[str]
    config: DataConfig
    id: str | None
    tell: Callable[[str], None]
    cells: CellCounts = field(default_factory=CellCounts)
    _told: set[str] = field(default_factory=set)
    _heading: str | None = None

    def pieces(self) -> Iterator[Piece]:
        """Those of every input. Raises DataError for one that is missing, damaged or not what the model takes."""
        for source in self.sources:
            if source != STANDARD_INPUT and not Path(source).expanduser().exists():
                raise DataError(f"{source}: no such file or folder")
        if self.id is not None and not any(map(_is_table, self.sources)):
            raise ConfigError(f"--id {self.id} names a column of a table, and no input is one; leave it out")
        for source in self.sources:
            path = Path(source).expanduser()
            if _is_table(source):
                yield from self._read_table(source, path)
            elif _is_of_pictures(path):
                yield from self._read_pictures(path)
            else:
                yield from self._read_arrays(path)

    def _note(self, *notes: str) -> None:
        for note in notes:
            if note and note not in self._told:
                self._told.add(note)
                self.tell(note)

    def _names(
        self, source: str, first: int, rows: int, ids: Sequence[str] | None = None
    ) -> dict[str, Sequence[str] | np.ndarray]:
        """Of rows of a table or an array; the first of those that are read decides what they are named by."""
        if self._heading is None:
            self._heading = ROW if ids is None else str(self._id)
        names: dict[str, Sequence[str] | np.ndarray] = {}
        if len(self.sources) > 1:
            names[FILE] = [source] * rows
        if self._heading == ROW:
            names[ROW] = np.arange(first + 1, first + 1 + rows)
        else:
            names[self._heading] = [""] * rows if ids is None else ids
        return names

    @property
    def _id(self) -> str | None:
        schema = self.model.schema
        return self.id or (None if schema is None else next(iter(schema.by_role("id")), None))

    def _read_table(self, source: str, path: Path) -> Iterator[Piece]:
        first = 0
        for table in self._tables(source, path):
            self._note(*table.notes)
            ids = self._read_ids(table)
            read = (
                self._by_position if self.model.schema is None else partial(self._by_name, self.model.schema)
            )
            yield Piece(self._names(source, first, len(table), ids), *read(table, first))
            first += len(table)

    def _tables(self, source: str, path: Path) -> Iterator["Table"]:
        texts = [] if self._id is None else [self._id]
        if source != STANDARD_INPUT and path.suffix.lower() in (".parquet", ".arrow", ".feather"):
            from neuroforge_jax.data.readers.columnar import stream_columnar

            return stream_columnar(path, ROWS, texts=texts)
        from neuroforge_jax.data.readers.csv import stream_csv

        like = {} if self.model.schema is None else types_of_schema(self.model.schema)
        origin = sys.stdin.buffer if source == STANDARD_INPUT else path
        return stream_csv(origin, self.config, like | dict.fromkeys(texts, "text"), ROWS)

    def _read_ids(self, table: "Table") -> Sequence[str] | None:
        from neuroforge_jax.data.columns import read_column

        name = self._id
        if name is None:
            return None
        if name not in table.columns:
            if self.id is not None:
                raise ConfigError(f"{table.name}: {unknown('column of --id', name, table.columns)}")
            self._note(f"{table.name} has no column {name!r}, which names the rows")
            return None
        values = read_column(table, name, "text")
        return [values.texts[code] if code >= 0 else "" for code in values.known_codes]

    def _by_name(self, schema: Schema, table: "Table", first: int) -> tuple[Inputs, Targets | None]:
        known = {column.name for column in schema.columns} | {self._id}
        extra = [name for name in table.columns if name not in known]
        if extra:
            self._note(f"{table.name}: columns that the model does not know are ignored: {names_of(extra)}")
        columns = read_columns(schema, table)
        for column in schema.inputs:
            self._count_unread(column, table, columns[column.name])
        return schema.encode(columns, table.name, first=first), self._read_targets(schema, table)

    def _count_unread(self, column: Column, table: "Table", values: Values) -> None:
        """What of a column says nothing to the model, though something stands there."""
        if values.numbers is not None:
            cells = table.columns[column.name]
            if np.isnan(values.numbers).sum() > cells.null_count:
                unread = cells.filter(np.isnan(values.numbers)).drop_null().to_pylist()
                what = "dates or times" if column.kind == "time" else "numbers"
                self.cells.add(column.name, f"are no {what} count as missing", list(map(str, unread)))
        elif not column.rest:
            new = np.array([*(not code for code in column.codes_of(values.texts)), False], bool)
            codes = values.known_codes[new[values.known_codes]]
            outcome = "training did not have count as missing"
            self.cells.add(column.name, outcome, [values.texts[code] for code in codes])

    def _read_targets(self, schema: Schema, table: "Table") -> Targets | None:
        """What is right, where the table says so; a row of which it cannot be read has −1, or NaN."""
        from neuroforge_jax.data.columns import read_as

        names = list(schema.target.names)
        if not names or any(name not in table.columns for name in names):
            return None
        columns = read_as(schema, table, names)
        for name, values in columns.items():
            if values.numbers is not None and values.missing.sum() > table.columns[name].null_count:
                unread = table.columns[name].filter(values.missing).drop_null().to_pylist()
                self.cells.add(name, "are no numbers are not scored", list(map(str, unread)))
        return self._encode_targets(columns, table.name)

    def _encode_targets(self, columns: Mapping[str, Values], where: str) -> Targets | None:
        target = self.model.target
        if target.task == "classification":
            try:
                classes, said, others = find_classes(target, columns, where)
            except DataError as error:
                self._note(f"{error}; the rows around it are not scored")
                return None
            self._note(said)
            self.cells.add(", ".join(columns), "are no class of the model are not scored", others)
            return classes
        there = np.flatnonzero(~np.any([values.missing for values in columns.values()], axis=0))
        if not len(there):
            return None
        try:
            found, _ = encode_targets(
                target, {name: values[there] for name, values in columns.items()}, where
            )
        except DataError as error:
            self._note(f"{error}; the rows around it are not scored")
            return None
        targets = np.full((len(next(iter(columns.values()))), *found.shape[1:]), np.nan, found.dtype)
        targets[there] = found
        return targets

    def _by_position(self, table: "Table", first: int) -> tuple[Inputs, Targets | None]:
        """Of a model of arrays: the columns are its inputs, in their order, but for those named as its targets."""
        from neuroforge_jax.data.columns import read_column

        width, names = self.model.spec.plan.record, [name for name in table.columns if name != self._id]
        targets = self.model.target.names
        has_targets = len(names) > width and all(name in names for name in targets)
        if has_targets:
            names = [name for name in names if name not in targets]
        if len(names) != width:
            raise DataError(
                f"{table.name}: has {len(names)} columns, and the model takes {width:,} numbers a row"
            )
        rows = np.empty((len(table), width))
        for at, name in enumerate(names):
            numbers = read_column(table, name, "number").numbers
            assert numbers is not None
            if np.isnan(numbers).sum() > table.columns[name].null_count:
                unread = table.columns[name].filter(np.isnan(numbers)).drop_null().to_pylist()
                self.cells.add(name, "are no numbers count as missing", list(map(str, unread)))
            rows[:, at] = numbers
        right = {name: read_column(table, name) for name in targets} if has_targets else {}
        inputs = self._read_rows(rows, f"{table.name}, from row {first + 1:,}")
        return inputs, self._encode_targets(right, table.name) if right else None

    def _read_arrays(self, path: Path) -> Iterator[Piece]:
        schema = self.model.schema
        if schema is not None and any(x.is_code or x.origin or x.cycles for x in schema.inputs):
            raise DataError(f"{path}: the model takes columns by their names; give it a table with a header")
        rows, right = load_rows(path)
        for first in range(0, max(len(rows), 1), ROWS):
            part = slice(first, first + ROWS)
            inputs = self._read_rows(rows[part], str(path))
            targets = None if right is None else self._targets_of_array(right[part], path)
            yield Piece(self._names(str(path), first, len(inputs)), inputs, targets)

    def _targets_of_array(self, right: np.ndarray, path: Path) -> Targets | None:
        from neuroforge_jax.data.array_sets import target_columns

        if not len(right):
            return None
        classes = self.model.classes
        if classes and right.ndim == 2 and right.shape[1] > 1:
            right = right.argmax(axis=1)  # one-hot rows
        if classes and right.dtype.kind in "iu" and right.ndim == 1 and not any(map(is_number, classes)):
            # Of classes that were named, arrays hold the places.
            return np.where((right >= 0) & (right < len(classes)), right, -1).astype(np.int32)
        columns = target_columns(path.name, "given", right)
        if len(columns) == max(1, len(self.model.target.names)):
            return self._encode_targets(columns, str(path))
        self._note(f"{path}: holds {len(columns)} targets a row, and the model predicts others; not scored")
        return None

    def _read_rows(self, rows: np.ndarray, where: str) -> Inputs:
        try:
            return read_rows(self.model, rows, self._note)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None

    def _read_pictures(self, path: Path) -> Iterator[Piece]:
        from neuroforge_jax.data.pictures import prepare_picture
        from neuroforge_jax.data.readers.images import find_pictures, read_picture

        style = self.model.measure_style()
        if style is None:
            raise DataError(f"{path}: the model was not trained on pictures; give it a table or an array")
        files = [path] if path.is_file() else find_pictures(path)
        if not files:
            raise DataError(f"{path}: holds no pictures ({', '.join(PICTURES)})")
        changes: Counter[str] = Counter()
        for first in range(0, len(files), PICTURES_AT_ONCE):
            chosen = files[first : first + PICTURES_AT_ONCE]
            pictures = [prepare_picture(read_picture(file), style) for file in chosen]
            changes.update("; ".join(picture.changes) for picture in pictures)
            inputs = np.stack([picture.pixels for picture in pictures]).reshape(len(pictures), -1)
            names: dict[str, Sequence[str] | np.ndarray] = {FILE: list(map(str, chosen))}
            if not all(_is_of_pictures(Path(source).expanduser()) for source in self.sources):
                names = self._names(str(path), first, len(chosen)) | names  # as those of the other inputs
            yield Piece(names, inputs, self._classes_of_folders(path, chosen))
        for change, count in changes.items():
            if change:
                self._note(f"{path}: {count:,} picture{'s' if count > 1 else ''}: {change}")

    def _classes_of_folders(self, path: Path, files: Sequence[Path]) -> Targets | None:
        """What is right of pictures that lie, below the folder that was given, in one of a class each."""
        place = {name: at for at, name in enumerate(self.model.classes)}
        return np.array(
            [place.get(file.parent.name, -1) if file.parent != path else -1 for file in files], np.int32
        )


def _is_table(source: str) -> bool:
    path = Path(source).expanduser()
    return source == STANDARD_INPUT or not (_is_of_pictures(path) or path.suffix.lower() in ARRAYS)


def _is_of_pictures(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in PICTURES


def load_rows(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The array of an .npy file, mapped, or `x` or `x_test` of an .npz file with its `y`. Raises DataError."""
    try:
        if path.suffix.lower() == ".npy":
            return np.atleast_1d(np.load(path, mmap_mode="r", allow_pickle=False)), None
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            rows, right = _choose_arrays(path, arrays)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, TypeError, BadZipFile) as error:
        raise DataError(f"{path}: is no {path.suffix} file of numbers, or a damaged one ({error})") from None
    if right is not None and len(right) != len(rows):
        raise DataError(
            f"{path}: holds {len(rows):,} rows, and {len(right):,} targets of them; they must agree"
        )
    return rows, right


def _choose_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    for x, y in (("x", "y"), ("x_test", "y_test")):
        if x in arrays:
            return np.atleast_1d(arrays[x]), np.atleast_1d(arrays[y]) if y in arrays else None
    names = names_of(list(arrays)) or "nothing"
    raise DataError(f"{path}: holds {names}; rows to predict are in x or x_test")


def types_of_schema(schema: Schema) -> dict[str, str]:
    """How each column is to be read, number or text, where that must not be guessed anew."""
    return {column.name: _type_of(column) for column in schema.columns}


def _type_of(column: Column) -> str:
    """Numbers are also what categories were made of, where each of their names is as a number is written."""
    if column.kind == "time":
        # What texts of times were said to be is their order of day and month.
        return "text" if column.said else "number"
    return "number" if column.kind == "number" or (column.is_code and column.has_numbers) else "text"
