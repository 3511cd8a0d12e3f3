"""A dataset from shards: their files checked, one pass over the training rows, the other parts into memory."""

from dataclasses import fields
from pathlib import Path

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.shards.dataset import ShardedDataset
from neuroforge_jax.data.shards.manifest import find_shards
from neuroforge_jax.errors import ConfigError

NOT_FOR_SHARDS = {
    "test": "test data are the folder test/",
    "validation": "validation data are the folder validation/",
    "group": "rows of shards are not split by groups: put whole groups into train/ and test/",
    "time_split": "rows of shards are not split by time: put the last into test/",
}


def load_shards(path: Path, config: DataConfig) -> ShardedDataset:
    """The dataset in a folder of shards or a manifest. Its training rows are read once, to learn what every table
    is asked for, and are not kept; validation and test data are held in memory.

    Raises ConfigError for a flag that is not for shards or names no column, DataError for shards that are missing,
    changed, damaged, of several schemas, or not in the manifest, and for parts that do not fit into memory.
    """
    for name, reason in NOT_FOR_SHARDS.items():
        if (value := getattr(config, name)) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: {reason}; leave it out")
    manifest = find_shards(path)
    if manifest.kind == "parquet":
        from neuroforge_jax.data.shards.load_tables import load_tables

        dataset = load_tables(manifest, config)
    else:
        from neuroforge_jax.data.shards.load_arrays import load_arrays

        refuse_fields_of_tables(config)
        dataset = load_arrays(manifest, config)
    return dataset.with_weights_of(config.class_weight)


def refuse_fields_of_tables(config: DataConfig) -> None:
    """Raises ConfigError for a flag that is for columns."""
    for field in fields(DataConfig):
        value = getattr(config, field.name)
        if field.name not in ("dataset", "task", "scaling", "class_weight") and value != field.default:
            shown = value if isinstance(value, str) else " ".join(value)
            raise ConfigError(
                f"--{field.name.replace('_', '-')} {shown}: it is for tables, and the shards of {config.dataset!r} "
                "are arrays; leave it out"
            )
