"""What the columns of a table are: numbers, categories, yes/no, times, text or keys, by a rule that is told.

    bool, or two texts that mean yes and no                        → yes/no
    a timestamp, or texts that are dates or times                  → time
    whole numbers such as 20240131, of several months              → time
    numbers, or texts of which 90 % are numbers (the rest missing) → number
    whole numbers that count the rows                              → key, left out
    texts, more than 95 % of them different                        → key or text, left out
    other texts                                                    → category

The flags --categorical, --numeric, --time and --drop overrule it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data import cells
from neuroforge_jax.data.readers.missing import mark_missing
from neuroforge_jax.data.schema import Column, Schema
from neuroforge_jax.data.table import Table
from neuroforge_jax.data.values import Values, names_of, sort_key, write_number
from neuroforge_jax.errors import DataError

NUMBERS_SHARE = 0.9
"""Of texts that must be numbers for a column of numbers."""

DISTINCT_SHARE = 0.95
"""Of texts that are different in a column of keys or text."""

FEWEST = 20
"""Values of which this can be said at all."""

FIRST_DAY, LAST_DAY = 19000101, 20991231
"""Whole numbers that are dates, if all of a column are."""

FEW_TEXTS = 10_000
"""Different texts that a person may look through."""

LONGEST_KEY = 40
"""Characters; a longer text, or one of several words, is no key."""


def forced_kind(config: DataConfig, name: str) -> str | None:
    """The kind that a flag gives to a column."""
    flags = {"category": config.categorical, "number": config.numeric, "time": config.time}
    return next((kind for kind, names in flags.items() if name in names), None)


def read_column(
    table: Table, name: str, kind: str | None = None, *, decimal: str | None = None, told: str = ""
) -> Values:
    """A column, of the kind that is given, else of that which the rule says. decimal: instead of the table's.

    told: what was said of an earlier column that this one is to be read like.
    """
    column, decimal = table.columns[name], decimal or table.decimal
    if kind is None:
        return _infer(column, decimal)
    if kind in ("category", "yes/no", "text", "key"):
        return _as_texts(column, kind)
    if pa.types.is_string(column.type):
        where = f"{table.name}: column {name!r}"
        return _parse_times(where, column, told) if kind == "time" else _parse_numbers(column, decimal)
    numbers, said = _finite_numbers(column)
    if kind == "time":
        return _dates_of_digits(numbers) if are_dates_of_digits(numbers) else Values("time", numbers)
    return Values(kind, numbers, said=said)


def read_as(schema: Schema, table: Table, names: list[str]) -> dict[str, Values]:
    """These columns of another table, read as the schema says. Raises DataError for those that are not there."""
    if missing := [name for name in names if name not in table.columns]:
        there = names_of(list(table.columns))
        raise DataError(f"{table.name}: has no column {names_of(missing)}; its columns are {there}")
    known = {column.name: column for column in schema.columns}
    keys = {*schema.by_role("id"), *schema.by_role("group")}
    table, _ = mark_missing(table, schema.missing, keys)
    return {name: read_like(known[name], table) for name in names}


def read_like(column: Column, table: Table) -> Values:
    """The column of a table, read as that of another one was."""
    if not column.written_as_digits:
        return read_column(table, column.name, column.kind, told=column.said)
    values = read_column(table, column.name, "number")
    return values if values.numbers is None else _dates_of_digits(values.numbers)


def _infer(column: pa.ChunkedArray, decimal: str) -> Values:
    kind = column.type
    if pa.types.is_boolean(kind):
        return _as_texts(column, "yes/no")
    if pa.types.is_timestamp(kind):
        return Values("time", _plain_numbers(column))
    if pa.types.is_string(kind):
        return _infer_texts(column, decimal)
    numbers, said = _finite_numbers(column)
    if counts_the_rows(numbers):
        return Values("key", numbers)
    # Within one month they could as well be counted.
    if (
        len(numbers) >= FEWEST
        and are_dates_of_digits(numbers)
        and np.nanmax(numbers) - np.nanmin(numbers) > 31
    ):
        return _dates_of_digits(numbers)
    return Values("number", numbers, said=said)


def _finite_numbers(column: pa.ChunkedArray) -> tuple[Float64[np.ndarray, " N"], str]:
    """The numbers, infinite ones NaN, for no mean or scale holds them; and what is said of these."""
    numbers = _plain_numbers(column)
    infinite = np.isinf(numbers)
    if not (count := int(infinite.sum())):
        return numbers, ""
    return np.where(infinite, np.nan, numbers), tell_infinite(count)


def tell_infinite(cells: int) -> str:
    """What is said of a column with so many infinite cells; "" where there is none."""
    are = "cell is infinite and counts" if cells == 1 else "cells are infinite and count"
    return f"{cells:,} {are} as missing" if cells else ""


def counts_the_rows(numbers: Float64[np.ndarray, " N"]) -> bool:
    """Whether they are 0, 1, 2, … or 1, 2, 3, …, rows of nothing at the end left aside."""
    there = numbers[~np.isnan(numbers)]
    if len(there) < FEWEST or np.isnan(numbers[: len(there)]).any():
        return False
    return bool((np.diff(there) == 1).all()) and float(there[0]) in (0.0, 1.0)


def are_dates_of_digits(numbers: Float64[np.ndarray, " N"]) -> bool:
    """Whether all are such as 20240131, a day of 1900 to 2099."""
    there = numbers[~np.isnan(numbers)]
    within = len(there) > 0 and there.min() >= FIRST_DAY and there.max() <= LAST_DAY
    return bool(within) and not np.isnan(read_dates_of_digits(there)).any()


def read_dates_of_digits(numbers: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Seconds since 1970 of numbers such as 20240131; NaN for those that are no day of 1900 to 2099."""
    within = (numbers >= FIRST_DAY) & (numbers <= LAST_DAY) & (numbers % 1 == 0)
    whole = np.where(within, numbers, FIRST_DAY).astype(np.int64)
    year, month, day = whole // 10_000, whole // 100 % 100, whole % 100
    months = (year - 1970) * 12 + month - 1
    first, next_ = (
        at.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for at in (months, months + 1)
    )
    good = within & (month >= 1) & (month <= 12) & (day >= 1) & (day <= next_ - first)
    return np.where(good, (first + day - 1) * 86_400.0, np.nan)


