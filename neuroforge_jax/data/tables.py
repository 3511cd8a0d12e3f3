"""A dataset from tables: the columns are read, the target and the schema chosen, the rows split and encoded."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from neuroforge_jax.config import DataConfig
from neuroforge_jax.config.endings import COLUMNAR_TABLES
from neuroforge_jax.data.columns import forced_kind, read_as, read_column
from neuroforge_jax.data.extremes import describe_extremes, describe_nines
from neuroforge_jax.data.overlap import check_groups, describe_order
from neuroforge_jax.data.preprocess import Preprocessor
from neuroforge_jax.data.readers.columnar import read_columnar
from neuroforge_jax.data.readers.csv import read_csv
from neuroforge_jax.data.readers.missing import Marks
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.schema_inference import check_names, infer_schema
from neuroforge_jax.data.splits import choose_groups, choose_last, split_80_20
from neuroforge_jax.data.table import Table
from neuroforge_jax.data.target_choice import choose_target
from neuroforge_jax.data.targets import Target, encode_targets
from neuroforge_jax.data.types import Dataset, Partition, Split, fit, normalize_weights
from neuroforge_jax.data.values import SelectedRows, Values, names_of
from neuroforge_jax.errors import DataError

TEST_SHARE = 0.2
"""Of a table that is split here."""

Columns = Mapping[str, Values]


def read_table(path: Path, config: DataConfig, like: Mapping[str, str] | None = None) -> Table:
    """The table in a file, by the ending of its name. like: how the columns of an earlier file were read."""
    if path.suffix.lower() in COLUMNAR_TABLES:
        return read_columnar(path, config.drop, missing=config.missing, keys=config.keys)
    return read_csv(path, config, like)


def load_table(path: Path, config: DataConfig) -> Dataset:
    """A dataset from a file, and from those that `config.test` and `config.validation` name."""
    table = read_table(path, config)
    like = types_of(table)
    others = {
        part: read_table(Path(file).expanduser(), config, like)
        for part, file in (("test", config.test), ("validation", config.validation))
        if file is not None
    }
    return make_dataset(table, config, others, path.name)


def types_of(table: Table) -> dict[str, str]:
    """How each column was read: number or text."""
    return {
        name: "text" if pa.types.is_string(column.type) else "number"
        for name, column in table.columns.items()
    }


def make_dataset(table: Table, config: DataConfig, others: Mapping[str, Table], name: str) -> Dataset:
    """A dataset from a table; others: test and validation data. Raises DataError and ConfigError, which name
    file and column. The table is used up: its columns are released as they are read.
    """
    check_names(config, list(table.columns), table.name)
    target_names = config.target or (_last_column(table, config),)
    columns: Columns = _read_up(table, config)
    all_columns = len(columns)
    columns, rows, notes = _without_missing_targets(table, columns, target_names)
    answers = {column: columns[column] for column in target_names}
    target = choose_target(answers, table.name, config.task, config.target_transform)
    train_rows, test_rows, how = _choose_test_rows(table, columns, target, config, "test" in others)
    partition = _partition(SelectedRows(columns, train_rows), config, table.name)
    in_any_file = replace(config, missing=Marks(config.missing, table.decimal).plain)
    schema = infer_schema(SelectedRows(columns, train_rows), in_any_file, target, table.name)
    useless = schema.by_role("left out")
    columns = {column: values for column, values in columns.items() if column not in useless}
    training = SelectedRows(columns, train_rows)
    notes += check_groups(schema, table.name, columns, others)
    if config.time_split is not None and partition.order is not None:
        notes += describe_order(schema, config.time_split, partition.order, others)
    reader = _Reader(schema, config)
    train = reader.split("training", training, table.name, rows[train_rows])
    test = None
    if len(test_rows):
        test = reader.split("test", SelectedRows(columns, test_rows), table.name, rows[test_rows])
    read = {part: reader.read(part, other) for part, other in others.items()}
    splits = {"training": train, "validation": read.get("validation"), "test": read.get("test", test)}
    plan = schema.plan("robust" if config.scaling == "auto" else config.scaling)
    inputs = f"{len(schema.inputs):,} of {all_columns:,} columns"
    dataset = Dataset(
        name,
        train,
        splits["test"],
        target,
        (plan.record,),
        plan,
        fit(plan, target, train),
        schema,
        origin=f"{inputs} to {target.label}{how}",
        notes=(
            *table.notes,
            *notes,
            *reader.notes,
            *describe_columns(schema, plan.scaling),
            *reader.describe_extremes(plan),
        ),
        validation=splits["validation"],
        partition=partition,
    )
    return dataset.with_weights_of(config.class_weight)


def _read_up(table: Table, config: DataConfig) -> dict[str, Values]:
    """Every column of a table, which has none any more."""
    columns = {}
    for name in list(table.columns):
        columns[name] = read_column(table, name, forced_kind(config, name), decimal=config.decimal)
        del table.columns[name]
        pa.default_memory_pool().release_unused()
    return columns


def _last_column(table: Table, config: DataConfig) -> str:
    """The target, where none is named."""
    others = {*config.drop, config.id, config.group, config.time_split, config.sample_weight}
    left = [name for name in table.columns if name not in others]
    if not left:
        raise DataError(f"{table.name}: no column is left to predict; name one with --target")
    return left[-1]


def _without_missing_targets(
    table: Table, columns: Columns, targets: tuple[str, ...]
) -> tuple[Columns, np.ndarray, list[str]]:
    """The columns of the rows that have their targets, where those are, and a note about the others."""
    missing = np.any([columns[name].missing for name in targets], axis=0)
    if not missing.any():
        return columns, np.arange(len(missing)), []
    if missing.all():
        raise DataError(
            f"{table.name}: target {names_of(targets)} is missing in every row; choose another --target"
        )
    rows = np.flatnonzero(~missing)
    kept = {name: values[rows] for name, values in columns.items()}
    count = int(missing.sum())
    rows_are = "1 row" if count == 1 else f"{count:,} rows"
    are = "is" if count == 1 else "are"
    return kept, rows, [f"{rows_are} of {table.name} without a target {are} left out"]


def _choose_test_rows(
    table: Table, columns: Columns, target: Target, config: DataConfig, given: bool
) -> tuple[np.ndarray, np.ndarray, str]:
    """Indices of the training and of the test rows, and how they were chosen. given: test data of their own."""
    samples = len(next(iter(columns.values())))
    if given:
        return np.arange(samples), np.arange(0), ""
    if config.group is not None:
        rows = choose_groups(_groups(columns[config.group]), TEST_SHARE, 0)
        _check_held_out(table, rows[1], f"--group {config.group}")
        return *rows, f", groups of {config.group!r} kept together"
    if config.time_split is not None:
        rows = choose_last(_order(columns[config.time_split], config.time_split, table.name), TEST_SHARE)
        _check_held_out(table, rows[1], f"--time-split {config.time_split}")
        return *rows, f", the last in {config.time_split!r} to test"
    labels = None
    if target.task == "classification":
        labels, _ = encode_targets(target, {name: columns[name] for name in target.names}, table.name)
    return *split_80_20(table.name, labels, samples), ", split by a fixed seed"


def _check_held_out(table: Table, rows: np.ndarray, flag: str) -> None:
    if not len(rows):
        raise DataError(
            f"{table.name}: {flag}: the column has one value alone, and nothing can be held out by it; name another"
        )


def _groups(values: Values) -> np.ndarray:
    """A whole number for each group; a row without one is its own."""
    if values.numbers is not None:
        return np.unique(values.numbers, return_inverse=True, equal_nan=False)[1]
    codes = values.known_codes.astype(np.int64)
    return np.where(codes < 0, len(values.texts) + np.arange(len(codes)), codes)


def _order(values: Values, name: str, where: str) -> np.ndarray:
    if values.numbers is None or values.missing.all():
        holds = "is empty" if values.missing.all() else "holds texts"
        raise DataError(f"{where}: --time-split {name}: it {holds}; it must hold times or numbers")
    return values.numbers


def _partition(training: Columns, config: DataConfig, where: str) -> Partition:
    return Partition(
        None if config.group is None else _groups(training[config.group]),
        None if config.time_split is None else _order(training[config.time_split], config.time_split, where),
    )


class _Reader:
    """Splits from tables, as the schema of the training rows says; notes of what is met are gathered."""

    def __init__(self, schema: Schema, config: DataConfig) -> None:
        self.schema, self.config = schema, config
        self.notes: list[str] = []
        self._splits: dict[str, Split] = {}
        self._places: dict[str, tuple[str, np.ndarray]] = {}

    def split(self, part: str, columns: Columns, where: str, rows: np.ndarray) -> Split:
        """The split of rows whose columns are read. rows: where they are in the table, from 0."""
        target = self.schema.target
        answers = {name: columns[name] for name in target.names}
        targets, said = encode_targets(target, answers, where, rows)
        if said:
            self.notes.append(f"{where}: {said}")
        self._places[part] = where, rows
        records = self.schema.encode(columns, where, rows)
        self._splits[part] = Split(records, targets, self._weights(columns, where))
        return self._splits[part]

    def read(self, part: str, table: Table) -> Split:
        """The split of another table."""
        wanted = [*(column.name for column in self.schema.inputs), *self.schema.target.names]
        self.notes += [f"{table.name}: {note}" for note in table.notes]
        columns: Columns = read_as(self.schema, table, [*wanted, *self.schema.by_role("weight")])
        columns, rows, notes = _without_missing_targets(table, columns, self.schema.target.names)
        self.notes.extend(notes)
        return self.split(part, columns, table.name, rows)

    def describe_extremes(self, plan: Preprocessor) -> list[str]:
        """Numbers that dwarf all others, with their rows: of inputs, and of targets that are quantities."""
        name_at = {at: name for name, places in self.schema.positions().items() for at in places}
        origins = {column.name: column.origin for column in self.schema.inputs}
        numbers = {part: split.inputs[:, : plan.numbers] for part, split in self._splits.items()}
        moved = [origins[name_at[at]] for at in range(plan.numbers)]
        told = describe_extremes(numbers, lambda at: repr(name_at[at]), self._name_row, moved)
        told += describe_nines(numbers["training"], lambda at: repr(name_at[at]), moved)
        target = self.schema.target
        if target.task == "regression" and target.transform == "none":
            answers = {part: split.targets for part, split in self._splits.items()}
            names = target.names
            told += describe_extremes(answers, lambda at: repr(names[at]), self._name_row, target.origins)
        return told

    def _name_row(self, part: str, row: int) -> str:
        where, rows = self._places[part]
        return f"{where} row {rows[row] + 1}"

    def _weights(self, columns: Columns, where: str) -> np.ndarray | None:
        if (name := self.config.sample_weight) is None:
            return None
        numbers = columns[name].numbers
        if numbers is None:
            raise DataError(
                f"{where}: --sample-weight {name}: it holds texts; weights are numbers from 0 upwards"
            )
        return normalize_weights(f"{where}: --sample-weight {name}", numbers, len(numbers))


def describe_columns(schema: Schema, scaling: str) -> list[str]:
    """What became of the columns, in a line or a few."""
    kinds = [column.kind for column in schema.inputs]
    counted = [_count(kinds.count(kind), kind) for kind in dict.fromkeys(kinds) if kind != "number"]
    if numbers := kinds.count("number"):
        counted.insert(0, f"{_count(numbers, 'number')} ({scaling} scaling)")
    lines = ["columns: " + ", ".join(counted)]
    if missing := [column.name for column in schema.inputs if column.missing]:
        lines[0] += f"; with missing values: {names_of(missing)}"
    lines += [f"rows count by {name!r}, in training and in every metric" for name in schema.by_role("weight")]
    left = [f"{column.name!r} ({column.said})" for column in schema.columns if column.role == "left out"]
    if left:
        shown = ", ".join(left[:6])
        lines.append("left out: " + (shown if len(left) <= 6 else f"{shown} and {len(left) - 6} more"))
    said = [f"{column.name!r}: {column.said}" for column in schema.inputs if column.said]
    lines += said[:6]
    return [*lines, *([schema.target.said] if schema.target.said else [])]


def _count(count: int, kind: str) -> str:
    plurals = {"number": "numbers", "category": "categories", "time": "times"}
    return f"{count:,} {kind if count == 1 else plurals.get(kind, kind)}"
