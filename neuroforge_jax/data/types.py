"""Datasets as plain arrays: splits, what was fitted to them, and the checks that stand before any training."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Num

from neuroforge_jax.data.array_sets import read_arrays
from neuroforge_jax.data.extremes import Numbers, describe_extremes
from neuroforge_jax.data.mapped import BLOCK, select_rows
from neuroforge_jax.data.preprocess import (
    Fitted,
    Inputs,
    Preprocessor,
    fit_inputs,
    fit_targets,
)
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.splits import choose_groups, choose_last, choose_share
from neuroforge_jax.data.targets import Target, Targets
from neuroforge_jax.data.values import names_of
from neuroforge_jax.errors import ConfigError, DataError

Weights = Float32[np.ndarray, " N"]


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Samples and what is to be predicted from them.

    inputs: uint8 pixels, or records float32 (`data/preprocess.py`), [N, I], as stored; they are scaled inside the
    compiled program. targets: int32 [N] class indices, or float32 [N, O] of a regression or of labels. weights:
    float32 [N], how much each sample counts, in the loss of a training and in every metric; None where all count
    alike.
    """

    inputs: Inputs
    targets: Targets
    weights: Weights | None = None

    def __repr__(self) -> str:
        arrays = (self.inputs, self.targets, *([] if self.weights is None else [self.weights]))
        shown = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
        return f"Split({shown})"

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def total_weight(self) -> float:
        """What all samples count together."""
        return float(len(self)) if self.weights is None else float(self.weights.sum(dtype=np.float64))

    def __getitem__(self, index: slice | np.ndarray) -> "Split":
        weights = None if self.weights is None else self.weights[index]
        return Split(self.inputs[index], self.targets[index], weights)

    def select(self, index: slice | np.ndarray) -> "Split":
        """Some of the samples; those in a file stay there."""
        weights = None if self.weights is None else self.weights[index]
        return Split(select_rows(self.inputs, index), self.targets[index], weights)

    def with_mean_weight_1(self, name: str) -> "Split":
        """The same with its weights divided by their mean. Raises DataError, by this name, where all are 0."""
        if self.weights is None:
            return self
        return replace(self, weights=normalize_weights(name, self.weights, len(self)))


