"""Tables that are to be predicted: columns by their names, or by position for a model of arrays, in pieces."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuroforge_jax.commands.prediction_pieces import ROWS, Notes, Piece, Reading
from neuroforge_jax.commands.prediction_targets import find_targets, find_weights
from neuroforge_jax.config.endings import COLUMNAR_TABLES
from neuroforge_jax.data.preprocess import Inputs
from neuroforge_jax.data.schema import Column, Schema
from neuroforge_jax.data.targets import Targets
from neuroforge_jax.data.values import Values, names_of
from neuroforge_jax.errors import ConfigError, DataError, unknown
from neuroforge_jax.model.rows import read_columns

if TYPE_CHECKING:
    from neuroforge_jax.data.table import Table

STANDARD_INPUT = "-"


def read_table(reading: Reading, source: str) -> Iterator[Piece]:
    """The pieces of a table: a path, or - for standard input."""
    first = 0
    for table in _stream(reading, source):
        reading.notes.add(*table.notes)
        names = reading.names.describe([source] * len(table), first, _read_ids(reading, table))
        if reading.model.schema is None:
            yield Piece(names, *_read_by_position(reading, table, first))
        else:
            yield Piece(names, *_read_by_name(reading, reading.model.schema, table, first))
        first += len(table)


def _stream(reading: Reading, source: str) -> Iterator["Table"]:
    texts = [] if reading.names.id is None else [reading.names.id]
    path = Path(source).expanduser()
    if source != STANDARD_INPUT and path.suffix.lower() in COLUMNAR_TABLES:
        from neuroforge_jax.data.readers.columnar import stream_columnar

        return stream_columnar(path, ROWS, texts=texts, missing=reading.config.missing)
    from neuroforge_jax.data.readers.csv import stream_csv

    schema = reading.model.schema
    like = {} if schema is None else {column.name: _type_of(column) for column in schema.columns}
    origin = sys.stdin.buffer if source == STANDARD_INPUT else path
    return stream_csv(origin, reading.config, like | dict.fromkeys(texts, "text"), ROWS)


def _type_of(column: Column) -> str:
    """How a column is to be read, number or text, where that must not be guessed anew. Numbers are also what
    categories were made of, where each of their names is as a number is written.
    """
    if column.kind == "time":
        # What texts of times were said to be is their order of day and month.
        return "text" if column.said else "number"
    return "number" if column.kind == "number" or (column.is_code and column.has_numbers) else "text"


def _read_ids(reading: Reading, table: "Table") -> Sequence[str] | None:
    from neuroforge_jax.data.columns import read_column

    name = reading.names.id
    if name is None:
        return None
    if name not in table.columns:
        if reading.names.must_have_id:
            raise ConfigError(f"{table.name}: {unknown('column of --id', name, table.columns)}")
        reading.notes.add(f"{table.name} has no column {name!r}, which names the rows")
        return None
    values = read_column(table, name, "text")
    return [values.texts[code] if code >= 0 else "" for code in values.known_codes]


def _read_by_name(
    reading: Reading, schema: Schema, table: "Table", first: int
) -> tuple[Inputs, Targets | None, np.ndarray | None]:
    """Inputs, targets and weights."""
    from neuroforge_jax.data.columns import read_as

    known = {column.name for column in schema.columns} | {reading.names.id}
    extra = [name for name in table.columns if name not in known]
    if extra:
        reading.notes.add(
            f"{table.name}: columns that the model does not know are ignored: {names_of(extra)}"
        )
    columns = read_columns(schema, table)
    for column in schema.inputs:
        _count_unread(reading.notes, column, table, columns[column.name])
    inputs = schema.encode(columns, table.name, first=first)
    names = list(schema.target.names)
    absent = [name for name in names if name not in table.columns]
    if absent:
        if len(absent) < len(names):
            reading.notes.add(f"{table.name} has no target {names_of(absent)}: its rows are not scored")
        return inputs, None, None
    targets = find_targets(schema.target, read_as(schema, table, names), table, reading.notes)
    return inputs, targets, find_weights(schema, table, reading.notes)


def _count_unread(notes: Notes, column: Column, table: "Table", values: Values) -> None:
    """Count what of a column says nothing to the model, though something stands there."""
    if values.numbers is not None:
        what = "dates or times" if column.kind == "time" else "numbers"
        notes.count_unread(table, column.name, values.missing, f"are no {what} count as missing")
    elif not column.rest:
        new = np.array([*(not code for code in column.codes_of(values.texts)), False], bool)
        codes = values.known_codes[new[values.known_codes]]
        outcome = "training did not have count as missing"
        notes.count(column.name, outcome, [values.texts[code] for code in codes])


def _read_by_position(reading: Reading, table: "Table", first: int) -> tuple[Inputs, Targets | None]:
    """Of a model of arrays: the columns are its inputs, in their order, but for those named as its targets."""
    from neuroforge_jax.data.columns import read_column

    model, names = reading.model, [name for name in table.columns if name != reading.names.id]
    width, targets = model.spec.plan.record, model.target.names
    has_targets = len(names) > width and all(name in names for name in targets)
    if has_targets:
        names = [name for name in names if name not in targets]
    if len(names) != width:
        raise DataError(
            f"{table.name}: has {len(names)} columns, and the model takes {width:,} numbers a row"
        )
    rows = np.empty((len(table), width))
    for at, name in enumerate(names):
        rows[:, at] = read_column(table, name, "number").numbers
        reading.notes.count_unread(table, name, np.isnan(rows[:, at]), "are no numbers count as missing")
    inputs = reading.store_rows(rows, f"{table.name}, from row {first + 1:,}")
    if not has_targets:
        return inputs, None
    kind = "number" if model.target.task == "regression" else None
    right = {name: read_column(table, name, kind) for name in targets}
    return inputs, find_targets(model.target, right, table, reading.notes)
