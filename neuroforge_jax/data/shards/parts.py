"""The parts of a dataset in shards: their files checked, held in memory, described."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from neuroforge_jax.data.shards.dataset import check_memory, concatenate, describe_parts
from neuroforge_jax.data.shards.manifest import Manifest, Shard, check_digest
from neuroforge_jax.data.shards.selection import Selection
from neuroforge_jax.data.shards.units import Blocks, Decoder, SelectedUnits
from neuroforge_jax.data.types import Split
from neuroforge_jax.errors import DataError
from neuroforge_jax.system.memory import text

FEW_UNITS = 64
"""With fewer row groups than this it is said that more would do better."""


@dataclass(frozen=True)
class Pass:
    """What the shards of a part are, while they are read in turn. units: how many each has."""

    manifest: Manifest
    part: str
    units: Sequence[int]

    @property
    def shards(self) -> tuple[Shard, ...]:
        """In their order."""
        return self.manifest.parts[self.part]

    def check(self, unit: int) -> None:
        """Where a shard begins with this unit, its contents are what the manifest says. Raises DataError."""
        firsts = np.cumsum(self.units) - self.units
        for at in np.flatnonzero((firsts == unit) & (np.asarray(self.units) > 0)).tolist():
            self._check(self.shards[at])

    @contextmanager
    def explaining(self, unit: int) -> Iterator[None]:
        """Where a unit cannot be read and its shard is not what the manifest says, that is the error."""
        try:
            yield
        except DataError:
            self._check(self.shards[int(np.searchsorted(np.cumsum(self.units), unit, side="right"))])
            raise

    def _check(self, shard: Shard) -> None:
        for file in shard.files:
            check_digest(self.manifest, file)


def check_rows(manifest: Manifest, part: str, rows: Sequence[int]) -> None:
    """Every shard has the rows that the manifest says, and the part has some. Raises DataError."""
    for shard, found in zip(manifest.parts[part], rows, strict=True):
        if shard.rows is not None and shard.rows != found:
            raise DataError(
                f"{manifest.path(shard.files[0])}: this shard has {found:,} rows, and the manifest says "
                f"{shard.rows:,}; it changed"
            )
    if not sum(rows):
        raise DataError(
            f"{manifest.folder}: the shards of the part {part} have no rows; there is nothing to read"
        )


def read_part(reading: Pass, blocks: Blocks[Any], decoder: Decoder[Any]) -> Split:
    """A part, in memory. Raises DataError where it does not fit."""
    where, rows = f"{reading.manifest.folder}, part {reading.part}", blocks.rows
    check_memory(where, float(rows.sum()), decoder.like)
    units = SelectedUnits(blocks, decoder, Selection(), rows)
    parts = [decoder.like]
    for unit in range(len(rows)):
        reading.check(unit)
        parts += units.read(unit, 0)
    return concatenate(parts).with_mean_weight_1(where)


def digest(manifest: Manifest, said: Sequence[Sequence[str]]) -> str:
    """Of the training shards: by their names, sizes, rows, and SHA-256 or what their files say at their ends."""
    lines = []
    for shard, of_files in zip(manifest.parts["train"], said, strict=True):
        for file, of_file in zip(shard.files, of_files, strict=True):
            lines.append(f"{Path(file.name).name} {file.bytes} {file.sha256 or of_file}")
    return sha256("\n".join(lines).encode()).hexdigest()


def describe(
    manifest: Manifest, inputs: str, sizes: np.ndarray, others: Mapping[str, Split]
) -> tuple[str, list[str]]:
    """Where the data come from, and notes: what is in memory, and what slows the reading."""
    shards = manifest.parts["train"]
    size = sum(file.bytes for shard in shards for file in shard.files)
    many = "1 shard" if len(shards) == 1 else f"{len(shards):,} shards"
    notes = [describe_parts(others)] if others else []
    units = int((sizes > 0).sum())
    if manifest.kind == "parquet" and units < FEW_UNITS:
        groups = "1 row group" if units == 1 else f"{units} row groups"
        notes.append(
            f"the shards have {groups}: rows mix better, and less is read in vain, in {FEW_UNITS} and more, of "
            "some 1,000 to 10,000 rows each"
        )
    return f"{inputs}, streamed from {many} of {text(size)}", notes


def name_of(manifest: Manifest) -> str:
    """What the dataset is called."""
    return manifest.folder.resolve().name or "shards"
