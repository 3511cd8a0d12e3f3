"""Shards of Parquet: row groups, each read from its beginning, some thousands of rows at a time.

Pages are read as they are needed and not a whole row group at once, so that a lane takes little memory however
large the groups are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds
from jaxtyping import Int64

from neuroforge_jax.data.readers.arrow import check_names
from neuroforge_jax.data.readers.columnar import explain_errors
from neuroforge_jax.data.shards.arrays import changed
from neuroforge_jax.data.shards.units import ROWS_AT_ONCE, Place
from neuroforge_jax.errors import DataError

PAGE_BUFFER = 1 << 16
"""Bytes of each column that are read from the file at once."""

NUMBERS_AT_ONCE = 1 << 18
"""Numbers that are decoded at once: Arrow keeps room for as many, 16 bytes each, of the file that a lane reads."""


ROWS_JOINED = 2048
"""Rows that are given at once, or more: what is done with each block costs half a millisecond whatever its size."""


@dataclass(frozen=True, eq=False)
class ParquetFile:
    """A file of Parquet. groups: rows of each row group. footer: SHA-256 of what its end says. bytes: its size."""

    path: Path
    schema: pa.Schema
    metadata: pq.FileMetaData
    groups: tuple[int, ...]
    footer: str
    bytes: int

    @staticmethod
    def open(path: Path) -> "ParquetFile":
        """What its end says. Raises DataError for a file that is damaged, or no Parquet."""
        with explain_errors(path), path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 8))
            end = file.read(8)
            if end[4:] != b"PAR1":
                raise DataError(
                    f"{path}: is no Parquet file, or one that is cut short or encrypted; write it again"
                )
            file.seek(max(0, size - 8 - int.from_bytes(end[:4], "little")))
            footer = sha256(file.read()).hexdigest()
            metadata = pq.read_metadata(file)
            groups = tuple(metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))
            schema = metadata.schema.to_arrow_schema()
            check_names(str(path), schema.names)
            return ParquetFile(path, schema, metadata, groups, footer, size)

    def read(self, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a row group, checked. Raises DataError where the file is damaged, or is another one now."""
        with explain_errors(self.path), pa.OSFile(str(self.path)) as file:
            if file.size() != self.bytes:
                raise changed(self.path)
            reader = pq.ParquetFile(file, metadata=self.metadata, buffer_size=PAGE_BUFFER, pre_buffer=False)
            rows = rows_at_once([self.schema.field(name).type for name in columns])
            batches = reader.iter_batches(rows, row_groups=[group], columns=list(columns), use_threads=False)
            waiting: list[pa.RecordBatch] = []
            for batch in batches:
                batch.validate(full=True)
                waiting.append(batch)
                if sum(map(len, waiting)) >= ROWS_JOINED:
                    yield _join(waiting)
                    waiting = []
            if waiting:
                yield _join(waiting)


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return (
        batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    )


def rows_at_once(types: Sequence[pa.DataType]) -> int:
    """How many rows of these columns are decoded together."""
    return int(np.clip(NUMBERS_AT_ONCE // max(1, sum(map(_numbers, types))), 1, ROWS_AT_ONCE))


def _numbers(kind: pa.DataType) -> int:
    """Of a row of a column; bytes are decoded eight at once, and those of lists one by one."""
    if kinds.is_fixed_size_list(kind):
        return int(kind.list_size * _numbers(kind.value_type))
    return -(-kind.byte_width // 8) if kinds.is_fixed_size_binary(kind) else 1


def check_schemas(files: Sequence[ParquetFile], listed: Mapping[str, str]) -> None:
    """Every shard has the columns of the first, and this those that the manifest lists. Raises DataError, which
    names shard, column and types.
    """
    first = files[0]
    if listed:
        types = {field.name: str(field.type) for field in first.schema}
        _compare(f"{first.path}: this shard", types, listed, "the manifest")
    wanted = {field.name: field.type for field in first.schema}
    for file in files[1:]:
        found = {field.name: field.type for field in file.schema}
        _compare(f"{file.path}: this shard", found, wanted, first.path.name)


def _compare(shard: str, found: Mapping[str, object], wanted: Mapping[str, object], other: str) -> None:
    for name, type_ in wanted.items():
        if name not in found:
            raise DataError(f"{shard} has no column {name!r}, which {other} has; shards have one schema")
        if found[name] != type_:
            raise DataError(
                f"{shard} has {name!r} as {found[name]}, and {other} as {type_}; shards have one schema"
            )
    if more := [name for name in found if name not in wanted]:
        raise DataError(f"{shard} has a column {more[0]!r}, which {other} has not; shards have one schema")


@dataclass(frozen=True, eq=False)
class ParquetBlocks:
    """Some columns of files, by their row groups."""

    files: Sequence[ParquetFile]
    columns: tuple[str, ...]

    @cached_property
    def _groups(self) -> list[tuple[int, int, int, int]]:
        """Of each unit its file, its group there, and its first row in the file and in all."""
        groups, before = [], 0
        for at, file in enumerate(self.files):
            firsts = accumulate(file.groups, initial=0)
            groups += [
                (at, group, first, before + first)
                for group, (first, _) in enumerate(zip(firsts, file.groups, strict=False))
            ]
            before += sum(file.groups)
        return groups

    @cached_property
    def rows(self) -> Int64[np.ndarray, " U"]:
        """See `Blocks`."""
        return np.array([rows for file in self.files for rows in file.groups], np.int64)

    def read(self, unit: int, skip: int = 0) -> Iterator[tuple[Place, pa.RecordBatch]]:
        """See `Blocks`."""
        at, group, first, number = self._groups[unit]
        file, row = self.files[at], 0
        for batch in file.read(group, self.columns):
            end = row + len(batch)
            if end > skip:
                start = max(0, skip - row)
                yield Place(str(file.path), first + row + start, number + row + start), batch.slice(start)
            row = end
        if row != self.rows[unit]:
            raise changed(file.path)
