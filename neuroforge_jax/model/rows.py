"""Rows as people have them, as a model stores them: by position in arrays, by name in frames and tables."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroforge_jax.data.array_sets import store_inputs
from neuroforge_jax.data.preprocess import Inputs
from neuroforge_jax.data.readers.frames import is_frame, table_of, take_array
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.types import Split
from neuroforge_jax.data.values import Values
from neuroforge_jax.model.model import FittedModel

if TYPE_CHECKING:
    from neuroforge_jax.data.table import Table

Tell = Callable[[str], None]


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)  # of who calls nf.predict


def read_rows(model: FittedModel, rows: Any, tell: Tell = _warn) -> Inputs:
    """Rows [N, I] as the model stores them, of an array or a data frame; those of a Split are stored already.

    Numbers that the training named as missing are so here. Of a model of bytes, numbers from 0 to 1 are shares of
    its brightest level, and tell is called with a sentence on it. Raises ValueError for samples of another width
    than the model's, for an array where columns are taken by name, and for float32 rows where the model was trained
    on what float32 rounds away; DataError for columns that are missing or numbers that are infinite.
    """
    if isinstance(rows, Split):
        found, width = rows.inputs.shape[1], model.spec.plan.record
        if found != width:
            raise ValueError(
                f"the split stores {found:,} numbers a sample, and the model takes {width:,}; give one of the "
                "dataset that it was trained on"
            )
        return rows.inputs
    if model.schema is not None and is_frame(rows):
        table = table_of(rows, empty=True)
        return model.schema.encode(read_columns(model.schema, table), table.name)
    if model.schema is not None and any(x.is_code or x.origin or x.cycles for x in model.schema.inputs):
        raise ValueError(
            "the model takes columns by their names: give a table with a header, a data frame, or a Split as it is"
        )
    array, width = take_array(rows, "rows"), model.spec.plan.record
    found = math.prod(array.shape[1:])
    if found != width and array.shape != (0,):
        single = "; one sample is rows[None]" if array.ndim == 1 and len(array) == width else ""
        raise ValueError(f"samples have {found:,} numbers, and the model takes {width:,}{single}")
    if model.origins is not None and array.dtype.kind == "f" and array.dtype.itemsize <= 4 and array.size:
        raise ValueError(
            f"rows are {array.dtype}, which rounds away what the numbers of this model differ by; give float64 "
            "rows, or, of what a dataset stores, the Split and not its inputs"
        )
    flat = mark_numbers(array.reshape(-1, width), model.marks)
    if model.spec.plan.pixels and flat.dtype != np.uint8:
        flat = _read_pixels(model, flat, tell)
    return store_inputs("rows", "given", flat, model.origins)


def mark_numbers(rows: np.ndarray, marks: Sequence[str]) -> np.ndarray:
    """Rows with NaN for the numbers among the marks of a missing value, as floats where there are any."""
    if not marks:
        return rows
    from neuroforge_jax.data.readers.missing import mark_array  # with pyarrow

    return mark_array(rows, marks)


def read_columns(schema: Schema, table: "Table") -> Mapping[str, Values]:
    """The inputs of a schema, by name. Raises DataError for those that are not there."""
    from neuroforge_jax.data.columns import read_as

    return read_as(schema, table, [column.name for column in schema.inputs])


def _read_pixels(model: FittedModel, levels: np.ndarray, tell: Tell) -> np.ndarray:
    """Levels that are no bytes, for a model of bytes. Raises ValueError for one that is missing."""
    if np.isnan(levels).any():
        row, pixel = (int(at[0]) for at in np.nonzero(np.isnan(levels)))
        raise ValueError(
            f"row {row + 1:,}: pixel {pixel + 1:,} is no number; a picture has all of its pixels"
        )
    if levels.dtype.kind not in "fb" or not levels.any() or levels.min() < 0 or levels.max() > 1:
        return levels
    style = model.measure_style()
    brightest = max(style.background or 0, style.ink or 0) if style else 0
    brightest = brightest or 255
    tell(f"pixels from 0 to 1 are taken for levels from 0 to {brightest}, as the model was trained on")
    return np.rint(levels * np.float64(brightest)).astype(np.uint8)
