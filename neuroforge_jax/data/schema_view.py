"""A schema as people read it: a row for each column, in a terminal and in a notebook."""

import html
import io
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = ("column", "kind", "missing", "becomes", "levels, or what was made of it")

MOST_COLUMNS = 60
"""That are shown; of more, those of the roles COUNTED are counted, and the others shown behind."""

COUNTED = ("input", "left out")

LEVELS, LONGEST_LEVEL = 6, 24

WIDTH = 110
"""Characters of a line, where no terminal says it."""


class Described(Protocol):
    """What is shown of a column: see `schema.Column`."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def kind(self) -> str: ...  # noqa: D102

    @property
    def role(self) -> str: ...  # noqa: D102

    @property
    def missing(self) -> float: ...  # noqa: D102

    @property
    def levels(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def said(self) -> str: ...  # noqa: D102

    def treatment(self) -> str: ...  # noqa: D102


def make_rows(columns: Sequence[Described]) -> list[tuple[str, ...]]:
    """The cells of each row, as HEADINGS says; names and levels are as they are in the data."""
    rows = [_describe(column) for column in columns[:MOST_COLUMNS]]
    rest = columns[MOST_COLUMNS:]
    if others := [column for column in rest if column.role in COUNTED]:
        kinds = Counter(column.kind for column in others)
        counts = ", ".join(f"{kind}: {count:,}" for kind, count in kinds.items())
        rows.append((f"… and {len(others):,} more", "", "", "", counts))
    return rows + [_describe(column) for column in rest if column.role not in COUNTED]


def _describe(column: Described) -> tuple[str, ...]:
    levels = [_shorten(level) for level in column.levels[:LEVELS]]
    more = ["…"] if len(column.levels) > LEVELS else []
    missing = f"{column.missing:.1%}" if column.missing else ""
    details = "; ".join(filter(None, (", ".join(levels + more), column.said)))
    return column.name, column.kind, missing, column.treatment(), details


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_LEVEL else f"{text[: LONGEST_LEVEL - 1]}…"


def make_table(columns: Sequence[Described]) -> "Table":
    """For a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading)
    for row in make_rows(columns):
        table.add_row(*map(escape, row))
    return table


def render_text(columns: Sequence[Described]) -> str:
    """The table as plain text."""
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=WIDTH, color_system=None, force_jupyter=False).print(make_table(columns))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n")


def render_html(columns: Sequence[Described]) -> str:
    """The table as HTML; every text of the data is escaped, and turns nothing round beside it."""
    head = "".join(f"<th style='text-align:left'>{heading}</th>" for heading in HEADINGS)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in make_rows(columns))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(text: str) -> str:
    return f"<td style='text-align:left'><bdi>{html.escape(text)}</bdi></td>"
