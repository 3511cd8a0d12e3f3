"""Look at the datasets: `python -m neuroforge_jax.data [list | get NAME | show NAME | manifest FOLDER]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro

from neuroforge_jax.commands.outcome import leave, run_command
from neuroforge_jax.commands.short_flags import write_out
from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.datasets import data_folder, fetch, find_files, load_dataset
from neuroforge_jax.data.download import ARCHIVES
from neuroforge_jax.data.pictures import are_pictures
from neuroforge_jax.data.schema_view import make_table
from neuroforge_jax.data.shards.manifest import NAME
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import ConfigError, lookup
from neuroforge_jax.system.memory import text

if TYPE_CHECKING:
    from rich.table import Table

# What is known of a dataset before it is here: samples, shape of one, classes.
FACTS = {
    "mnist": ("60,000 + 10,000", "28 × 28", "10"),
    "fashion-mnist": ("60,000 + 10,000", "28 × 28", "10"),
    "digits": ("1,437 + 360", "8 × 8", "10"),
    "breast-cancer": ("455 + 114", "30", "2"),
}
ROWS, COLUMNS = 8, 5  # of a table that are shown
PICTURES_A_CLASS, MOST_CLASSES = 5, 12

app = tyro.extras.SubcommandApp()


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the sub-command, `list` if there is none; returns the exit code."""
    args = sys.argv[1:] if argv is None else list(argv)

    def body() -> None:
        if args and args[0] == "show":
            return show(args[1:])
        return app.cli(
            args=args or ["list"],
            prog="python -m neuroforge_jax.data",
            description="Look at the datasets.",
            config=(tyro.conf.PositionalRequiredArgs,),
        )

    return run_command(body)


@app.command(name="list")
def list_datasets(data_dir: Path | None = None) -> None:
    """List the datasets, and say which of them are here.

    Args:
        data_dir: Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder).

    """
    folder = data_folder(data_dir)
    table = _table("dataset", "where", "samples", "shape", "classes", "on disk")
    for name, facts in FACTS.items():
        where, size = "embedded", ""
        if name in ARCHIVES:
            paths = list(find_files(ARCHIVES[name], folder).values())
            here = [path for path in paths if path is not None and path.is_file()]
            where = f"{len(here)} of {len(paths)} files" if here else "absent"
            if len(here) == len(paths):
                where = "present" if here[0].is_relative_to(folder) else "installed"
            size = f"{sum(path.stat().st_size for path in here) / 1e6:.1f} MB" if here else ""
        table.add_row(name, where, *facts, size)
    _print(table)
    print(f"data folder: {folder}")


@app.command
def get(name: str, data_dir: Path | None = None) -> None:
    """Download a dataset, or say where it is.

    Args:
        name: mnist or fashion-mnist; the others need no download.
        data_dir: Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder).

    """
    lookup(FACTS, name, "dataset")
    if name not in ARCHIVES:
        print(f"{name} is part of scikit-learn: nothing to download")
        return
    folder = data_folder(data_dir)
    downloaded = fetch(ARCHIVES[name], folder)
    load_dataset(name, data_dir=folder)  # what is here must also be right
    where = next(filter(None, find_files(ARCHIVES[name], folder).values())).parent
    print(f"{name} is {'now' if downloaded else 'already'} in {where}")


@app.command(name="manifest")
def describe_shards(folder: Path) -> None:
    """Write the manifest of a folder of shards, manifest.json in it: their names, rows, bytes, SHA-256 and columns.

    Args:
        folder: With the shards in it, or in its folders train, validation and test.

    """
    from neuroforge_jax.data.shards.writing import write_manifest

    manifest = write_manifest(folder)
    files = [file for shards in manifest.parts.values() for shard in shards for file in shard.files]
    rows = ", ".join(
        f"{sum(shard.rows or 0 for shard in shards):,} rows in {part}"
        for part, shards in manifest.parts.items()
    )
    print(f"{folder / NAME} lists {len(files):,} files of {text(sum(file.bytes for file in files))}: {rows}")


