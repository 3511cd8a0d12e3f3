"""One column as Python and its libraries hold it, as Arrow: a series, an array, a list, of one type or several."""

from collections.abc import Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa

from neuroforge_jax.errors import DataError

MISSING = ("NoneType", "NAType", "NaTType")
SINGLE = (str, Real, np.bool_, Decimal, date, time, timedelta, np.datetime64, np.timedelta64)
"""What a cell may be: everything else is an object, or holds several."""


def column_of(table: str, column: str, values: Any, notes: list[str]) -> pa.ChunkedArray:
    """A column, as Arrow infers its type; None, NaN, NaT and NA are missing.

    Numbers of several types are float64. Other values of several types become texts, and a note says so. Raises
    DataError naming table and column.
    """
    if isinstance(values, pa.ChunkedArray):
        return values
    if isinstance(values, pa.Array):
        return pa.chunked_array([values])
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DataError(
            f"{table}: column {column!r} is {values!r:.40}; a column is a list or an array with a value a row"
        )
    try:
        return pa.chunked_array([_infer(values)])
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return pa.chunked_array([_read_mixed(table, column, list(values), notes)])


def _infer(values: Any) -> pa.Array:
    """By its own library where it is a series, else by NumPy or Arrow."""
    kind = str(getattr(values, "dtype", ""))
    if kind.startswith("Sparse"):
        values = values.sparse.to_dense()
    elif kind.startswith("period"):
        values = values.dt.to_timestamp()
    if hasattr(values, "__arrow_c_stream__") and not hasattr(values, "iloc"):
        return pa.chunked_array(values).combine_chunks()
    if hasattr(values, "__array__") and not hasattr(values, "iloc"):
        return _infer_array(values if isinstance(values, np.ndarray) else np.asarray(values))
    return pa.array(values if hasattr(values, "iloc") else list(values), from_pandas=True)


def _infer_array(values: np.ndarray) -> pa.Array:
    if values.ndim != 1:
        raise TypeError
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    plain = np.ma.getdata(values)
    if plain.dtype.kind in "SO":
        texts = [value.decode() if isinstance(value, bytes) else value for value in plain.tolist()]
        return pa.array(texts, mask=mask, from_pandas=True)
    if plain.dtype.kind == "f" and plain.dtype.itemsize > 8:
        plain = plain.astype(np.float64)
    elif plain.dtype.kind in "mM":
        plain = plain.astype(f"{'datetime64' if plain.dtype.kind == 'M' else 'timedelta64'}[us]")
    native = plain.astype(plain.dtype.newbyteorder("="), copy=False)
    return pa.array(native, mask=mask, from_pandas=True)


def _read_mixed(table: str, column: str, values: list[Any], notes: list[str]) -> pa.Array:
    """Of several types: numbers, or else texts."""
    present = [value for value in values if not _is_missing(value)]
    for value in present:
        if not isinstance(value, SINGLE):
            raise DataError(
                f"{table}: column {column!r} holds values of type {type(value).__name__}, and a column holds "
                f"numbers, texts, truth values or times; leave it out by --drop {column!r}"
            )
    if all(isinstance(value, Real | np.bool_ | Decimal) for value in present):
        try:
            return pa.array([None if _is_missing(value) else float(value) for value in values], pa.float64())
        except OverflowError:
            raise DataError(
                f"{table}: column {column!r} holds a whole number of more than 308 digits"
            ) from None
    found = sorted({type(value).__name__ for value in present})
    notes.append(
        f"column {column!r} holds values of several types ({', '.join(found)}); they are read as texts"
    )
    return pa.array([None if _is_missing(value) else str(value) for value in values], pa.string())


def _is_missing(value: Any) -> bool:
    return type(value).__name__ in MISSING or (isinstance(value, float) and value != value)
