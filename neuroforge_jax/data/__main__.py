"""Look at the datasets: `python -m neuroforge_jax.data [list | get NAME | show NAME]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from neuroforge_jax.command import run_command


@dataclass(frozen=True)
class List:
    """List the datasets, and which of them are here."""

    data_dir: Path | None = None
    """Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder)."""


@dataclass(frozen=True)
class Get:
    """Download a dataset, or say where it is."""

    name: str
    """mnist or fashion-mnist; digits and breast-cancer need no download."""
    data_dir: Path | None = None
    """Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder)."""


@dataclass(frozen=True)
class Show:
    """Show samples: pictures as a contact sheet, tables as their first rows."""

    name: str
    """A name that `list` gives, or the path of an .npz or .csv file."""
    output: Path = Path("samples.png")
    """Where the contact sheet goes."""
    target: str | None = None
    """The column of a .csv file to predict (the last one unless given)."""
    data_dir: Path | None = None
    """Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder)."""


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Get, tyro.conf.subcommand("get")]
    | Annotated[Show, tyro.conf.subcommand("show")]
)

# What is known of a dataset before it is here: samples, shape of one, classes.
FACTS = {
    "mnist": ("60,000 + 10,000", "28 × 28", "10"),
    "fashion-mnist": ("60,000 + 10,000", "28 × 28", "10"),
    "digits": ("1,437 + 360", "8 × 8", "10"),
    "breast-cancer": ("455 + 114", "30", "2"),
}
ROWS_SHOWN, COLUMNS_SHOWN, PICTURES_A_CLASS, MOST_CLASSES = 8, 8, 5, 12


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the sub-command, `list` if there is none, and carry it out; returns the exit code."""
    args = sys.argv[1:] if argv is None else list(argv)
    prog = "python -m neuroforge_jax.data"
    if not args or args[0] in ("--data-dir",):
        args = ["list", *args]
    command: List | Get | Show = tyro.cli(
        Command, args=args, prog=prog, description=__doc__, config=(tyro.conf.PositionalRequiredArgs,)
    )  # type: ignore[call-overload]
    if isinstance(command, List):
        return run_command(lambda: list_datasets(data_folder(command.data_dir)))
    if isinstance(command, Get):
        return run_command(lambda: get(command.name, data_folder(command.data_dir)))
    return run_command(lambda: show(command))


def list_datasets(folder: Path) -> None:
    """Print what there is and what of it is in the data folder."""
    from rich.table import Table

    table = Table(title=f"data folder: {escape(str(folder))}", title_justify="left", title_style="")
    for heading, justify in (("dataset", "left"), ("", "left"), ("samples", "right"), ("shape", "right"),
                             ("classes", "right"), ("on disk", "right")):
        table.add_column(heading, justify=justify)
    for name, facts in FACTS.items():
        if name not in ARCHIVES:
            table.add_row(name, "in scikit-learn", *facts, "")
            continue
        paths = find_files(ARCHIVES[name], folder).values()
        here = [path for path in paths if path is not None]
        state = "present" if len(here) == len(paths) else f"{len(here)} of {len(paths)} files" if here else "absent"
        size = sum(path.stat().st_size for path in here if path.exists())
        table.add_row(name, state, *facts, f"{size / 1e6:.1f} MB" if here else "")
    _print(table)
