"""A training on every target in one table: whether it compiles, what memory it needs, how fast it could be."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import UserError, lookup
from neuroforge_jax.portability.compiled import Compilation, compile_for
from neuroforge_jax.portability.programs import make_programs
from neuroforge_jax.portability.projection import ASSUMPTIONS, projection
from neuroforge_jax.portability.targets import TARGETS
from neuroforge_jax.system.memory import text
from neuroforge_jax.training.mesh import parse_mesh


@dataclass(frozen=True)
class Row:
    """A target, and either what came out or the reason why it does not compile."""

    target: str
    compilation: Compilation | None
    reason: str = ""


def portability_table(
    config: TrainConfig, dataset: Dataset | None = None, target: str | None = None
) -> list[Row]:
    """A training compiled for every target, or for one; shapes like MNIST's unless a dataset is given.

    Raises ConfigError for a config that is wrong everywhere and for an unknown target; of one that is named,
    whatever a user can mend.
    """
    named = tuple(TARGETS.values()) if target is None else (lookup(TARGETS, target, "target"),)
    if config.mesh is not None:
        parse_mesh(config.mesh)
    make_programs(config, dataset)
    rows = []
    for each in named:
        try:
            rows.append(Row(each.name, compile_for(each, config, dataset)))
        except Exception as error:  # what a compiler refuses comes as errors of many kinds
            if target is not None and isinstance(error, UserError):
                raise
            rows.append(Row(each.name, None, str(error).strip().partition("\n")[0] or repr(error)))
    return rows


def to_json(row: Row) -> dict[str, Any]:
    """For programs, with what follows from the figures."""
    made = row.compilation
    if made is None:
        return asdict(row)
    memory = {"needed_bytes": made.needed_bytes, "fits": made.fits}
    sent = {"sent_bytes": [each.sent_bytes for each in made.collectives]}
    return asdict(row) | memory | sent | {"step_s": made.step_s, "efficiency": made.efficiency}


def show(rows: Sequence[Row], *, projected: bool = False) -> None:
    """For people. projected: with what the chips send to each other, and what that makes of a step."""
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
    if projected:
        for row in rows:
            if row.compilation is not None:
                console.print("\n" + projection(row.compilation))
        console.print("\n" + ASSUMPTIONS)
