"""A table as it was read: columns by name, as Arrow holds them, and what was made of the file."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one length.

    name: what errors call it: a path, or "the data frame". columns: by name, in the file's order, each a
    ChunkedArray of float64, string, bool or timestamp; null where a value is missing. A text file has float64 where
    every cell is a plain number, and strings elsewhere, blanks at their ends left out. notes: sentences for the
    header of a run: what was made of the file. decimal: the decimal mark of its texts. dtypes: of
    columns of floats that were narrower where they came from, by name.
    """

    name: str
    columns: dict[str, pa.ChunkedArray]
    notes: tuple[str, ...] = ()
    decimal: str = "."
    dtypes: Mapping[str, np.dtype] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))
