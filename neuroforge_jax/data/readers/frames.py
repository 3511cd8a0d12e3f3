"""Data in memory: frames of any library as a `Table`, and whatever holds numbers as a NumPy array.

A frame is what speaks the Arrow PyCapsule protocol or the data-frame interchange protocol, or a mapping of names to
columns. No library of frames is imported here: who hands over a frame of pandas or polars has imported it.
"""

import sys
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroforge_jax.errors import DataError
from neuroforge_jax.system.memory import free_bytes, text

if TYPE_CHECKING:
    # pyarrow is imported by those who bring a table.
    from neuroforge_jax.data.table import Table


def is_frame(data: object) -> bool:
    """Whether `table_of` takes it: a frame or a mapping, but no single column and no array."""
    if isinstance(data, Mapping) or _is_a(data, "polars", "LazyFrame"):
        return True
    kind = type(data)
    speaks = hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__dataframe__")
    return speaks and not _is_column(data)


def table_of(
    frame: object, name: str = "the data frame", drop: Collection[str] = (), *, empty: bool = False
) -> "Table":
    """The columns of a frame, as a Table.

    A lazy frame is collected, and an index that is more than a count is left out; notes say so. Names become texts.
    name: what errors call it. drop: columns that are not read, and are missing in every row. empty: whether there
    may be no rows. Raises DataError, in one line, for two columns of one name, names of several levels, columns of
    different lengths, none, no rows, and values that are neither numbers, texts, truth values nor times.
    """
    import pyarrow as pa

    from neuroforge_jax.data.readers.arrow import table_of_arrow

    notes: list[str] = []
    if _is_a(frame, "polars", "LazyFrame"):
        frame = _try(name, type(frame).collect, frame)  # type: ignore[attr-defined]
        notes.append("the lazy frame was collected")
    if _is_a(frame, "pandas", "DataFrame"):
        data = _from_columns(name, list(_pandas_columns(name, frame, notes)), drop, notes)
    elif isinstance(frame, Mapping):
        data = _from_columns(name, [(str(key), values) for key, values in frame.items()], drop, notes)
    elif isinstance(frame, pa.RecordBatch):
        data = pa.Table.from_batches([frame])
    elif hasattr(frame, "__arrow_c_stream__"):
        data = _try(name, pa.table, frame)
    else:
        from pyarrow.interchange import from_dataframe

        data = _try(name, from_dataframe, frame)
    return table_of_arrow(data, name, drop, notes, empty=empty)


def take_array(x: object, name: str) -> np.ndarray:
    """Whatever holds numbers, as an array.

    An array of numbers or truth values is given back as it is, mapped, in Fortran order, of any number of bits: who
    reads it converts it. What is masked, None or NaN is NaN, in float64, or in float32 where that is exact; times
    are seconds since 1970 and durations seconds, in float64; a sparse matrix is written out in float32, and a frame
    of numbers is float64 [rows, columns]. name: what errors call it. Raises DataError, in one line, for complex
    numbers, texts and other objects, for rows of different lengths, and for a sparse matrix larger than the memory.
    """
    if _is_sparse(x):
        return _write_out(x, name)
    if is_frame(x):
        return _numbers_of_frame(x, name)
    if _is_series(x) and not isinstance(getattr(x, "dtype", None), np.dtype):
        return _numbers_of_frame({name: x}, name)[:, 0]
    array = x if isinstance(x, np.ndarray) else _try(name, np.asarray, x)
    if isinstance(array, np.ma.MaskedArray):
        return _fill_masked(array, name)
    return _numbers(array, name)


def _is_a(data: object, library: str, kind: str) -> bool:
    """Whether it is of a class of a library, which is not imported if nobody has done so."""
    return isinstance(data, getattr(sys.modules.get(library), kind, ()))


def _is_column(data: object) -> bool:
    """Whether it is one column of a library of frames, or an array."""
    arrow = any(_is_a(data, "pyarrow", kind) for kind in ("Array", "ChunkedArray"))
    return arrow or hasattr(type(data), "dtype")