def _dates_of_digits(numbers: Float64[np.ndarray, " N"]) -> Values:
    return Values(
        "time", read_dates_of_digits(numbers), said="dates written as 20240131", written_as_digits=True
    )


def _infer_texts(column: pa.ChunkedArray, decimal: str) -> Values:
    texts = _as_texts(column, "category")
    counts = np.bincount(texts.known_codes[texts.known_codes >= 0], minlength=len(texts.texts))
    rows, distinct = int(counts.sum()), len(texts.texts)
    if not rows:
        return texts
    if cells.read_yes_no(texts.texts) is not None:
        return replace(texts, kind="yes/no")
    written = _written(texts)
    found = cells.parse_numbers(written, decimal)
    readable = counts[np.asarray(found.values.is_valid())].sum()
    if readable >= NUMBERS_SHARE * rows and (readable == rows or distinct > FEWEST):
        return _numbers_of(texts, found, rows - int(readable))
    if (times := cells.parse_times(written)) is not None:
        return Values(
            "time", _take(texts, _plain_numbers(pa.chunked_array([times.values]))), said=times.format
        )
    return replace(texts, kind=kind_of_texts(texts.texts, rows))


def kind_of_texts(texts: Sequence[str], rows: int) -> str:
    """Category, or key or text where almost all are different. texts: the different ones of so many rows."""
    if len(texts) <= DISTINCT_SHARE * rows or rows < FEWEST:
        return "category"
    return "text" if any(" " in text or len(text) > LONGEST_KEY for text in texts[:1000]) else "key"


