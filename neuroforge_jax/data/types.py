"""Datasets as plain arrays: splits, what was fitted to them, and the checks that stand before any training."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int32

from neuroforge_jax.data.preprocess import BLOCK, Fitted, Inputs, fit_inputs, in_blocks
from neuroforge_jax.errors import ConfigError, DataError

Targets = Int32[np.ndarray, " N"] | Float32[np.ndarray, "N O"]

Weights = Float32[np.ndarray, " N"]


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and what is to be predicted from them.

    inputs: uint8 or float32 [N, I], as stored; they are scaled inside the compiled program.
    targets: int32 [N] class indices, or float32 [N, O] for a regression.
    weights: float32 [N], how much each sample counts, or None where all count alike.
    """

    inputs: Inputs
    targets: Targets
    weights: Weights | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: slice | np.ndarray) -> "Split":
        weights = None if self.weights is None else self.weights[index]
        return Split(self.inputs[index], self.targets[index], weights)


@dataclass(frozen=True)
class Column:
    """A column of a table: numbers, or one of the categories, which become one input each."""

    name: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training split, any of validation and test, and what is needed to read them.

    test, validation: None where there are none. fitted: what was learnt from the training split alone.
    classes: names of the classes by index; empty for a regression.
    shape: of one sample, (28, 28) for pictures, (I,) for tables.
    columns: of a table, in the file's order, the target left out; empty for arrays and pictures.
    origin: a sentence for the header: where the data came from and why they were chosen.
    """

    name: str
    train: Split
    test: Split | None
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    fitted: Fitted
    columns: tuple[Column, ...] = ()
    origin: str = ""
    validation: Split | None = None

    @property
    def inputs(self) -> int:
        """Numbers in one sample."""
        return int(self.train.inputs.shape[1])

    @property
    def outputs(self) -> int:
        """Classes, or numbers to predict in a regression."""
        return len(self.classes) or int(self.train.targets.shape[1])

    @staticmethod
    def from_arrays(
        x_train: np.ndarray,
        y_train: np.ndarray,
        x_test: np.ndarray | None = None,
        y_test: np.ndarray | None = None,
        *,
        validation: tuple[np.ndarray, np.ndarray] | None = None,
        sample_weight: np.ndarray | None = None,
        name: str = "arrays",
        classes: Sequence[str] | None = None,
        columns: Sequence[Column] = (),
        origin: str = "given as arrays",
    ) -> "Dataset":
        """Make a dataset from inputs x [N, ...] and targets y; test data, and validation as (x, y), may be left
        out.

        x: uint8 stays uint8, every other number becomes float32. y: integers [N] are classes 0 to C − 1, floats [N]
        or [N, O] are numbers to predict. sample_weight: [N] of the training samples, at least 0; they are divided
        by their mean. Raises DataError for lengths that differ, empty arrays, values that are not finite numbers,
        and labels outside the classes.
        """
        if (x_test is None) != (y_test is None):
            raise DataError(f"{name}: x_test and y_test come together; give both or neither")
        test = None if x_test is None else (x_test, y_test)
        given = {"training": (x_train, y_train), "validation": validation, "test": test}
        arrays = {part: (np.asarray(xy[0]), np.asarray(xy[1])) for part, xy in given.items() if xy}
        _check_shapes(name, arrays)
        if classes is None:
            classes = _number_classes(name, [y for _, y in arrays.values()])
        splits = _make_splits(name, arrays, classes)
        train = splits["training"]
        if sample_weight is not None:
            train = replace(train, weights=_weights(name, np.asarray(sample_weight), len(train)))
        return Dataset(
            name,
            train,
            splits.get("test"),
            tuple(classes or ()),
            tuple(int(axis) for axis in np.shape(x_train)[1:]) or (1,),
            fit_inputs(train.inputs),
            tuple(columns),
            origin,
            splits.get("validation"),
        )

    def identity(self) -> dict[str, str | int]:
        """What distinguishes its training data: name, sizes, and a SHA-256 over up to 4,096 of the samples."""
        every = -(-len(self.train) // BLOCK)
        digest = hashlib.sha256()
        arrays = [self.train.inputs[::every], self.train.targets[::every], np.asarray(self.fitted.shift)]
        if self.train.weights is not None:
            arrays.append(self.train.weights[::every])
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
        return self._trained_on(self.train[:samples])

    def hold_out(self, fraction: float, seed: int) -> "Dataset":
        """Take a share of the training data out as validation data, chosen by the seed, and fit what is left.

        A share of 0 changes nothing. Raises ConfigError where one side would be empty.
        """
        if fraction == 0:
            return self
        held = round(len(self.train) * fraction)
        if not 0 < held < len(self.train):
            raise ConfigError(
                f"--validation-fraction {fraction:g} of {len(self.train)} training samples leaves one side "
                "empty; choose another share"
            )
        order = np.random.default_rng(seed).permutation(len(self.train))
        validation, train = self.train[np.sort(order[:held])], self.train[np.sort(order[held:])]
        return replace(self._trained_on(train), validation=validation)

    def _trained_on(self, train: Split) -> "Dataset":
        """The same with another training split: what is fitted, and the mean of the weights, are of that alone."""
        if train.weights is not None:
            train = replace(train, weights=_weights(self.name, train.weights, len(train)))
        return replace(self, train=train, fitted=fit_inputs(train.inputs))


def _inputs(name: str, part: str, x: np.ndarray) -> Inputs:
    if len(x) == 0:
        raise DataError(f"{name}: the {part} set is empty; at least one sample is needed")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{name}: {part} inputs are of type {x.dtype}; they must be numbers")
    flat = x.reshape(len(x), -1)
    if flat.dtype == np.uint8:
        return np.ascontiguousarray(flat)
    with np.errstate(over="ignore"):
        flat = np.ascontiguousarray(flat, dtype=np.float32)
    for index, block in enumerate(in_blocks(flat)):
        if not (finite := np.isfinite(block)).all():
            row, column = (int(at[0]) for at in np.nonzero(~finite))
            raise DataError(
                f"{name}: {part} sample {index * BLOCK + row}, input {column} is {block[row, column]}; "
                "every input must be a finite float32 number"
            )
    return flat


def _number_classes(name: str, labels: Sequence[np.ndarray]) -> list[str] | None:
    """Classes by their numbers, from the labels of all parts; None for targets that are numbers."""
    if labels[0].dtype.kind not in "iub" or not len(labels[0]):
        return None
    highest = max(int(y.max(initial=0)) for y in labels)
    if highest >= 100_000:
        raise DataError(f"{name}: label {highest} is too large; labels are class indices from 0")
    return [str(index) for index in range(max(2, highest + 1))]


def _make_splits(
    name: str, arrays: Mapping[str, tuple[np.ndarray, np.ndarray]], classes: Sequence[str] | None
) -> dict[str, Split]:
    """A split of each part, all with targets of one width."""
    splits = {
        part: Split(_inputs(name, part, x), _targets(name, part, x, y, classes))
        for part, (x, y) in arrays.items()
    }
    train = splits["training"]
    for part, split in splits.items():
        if split.targets.shape[1:] != train.targets.shape[1:]:
            raise DataError(
                f"{name}: training targets are {train.targets.shape} and {part} targets {split.targets.shape}; "
                "they must have as many numbers a sample"
            )
    return splits


def _check_shapes(name: str, arrays: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Every part has samples of one shape."""
    sample = arrays["training"][0].shape[1:]
    for part, (x, y) in arrays.items():
        if x.ndim == 0 or y.ndim == 0 or 0 in x.shape[1:]:
            raise DataError(
                f"{name}: the {part} arrays have shapes {x.shape} and {y.shape}; the first axis must be "
                "the samples, and a sample needs at least one input"
            )
        if x.shape[1:] != sample:
            raise DataError(
                f"{name}: training samples have shape {sample} and {part} samples {x.shape[1:]}; they must agree"
            )


