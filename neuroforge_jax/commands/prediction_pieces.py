"""What is read of inputs, piece by piece: some rows, what they are called, and what was made of their cells."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.preprocess import Inputs
from neuroforge_jax.data.targets import Targets
from neuroforge_jax.data.values import names_of
from neuroforge_jax.errors import DataError
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.model.rows import mark_numbers, read_rows

if TYPE_CHECKING:
    from neuroforge_jax.data.table import Table

ROW, FILE = "row", "file"

ROWS = 32_768
"""Of a piece of a table or an array."""

EXAMPLES = 3
"""Cells that a note shows."""

Names = Mapping[str, Sequence[str] | np.ndarray]
"""Columns of one length by name."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of an input.

    names: columns that say which rows they are. inputs: [N, I] as the model stores them. targets: what is right,
    where that is known; NaN or −1 in a row of which it is not. weights: f64 [N], how much each row counts in a
    score; NaN for one that is not scored.
    """

    names: Names
    inputs: Inputs
    targets: Targets | None = None
    weights: np.ndarray | None = None


@dataclass(eq=False)
class Notes:
    """What was made of the inputs, told once each; cells that could not be used are counted over all pieces."""

    tell: Callable[[str], None]
    _told: set[str] = field(default_factory=set)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _examples: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def add(self, *notes: str) -> None:
        """Tell those that are new and not empty."""
        for note in notes:
            if note and note not in self._told:
                self._told.add(note)
                self.tell(note)

    def count(self, column: str, outcome: str, cells: Sequence[str]) -> None:
        """Count cells of one outcome, which reads on from `cells that`."""
        if cells:
            self._counts[column, outcome] += len(cells)
            shown = self._examples.setdefault((column, outcome), set())
            shown.update(sorted(set(cells) - shown)[: EXAMPLES - len(shown)])

    def count_unread(self, table: "Table", column: str, unread: np.ndarray, outcome: str) -> None:
        """Count the cells of a column that are there and were not read. unread: bool [N], the missing ones too."""
        cells = table.columns[column]
        if unread.sum() > cells.null_count:
            self.count(column, outcome, list(map(str, cells.filter(unread).drop_null().to_pylist())))

    def tell_counts(self) -> None:
        """A sentence for each column and outcome."""
        for (column, outcome), count in self._counts.items():
            shown = names_of(sorted(self._examples[column, outcome]))
            self.tell(f"{column!r}: cells that {outcome}: {count:,} ({shown})")


@dataclass(eq=False)
class RowNames:
    """What rows are called in the answers: by their file, where there are several inputs, and by id or number.

    id: the column of a table that names its rows; must_have_id: whether every table must have it. only_files: no
    input is anything but a picture, which its file names. The first input decides whether rows have a number.
    """

    several: bool
    id: str | None = None
    must_have_id: bool = False
    only_files: bool = False
    _numbered: bool | None = None

    def describe(self, files: Sequence[str], first: int = 0, ids: Sequence[str] | None = None) -> Names:
        """The columns of rows that lie in these files. first: how many came before. ids: where a table has them."""
        if self.only_files:
            return {FILE: files}
        if self._numbered is None:
            self._numbered = ids is None
        names: dict[str, Sequence[str] | np.ndarray] = {}
        if self.several:
            names[self._own(FILE)] = files
        if self._numbered:
            names[self._own(ROW)] = np.arange(first + 1, first + 1 + len(files))
        if self.id is not None and (self.several or ids is not None):
            names[self.id] = [""] * len(files) if ids is None else ids
        return names

    def _own(self, name: str) -> str:
        """Of a column that is not the ids', which keep the name that they have in the input."""
        return f"{name} (input)" if name == self.id else name


@dataclass(frozen=True, eq=False)
class Reading:
    """What every reader of inputs goes by. config: how tables are read."""

    model: FittedModel
    config: DataConfig
    names: RowNames
    notes: Notes

    def store_rows(self, rows: np.ndarray, where: str) -> Inputs:
        """Rows of an array as the model stores them. Raises DataError, which names where they are."""
        try:
            return read_rows(self.model, mark_numbers(rows, self.config.missing), self.notes.add)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