def _numbers_of(texts: Values, found: cells.Numbers, unreadable: int) -> Values:
    said = [f"in {found.unit}"] if found.unit else []
    if unreadable:
        shown = ", ".join(map(repr, found.examples[:3]))
        are = "cell is no number" if unreadable == 1 else "cells are no numbers"
        said.append(f"{unreadable:,} {are} ({shown}) and count{'s' * (unreadable == 1)} as missing")
    return Values(
        "number", _take(texts, _plain_numbers(pa.chunked_array([found.values]))), said="; ".join(said)
    )


def _take(texts: Values, of_text: Float64[np.ndarray, " T"]) -> Float64[np.ndarray, " N"]:
    """The number of each row from that of its text."""
    return np.append(of_text, np.nan)[texts.known_codes]


def _parse_numbers(column: pa.ChunkedArray, decimal: str) -> Values:
    texts = _as_texts(column, "number")
    found = cells.parse_numbers(_written(texts), decimal, leading_zeros=True)
    unreadable = int(np.asarray(found.values.is_null())[texts.known_codes[texts.known_codes >= 0]].sum())
    return _numbers_of(texts, found, unreadable)


def _parse_times(where: str, column: pa.ChunkedArray, told: str) -> Values:
    texts = _as_texts(column, "time")
    if not texts.texts:
        return Values("time", np.full(len(column), np.nan))
    times = cells.parse_times(_written(texts), told)
    if times is None:
        shown = ", ".join(map(repr, texts.texts[:3]))
        raise DataError(
            f"{where} does not hold dates or times ({shown}); write them as 2024-01-31 or 2024-01-31 13:45:00"
        )
    return Values("time", _take(texts, _plain_numbers(pa.chunked_array([times.values]))), said=times.format)


def _written(texts: Values) -> pa.Array:
    """The different texts of a column."""
    found = texts.texts
    return found.array if isinstance(found, _ArrowTexts) else pa.array(found, pa.string())


def _as_texts(column: pa.ChunkedArray, kind: str) -> Values:
    """Codes of the texts, in the order of the texts."""
    if pa.types.is_boolean(column.type):
        column = pc.if_else(column, "true", "false")
    encoded = column.combine_chunks().dictionary_encode()
    distinct = encoded.dictionary
    if not pa.types.is_string(column.type):
        distinct = pa.array(map(write_number, _plain_numbers(pa.chunked_array([distinct]))), pa.string())
    order = _sort_texts(distinct)
    place = np.full(len(distinct) + 1, -1, np.int32)
    place[order] = np.arange(len(distinct), dtype=np.int32)
    codes = place[np.asarray(encoded.indices.fill_null(len(distinct)))]
    in_order = distinct.take(pa.array(order))
    many = len(distinct) > FEW_TEXTS
    return Values(kind, codes=codes, texts=_ArrowTexts(in_order) if many else tuple(in_order.to_pylist()))


class _ArrowTexts(Sequence[str]):
    """Texts that stay in Arrow's memory: of a million different ones Python's strings would take as much again."""

    def __init__(self, texts: pa.StringArray) -> None:
        self.array = texts

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, at: Any) -> Any:
        return self.array[at].to_pylist() if isinstance(at, slice) else self.array[int(at)].as_py()


def _sort_texts(texts: pa.StringArray) -> np.ndarray:
    """Indices in the order of the texts; where there are few, numbers among them by their value."""
    if len(texts) > FEW_TEXTS:
        return np.asarray(pc.array_sort_indices(texts))
    found = texts.to_pylist()
    return np.array(sorted(range(len(found)), key=lambda at: sort_key(found[at])), np.int64)


def _plain_numbers(column: pa.ChunkedArray) -> Float64[np.ndarray, " N"]:
    """float64, NaN for null; times in seconds since 1970."""
    if pa.types.is_timestamp(column.type):
        whole = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
        return _plain_numbers(whole.cast(pa.float64(), safe=False)) / 1e6  # from 2255 on not all microseconds
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
