"""Data frames: one of plain numbers is what its array is, and any other goes in as the schema of its columns says.

    texts, categories, times, or a gap anywhere  → the schema that `nf.fit` infers, and scaling within the model
    numbers and truth values alone               → scikit-learn's array, untouched

A schema is that of the first rows: what comes later, to be trained on or predicted, is read by its names.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.columns import read_as, read_column
from neuroforge_jax.data.readers.frames import is_frame, table_of
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.schema_inference import infer_schema
from neuroforge_jax.data.table import Table
from neuroforge_jax.data.targets import Target
from neuroforge_jax.data.values import names_of
from neuroforge_jax.errors import UserError
from neuroforge_jax.estimators.rows import Rows

WHERE = "X"
"""What errors call a frame."""


def learn_schema(X: Any) -> tuple[Schema, Rows] | None:
    """The schema of a frame, without what is predicted, and its rows as that stores them; None of plain numbers.

    Warns of columns that are left out. Raises ValueError for a frame that cannot be read, or says nothing.
    """
    if _is_plain(X):
        return None
    table, categories = _read(X), _categories(X)
    if len(table) and not categories and all(map(_holds_numbers, table.columns.values())):
        return None
    try:
        columns = {
            name: read_column(table, name, "category" if name in categories else None)
            for name in table.columns
        }
        schema = infer_schema(columns, DataConfig(categorical=tuple(categories)), Target("regression"), WHERE)
        rows = schema.encode(columns, WHERE)
    except UserError as error:
        raise ValueError(str(error)) from error
    _tell_left_out(schema)
    return schema, rows


def read_by_name(schema: Schema, X: Any, owner: str) -> Rows:
    """Rows of a frame as a schema stores them, and of an array, whose columns are in the order of the fitted frame.

    owner: the estimator's name, for errors. Raises ValueError for columns that are missing, and for no rows.
    """
    if not is_frame(X):
        X = _name_columns(schema, X)
    table = _read(X, empty=True)
    wanted = [column.name for column in schema.inputs]
    if missing := [name for name in wanted if name not in table.columns]:
        raise ValueError(
            f"X has no column {names_of(missing)}, which {owner} was fitted with; its columns are "
            f"{names_of(list(table.columns))}"
        )
    if not len(table):
        raise ValueError(
            f"Found array with 0 sample(s) (shape=(0, {len(table.columns)})) while a minimum of 1 is required by "
            f"{owner}."
        )
    with _raising_value_errors():
        return schema.encode(read_as(schema, table, wanted), WHERE)


def _name_columns(schema: Schema, X: Any) -> dict[str, np.ndarray]:
    dense = X.toarray() if hasattr(X, "toarray") else X
    array = dense if isinstance(dense, np.ndarray) else np.array(dense, dtype=object)
    names = [column.name for column in schema.columns if column.role != "target"]
    return {name: array[:, at] for at, name in enumerate(names)}


def _is_plain(X: Any) -> bool:
    """Whether a frame of pandas is of NumPy's numbers without a gap: told without a copy."""
    if not hasattr(X, "iloc"):
        return False
    plain = all(isinstance(dtype, np.dtype) and dtype.kind in "fiub" for dtype in X.dtypes)
    return plain and not X.isna().to_numpy().any()


def _holds_numbers(column: pa.ChunkedArray) -> bool:
    plain = pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)
    return plain and not column.null_count


def _categories(X: Any) -> list[str]:
    """Columns of pandas whose type says that they are categories, whatever these are."""
    dtypes = X.dtypes.items() if hasattr(X, "iloc") else ()
    return [str(name) for name, dtype in dtypes if dtype == "category"]


def _read(X: Any, *, empty: bool = False) -> Table:
    """A frame's columns. Raises ValueError for infinity, which scikit-learn refuses and our reader takes for a
    missing value.
    """
    with _raising_value_errors():
        table = table_of(X, WHERE, empty=empty)
    for name, column in table.columns.items():
        if pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
            raise ValueError(f"Input X contains infinity, in column {name!r}.")
    return table


@contextmanager
def _raising_value_errors() -> Iterator[None]:
    """What is wrong with a frame, as scikit-learn's users expect it, without the flags of a command."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error).replace("leave it out by --drop", "leave it out: drop")) from error


def _tell_left_out(schema: Schema) -> None:
    left = [f"{column.name!r} ({column.said})" for column in schema.columns if column.role == "left out"]
    if left:
        shown = ", ".join(left[:6]) + (f" and {len(left) - 6} more" if len(left) > 6 else "")
        warnings.warn(f"columns that are left out, as schema_ says: {shown}", UserWarning, stacklevel=8)
