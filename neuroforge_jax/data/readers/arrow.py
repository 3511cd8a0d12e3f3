"""From any Arrow type to the four of a `Table`: float64, string, bool and timestamp[us].

Whole numbers and decimals become float64, and a note names a column in which that loses digits. Dates and times
become timestamps of UTC, times of day and durations seconds. Dictionaries become what they hold, texts lose the
blanks at their ends, and an empty text or NaN is a missing value. Lists, records and bytes are refused by name.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from neuroforge_jax.data.table import Table
from neuroforge_jax.errors import DataError

EXACT = 2**53
"""float64 holds every whole number up to this one."""
NARROW = {pa.float16(): np.float16, pa.float32(): np.float32}
MAX_TEXT_BYTES = 2**30
"""Of a chunk: Arrow counts the bytes of `string` in 32 bits."""
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def table_of_arrow(
    data: pa.Table,
    name: str,
    drop: Collection[str] = (),
    notes: Sequence[str] = (),
    *,
    empty: bool = False,
) -> Table:
    """A Table of these columns; those named in `drop` are there, and missing in every row, whatever they hold.

    name: what errors call it. notes: what is known of it before. empty: whether it may have no rows. Raises
    DataError for two columns of one name, for none, for no rows, and for a column that holds neither numbers,
    texts, truth values nor times.
    """
    check_names(name, data.column_names)
    if not data.num_columns:
        raise DataError(f"{name}: has no columns; a table of at least two is needed")
    if not data.num_rows and not empty:
        raise DataError(f"{name}: has columns and no rows; there is nothing to learn from")
    told = list(notes)
    columns = {
        column: pa.chunked_array([pa.nulls(len(data), pa.string())])
        if column in drop
        else _Reader(name, column, told).read(values)
        for column, values in zip(data.column_names, data.columns, strict=True)
    }
    return Table(name, columns, tuple(told), dtypes=_narrow_floats(data))


def check_names(name: str, columns: Sequence[str]) -> None:
    """Raises DataError where two columns have one name."""
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise DataError(f"{name}: two columns are named {twice[0]!r}; give each a name of its own")


def _narrow_floats(data: pa.Table) -> dict[str, np.dtype]:
    """The dtypes of the columns of floats that are narrower than float64."""
    kinds_of = {field.name: _held_type(field.type) for field in data.schema}
    return {name: np.dtype(NARROW[kind]) for name, kind in kinds_of.items() if kind in NARROW}


def _held_type(kind: pa.DataType) -> pa.DataType:
    """What a column holds, behind the wraps that say how it is stored."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif kinds.is_dictionary(kind) or kinds.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def is_text(kind: pa.DataType) -> bool:
    """Whether it is one of the three types of texts."""
    return kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)


class _Reader:
    """Reads one column. notes: a list to which a sentence is added where something is lost."""

    def __init__(self, table: str, column: str, notes: list[str]) -> None:
        self.table, self.column, self.notes = table, column, notes

    def read(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """The column as one of the four types."""
        values = self._unwrap(values)
        kind = values.type
        if kinds.is_null(kind):
            return values.cast(pa.float64())
        if kinds.is_boolean(kind):
            return values
        if kinds.is_integer(kind):
            return self._whole_numbers(values)
        if kinds.is_floating(kind) or kinds.is_decimal(kind):
            return _missing_where(pc.is_nan, values.cast(pa.float64()))
        if kinds.is_timestamp(kind) or kinds.is_date(kind):
            return self._times(values)
        if kinds.is_time(kind) or kinds.is_duration(kind):
            return _seconds(values)
        if is_text(kind):
            return self._texts(values)
        raise DataError(
            f"{self.table}: column {self.column!r} holds {kind}, and a column holds numbers, texts, truth values "
            f"or times; leave it out by --drop {self.column!r}, or save it as one of these"
        )

    def _unwrap(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Without the wraps that say how values are stored: extensions, dictionaries, runs."""
        while True:
            kind = values.type
            if isinstance(kind, pa.BaseExtensionType):
                values = pa.chunked_array([chunk.storage for chunk in values.chunks], kind.storage_type)
            elif kinds.is_dictionary(kind):
                written = pa.large_string() if is_text(kind.value_type) else kind.value_type
                values = pa.chunked_array([_write_out(chunk, written) for chunk in values.chunks], written)
            elif kinds.is_run_end_encoded(kind):
                values = pc.run_end_decode(values)
            else:
                return values

    def _whole_numbers(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        numbers = values.cast(pa.float64(), safe=False)
        if values.type.bit_width == 64:
            extremes = pc.min_max(values).as_py()
            low, high = extremes["min"] or 0, extremes["max"] or 0
            if max(-low, high) > EXACT and not _same_numbers(values, numbers):
                self.notes.append(
                    f"column {self.column!r} holds whole numbers beyond 2^53, of which float64 keeps 16 digits; "
                    "if they are keys, save them as texts"
                )
        return numbers

    def _times(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        kind = values.type
        if kinds.is_timestamp(kind) and kind.tz is not None:
            if kind.tz not in ("UTC", "+00:00", "Etc/UTC"):
                self.notes.append(f"column {self.column!r}: times with the zone {kind.tz} are taken into UTC")
            values = values.cast(pa.timestamp(kind.unit))
        try:
            return values.cast(pa.timestamp("us"), safe=kind != pa.timestamp("ns"))
        except pa.ArrowInvalid:
            raise DataError(
                f"{self.table}: column {self.column!r} has times beyond the year 290,000; is it in another unit?"
            ) from None

    def _texts(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        try:
            chunks = _small_chunks(values.cast(pa.large_string()))
            texts = [pc.utf8_trim_whitespace(chunk).cast(pa.string()) for chunk in chunks]
        except pa.ArrowInvalid:
            raise DataError(f"{self.table}: column {self.column!r} has texts of more than 1 GB") from None
        return _missing_where(lambda text: pc.equal(text, ""), pa.chunked_array(texts, pa.string()))


def _write_out(chunk: pa.DictionaryArray, kind: pa.DataType) -> pa.Array:
    """The values of a dictionary, one a row; as large_string they may be more than 2 GB."""
    return chunk.dictionary.cast(kind).take(chunk.indices)


def _missing_where(
    test: Callable[[pa.ChunkedArray], pa.ChunkedArray], values: pa.ChunkedArray
) -> pa.ChunkedArray:
    """The column, null where the test says so."""
    wrong = test(values)
    return pc.if_else(wrong, pa.scalar(None, values.type), values) if pc.any(wrong).as_py() else values


def _same_numbers(values: pa.ChunkedArray, numbers: pa.ChunkedArray) -> bool:
    """Whether whole numbers are what they were; those near 2^63 may be beyond what 64 bits hold."""
    try:
        return bool(pc.all(pc.equal(numbers.cast(values.type), values)).as_py())
    except pa.ArrowInvalid:
        return False


def _seconds(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times of day, since midnight, and durations."""
    kind = values.type
    ticks = values.cast(pa.int32() if kinds.is_time32(kind) else pa.int64()).cast(pa.float64(), safe=False)
    return pc.divide(ticks, float(PER_SECOND[kind.unit]))


def _small_chunks(values: pa.ChunkedArray) -> Iterator[pa.Array]:
    """The chunks, those of too many bytes halved."""
    for chunk in values.chunks:
        if chunk.nbytes > MAX_TEXT_BYTES and len(chunk) > 1:
            half = len(chunk) // 2
            yield from _small_chunks(pa.chunked_array([chunk[:half], chunk[half:]]))
        else:
            yield chunk
