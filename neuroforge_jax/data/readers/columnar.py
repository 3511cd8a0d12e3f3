"""Columnar files by their content: Parquet, and Arrow as a file, which Feather is too, and as a stream.

Before anything is read, the sizes that a file claims are held against the memory there is; while it is read, what
has come so far is. What lies in a file is checked before it is used: an offset that points outside is an error.
"""

import os
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from neuroforge_jax.data.readers.arrow import check_names, is_text, table_of_arrow
from neuroforge_jax.data.readers.arrow_sizes import batch_sizes
from neuroforge_jax.data.readers.changes import refuse_changes
from neuroforge_jax.data.readers.missing import mark_missing, read_missing
from neuroforge_jax.data.table import Table
from neuroforge_jax.errors import DataError
from neuroforge_jax.system.memory import free_bytes, text

Reader: TypeAlias = pq.ParquetFile | pa.ipc.RecordBatchStreamReader
ROWS_AT_ONCE = 2**20
"""Each piece of a Parquet file starts the decoding of every column anew, so that few large ones are faster."""
SHARE = 0.8
"""Of the free memory, that a table may take: the rest is for what is made of one column at a time."""
OTHERS = {
    b"\x1f\x8b": "a gzip file", b"PK": "a zip file or a workbook", b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file", b"\x89HDF": "an HDF5 file", b"SQLite": "a database", b"\x93NUMPY": "an .npy file",
}  # fmt: skip


def read_columnar(
    path: Path, drop: Collection[str] = (), *, missing: Sequence[str] = (), keys: Collection[str] = ()
) -> Table:
    """The table in a Parquet, Arrow or Feather file, whatever its name.

    drop: columns that are not read, and are missing in every row. missing: numbers and texts that mean a missing
    value, how many of which there are a note says; keys: columns in which they do not. Raises DataError, in one
    line, for a file that is none of these, damaged, cut short or encrypted, without columns or rows, or larger than
    the memory.
    """
    with _open(path) as source:
        # What is dropped is part of the claim, so that only reading tells the size of the rest.
        source.check_memory(source.largest if drop else source.total)
        batches, size = [], 0
        for batch in source.batches(ROWS_AT_ONCE, drop):
            size += _bytes_read(batch)
            source.check_memory(size)
            batches.append(batch)
        return read_missing(source.table(batches, drop), missing, keys)


def stream_columnar(
    path: Path,
    rows: int,
    drop: Collection[str] = (),
    *,
    texts: Collection[str] = (),
    missing: Sequence[str] = (),
) -> Iterator[Table]:
    """The same table in pieces of at most `rows` rows, in order: for files larger than the memory.

    texts: columns of whole numbers, decimals and dates that are given as texts, with every digit, and
    in which `missing` means nothing. A table without rows is one piece of none.
    """
    with _open(path) as source:
        source.check_memory(source.largest)
        empty = True
        for batch in source.batches(rows, drop):
            source.check_memory(_bytes_read(batch))
            empty = False
            table = source.table([_write_digits(batch, texts)], drop)
            yield mark_missing(table, missing, texts)[0]
        if empty:
            yield source.table([], drop, empty=True)


def _write_digits(batch: pa.RecordBatch, names: Collection[str]) -> pa.RecordBatch:
    """With these columns as texts, if they are exact numbers or dates."""
    exact = (kinds.is_integer, kinds.is_decimal, kinds.is_date)
    for at, field in enumerate(batch.schema):
        if field.name in names and any(is_kind(field.type) for is_kind in exact):
            batch = batch.set_column(at, field.name, batch.column(at).cast(pa.string()))
    return batch


def _bytes_read(batch: pa.RecordBatch) -> int:
    """What a batch takes together with the columns of a Table that are made of it."""
    return sum(_column_bytes(column) for column in batch.columns)


def _column_bytes(column: pa.Array) -> int:
    """What it takes now, and as numbers, or as the texts of a dictionary written out."""
    numbers = 8 * len(column)
    if kinds.is_run_end_encoded(column.type):
        return 2 * numbers  # the runs written out, and the column
    if not kinds.is_dictionary(column.type):
        return column.nbytes + max(numbers, column.nbytes)
    # The dictionary itself is that of all batches.
    if is_text(column.type.value_type):
        lengths = pc.binary_length(column.dictionary.cast(pa.large_string()))
        numbers += pc.sum(lengths.take(column.indices)).as_py() or 0
    return column.indices.nbytes + numbers