@dataclass(frozen=True)
class _Shown(DataConfig):
    """Which data are shown, and how they are read."""

    output: Path = Path("samples.png")
    """Where a sheet of pictures goes."""
    data_dir: Path | None = None
    """Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder)."""
    debug: bool = False
    """Show tracebacks."""


def show(args: Sequence[str]) -> None:
    """Show samples: of pictures a sheet, of tables what each column is and the first rows."""
    words = list(args)
    if words and not words[0].startswith("-"):
        words = ["--dataset", *words]
    prog = "python -m neuroforge_jax.data show NAME-OR-FILE"
    shown = tyro.cli(_Shown, args=write_out(words), prog=prog, description=show.__doc__)
    dataset = load_dataset(shown, data_dir=shown.data_dir)
    print(f"{dataset.name}: {dataset.origin}")
    for note in dataset.notes:
        print(f"  {note}")
    if dataset.schema is not None:
        _print(make_table(dataset.schema.columns))
    elif are_pictures(dataset.shape):
        try:
            print(f"samples drawn in {_draw_samples(dataset, shown.output)}")
        except OSError as error:
            raise ConfigError(
                f"--output {shown.output}: cannot be written ({error.strerror or error})"
            ) from None
    else:
        _print(_first_rows(dataset))
    if dataset.classes:
        _print(_count_classes(dataset))


def _count_classes(dataset: Dataset) -> "Table":
    splits = {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}
    there = {part: split for part, split in splits.items() if split is not None}
    counts = _table("class", *there)
    sizes = [np.bincount(split.targets, minlength=len(dataset.classes)) for split in there.values()]
    sizes[0] = dataset.count_classes().astype(np.int64)  # of shards `train` holds some samples alone
    for label, *numbers in zip(dataset.classes, *sizes, strict=True):
        counts.add_row(_plain(label), *(f"{number:,}" for number in numbers))
    return counts


def _draw_samples(dataset: Dataset, output: Path) -> Path:
    """The first pictures of each class, a column a class where the classes are few."""
    from neuroforge_jax.report.grid import draw_image_grid

    classes, labels = dataset.classes, dataset.train.targets
    if classes and len(classes) <= MOST_CLASSES:
        of_class = [np.nonzero(labels == index)[0][:PICTURES_A_CLASS] for index in range(len(classes))]
        rows = min(map(len, of_class))
        chosen = np.stack([indices[:rows] for indices in of_class], axis=1).ravel() if rows else np.arange(0)
        columns = len(classes)
    else:
        chosen, columns = np.arange(0), 8
    if not len(chosen):
        chosen, columns = np.arange(min(len(labels), 40)), 8
    titles = [classes[labels[index]] if classes else f"{labels[index][0]:.4g}" for index in chosen]
    images = dataset.train.inputs[chosen].reshape(-1, *dataset.shape)
    return draw_image_grid(
        images, titles, output, columns=columns, heading=f"Training samples of {dataset.name}"
    )


def _first_rows(dataset: Dataset) -> "Table":
    """The first training samples of arrays."""
    shown = min(COLUMNS, dataset.plan.record)
    more = ["…"] if dataset.plan.record > shown else []
    table = _table("input 0", *(f"input {index}" for index in range(1, shown)), *more, "target")
    for inputs, target in zip(dataset.train.inputs[:ROWS], dataset.train.targets[:ROWS], strict=True):
        answer = _plain(dataset.classes[target]) if dataset.classes else " ".join(f"{y:.4g}" for y in target)
        table.add_row(*(f"{value:.4g}" for value in inputs[:shown]), *more, answer)
    return table


def _table(first: str, *others: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _print(table: "Table") -> None:
    from rich.console import Console

    Console().print(table)


def _plain(text: str) -> str:
    """Text from a file, which must not be read as markup."""
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    leave(main())
