"""Numbers so far from all others that they decide every mean: fill values, slips of the keyboard, other units."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Num

from neuroforge_jax.data.mapped import BLOCK, MappedRows
from neuroforge_jax.data.preprocess import in_blocks
from neuroforge_jax.data.sampling import sample_rows

Numbers = Num[np.ndarray, "N I"] | Num[MappedRows, "N I"]

FAR, FAR_NINES = 1000, 10
"""Interquartile ranges from the median, of any number and of nines."""

ROWS_FOR_QUARTILES = 2048

NINES = (99, 999, 9999, 99999, 999999)
"""Numbers, and their negatives, that people write for a missing one."""

MOST_TOLD = 3


@dataclass(frozen=True)
class Extreme:
    """row: the first one in which a column has such a number. count: of the rows that have."""

    part: str
    column: int
    row: int
    value: float
    count: int


@np.errstate(invalid="ignore")  # a NaN may be of those that complain
def find_extremes(parts: Mapping[str, Numbers]) -> list[Extreme]:
    """What is more than 1,000 interquartile ranges from the median of the training rows, whose part is `training`.

    Of a column whose quartiles are one, the median distance of those that differ takes the place of their range; a
    constant column has no extremes.
    """
    if not parts["training"].shape[1]:
        return []
    low, high = _measure_reach(_sample(parts["training"]), FAR)
    found: list[Extreme] = []
    for part, numbers in parts.items():
        first: dict[int, tuple[int, float]] = {}
        counts = np.zeros(len(low), np.int64)
        for at, block in enumerate(in_blocks(numbers)):
            far = (block < low) | (block > high)
            if not far.any():
                continue
            counts += far.sum(axis=0)
            for column in np.flatnonzero(far.any(axis=0)).tolist():
                row = int(np.argmax(far[:, column]))
                first.setdefault(column, (at * BLOCK + row, float(block[row, column])))
        found += [Extreme(part, column, *first[column], int(counts[column])) for column in sorted(first)]
    return found


def _sample(training: Numbers) -> Float64[np.ndarray, "S I"]:
    return np.asarray(training[sample_rows(len(training), ROWS_FOR_QUARTILES)], np.float64)


def _measure_reach(
    rows: Float64[np.ndarray, "S I"], far: float
) -> tuple[Float64[np.ndarray, " I"], Float64[np.ndarray, " I"]]:
    """The lowest and the highest number of each column that is no extreme."""
    there = ~np.isnan(rows).all(axis=0)
    rows = np.where(there, rows, 0.0)
    quantile = np.nanquantile if np.isnan(rows).any() else np.quantile  # the first goes column by column
    quarter, median, three_quarters = quantile(rows, (0.25, 0.5, 0.75), axis=0)
    spread = three_quarters - quarter
    for column in np.flatnonzero(spread == 0):
        distances = np.abs(rows[:, column] - median[column])
        distances = distances[distances > 0]
        spread[column] = np.median(distances) if len(distances) else np.inf
    reach = np.where(there & (spread > 0), far * spread, np.inf)
    return median - reach, median + reach


def describe_extremes(
    parts: Mapping[str, Numbers],
    name_column: Callable[[int], str],
    name_row: Callable[[str, int], str],
    origins: Sequence[float] | np.ndarray | None = None,
) -> list[str]:
    """A sentence for each column of a part that has extremes, at most three. origins: what was subtracted."""
    found = find_extremes(parts)
    told = []
    for extreme in found[:MOST_TOLD]:
        value = extreme.value + (0.0 if origins is None else float(origins[extreme.column]))
        more = f" and so are {extreme.count - 1:,} more" if extreme.count > 1 else ""
        told.append(
            f"{name_column(extreme.column)} of {name_row(extreme.part, extreme.row)} is {value:g}, more than "
            f"{FAR:,} interquartile ranges from the median{more}; it dwarfs all others: if it is a fill value, "
            "mend or remove it"
        )
    if len(found) > MOST_TOLD:
        told.append(f"{len(found) - MOST_TOLD} more columns have such numbers")
    return told


def describe_nines(
    training: Numbers, name_column: Callable[[int], str], origins: Sequence[float] | np.ndarray
) -> list[str]:
    """A sentence for each column in which 999 or the like comes again, far from all else; at most three."""
    if not training.shape[1]:
        return []
    rows = _sample(training)
    low, high = _measure_reach(rows, FAR_NINES)
    outside = (rows < low) | (rows > high)
    told = []
    for column in np.flatnonzero(outside.any(axis=0)).tolist():
        values, counts = np.unique(rows[outside[:, column], column] + origins[column], return_counts=True)
        told += [
            f"{name_column(column)} is {value:g} in several rows, far from all others; if it marks missing values, "
            f"say so with --missing={value:g}"
            for value in values[(counts > 1) & np.isin(np.abs(values), NINES)][:1]
        ]
    return told[:MOST_TOLD]
