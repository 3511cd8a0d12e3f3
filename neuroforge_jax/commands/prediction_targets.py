"""What is right, where an input says so: targets as the model stores them, and how much each row counts.

A row whose target cannot be read has −1 for its class, or NaN, and is not scored; the rows around it are.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from neuroforge_jax.commands.prediction_pieces import Notes
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.targets import Target, Targets, find_classes, find_truths
from neuroforge_jax.data.values import Values, write_number

if TYPE_CHECKING:
    from neuroforge_jax.data.table import Table


def find_targets(
    target: Target, columns: Mapping[str, Values], table: "Table | None", notes: Notes
) -> Targets | None:
    """Targets as they are stored, of columns by name; None of texts where quantities are predicted. table: where
    they stand, if in one.
    """
    for name, values in columns.items():
        if values.numbers is not None and table is not None:
            notes.count_unread(table, name, values.missing, "are no numbers are not scored")
        if values.numbers is None and target.task == "regression":
            notes.add(f"{name!r} holds texts, and the model predicts quantities; not scored")
            return None
    if target.task == "classification":
        classes, said, others = find_classes(target, columns)
        notes.add(said)
        notes.count(", ".join(columns), "are no class of the model are not scored", others)
        return classes
    if target.task == "multilabel":
        return _find_labels(columns, notes)
    return _find_quantities(target, columns, notes)


def _find_labels(columns: Mapping[str, Values], notes: Notes) -> np.ndarray:
    labels = []
    for name, values in columns.items():
        truths, others = find_truths(values)
        notes.count(name, "are neither yes nor no are not scored", others)
        labels.append(truths)
    return np.stack(labels, axis=1)


def _find_quantities(target: Target, columns: Mapping[str, Values], notes: Notes) -> np.ndarray:
    numbers = np.stack([values.numbers for values in columns.values() if values.numbers is not None], axis=1)
    stored = target.store_quantities(numbers)
    stored[~np.isfinite(stored)] = np.nan
    wanted = "are not above 0" if target.transform == "log" else "float32 does not hold"
    for at, name in enumerate(columns):
        lost = numbers[np.isnan(stored[:, at]) & ~np.isnan(numbers[:, at]), at]
        notes.count(name, f"{wanted} are not scored", list(map(write_number, lost)))
    return stored


def find_weights(schema: Schema, table: "Table", notes: Notes) -> np.ndarray | None:
    """How much each row counts, f64 [N], by the column that said so in training; None where rows count alike."""
    from neuroforge_jax.data.columns import read_column

    name = next(iter(schema.by_role("weight")), None)
    if name is None:
        return None
    if name not in table.columns:
        notes.add(f"{table.name} has no column {name!r}, which weighs the rows: they are scored as equals")
        return None
    numbers = read_column(table, name, "number").numbers
    assert numbers is not None
    weighs = np.isfinite(numbers) & (numbers >= 0)
    notes.add(f"rows are scored by their weights in {name!r}")
    notes.count_unread(table, name, ~weighs, "are no weights from 0 upwards are not scored")
    return np.where(weighs, numbers, np.nan)
