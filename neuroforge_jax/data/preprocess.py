"""What becomes of a row before the first layer: a plan, and the numbers that are learnt for it from training rows.

    x → scaled(x, or its median where it is missing), 1 where it is missing, one input for each level of a category

A row of a table is one record of float32: its numbers, NaN where one is missing, and behind them the codes of its
categories, whole numbers from 0. A picture is its pixels, uint8. Everything else happens in the compiled program
(`model/network_inputs.py`). A named tuple is a pytree to jax, which is not imported here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from neuroforge_jax.data.mapped import BLOCK, MappedRows
from neuroforge_jax.data.sampling import sample_rows
from neuroforge_jax.errors import lookup

Inputs = (
    UInt8[np.ndarray, "N I"]
    | Float32[np.ndarray, "N I"]
    | UInt8[MappedRows, "N I"]
    | Float32[MappedRows, "N I"]
)

PICTURES_MEASURED = 10_000

ROWS_SORTED = 65_536
"""Rows that medians and quantiles are taken from, spread over all of them."""

NUMBERS_SORTED = 2**23
"""Of wide rows fewer are sorted, so that no more numbers are in memory for it."""

KNOTS = 101
"""Quantiles that a column is mapped through."""


@dataclass(frozen=True)
class Codes:
    """How a category enters: by its code from 1 to `levels`, or 0 where it is missing or unknown.

    missing: whether code 0 has an input of its own, because training rows had it; else it makes all inputs 0. Two
    levels without it are one input: −1, 1, or 0.
    """

    levels: int
    missing: bool = False

    @property
    def is_sign(self) -> bool:
        """Whether it is one input."""
        return self.levels == 2 and not self.missing

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return 1 if self.is_sign else self.levels + self.missing


@dataclass(frozen=True)
class Preprocessor:
    """The plan, as plain values: part of a model's structure.

    numbers: of a record, or pixels of a picture. codes: behind them. indicators: positions of the numbers that have
    an input that says whether they are missing. scaling: one of SCALINGS. pixels: all numbers have one scale.
    """

    numbers: int
    codes: tuple[Codes, ...] = ()
    indicators: tuple[int, ...] = ()
    scaling: str = "standard"
    pixels: bool = False

    @property
    def record(self) -> int:
        """Numbers of a row as it is stored."""
        return self.numbers + len(self.codes)

    @property
    def width(self) -> int:
        """Inputs of the network."""
        return self.numbers + len(self.indicators) + sum(code.width for code in self.codes)


class Fitted(NamedTuple):
    """What was learnt from the training rows: a pytree that every program takes beside the parameters, so that
    other data need no other program.

    shift, scale: numbers become (x − shift)·scale; f32 [] for pixels (one mean and deviation over all, so that the
    picture keeps its contrasts), else f32 [I], scale 0 for a constant column, which says nothing. fill: f32 [I] in
    the place of missing numbers; None for pixels, of which none is. knots: f32 [2, Q, I], quantiles of each
    column and the normal distribution's in their place, where that is the scaling. target_shift, target_scale:
    f32 [O], the same of the targets of a regression; None where targets are used as they are.
    """

    shift: np.ndarray
    scale: np.ndarray
    fill: np.ndarray | None = None
    knots: np.ndarray | None = None
    target_shift: np.ndarray | None = None
    target_scale: np.ndarray | None = None


@np.errstate(invalid="ignore")  # a NaN may be of those that complain
def fit_inputs(plan: Preprocessor, inputs: Inputs) -> Fitted:
    """Measure training rows, in float64; pictures by their first 10,000."""
    if plan.pixels and inputs.dtype == np.uint8:
        return Fitted(*as_float32(*standard_of_pixels(inputs[:PICTURES_MEASURED])))
    numbers = inputs if plan.numbers == inputs.shape[1] else inputs[:, : plan.numbers]
    most = max(BLOCK, min(ROWS_SORTED, NUMBERS_SORTED // max(1, plan.numbers)))
    rows = numbers[sample_rows(len(numbers), most)]
    shift, scale = as_float32(*lookup(SCALINGS, plan.scaling, "scaling")(numbers, rows))
    (fill,) = as_float32(*_quantiles(rows, np.array([0.5])))
    knots = as_float32(_knots_of_rows(numbers, rows))[0] if plan.scaling == "quantile" else None
    return Fitted(shift, scale, fill, knots)


def fit_targets(fitted: Fitted, targets: Float32[np.ndarray, "N O"], weights: np.ndarray | None) -> Fitted:
    """With the mean and deviation of the targets of a regression, in float64."""
    wide = targets.astype(np.float64)
    mean = np.average(wide, axis=0, weights=weights)
    return with_targets(fitted, mean, np.sqrt(np.average((wide - mean) ** 2, axis=0, weights=weights)))


def with_targets(
    fitted: Fitted, mean: Float64[np.ndarray, " O"], deviation: Float64[np.ndarray, " O"]
) -> Fitted:
    """With targets of this mean and deviation; one that is constant is only moved."""
    constant = _is_constant(mean, deviation)
    shift, scale = as_float32(mean, 1 / np.where(constant, 1, deviation))
    return fitted._replace(target_shift=shift, target_scale=scale)


def in_blocks(inputs: np.ndarray | MappedRows) -> Iterator[np.ndarray]:
    """The rows, some thousands at a time."""
    return (inputs[at : at + BLOCK] for at in range(0, len(inputs), BLOCK))


Spread = tuple[np.ndarray, np.ndarray]
"""Shift and scale, float64."""


def standard_of_pixels(inputs: UInt8[np.ndarray, "N I"]) -> Spread:
    """One mean and deviation of all pixels."""
    counts = np.bincount(inputs.ravel(), minlength=256).astype(np.float64)
    levels = np.arange(256.0)
    mean = (counts * levels).sum() / counts.sum()
    return mean, inverse_spread(mean, np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum()))


def _standard(numbers: np.ndarray | MappedRows, rows: np.ndarray) -> Spread:
    """Mean 0 and deviation 1, in blocks: the rows may be mapped from a file larger than the memory."""
    present = sum((~np.isnan(block)).sum(axis=0) for block in in_blocks(numbers))
    count = np.maximum(present, 1)
    mean = sum(np.nansum(block, axis=0, dtype=np.float64) for block in in_blocks(numbers)) / count
    squares = sum(np.nansum((block - mean) ** 2, axis=0) for block in in_blocks(numbers))
    return mean, inverse_spread(mean, np.sqrt(squares / count))


def _robust(numbers: np.ndarray | MappedRows, rows: np.ndarray) -> Spread:
    """Median 0 and quartiles 1 apart (Holzmüller et al., 2024, arXiv:2407.04491); where they are one, as of a
    column that is mostly 0, the median distance of the other values is 1, be they as rare as they may.
    """
    first, median, third = _quantiles(rows, np.array([0.25, 0.5, 0.75]))
    spread = third - first
    (level,) = np.nonzero(spread == 0)
    (spread[level],) = _quantiles(_distances(rows, median, level), np.array([0.5]))
    (rare,) = np.nonzero(spread == 0)
    if len(rare) and len(rows) < len(numbers):
        for at, others in zip(rare, _collect_distances(numbers, median, rare), strict=True):
            spread[at] = np.median(others) if len(others) else 0
    return median, inverse_spread(median, spread)


def _distances(rows: np.ndarray, centre: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Of these columns from their centre, NaN where there is none."""
    distances = np.abs(rows[:, columns] - centre[columns])
    return np.where(distances > 0, distances, np.nan)


