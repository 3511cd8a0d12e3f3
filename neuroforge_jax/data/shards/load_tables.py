"""A dataset from shards of Parquet: tables, or pictures with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.preprocess import Preprocessor
from neuroforge_jax.data.readers.arrow import table_of_arrow
from neuroforge_jax.data.schema_inference import check_names
from neuroforge_jax.data.shards.dataset import ShardedDataset, fit_pixels, show
from neuroforge_jax.data.shards.decoding import TableDecoder, shape_of_pixels, table_of_batch
from neuroforge_jax.data.shards.manifest import Manifest
from neuroforge_jax.data.shards.parquet import ParquetBlocks, ParquetFile, check_schemas
from neuroforge_jax.data.shards.parts import Pass, check_rows, describe, digest, name_of, read_part
from neuroforge_jax.data.shards.selection import Selection
from neuroforge_jax.data.shards.table_statistics import TableStatistics, last_column
from neuroforge_jax.data.shards.units import Blocks, SelectedUnits, spread_evenly
from neuroforge_jax.data.table import Table
from neuroforge_jax.data.tables import describe_columns
from neuroforge_jax.data.values import names_of
from neuroforge_jax.errors import ConfigError, DataError

LOOK_ROWS = 65_536
"""Rows by which columns get their kinds: all, where there are no more."""

LOOK_UNITS = 64

Files = dict[str, tuple[ParquetFile, ...]]


def load_tables(manifest: Manifest, config: DataConfig) -> ShardedDataset:
    """See `shards.load.load_shards`."""
    where, files = str(manifest.folder), open_files(manifest)
    schema = files["train"][0].schema
    check_names(config, schema.names, where)
    targets = config.target or (last_column(schema.names, config, where),)
    pixels = _find_pixels(schema, config, targets, where)
    named = [*targets, *([config.sample_weight] if config.sample_weight else [])]
    columns = named if pixels else [name for name in schema.names if name not in config.drop]
    statistics, sizes = _learn(manifest, files["train"], tuple(columns), config, targets, bool(pixels))
    target = statistics.target.choose(where, config.task)
    learnt = statistics.schema(target, where)
    scale = statistics.target.rows / statistics.target.weight if statistics.target.weight else 1.0
    decoder = TableDecoder(
        learnt, config.decimal or ".", scale, (pixels.name, pixels.width) if pixels else None
    )
    units = SelectedUnits(ParquetBlocks(files["train"], decoder.columns), decoder, Selection(), sizes)
    train = show(units)
    others = {
        part: read_part(_pass(manifest, part, found), ParquetBlocks(found, decoder.columns), decoder)
        for part, found in files.items()
        if part != "train"
    }
    pa.default_memory_pool().release_unused()  # what decoding took is several times what is kept
    scaling = "robust" if config.scaling == "auto" else config.scaling
    if pixels:
        plan = Preprocessor(pixels.width, pixels=True)
        fitted = statistics.target.fit(fit_pixels(train), target)
        inputs, about = f"pixels of {pixels.name!r} to {target.label}", [target.said] if target.said else []
    else:
        plan, fitted = learnt.plan(scaling), statistics.fit(learnt, scaling)
        inputs = f"{len(learnt.inputs):,} of {len(schema.names):,} columns to {target.label}"
        about = describe_columns(learnt, plan.scaling)
    origin, notes = describe(manifest, inputs, sizes, others)
    dataset = ShardedDataset(
        name_of(manifest),
        train,
        others.get("test"),
        target,
        pixels.shape if pixels else (plan.record,),
        plan,
        fitted,
        None if pixels else learnt,
        origin=origin,
        notes=(*statistics.notes(where), *notes, *about),
        validation=others.get("validation"),
        units=units,
        digest=digest(manifest, [[file.footer] for file in files["train"]]),
        class_sums=statistics.target.class_sums(target),
    )
    return dataset.with_scaling(config.scaling) if pixels else dataset


def open_files(manifest: Manifest) -> Files:
    """The files of each part, which have one schema and some rows. Raises DataError."""
    files = {
        part: tuple(ParquetFile.open(manifest.path(shard.files[0])) for shard in shards)
        for part, shards in manifest.parts.items()
    }
    check_schemas(
        [*files["train"], *(file for part, found in files.items() if part != "train" for file in found)],
        manifest.columns,
    )
    for part, found in files.items():
        check_rows(manifest, part, [sum(file.groups) for file in found])
    return files


def _pass(manifest: Manifest, part: str, files: Sequence[ParquetFile]) -> Pass:
    return Pass(manifest, part, [len(file.groups) for file in files])


@dataclass(frozen=True)
class _Pixels:
    name: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        return int(np.prod(self.shape))


def _find_pixels(schema: pa.Schema, config: DataConfig, targets: Sequence[str], where: str) -> _Pixels | None:
    """The column of pixels, where one is the input. Raises DataError where there are other inputs beside it."""
    roles = {*targets, *config.drop, config.sample_weight, config.id}
    inputs = [field for field in schema if field.name not in roles]
    shapes = {field.name: shape for field in inputs if (shape := shape_of_pixels(field.type)) is not None}
    if not shapes:
        return None
    name = next(iter(shapes))
    if others := [field.name for field in inputs if field.name != name]:
        raise DataError(
            f"{where}: column {name!r} holds pixels, which are the only input of a network, and there are "
            f"{names_of(others)} too; leave columns out by --drop"
        )
    if named := {name} & {*config.categorical, *config.numeric, *config.time}:
        raise ConfigError(
            f"{where}: column {named.pop()!r} holds pixels; leave it out of --categorical and the like"
        )
    return _Pixels(name, shapes[name])


def _learn(
    manifest: Manifest,
    files: Sequence[ParquetFile],
    columns: tuple[str, ...],
    config: DataConfig,
    targets: tuple[str, ...],
    elsewhere: bool,
) -> tuple[TableStatistics, np.ndarray]:
    """One pass over some columns: what they are, and how many rows of each unit have a target."""
    blocks, check = ParquetBlocks(files, columns), _pass(manifest, "train", files)
    decimal = config.decimal or "."
    look = _look(blocks, check, decimal)
    statistics = TableStatistics(config, look, targets, inputs_elsewhere=elsewhere)
    sizes = np.zeros(len(blocks.rows), np.int64)
    for unit in range(len(sizes)):
        check.check(unit)
        for place, batch in blocks.read(unit):
            sizes[unit] += statistics.add(
                table_of_batch(batch.select(list(columns)), place.shard, decimal), place
            )
    return statistics, sizes


def _look(blocks: Blocks[Any], reading: Pass, decimal: str) -> Table:
    """Rows from all over the data, in their order; all, where they are few."""
    few = blocks.rows.sum() <= LOOK_ROWS
    chosen = spread_evenly(blocks.rows, len(blocks.rows) if few else LOOK_UNITS)
    each, batches = LOOK_ROWS if few else -(-LOOK_ROWS // len(chosen)), []
    for unit in chosen:
        left = each
        with reading.explaining(unit):
            for _, batch in blocks.read(unit):
                batches.append(batch[:left])
                left -= len(batches[-1])
                if left <= 0:
                    break
    where = str(reading.manifest.folder)
    return replace(table_of_arrow(pa.Table.from_batches(batches), where), decimal=decimal)


def schema_types(file: ParquetFile) -> dict[str, str]:
    """The Arrow type of each column, as text: what a manifest lists."""
    return {field.name: str(field.type) for field in file.schema}
