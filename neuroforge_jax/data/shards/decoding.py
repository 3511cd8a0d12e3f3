"""From what lies in shards to samples as a network stores them: tables by a schema, others as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds
from jaxtyping import Float64

from neuroforge_jax.data.array_sets import store_inputs, target_columns
from neuroforge_jax.data.columns import read_as
from neuroforge_jax.data.readers.arrow import table_of_arrow
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.shards.arrays import Pair
from neuroforge_jax.data.shards.units import Place
from neuroforge_jax.data.table import Table
from neuroforge_jax.data.targets import Target, encode_targets
from neuroforge_jax.data.types import Split
from neuroforge_jax.data.values import Values
from neuroforge_jax.errors import DataError
from neuroforge_jax.typing import Bool

Decoded = tuple[Split, Bool[np.ndarray, " N"] | None]


@dataclass(frozen=True, eq=False)
class TableDecoder:
    """Rows of a table by its schema, which knows no row without a target.

    decimal: the decimal mark of texts. weight_scale: what weights are multiplied by, so that their mean is 1.
    pixels: the column that is the input as it is, and how many bytes each row of it has; the schema then tells the
    targets and weights alone.
    """

    schema: Schema
    decimal: str = "."
    weight_scale: float = 1.0
    pixels: tuple[str, int] | None = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Those that are read."""
        inputs = [column.name for column in self.schema.inputs]
        named = [self.pixels[0]] if self.pixels else inputs
        return (*named, *self.schema.target.names, *self.schema.by_role("weight"))

    @cached_property
    def like(self) -> Split:
        """See `Decoder`."""
        weights = np.zeros(0, np.float32) if self.schema.by_role("weight") else None
        width = sum(map(len, self.schema.positions().values()))
        inputs = np.zeros((0, self.pixels[1]), np.uint8) if self.pixels else np.zeros((0, width), np.float32)
        return Split(inputs, empty_targets(self.schema.target), weights)

    def decode(self, data: pa.RecordBatch, place: Place) -> Decoded:
        """See `Decoder`."""
        pixels = read_pixels(data.column(self.pixels[0]), place) if self.pixels else None
        names = [name for name in self.columns if pixels is None or name != self.columns[0]]
        table = table_of_batch(data.select(names), place.shard, self.decimal)
        columns: Mapping[str, Values] = read_as(self.schema, table, names)
        missing = np.any([columns[name].missing for name in self.schema.target.names], axis=0)
        there = ~missing if missing.any() else None
        if there is not None:
            columns = {name: values[there] for name, values in columns.items()}
            pixels = pixels if pixels is None else pixels[there]
        rows = place.row + (np.arange(len(data)) if there is None else np.flatnonzero(there))
        answers = {name: columns[name] for name in self.schema.target.names}
        targets, _ = encode_targets(self.schema.target, answers, place.shard, rows)
        inputs = self.schema.encode(columns, place.shard, rows) if pixels is None else pixels
        return Split(inputs, targets, self._weights(columns, place)), there

    def with_weights_times(self, factor: float) -> "TableDecoder":
        """See `Decoder`."""
        return replace(self, weight_scale=self.weight_scale * factor)

    def _weights(self, columns: Mapping[str, Values], place: Place) -> np.ndarray | None:
        for name in self.schema.by_role("weight"):
            return (read_weights(columns[name], name, place) * self.weight_scale).astype(np.float32)
        return None


def table_of_batch(data: pa.RecordBatch, shard: str, decimal: str) -> Table:
    """A block as a table. decimal: the decimal mark of its texts."""
    return replace(table_of_arrow(pa.Table.from_batches([data]), shard, empty=True), decimal=decimal)


@dataclass(frozen=True, eq=False)
class ArrayDecoder:
    """Rows of two arrays. origins: what is subtracted from inputs. width: inputs of a sample."""

    target: Target
    width: int
    is_bytes: bool
    origins: Float64[np.ndarray, " I"] | None = None

    @cached_property
    def like(self) -> Split:
        """See `Decoder`."""
        dtype = np.uint8 if self.is_bytes else np.float32
        return Split(np.zeros((0, self.width), dtype), empty_targets(self.target))

    def decode(self, data: Pair, place: Place) -> Decoded:
        """See `Decoder`."""
        x, y = data
        where = f"{place.shard} from row {place.row + 1:,} on"
        columns = target_columns(where, "training", y)
        targets, _ = encode_targets(self.target, columns, where)
        return Split(store_inputs(where, "training", x, self.origins), targets), None

    def with_weights_times(self, factor: float) -> "ArrayDecoder":
        """See `Decoder`: rows of arrays have no weights."""
        return self


def empty_targets(target: Target) -> np.ndarray:
    """Targets of no samples."""
    if target.task == "classification":
        return np.zeros(0, np.int32)
    return np.zeros((0, len(target.names)), np.float32)


def read_weights(values: Values, name: str, place: Place) -> Float64[np.ndarray, " N"]:
    """Weights of rows. Raises DataError for what is none."""
    numbers = values.numbers
    if numbers is None or not (np.isfinite(numbers) & (numbers >= 0)).all():
        fact = "it holds texts" if numbers is None else "a weight is missing or below 0"
        raise DataError(f"{place.shard}: --sample-weight {name}: {fact}; weights are numbers from 0 upwards")
    return numbers


def shape_of_pixels(kind: pa.DataType) -> tuple[int, ...] | None:
    """The shape of the pictures in a column of bytes: fixed lists of uint8, within each other or not, or blocks of
    bytes; None for any other column.
    """
    if kinds.is_fixed_size_binary(kind):
        return (kind.byte_width,)
    shape: list[int] = []
    while kinds.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    return tuple(shape) if shape and kind == pa.uint8() else None


def read_pixels(column: pa.Array, place: Place) -> np.ndarray:
    """The pixels of rows, uint8 [N, I]. Raises DataError where one has none."""
    rows = len(column)
    if column.null_count:
        row = int(np.flatnonzero(np.asarray(column.is_null()))[0])
        raise DataError(f"{place.shard}: row {place.row + row + 1:,} has no pixels; mend or remove the row")
    if kinds.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        _, content = column.buffers()
        return np.frombuffer(content, np.uint8)[column.offset * width :][: rows * width].reshape(rows, width)
    while kinds.is_fixed_size_list(column.type):
        column = column.flatten()
    if column.null_count:
        raise DataError(
            f"{place.shard}: from row {place.row + 1:,} on, a pixel is missing; mend or remove the row"
        )
    return column.to_numpy(zero_copy_only=False).reshape(rows, -1)