def _is_series(data: object) -> bool:
    """Whether it is one column of a library of frames, and no array of another."""
    return any(hasattr(type(data), word) for word in ("iloc", "__arrow_c_stream__", "__arrow_c_array__"))


def _is_plain(dtype: object) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "fiub"


def _try(name: str, convert: Any, data: object, *arguments: object) -> Any:
    """What a library makes of its own data; whatever it raises is a DataError."""
    try:
        return convert(data, *arguments)
    except Exception as error:
        fact = " ".join(str(error).split())[:160]
        if "inhomogeneous" in fact:
            raise DataError(
                f"{name}: its rows have different lengths; an array has rows of one length"
            ) from None
        raise DataError(f"{name}: a {type(data).__name__} that cannot be read ({fact})") from None


def _pandas_columns(name: str, frame: Any, notes: list[str]) -> Iterator[tuple[str, object]]:
    if frame.columns.nlevels > 1:
        raise DataError(
            f"{name}: its columns have names of {frame.columns.nlevels} levels; join them, as in "
            'frame.columns = ["_".join(map(str, c)) for c in frame.columns]'
        )
    index = frame.index
    named = [str(level) for level in index.names if level is not None]
    if named or index.nlevels > 1 or getattr(index.dtype, "kind", "O") not in "iu":
        called = f"the index {', '.join(map(repr, named))}" if named else "the index"
        notes.append(f"{called} is left out; frame.reset_index() makes a column of it")
    for at, column in enumerate(frame.columns):
        yield str(column), frame.iloc[:, at]


def _from_columns(
    name: str, columns: list[tuple[str, object]], drop: Collection[str], notes: list[str]
) -> Any:
    """An Arrow table of columns as Python and its libraries hold them."""
    import pyarrow as pa

    from neuroforge_jax.data.readers.arrow import check_names
    from neuroforge_jax.data.readers.objects import column_of

    check_names(name, [column for column, _ in columns])
    read = {
        column: column_of(name, column, values, notes) for column, values in columns if column not in drop
    }
    lengths = {column: len(values) for column, values in read.items()}
    rows = max(lengths.values(), default=0)
    for column, length in lengths.items():
        if length != rows:
            longest = max(lengths, key=lengths.__getitem__)
            raise DataError(
                f"{name}: column {column!r} has {length:,} values and {longest!r} {rows:,}; give one a row"
            )
    return pa.table({column: read.get(column, pa.nulls(rows)) for column, _ in columns})


def _numbers_of_frame(frame: Any, name: str) -> np.ndarray:
    """float64 [rows, columns], or as it is where a frame of pandas is one array of numbers."""
    if (
        _is_a(frame, "pandas", "DataFrame")
        and len(set(frame.dtypes)) == 1
        and _is_plain(frame.dtypes.iloc[0])
    ):
        return frame.to_numpy()
    import pyarrow as pa

    columns = table_of(frame, name).columns
    texts = [column for column, values in columns.items() if values.type == pa.string()]
    if texts:
        raise DataError(
            f"{name}: {texts[0]!r} holds texts; an array holds numbers: give the data frame itself as the dataset, "
            "which takes categories and texts"
        )
    numbers = np.empty((len(next(iter(columns.values()))), len(columns)))
    for at, values in enumerate(columns.values()):
        if values.type == pa.timestamp("us"):
            values = values.cast(pa.int64()).cast(pa.float64(), safe=False)
            numbers[:, at] = values.to_numpy() / 1e6
        else:
            numbers[:, at] = values.cast(pa.float64()).to_numpy()
    return numbers


def _is_sparse(x: object) -> bool:
    scipy = sys.modules.get("scipy.sparse")
    return scipy is not None and bool(scipy.issparse(x))