@dataclass(frozen=True, eq=False)
class Partition:
    """What must not be torn apart, or mixed in time, when training rows are held out.

    groups: i64 [N], or None. order: f64 [N], a time, or None. by_class: whether every class gives its share where
    there is neither.
    """

    groups: Num[np.ndarray, " N"] | None = None
    order: Float64[np.ndarray, " N"] | None = None
    by_class: bool = True

    def __getitem__(self, index: slice | np.ndarray) -> "Partition":
        groups, order = self.groups, self.order
        return replace(
            self,
            groups=None if groups is None else groups[index],
            order=None if order is None else order[index],
        )

    def hold_out(
        self, samples: int, share: float, seed: int, labels: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the rows that stay, and of those that are held out."""
        if self.groups is not None:
            return choose_groups(self.groups, share, seed)
        if self.order is not None:
            return choose_last(self.order, share)
        return choose_share(samples, share, seed, labels if self.by_class else None)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A training split, any of validation and test, and what is needed to read them.

    test, validation: None where there are none. target: what is predicted. shape: of one sample, (28, 28) for
    pictures, (I,) for tables. plan: what becomes of a sample before the first layer; fitted: what was learnt for it
    from the training split alone. schema: of the table that it was read from; names: of the inputs of arrays that
    have such. origins: f64 [I], what was subtracted from arrays before they became float32. missing: numbers, as
    texts, that mean a missing one in such arrays. class_weights: f64 [C],
    how much more the training samples of each class count in the loss that is minimised, and nowhere else. origin:
    a sentence for the header: where the data came from and why they were chosen; notes: others, what was made of
    them.
    """

    name: str
    train: Split
    test: Split | None
    target: Target
    shape: tuple[int, ...]
    plan: Preprocessor
    fitted: Fitted
    schema: Schema | None = None
    names: tuple[str, ...] = ()
    origins: Float64[np.ndarray, " I"] | None = None
    missing: tuple[str, ...] = ()
    origin: str = ""
    notes: tuple[str, ...] = ()
    validation: Split | None = None
    partition: Partition = Partition()
    class_weights: Float64[np.ndarray, " C"] | None = None

    def __repr__(self) -> str:
        others = {"validation": self.validation, "test": self.test}
        sizes = [f"{self.samples:,} training"]
        sizes += [f"{len(split):,} {part}" for part, split in others.items() if split is not None]
        shape = "×".join(map(str, self.shape))
        return f"Dataset({self.name}: {', '.join(sizes)} samples of {shape}, {self.target.label})"

    @property
    def samples(self) -> int:
        """Of one epoch of a training."""
        return len(self.train)

    def count_classes(self, *, by_weight: bool = False) -> Float64[np.ndarray, " C"]:
        """How many training samples each class has. by_weight: by the weights that they have, where they do."""
        weights = self.train.weights if by_weight else None
        return np.bincount(self.train.targets, weights, minlength=len(self.classes)).astype(np.float64)

    @cached_property
    def weighted_train(self) -> Split:
        """The training split as the loss of a training counts it: each sample by the weight of its class too."""
        if self.class_weights is None:
            return self.train
        weights = self.class_weights[self.train.targets]
        if self.train.weights is not None:
            weights = weights * self.train.weights
        return replace(self.train, weights=normalize_weights("--class-weight", weights, len(weights)))

    @property
    def inputs(self) -> int:
        """Inputs of the network."""
        return self.plan.width

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by index; empty for a regression and for several labels."""
        return self.target.classes if self.target.task == "classification" else ()

    @property
    def column_positions(self) -> Mapping[str, Sequence[int]]:
        """Where the values of each named column lie in a record; empty for arrays and pictures without names."""
        if self.schema is not None:
            return self.schema.positions()
        return {name: (at,) for at, name in enumerate(self.names)}

    @property
    def outputs(self) -> int:
        """Classes, labels, or numbers to predict in a regression."""
        return len(self.classes) or int(self.train.targets.shape[1])

    @staticmethod
    def from_arrays(
        x_train: Any,
        y_train: Any,
        x_test: Any = None,
        y_test: Any = None,
        *,
        validation: tuple[Any, Any] | None = None,
        sample_weight: Any = None,
        name: str = "arrays",
        classes: Sequence[str] | None = None,
        task: str = "auto",
        names: Sequence[str] = (),
        origin: str = "given as arrays",
    ) -> "Dataset":
        """Make a dataset from inputs x [N, ...] and targets y; test data, and validation as (x, y), may be left
        out.

        x: an array, or what becomes one: lists, masked and sparse arrays, frames of numbers. uint8 stays uint8,
        every other number becomes float32; NaN, None and what is masked are missing values. y: whole numbers,
        texts, booleans or one-hot rows are classes, those that occur, other numbers [N] or [N, O] are to be
        predicted, and several columns of 0 and 1 are labels; `task` overrules it. classes: names by index,
        where y holds indices. names: of the inputs. sample_weight: [N] of the training samples, at least 0;
        they are divided by their mean. Raises DataError for lengths that differ, empty arrays, values that are
        infinite, and labels outside the classes.
        """
        if (x_test is None) != (y_test is None):
            raise DataError(f"{name}: x_test and y_test come together; give both or neither")
        test = None if x_test is None or y_test is None else (x_test, y_test)
        given = {"training": (x_train, y_train), "validation": validation, "test": test}
        arrays = {part: xy for part, xy in given.items() if xy is not None}
        sets = read_arrays(name, arrays, classes, task)
        splits = {part: Split(sets.inputs[part], sets.targets[part]) for part in arrays}
        train = splits["training"]
        if sample_weight is not None:
            train = replace(train, weights=normalize_weights(name, np.asarray(sample_weight), len(train)))
        plan = Preprocessor(train.inputs.shape[1], pixels=train.inputs.dtype == np.uint8)
        notes = [sets.target.said] if sets.target.said else []
        notes += [] if plan.pixels else _extremes("input", {p: split.inputs for p, split in splits.items()})
        if sets.target.task == "regression":
            notes += _extremes("target", {part: split.targets for part, split in splits.items()})
        return Dataset(
            name,
            train,
            splits.get("test"),
            sets.target,
            sets.shape,
            plan,
            fit(plan, sets.target, train),
            names=tuple(names),
            origins=sets.origins,
            origin=origin,
            notes=tuple(notes),
            validation=splits.get("validation"),
        )

    def in_memory(self) -> "Dataset":
        """A dataset whose training samples all lie in `train`: this one, or samples that stand for all of it."""
        return self

    def identity(self) -> dict[str, str | int]:
        """What distinguishes its training data: name, sizes, and a SHA-256 over up to 4,096 of the samples."""
        every = -(-len(self.train) // BLOCK)
        digest = hashlib.sha256()
        arrays = [self.train.inputs[::every], self.train.targets[::every], np.asarray(self.fitted.shift)]
        if (weights := self.weighted_train.weights) is not None:
            arrays.append(weights[::every])
        for array in arrays:
            digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        sizes = {"samples": len(self.train), "inputs": self.inputs, "outputs": self.outputs}
        return {"name": self.name, **sizes, "sha256": digest.hexdigest()}

    def first(self, samples: int | None) -> "Dataset":
        """The same dataset with only the first `samples` training samples, scaled by those alone."""
        if samples is None:
            return self
        if samples > len(self.train):
            raise ConfigError(
                f"--train-samples {samples}: {self.name} has {len(self.train)} training samples; take fewer"
            )
        return replace(
            self.with_training_rows(self.train.select(slice(samples))), partition=self.partition[:samples]
        )

    def hold_out(self, fraction: float, seed: int) -> "Dataset":
        """Take a share of the training data out as validation data, chosen by the seed, and fit what is left: of
        every class its share; whole groups, or the last in time, where the dataset has such.

        A share of 0 changes nothing. Raises ConfigError where one side would be empty.
        """
        if fraction == 0:
            return self
        labels = self.train.targets if self.classes else None
        stay, held = self.partition.hold_out(len(self.train), fraction, seed, labels)
        if not (len(stay) and len(held)):
            raise ConfigError(
                f"--validation-fraction {fraction:g} of {len(self.train)} training samples leaves one side "
                "empty; choose another share"
            )
        validation, train = self.train.select(held), self.train.select(stay)
        validation = validation.with_mean_weight_1(f"{self.name}, samples held out")
        return replace(self.with_training_rows(train), validation=validation, partition=self.partition[stay])

    def with_scaling(self, scaling: str) -> "Dataset":
        """The same with its numbers scaled otherwise; `auto` leaves them as they are. Raises ConfigError for
        pictures, whose pixels have one scale.
        """
        if scaling in ("auto", self.plan.scaling):
            return self
        if self.plan.pixels:
            raise ConfigError(
                f"--scaling {scaling}: {self.name} has pixels, which keep one common scale; leave it out"
            )
        plan = replace(self.plan, scaling=scaling)
        return replace(self, plan=plan, fitted=fit(plan, self.target, self.train))

    def with_weights_of(self, class_weight: str | None) -> "Dataset":
        """The same with training samples counted by their class too: `balanced`, or weights as in yes=5,no=1.

        Raises ConfigError where the target is no class.
        """
        if class_weight is None:
            return self
        if not self.classes:
            raise ConfigError(f"--class-weight {class_weight}: the target is no class; leave it out")
        counts = np.bincount(self.train.targets, minlength=len(self.classes))
        factors = choose_class_weights(class_weight, self.classes, counts)
        normalize_weights("--class-weight", factors[self.train.targets], len(self.train))  # not all are 0
        return replace(self, class_weights=factors)

    def with_training_rows(self, train: Split) -> "Dataset":
        """The same with another training split: what is fitted, and the mean of the weights, are of that alone."""
        train = train.with_mean_weight_1(self.name)
        return replace(self, train=train, fitted=fit(self.plan, self.target, train))


def _extremes(what: str, parts: Mapping[str, Numbers]) -> list[str]:
    """Of arrays that are stored, numbers that dwarf all others; where an origin was subtracted, it still is."""
    return describe_extremes(parts, lambda at: f"{what} {at}", lambda part, row: f"{part} sample {row}")


def fit(plan: Preprocessor, target: Target, train: Split) -> Fitted:
    """What is learnt from training samples before any training."""
    fitted = fit_inputs(plan, train.inputs)
    if target.task != "regression":
        return fitted
    return fit_targets(fitted, train.targets, train.weights)


def choose_class_weights(text: str, classes: Sequence[str], counts: np.ndarray) -> Float64[np.ndarray, " C"]:
    """The weight of each class: `balanced`, or as in yes=5,no=1. counts: samples of each. Raises ConfigError."""
    if text == "balanced":
        return counts.sum() / (len(classes) * np.maximum(counts, 1))
    return parse_class_weights(text, classes)


def parse_class_weights(text: str, classes: Sequence[str]) -> Float64[np.ndarray, " C"]:
    """The weight of each class from `yes=5,no=1`; those that are not named count 1. Raises ConfigError."""
    factors = np.ones(len(classes))
    for item in text.split(","):
        name, _, number = item.rpartition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = -1.0
        if name.strip() not in classes or not 0 <= factor < 1e6:
            raise ConfigError(
                f"--class-weight {text}: {item.strip()!r} is not a class with = and a weight from 0 upwards; "
                f"classes are {names_of(classes)}; or give balanced"
            )
        factors[list(classes).index(name.strip())] = factor
    return factors


def normalize_weights(name: str, weights: np.ndarray, samples: int) -> Weights:
    """Weights whose mean is 1. Raises DataError for those that are none."""
    if weights.shape != (samples,):
        raise DataError(f"{name}: {samples} training samples and weights {weights.shape}; give one a sample")
    good = weights.dtype.kind in "fiub" and np.isfinite(weights).all() and (weights >= 0).all()
    if not good or weights.sum() == 0:
        raise DataError(f"{name}: weights are finite numbers from 0 upwards, and not all of them 0")
    return (weights / weights.mean(dtype=np.float64)).astype(np.float32)
