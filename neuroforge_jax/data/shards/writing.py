"""Writes the manifest of a folder of shards."""

from dataclasses import replace
from pathlib import Path

from neuroforge_jax.data.shards.load_arrays import open_pairs
from neuroforge_jax.data.shards.load_tables import open_files, schema_types
from neuroforge_jax.data.shards.manifest import NAME, Manifest, Shard, digest_of, list_folder
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.system.files import write_json


def write_manifest(folder: Path) -> Manifest:
    """List the shards of a folder in its manifest.json, in the place of one that is there.

    Every file is read, for its SHA-256. Raises DataError for a folder without shards, for damaged ones and for
    several schemas, ConfigError where the folder cannot be written to.
    """
    manifest = list_folder(folder)
    columns: dict[str, str] = {}
    if manifest.kind == "parquet":
        files = open_files(manifest)
        columns = schema_types(files["train"][0])
        rows = {part: [sum(file.groups) for file in found] for part, found in files.items()}
    else:
        rows = {part: [x.shape[0] for x, _ in pairs] for part, pairs in open_pairs(manifest).items()}
    parts = {
        part: tuple(_complete(folder, shard, count) for shard, count in zip(shards, rows[part], strict=True))
        for part, shards in manifest.parts.items()
    }
    manifest = replace(manifest, parts=parts, columns=columns, listed=True)
    write_json(folder / NAME, manifest.to_json(), ConfigError)
    return manifest


def _complete(folder: Path, shard: Shard, rows: int) -> Shard:
    files = (replace(file, sha256=digest_of(folder / file.name)) for file in shard.files)
    return Shard(tuple(files), rows)
