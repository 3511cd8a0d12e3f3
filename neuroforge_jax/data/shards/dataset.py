"""A dataset whose training samples are read as they are needed; what is held out of them is in memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from neuroforge_jax.data.preprocess import (
    Fitted,
    Preprocessor,
    as_float32,
    standard_of_pixels,
    with_targets,
)
from neuroforge_jax.data.shards.order import LaneOrder
from neuroforge_jax.data.shards.selection import Selection
from neuroforge_jax.data.shards.source import ShardSource
from neuroforge_jax.data.shards.statistics import Moments, NumberStatistics, Slots, fit_numbers
from neuroforge_jax.data.shards.units import Decoder, Place, SelectedUnits, choose_samples, spread_evenly
from neuroforge_jax.data.targets import Target
from neuroforge_jax.data.types import Dataset, Split, choose_class_weights
from neuroforge_jax.errors import ConfigError, DataError
from neuroforge_jax.system.memory import free_bytes, text
from neuroforge_jax.typing import Bool

SHOWN = 10_000
"""Training samples that stand for all where some are looked at: pixels are measured by them."""

SHOWN_BYTES = 64 << 20

UNITS_SHOWN = 100

SHARE = 0.5
"""Of the free memory, that a part which is held in memory may take."""

ClassSums = tuple[Float64[np.ndarray, " C"], Float64[np.ndarray, " C"]]
"""Rows of each class, and their weight."""


@dataclass(frozen=True, eq=False)
class ClassWeightedDecoder:
    """Samples that count by their class too. factors: f64 [C], by which mean weights are 1."""

    decoder: Decoder[Any]
    factors: Float64[np.ndarray, " C"]

    @property
    def like(self) -> Split:
        """See `Decoder`."""
        return replace(self.decoder.like, weights=np.zeros(0, np.float32))

    def decode(self, data: Any, place: Place) -> tuple[Split, Bool[np.ndarray, " N"] | None]:
        """See `Decoder`."""
        split, there = self.decoder.decode(data, place)
        weights = self.factors[split.targets] * (1.0 if split.weights is None else split.weights)
        return replace(split, weights=weights.astype(np.float32)), there

    def with_weights_times(self, factor: float) -> "ClassWeightedDecoder":
        """See `Decoder`."""
        return replace(self, factors=self.factors * factor)


@dataclass(frozen=True, eq=False, repr=False)
class ShardedDataset(Dataset):
    """A dataset of which `train` holds some samples that stand for all, and `source` reads all.

    units: where the training samples lie. digest: of what the shards are. class_sums: rows of each class and their
    weight; None where the target is no class, or is in several columns.
    """

    units: SelectedUnits[Any] = field(kw_only=True)
    digest: str = field(kw_only=True)
    class_sums: ClassSums | None = field(kw_only=True, default=None)

    @property
    def samples(self) -> int:
        """Of one epoch of a training."""
        return int(self.units.sizes.sum())

    def count_classes(self, *, by_weight: bool = False) -> Float64[np.ndarray, " C"]:
        """See `Dataset`; of classes in several columns, of the samples that stand for all."""
        if self.class_sums is None:
            return super().count_classes(by_weight=by_weight)
        return self.class_sums[by_weight]

    def source(self, batch_size: int, *, shuffles: bool = True) -> ShardSource:
        """The training samples as the loss counts them, in the order of batches of this size."""
        units = self.units
        if self.class_weights is not None:
            assert self.class_sums is not None
            mean = float(self.class_weights @ self.class_sums[1]) / self.samples
            units = replace(units, decoder=ClassWeightedDecoder(units.decoder, self.class_weights / mean))
        return ShardSource(units, LaneOrder(units.sizes, batch_size, shuffles))

    def in_memory(self) -> Dataset:
        """The samples that stand for all, as a dataset of their own."""
        names = [each.name for each in fields(Dataset)]
        return Dataset(**{name: getattr(self, name) for name in names})

    def identity(self) -> dict[str, str | int]:
        """What distinguishes its training data: name, sizes, and a SHA-256 over names, sizes and digests of the
        shards, and over what was fitted to them.
        """
        said = [self.digest, repr(self.units.selection), np.asarray(self.fitted.shift).tobytes().hex()]
        said += [] if self.class_weights is None else [self.class_weights.tobytes().hex()]
        sizes = {"samples": self.samples, "inputs": self.inputs, "outputs": self.outputs}
        return {"name": self.name, **sizes, "sha256": hashlib.sha256("\n".join(said).encode()).hexdigest()}

    def first(self, samples: int | None) -> "ShardedDataset":
        """The same with only the first rows, as they are stored, fitted by those alone: they are read once."""
        if samples is None:
            return self
        if samples > self.samples:
            raise ConfigError(
                f"--train-samples {samples}: {self.name} has {self.samples} training samples; take fewer"
            )
        return self._select(replace(self.units.selection, first=self._row_behind(samples)), self.plan)[0]

    def _row_behind(self, samples: int) -> int:
        """The number of rows of all kinds, from the first, among which so many are samples."""
        before = np.cumsum(self.units.sizes)
        unit = int(np.searchsorted(before, samples))
        left = samples - int(before[unit] - self.units.sizes[unit])
        rows = int(self.units.blocks.rows[:unit].sum())
        for place, data in self.units.blocks.read(unit):
            split, there = self.units.decoder.decode(data, place)
            if len(split) >= left:
                return rows + (left if there is None else int(np.flatnonzero(there)[left - 1]) + 1)
            rows, left = rows + (len(split) if there is None else len(there)), left - len(split)
        raise DataError(f"{self.name}: its shards changed while they were read; start again")

    def hold_out(self, fraction: float, seed: int) -> "ShardedDataset":
        """Take a share of the rows out as validation data, each by its number and the seed, into memory, and fit
        what is left: all are read once.

        Raises ConfigError where one side would be empty or memory is too small for the share.
        """
        if fraction == 0:
            return self
        check_memory(
            f"--validation-fraction {fraction:g} of {self.name}", self.samples * fraction, self.units.like
        )
        selection = replace(self.units.selection, share=fraction, seed=seed)
        stay, held = self._select(selection, self.plan)
        if not len(held):
            raise ConfigError(
                f"--validation-fraction {fraction:g} of {self.samples} training samples leaves one side empty; "
                "choose another share"
            )
        return replace(stay, validation=held.with_mean_weight_1(f"{self.name}, samples held out"))

    def with_scaling(self, scaling: str) -> "ShardedDataset":
        """The same with its numbers scaled otherwise: all rows are read once."""
        if scaling in ("auto", self.plan.scaling) or self.plan.pixels:
            super().with_scaling(scaling if self.plan.pixels else "auto")  # pixels keep their scale
            return self
        return self._select(self.units.selection, replace(self.plan, scaling=scaling))[0]

    def with_weights_of(self, class_weight: str | None) -> "ShardedDataset":
        """See `Dataset`. Raises ConfigError for classes in several columns, too."""
        if class_weight is None:
            return self
        if self.class_sums is None:
            fact = "classes lie in several columns" if self.classes else "the target is no class"
            raise ConfigError(f"--class-weight {class_weight}: {fact}; leave it out")
        factors = choose_class_weights(class_weight, self.classes, self.class_sums[0])
        if not float(factors @ self.class_sums[1]) > 0:
            raise DataError(
                "--class-weight: weights are finite numbers from 0 upwards, and not all of them 0"
            )
        return replace(self, class_weights=factors)

    def _select(self, selection: Selection, plan: Preprocessor) -> tuple["ShardedDataset", Split]:
        """The dataset of these rows, fitted to them alone, and the samples that are held out of them."""
        learnt = _Learnt(self.target, plan, len(self.classes))
        blocks, decoder, held = self.units.blocks, self.units.decoder, [self.units.like]
        sizes = np.zeros(len(blocks.rows), np.int64)
        last = selection.rows(int(blocks.rows.sum()))
        outside = replace(selection, held_out=True)
        for unit in np.flatnonzero(np.cumsum(blocks.rows) - blocks.rows < last).tolist():
            for place, data in blocks.read(unit):
                if place.number >= last:
                    break
                split, there = decoder.decode(data, place)
                stay = choose_samples(selection, split, there, place)
                learnt.add(stay)
                sizes[unit] += len(stay)
                if selection.share:
                    held.append(choose_samples(outside, split, there, place))
        if not sizes.any():
            raise ConfigError(f"{self.name}: no training sample is left; choose another share")
        units = replace(self.units, selection=selection, sizes=sizes)
        sums = learnt.counts, learnt.weights
        if learnt.weight:
            factor = learnt.rows / learnt.weight
            units = replace(units, decoder=decoder.with_weights_times(factor))
            sums = learnt.counts, learnt.weights * factor
        train = show(units)
        dataset = replace(self, units=units, train=train, plan=plan, fitted=learnt.fit(train))
        return replace(dataset, class_sums=self.class_sums and sums), concatenate(held)


class _Learnt:
    """What is learnt of samples as they are stored."""

    def __init__(self, target: Target, plan: Preprocessor, classes: int) -> None:
        self.target, self.plan = target, plan
        self.rows, self.weight = 0, 0.0
        self.numbers = NumberStatistics(0 if plan.pixels else plan.numbers)
        self.moments = Moments(len(target.names))
        self.counts, self.weights = np.zeros(classes), np.zeros(classes)

    def add(self, split: Split) -> None:
        """Take samples into account."""
        self.rows += len(split)
        self.weight += 0.0 if split.weights is None else float(split.weights.sum(dtype=np.float64))
        if not self.plan.pixels:
            self.numbers.add(np.asarray(split.inputs[:, : self.plan.numbers]))
        if self.target.task == "regression":
            self.moments.add(split.targets, split.weights)
        if self.target.task == "classification":
            self.counts += np.bincount(split.targets, minlength=len(self.counts))
            self.weights += np.bincount(split.targets, split.weights, minlength=len(self.counts))

    def fit(self, shown: Split) -> Fitted:
        """What was learnt. shown: by which pixels are measured."""
        if self.plan.pixels:
            fitted = fit_pixels(shown)
        else:
            slots = Slots(list(range(self.plan.numbers)), np.zeros(self.plan.numbers))
            fitted = fit_numbers(self.plan, self.numbers, slots)
        if self.target.task != "regression":
            return fitted
        return with_targets(fitted, self.moments.mean, self.moments.deviation)


def fit_pixels(shown: Split) -> Fitted:
    """One mean and deviation of the pixels of these pictures, or of numbers that are scaled as such."""
    shift, scale = as_float32(*standard_of_pixels(np.asarray(shown.inputs)))
    return Fitted(shift, scale)


def show(units: SelectedUnits[Any]) -> Split:
    """Samples that stand for all: of 100 units, evenly spread, the first ones, or all where they are few."""
    most = max(1, min(SHOWN, SHOWN_BYTES // max(1, bytes_of_row(units.like))))
    sizes = units.sizes
    if sizes.sum() <= most:
        return concatenate([units.like, *units.read_all()])
    chosen = spread_evenly(sizes, UNITS_SHOWN)
    each, parts = -(-most // len(chosen)), [units.like]
    for unit in chosen:
        left = each
        for split in units.read(unit, 0):
            parts.append(split[:left])
            left -= len(parts[-1])
            if left <= 0:
                break
    return concatenate(parts)


def concatenate(parts: list[Split]) -> Split:
    """One split of several."""
    weights = [part.weights for part in parts if part.weights is not None]
    return Split(
        np.concatenate([np.asarray(part.inputs) for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate(weights) if len(weights) == len(parts) else None,
    )


def bytes_of_row(like: Split) -> int:
    """Of one sample."""
    arrays = (like.inputs, like.targets, *([] if like.weights is None else [like.weights]))
    return sum(int(np.prod(array.shape[1:])) * array.dtype.itemsize for array in arrays)


def check_memory(what: str, rows: float, like: Split) -> None:
    """Raises DataError where rows that are to lie in memory take more than a share of what is free."""
    size, limit = int(rows * bytes_of_row(like)), int(SHARE * free_bytes())
    if size > limit:
        raise DataError(
            f"{what}: takes {text(size)} of memory, and may take {text(limit)}, {SHARE:.0%} of what is free; "
            "validation and test data are held in memory: take fewer"
        )


def describe_parts(parts: Mapping[str, Split]) -> str:
    """How large they are in memory."""
    sizes = [f"{part} {text(len(split) * bytes_of_row(split))}" for part, split in parts.items()]
    return f"in memory: {', '.join(sizes)}" if sizes else ""
