"""Whether test and validation tables are apart from the training rows: in groups, and in time."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from neuroforge_jax.data.columns import read_as
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.table import Table
from neuroforge_jax.data.values import Values, names_of, write_number
from neuroforge_jax.errors import DataError

NAMED = 3
"""Groups that a sentence shows."""


def check_groups(
    schema: Schema, where: str, columns: Mapping[str, Values], others: Mapping[str, Table]
) -> list[str]:
    """No group of a table, which errors call by `where`, is in another table too, and none of those is in two.

    Returns a note for each table that cannot be compared. Raises DataError, which counts and names the groups.
    """
    notes: list[str] = []
    for name in schema.by_role("group"):
        seen = {where: _read_groups(columns[name])}
        for table in others.values():
            if name not in table.columns:
                notes.append(
                    f"{table.name} has no column {name!r}: whether its groups are in other data too cannot be told"
                )
                continue
            groups = _read_groups(read_as(schema, table, [name])[name])
            for before, known in seen.items():
                _check_apart(
                    f"{table.name}: --group {name}", [groups[key] for key in groups if key in known], before
                )
            seen[table.name] = groups
    return notes


def _read_groups(values: Values) -> dict[str, str]:
    """What a group is known by → how a sentence names it, in order."""
    if values.numbers is None:
        texts = [values.texts[code] for code in np.unique(values.known_codes[~values.missing])]
        return dict(zip(texts, texts, strict=True))
    numbers = np.unique(values.numbers[~values.missing])
    keys = list(map(write_number, numbers))
    names = keys if values.kind != "time" else map(str, numbers.astype(np.int64).astype("datetime64[s]"))
    return dict(zip(keys, names, strict=True))


def _check_apart(what: str, shared: list[str], before: str) -> None:
    """shared: groups that are in the data called `before` too."""
    if not shared:
        return
    are = "1 group is" if len(shared) == 1 else f"{len(shared):,} groups are"
    raise DataError(
        f"{what}: {are} in {before} too ({names_of(shared, NAMED)}); a group must be in one of them alone: remove "
        "its rows from the other, or leave --group out"
    )


def describe_order(
    schema: Schema, name: str, order: Float64[np.ndarray, " N"], others: Mapping[str, Table]
) -> list[str]:
    """A note for each table with rows that are not later than the last training row, by the column of this name.

    order: of the training rows.
    """
    notes = []
    last = np.nanmax(order, initial=-np.inf)
    for table in others.values():
        if name not in table.columns:
            notes.append(f"{table.name} has no column {name!r}: whether its rows are later cannot be told")
            continue
        values = read_as(schema, table, [name])[name]
        if early := int((values.numbers <= last).sum()):
            are = "is" if early == 1 else "are"
            notes.append(
                f"{early:,} of {len(values):,} rows of {table.name} {are} not later than the last training row, by "
                f"--time-split {name}"
            )
    return notes