def _weights(name: str, weights: np.ndarray, samples: int) -> Weights:
    if weights.shape != (samples,):
        raise DataError(f"{name}: {samples} training samples and weights {weights.shape}; give one a sample")
    good = weights.dtype.kind in "fiub" and np.isfinite(weights).all() and (weights >= 0).all()
    if not good or weights.sum() == 0:
        raise DataError(f"{name}: weights are finite numbers from 0 upwards, and not all of them 0")
    return (weights / weights.mean(dtype=np.float64)).astype(np.float32)


def _targets(name: str, part: str, x: np.ndarray, y: np.ndarray, classes: Sequence[str] | None) -> Targets:
    if len(y) != len(x):
        raise DataError(f"{name}: {len(x)} {part} samples and {len(y)} labels; their numbers must be equal")
    if classes is None:
        if y.dtype.kind != "f" or y.ndim > 2:
            raise DataError(
                f"{name}: {part} targets are {y.dtype} {y.shape}; they must be floats [N] or [N, O]"
            )
        y = y.reshape(len(y), -1).astype(np.float32)
        if not np.isfinite(y).all():
            row = int(np.nonzero(~np.isfinite(y).all(axis=1))[0][0])
            raise DataError(f"{name}: the target of {part} sample {row} is not a finite number")
        return y
    if y.dtype.kind not in "iub" or y.ndim != 1:
        raise DataError(f"{name}: {part} labels are {y.dtype} {y.shape}; they must be whole numbers [N]")
    wrong = np.nonzero((y < 0) | (y >= len(classes)))[0]
    if len(wrong):
        raise DataError(
            f"{name}: {part} label {wrong[0]} is {y[wrong[0]]}; labels are from 0 to {len(classes) - 1}"
        )
    return y.astype(np.int32)
