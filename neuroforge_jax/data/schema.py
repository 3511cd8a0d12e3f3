"""What a model takes of a table: its columns by name, what each is, and how it becomes numbers.

A schema is inferred from training rows, shown, saved as JSON, and enforced by name wherever rows are read later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from neuroforge_jax.data.preprocess import Codes, Preprocessor
from neuroforge_jax.data.schema_view import render_html, render_text
from neuroforge_jax.data.targets import Target
from neuroforge_jax.data.values import Values, rewrite_number
from neuroforge_jax.errors import DataError
from neuroforge_jax.system.files import restore_tuples

DAY = 86_400.0

CYCLES = {"hour": DAY, "weekday": 7 * DAY, "year": 365.2425 * DAY}
"""What repeats in time, and how often, in seconds."""


@dataclass(frozen=True)
class Column:
    """A column of a table, as plain values.

    kind: that of its `Values`. role: input, target, id, group, order, weight or left out. levels: of a category,
    by their codes from 1. rest: whether the last of them stands for all that have none. origin: what is subtracted
    from numbers, in float64, before they are float32. missing: share of the training rows. cycles: of a time, the
    names of CYCLES that it is also told as. said: why it is left out, or what was made of its cells.
    written_as_digits: of a time, whether its cells are numbers such as 20240131.
    """

    name: str
    kind: str
    role: str = "input"
    levels: tuple[str, ...] = ()
    rest: bool = False
    origin: float = 0.0
    missing: float = 0.0
    cycles: tuple[str, ...] = ()
    said: str = ""
    written_as_digits: bool = False

    @property
    def is_code(self) -> bool:
        """Whether it enters as a code."""
        return self.kind in ("category", "yes/no")

    @property
    def codes(self) -> Codes:
        """How its code enters."""
        return Codes(len(self.levels), self.missing > 0)

    @property
    def has_numbers(self) -> bool:
        """Whether all levels of a category are written as numbers are."""
        levels = self.levels[:-1] if self.rest else self.levels
        return bool(levels) and all(rewrite_number(level) == level for level in levels)

    def codes_of(self, texts: Sequence[str]) -> list[int]:
        """The codes of cells of a category; 0 for one that has none. `1.0` is the level 1 among numbers."""
        place = {text: code for code, text in enumerate(self.levels, 1)}
        if self.has_numbers:
            texts = [rewrite_number(text) for text in texts]
        return [place.get(text, len(self.levels) if self.rest else 0) for text in texts]

    @property
    def numbers(self) -> int:
        """Numbers of a record that it takes."""
        return 0 if self.is_code else 1 + 2 * len(self.cycles)

    def treatment(self) -> str:
        """For a reader: what becomes of it."""
        if self.role != "input":
            return self.role if self.role != "order" else "order of time"
        missing = "missing ones by an input of their own" if self.missing else ""
        if self.is_code:
            several = f"one of {len(self.levels)} levels" if len(self.levels) > 1 else "one level"
            one = "−1 or 1" if self.codes.is_sign else several
            return ", ".join(filter(None, (one, missing)))
        what = "seconds" if self.kind == "time" else "scaled"
        cyclic = f"{' and '.join(self.cycles)} as a circle" if self.cycles else ""
        median = f"median and {missing}" if missing else ""
        return ", ".join(filter(None, (what, cyclic, median)))


@dataclass(frozen=True, repr=False)
class Schema:
    """The columns of a table, in the file's order, and what is predicted from them.

    missing: numbers and texts that the training named as missing values, which they are in later rows too.
    Printed, and at the end of a cell of a notebook, it is a table of the columns.
    """

    columns: tuple[Column, ...]
    target: Target
    missing: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return render_text(self.columns)

    def _repr_html_(self) -> str:
        return render_html(self.columns)

    @property
    def inputs(self) -> tuple[Column, ...]:
        """Numbers and times first, then categories, each in the file's order: the order in a record."""
        used = [column for column in self.columns if column.role == "input"]
        return tuple(sorted(used, key=lambda column: column.is_code))

    def by_role(self, role: str) -> tuple[str, ...]:
        """Names of the columns of a role."""
        return tuple(column.name for column in self.columns if column.role == role)

    def plan(self, scaling: str = "standard") -> Preprocessor:
        """What becomes of a record inside the program."""
        numbers, indicators, codes = 0, [], []
        for column in self.inputs:
            if column.is_code:
                codes.append(column.codes)
            else:
                indicators += [numbers] if column.missing else []
                numbers += column.numbers
        return Preprocessor(numbers, tuple(codes), tuple(indicators), scaling)

    def positions(self) -> dict[str, tuple[int, ...]]:
        """Where the values of each input column lie in a record."""
        places, at = {}, 0
        for column in self.inputs:
            size = column.numbers or 1
            places[column.name] = tuple(range(at, at + size))
            at += size
        return places

    def encode(
        self,
        columns: Mapping[str, Values],
        where: str,
        rows: Int[np.ndarray, " N"] | None = None,
        *,
        first: int = 0,
    ) -> Float32[np.ndarray, "N W"]:
        """Records of rows whose columns were read as this schema says. first: how many rows came before.

        rows: where each is in the table that errors call by `where`, from 0; the first ones unless given. Raises
        DataError for a number that float32 does not hold.
        """
        samples = len(next(iter(columns.values())))
        parts = [part for column in self.inputs for part in _encode(column, columns[column.name])]
        records = np.empty((samples, len(parts)), np.float32)
        with np.errstate(over="ignore"):
            for at, part in enumerate(parts):
                records[:, at] = part
        if np.isinf(records).any():
            at, place = (int(x[0]) for x in np.nonzero(np.isinf(records)))
            row = at if rows is None else int(rows[at])
            name = next(name for name, places in self.positions().items() if place in places)
            raise DataError(
                f"{where}: row {first + row + 1:,}, column {name!r} is no finite float32 number; mend or remove "
                "the row"
            )
        return records

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        columns = [asdict(column) for column in self.columns]
        return {"columns": columns, "target": asdict(self.target), "missing": list(self.missing)}

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> "Schema":
        """The inverse of `to_json`."""
        columns = [Column(**restore_tuples(column)) for column in saved["columns"]]
        target = Target(**restore_tuples(saved["target"]))
        return Schema(tuple(columns), target, tuple(saved.get("missing", ())))


def _encode(column: Column, values: Values) -> list[np.ndarray]:
    """Its numbers [N], or its codes."""
    if column.is_code:
        # The last place is that of code −1, which is missing.
        of_text = np.array([*column.codes_of(values.texts), 0], np.float32)
        return [of_text[values.known_codes]]
    assert values.numbers is not None
    circles = []
    for name in column.cycles:
        angle = 2 * np.pi * (values.numbers / CYCLES[name] % 1)
        circles += [np.sin(angle), np.cos(angle)]
    return [values.numbers - column.origin, *circles]
