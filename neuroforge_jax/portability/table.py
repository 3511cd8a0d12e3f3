"""A training on every target in one table: whether it compiles, what memory it needs, how fast it could be."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.portability.compiled import Compilation, compile_for
from neuroforge_jax.portability.programs import make_programs
from neuroforge_jax.portability.targets import TARGETS
from neuroforge_jax.system.memory import text


@dataclass(frozen=True)
class Row:
    """A target, and either what came out or the reason why it does not compile."""

    target: str
    compilation: Compilation | None
    reason: str = ""


def portability_table(config: TrainConfig, dataset: Dataset | None = None) -> list[Row]:
    """A training compiled for every target; shapes like MNIST's unless a dataset is given.

    Raises ConfigError for a config that is wrong everywhere.
    """
    make_programs(config, dataset)
    rows = []
    for target in TARGETS.values():
        try:
            rows.append(Row(target.name, compile_for(target, config, dataset)))
        except Exception as error:  # what a compiler refuses comes as errors of many kinds
            rows.append(Row(target.name, None, str(error).strip().partition("\n")[0] or repr(error)))
    return rows


def to_json(row: Row) -> dict[str, Any]:
    """For programs, with what follows from the figures."""
    made = row.compilation
    needed = {"needed_bytes": made.needed_bytes, "fits": made.fits} if made else {}
    return asdict(row) | needed


def show(rows: Sequence[Row]) -> None:
    """For people."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("target", "compiles", "memory", "MFLOP a step", "a step takes at least"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        made = row.compilation
        if made is None:
            table.add_row(row.target, f"no: {row.reason}")
            continue
        memory = f"{text(made.needed_bytes)} of {text(made.memory_bytes)}" + (
            "" if made.fits else ", does not fit"
        )
        table.add_row(
            row.target, "yes", memory, f"{made.flops / 1e6:,.0f}", f"{1e6 * made.roofline_s:,.1f} µs"
        )
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    console.print(
        "A chip's memory and operations each; the least time is that of its products or of its memory, by the "
        "maker's figures. Nothing has run on them."
    )