def _write_out(x: Any, name: str) -> np.ndarray:
    """A sparse matrix in float32."""
    if x.dtype.kind not in "fiub":
        raise DataError(f"{name}: a sparse matrix of {x.dtype}; its values must be numbers")
    size, free = 4 * int(np.prod(x.shape, dtype=object)), free_bytes()
    if size > free:
        shape = " × ".join(f"{axis:,}" for axis in x.shape)
        raise DataError(
            f"{name}: a sparse matrix of {shape} takes {text(size)} written out in float32, and {text(free)} are "
            "free; take fewer rows or columns"
        )
    return x.astype(np.float32).toarray()


def _fill_masked(x: np.ma.MaskedArray, name: str) -> np.ndarray:
    numbers = _numbers(np.ma.getdata(x), name)
    mask = np.ma.getmaskarray(x)
    if not mask.any():
        return numbers
    small = numbers.dtype.kind in "iub" and numbers.dtype.itemsize <= 2
    kind = numbers.dtype if numbers.dtype.kind == "f" else np.float32 if small else np.float64
    return np.where(mask, np.asarray(np.nan, kind), numbers.astype(kind))


def _numbers(x: np.ndarray, name: str) -> np.ndarray:
    """An array of numbers as it is; times, durations and objects as float64."""
    if x.dtype.kind in "fiub":
        return x
    if x.dtype.kind == "O":
        return _numbers_of_objects(x, name)
    if x.dtype.kind in "mM":
        return _seconds(x, name)
    if x.dtype.kind == "V" and x.dtype.names is None and x.dtype.itemsize <= 2:
        return _try(name, np.ndarray.astype, x, np.float32)  # bfloat16 and smaller, as jax registers them
    if x.dtype.names is not None:
        raise DataError(f"{name}: holds records; give {{name: array[name] for name in array.dtype.names}}")
    if x.dtype.kind in "UST":
        example = repr(x.flat[0].item() if hasattr(x.flat[0], "item") else x.flat[0])
        raise _texts(name, example)
    raise DataError(f"{name}: holds {x.dtype}; it must hold real numbers")


def _texts(name: str, example: str) -> DataError:
    return DataError(
        f"{name}: holds texts, such as {example:.40}; an array holds numbers: give a data frame as the dataset, "
        "whose columns may be texts"
    )


def _seconds(x: np.ndarray, name: str) -> np.ndarray:
    unit = "datetime64[us]" if x.dtype.kind == "M" else "timedelta64[us]"
    micros = _try(name, np.ndarray.astype, x, unit)
    return np.where(np.isnat(micros), np.nan, micros.astype(np.int64) / 1e6)


MISSING = ("NoneType", "NAType", "NaTType")


def _numbers_of_objects(x: np.ndarray, name: str) -> np.ndarray:
    values = x.ravel().tolist()
    kinds = {type(value) for value in values}
    held = {kind for kind in kinds if kind.__name__ not in MISSING}
    missing = np.array([type(value).__name__ in MISSING for value in values], bool)
    if held and all(issubclass(kind, date | np.datetime64) for kind in held):
        times = [np.nan if none else _instant(value) for value, none in zip(values, missing, strict=True)]
        return np.array(times, np.float64).reshape(x.shape)
    for kind in held:
        if not _is_number(kind):
            example = next(value for value in values if type(value) is kind)
            if kind is str:
                raise _texts(name, repr(example))
            rows = "; its rows must be of one length" if hasattr(example, "__len__") else ""
            raise DataError(f"{name}: holds values of type {kind.__name__}; it must hold real numbers{rows}")
    numbers = np.full(x.size, np.nan)
    try:
        numbers[~missing] = x.ravel()[~missing].astype(np.float64)
    except OverflowError:
        raise DataError(f"{name}: holds a whole number of more than 308 digits") from None
    return numbers.reshape(x.shape)


def _is_number(kind: type) -> bool:
    real = issubclass(kind, Number | np.bool_ | Decimal)
    return real and not issubclass(kind, complex | np.complexfloating)


def _instant(value: date | np.datetime64) -> float:
    """Seconds since 1970, of UTC where no zone is said."""
    if isinstance(value, np.datetime64):
        return float(_seconds(np.asarray(value), "a time"))
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