@dataclass(frozen=True, eq=False)
class _Source:
    """A file that is open.

    limit: how many bytes may be taken for it. total, largest: how many it claims to take, and how many of them at
    once where it is read in pieces.
    """

    path: Path
    reader: Reader
    limit: float
    total: int
    largest: int

    @property
    def schema(self) -> pa.Schema:
        return self.reader.schema_arrow if isinstance(self.reader, pq.ParquetFile) else self.reader.schema

    def batches(self, rows: int, drop: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Of at most so many rows each, checked, without the columns to drop."""
        check_names(str(self.path), self.schema.names)
        keep = [name for name in self.schema.names if name not in drop]
        if isinstance(self.reader, pq.ParquetFile):
            found = self.reader.iter_batches(batch_size=rows, columns=keep)
        else:
            found = self.reader
        for batch in found:
            batch.validate(full=True)
            for at in range(0, len(batch), rows):
                yield batch.select(keep).slice(at, rows)

    def table(self, batches: list[pa.RecordBatch], drop: Collection[str], *, empty: bool = False) -> Table:
        """The Table of these batches, with the columns that were not read in their places."""
        kept = pa.schema([field for field in self.schema if field.name not in drop])
        data = pa.Table.from_batches(batches, batches[0].schema if batches else kept)
        for at, name in enumerate(self.schema.names):
            if name in drop:
                data = data.add_column(at, name, pa.nulls(len(data)))
        return table_of_arrow(data, str(self.path), drop, empty=empty)

    def check_memory(self, size: int) -> None:
        """Raises DataError for more bytes than the limit."""
        if size > self.limit:
            raise DataError(
                f"{self.path}: takes {text(size)} of memory or more, and may take {text(self.limit)}, {SHARE:.0%} "
                "of what is free; take fewer rows, or leave columns out by --drop"
            )


@contextmanager
def _open(path: Path) -> Iterator[_Source]:
    """The file, by what it begins with; whatever goes wrong in it is a DataError of one line."""
    with explain_errors(path):
        # Asked before opening: opening a pipe would wait for its writer.
        if not path.is_file():
            raise DataError(f"{path}: is not there, or is not a file")
        with refuse_changes(path), path.open("rb") as file:
            yield _source(path, file)


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Raises a DataError of one line for whatever goes wrong in reading a file by Arrow."""
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path}: claims more than the memory holds; it is damaged, or too large") from None
    except OSError as error:
        if error.errno:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        raise _explain_damage(path, error) from None
    except (
        pa.ArrowException,
        ValueError,
        TypeError,
        OverflowError,
        IndexError,
        KeyError,
        struct.error,
    ) as error:
        raise _explain_damage(path, error) from None


def _explain_damage(path: Path, error: Exception) -> DataError:
    """What Arrow says of a file, in a line."""
    fact = " ".join(str(error).split())
    if "crypt" in fact:
        return DataError(f"{path}: is encrypted; save it without encryption")
    return DataError(
        f"{path}: is damaged or cut short ({fact[:120] or type(error).__name__}); write it again"
    )


def _source(path: Path, file: BinaryIO) -> _Source:
    start = file.read(8)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 6))
    end = file.read()
    if start[:4] == b"PARE" or (start[:4] == b"PAR1" and end[-4:] == b"PARE"):
        raise DataError(f"{path}: is encrypted; save it without encryption")
    if start[:4] == b"PAR1":
        if end[-4:] != b"PAR1":
            raise DataError(f"{path}: is a Parquet file that is cut short; write it again")
        return _parquet(path, file)
    if start[:6] == b"ARROW1" and end != b"ARROW1":
        raise DataError(f"{path}: is an Arrow file that is cut short; write it again")
    if start[:4] == b"FEA1":
        # Arrow's reader of these crashes where they are damaged, and is to be removed.
        raise DataError(
            f"{path}: is a Feather file of version 1, which is not read; write it again as version 2: python -c "
            f'"from pyarrow.feather import read_table, write_feather; write_feather(read_table({path.name!r}), '
            f'{path.stem + "-2.feather"!r})"'
        )
    # An Arrow file is a stream behind eight bytes, with a table of contents behind it.
    begin = 8 if start[:6] == b"ARROW1" else 0
    if not begin and not _is_stream(start):
        raise DataError(f"{path}: {_what_it_is(start)}; a Parquet, Arrow or Feather file is expected")
    file.seek(begin)
    sizes = tuple(batch_sizes(file))
    file.seek(begin)
    return _Source(path, pa.ipc.open_stream(file), SHARE * free_bytes(), sum(sizes), max(sizes, default=0))


def _parquet(path: Path, file: BinaryIO) -> _Source:
    texts = [field.name for field in pq.read_schema(file) if is_text(field.type)]
    # A dictionary is one text for a million rows until its size has been checked.
    reader = pq.ParquetFile(file, read_dictionary=texts)
    told = reader.metadata
    stored = sum(told.row_group(at).total_byte_size for at in range(told.num_row_groups))
    return _Source(path, reader, SHARE * free_bytes(), max(stored, 8 * told.num_columns * told.num_rows), 0)


def _is_stream(start: bytes) -> bool:
    """Whether a file begins as a message does: with a mark and a length."""
    mark, length = struct.unpack("<iI", start) if len(start) == 8 else (0, 0)
    return mark == -1 and 0 < length < 2**31


def _what_it_is(start: bytes) -> str:
    if not start:
        return "the file is empty"
    known = next((words for magic, words in OTHERS.items() if start.startswith(magic)), None)
    if known:
        return f"this is {known}"
    text_file = all(byte >= 32 or byte in b"\t\r\n" for byte in start)
    return "this is a text file" if text_file else f"it begins with {start[:4].hex(' ')}"