def _collect_distances(
    numbers: np.ndarray | MappedRows, centre: np.ndarray, columns: np.ndarray
) -> list[np.ndarray]:
    """Those of all rows, column by column: few, as a sample of the rows has none."""
    found: list[list[np.ndarray]] = [[] for _ in columns]
    for block in in_blocks(numbers):
        distances = _distances(block, centre, columns)
        for at in np.flatnonzero(~np.isnan(distances).all(axis=0)):
            column = distances[:, at]
            found[at].append(column[~np.isnan(column)])
    return [np.concatenate(parts) if parts else np.zeros(0) for parts in found]


def _unscaled(numbers: np.ndarray | MappedRows, rows: np.ndarray) -> Spread:
    return np.zeros(numbers.shape[1]), np.ones(numbers.shape[1])


SCALINGS: dict[str, Callable[[np.ndarray | MappedRows, np.ndarray], Spread]] = {
    "standard": _standard,
    "robust": _robust,
    "quantile": _unscaled,
    "none": _unscaled,
}
"""Name → shift and scale of columns, from all rows and from those that are sorted."""


def _quantiles(rows: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Of each column, without its missing cells; 0 where all are missing."""
    found = np.zeros((len(shares), rows.shape[1]))
    for at, column in enumerate(rows.T):
        there = column[~np.isnan(column)]
        if len(there):
            found[:, at] = np.quantile(there.astype(np.float64), shares)
    return found


def _knots_of_rows(numbers: np.ndarray | MappedRows, rows: np.ndarray) -> np.ndarray:
    """The least and the greatest of all rows count as half a knot from the ends."""
    # Rounded first: two that become one in float32 must have one place.
    quantiles = _quantiles(rows, np.linspace(0, 1, KNOTS)).astype(np.float32)
    if len(rows) < len(numbers):
        for end, pick in ((0, np.fmin), (-1, np.fmax)):
            ends = pick.reduce([pick.reduce(block, axis=0) for block in in_blocks(numbers)], axis=0)
            quantiles[end] = np.where(np.isnan(ends), quantiles[end], ends)
    return normal_knots(quantiles)


def normal_knots(quantiles: Float32[np.ndarray, "Q I"]) -> np.ndarray:
    """Quantiles of each column, and the normal distribution's, [2, Q, I]; where many rows have one value it stands
    for the mean of theirs.
    """
    from scipy.special import ndtri

    normal = ndtri((np.arange(KNOTS) + 0.5) / KNOTS)
    targets = np.empty_like(quantiles, np.float64)
    for at, column in enumerate(quantiles.T):
        first = np.searchsorted(column, column, side="left")
        last = np.searchsorted(column, column, side="right") - 1
        targets[:, at] = (normal[first] + normal[last]) / 2
    return np.stack([quantiles, targets])


def inverse_spread(centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The scale of a column with this spread; 0 where it is constant."""
    constant = _is_constant(centre, spread)
    return np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, spread))


def _is_constant(centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """A column that only rounding makes vary must not be blown up to unit variance."""
    return spread <= 1e-7 * np.maximum(np.abs(centre), 1e-30)


def as_float32(*arrays: np.ndarray) -> list[np.ndarray]:
    """Each as it lies on a device."""
    return [np.asarray(array, np.float32) for array in arrays]


def choose_origin(numbers: Float64[np.ndarray, " N"]) -> float:
    """A number near all of them where their distance from 0 is more than 1,000 times what they differ by; else 0.

    float32 has 7 digits: what is left of a time in seconds since 1970 would be minutes.
    """
    there = numbers[sample_rows(len(numbers), ROWS_SORTED)]
    there = there[~np.isnan(there)]
    if not len(there):
        return 0.0
    low, median, high = (float(x) for x in np.quantile(there, (0.05, 0.5, 0.95)))
    return origin_of(low, median, high, float(np.nanmax(numbers) - np.nanmin(numbers)))


def origin_of(low: float, median: float, high: float, width: float) -> float:
    """See `choose_origin`. low, median, high: quantiles of 5, 50 and 95 %. width: from least to greatest."""
    spread = high - low or width
    return median if spread > 0 and abs(median) > 1000 * spread else 0.0
