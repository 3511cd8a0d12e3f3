"""Datasets as plain arrays: splits, their scaling, and the checks that stand before any training."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from neuroforge_jax.errors import ConfigError, DataError

Inputs = UInt8[np.ndarray, "N I"] | Float32[np.ndarray, "N I"]
Targets = Int32[np.ndarray, " N"] | Float32[np.ndarray, "N O"]

BLOCK = 4096
"""Samples looked at at once."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and what is to be predicted from them.

    inputs: uint8 or float32 [N, I], as stored; they are scaled inside the compiled program.
    targets: int32 [N] class indices, or float32 [N, O] for a regression.
    """

    inputs: Inputs
    targets: Targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: slice | np.ndarray) -> "Split":
        return Split(self.inputs[index], self.targets[index])


@dataclass(frozen=True, eq=False)
class Scaling:
    """x → (x − shift) · scale: zero mean and unit variance over the training set.

    Both are float32 [] for images (one mean and deviation over all pixels, so that the picture keeps its
    contrasts) or float32 [I] for tables (one a column; a constant column has scale 0, so that it says nothing).
    """

    shift: Float32[np.ndarray, "*axes"]
    scale: Float32[np.ndarray, "*axes"]

    def __eq__(self, other: object) -> bool:
        """Whether both have the same bits, so that a program made for the one is good for the other."""
        return isinstance(other, Scaling) and self._bits == other._bits

    def __hash__(self) -> int:
        return hash(self._bits)

    @property
    def _bits(self) -> tuple[tuple[int, ...], bytes, bytes]:
        return self.shift.shape, self.shift.tobytes(), self.scale.tobytes()

    @staticmethod
    def fit(inputs: Inputs) -> "Scaling":
        """The scaling of a training set; images are measured on their first 10,000 samples."""
        if inputs.dtype == np.uint8:
            counts = np.bincount(inputs[:10_000].ravel(), minlength=256).astype(np.float64)
            levels = np.arange(256.0)
            mean = (counts * levels).sum() / counts.sum()
            deviation = np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum())
        else:
            # In blocks, for the inputs may be mapped from a file larger than the memory.
            mean = sum(block.sum(axis=0, dtype=np.float64) for block in _blocks(inputs)) / len(inputs)
            squares = sum(((block - mean) ** 2).sum(axis=0) for block in _blocks(inputs))
            deviation = np.sqrt(squares / len(inputs))
        # A column that only rounding makes vary must not be blown up to unit variance.
        constant = deviation <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
        scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
        return Scaling(np.asarray(mean, np.float32), np.asarray(scale, np.float32))


@dataclass(frozen=True)
class Column:
    """A column of a table: numbers, or one of the categories, which become one input each."""

    name: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, and what is needed to read them.

    scaling: of the inputs, fitted on the training split.
    classes: names of the classes by index; empty for a regression.
    shape: of one sample, (28, 28) for pictures, (I,) for tables.
    columns: of a table, in the file's order, the target left out; empty for arrays and pictures.
    origin: a sentence for the header: where the data came from and why they were chosen.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    scaling: Scaling
    columns: tuple[Column, ...] = ()
    origin: str = ""

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
        x_test: np.ndarray,
        y_test: np.ndarray,
        *,
        name: str = "arrays",
        classes: Sequence[str] | None = None,
        columns: Sequence[Column] = (),
        origin: str = "given as arrays",
    ) -> "Dataset":
        """Make a dataset from inputs x [N, ...] and targets y.

        x: uint8 stays uint8, every other number becomes float32. y: integers [N] are classes 0 to C − 1, floats [N]
        or [N, O] are numbers to predict. Raises DataError for lengths that differ, empty arrays, values that are
        not finite numbers, and labels outside the classes.
        """
        shape = tuple(int(axis) for axis in np.shape(x_train)[1:]) or (1,)
        splits = {
            "training": (np.asarray(x_train), np.asarray(y_train)),
            "test": (np.asarray(x_test), np.asarray(y_test)),
        }
        for part, (x, y) in splits.items():
            if x.ndim == 0 or y.ndim == 0 or 0 in x.shape[1:]:
                raise DataError(
                    f"{name}: the {part} arrays have shapes {x.shape} and {y.shape}; the first axis must be "
                    "the samples, and a sample needs at least one input"
                )
        if splits["training"][0].shape[1:] != splits["test"][0].shape[1:]:
            raise DataError(
                f"{name}: training samples have shape {splits['training'][0].shape[1:]} and test samples "
                f"{splits['test'][0].shape[1:]}; they must agree"
            )
        if classes is None and splits["training"][1].dtype.kind in "iub" and len(splits["training"][1]):
            highest = max(int(y.max(initial=0)) for _, y in splits.values())
            if highest >= 100_000:
                raise DataError(f"{name}: label {highest} is too large; labels are class indices from 0")
            classes = [str(index) for index in range(max(2, highest + 1))]
        train, test = (
            Split(_inputs(name, part, x), _targets(name, part, x, y, classes))
            for part, (x, y) in splits.items()
        )
        return Dataset(
            name,
            train,
            test,
            tuple(classes or ()),
            shape,
            Scaling.fit(train.inputs),
            tuple(columns),
            origin,
        )

    def identity(self) -> dict[str, str | int]:
        """What distinguishes its training data: name, sizes, and a SHA-256 over up to 4,096 of the samples."""
        every = -(-len(self.train) // BLOCK)
        digest = hashlib.sha256()
        for array in (self.train.inputs[::every], self.train.targets[::every], self.scaling.shift):
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
        train = self.train[:samples]
        return replace(self, train=train, scaling=Scaling.fit(train.inputs))

    def hold_out(self, fraction: float, seed: int) -> tuple["Dataset", Split | None]:
        """Take a share of the training data out as validation data, chosen by the seed.

        Returns the dataset without it, scaled by what is left, and the validation split; None for a share of 0.
        """
        if fraction == 0:
            return self, None
        held = round(len(self.train) * fraction)
        if not 0 < held < len(self.train):
            raise ConfigError(
                f"--validation-fraction {fraction:g} of {len(self.train)} training samples leaves one side "
                "empty; choose another share"
            )
        order = np.random.default_rng(seed).permutation(len(self.train))
        validation, train = self.train[np.sort(order[:held])], self.train[np.sort(order[held:])]
        return replace(self, train=train, scaling=Scaling.fit(train.inputs)), validation


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
    for index, block in enumerate(_blocks(flat)):
        if not (finite := np.isfinite(block)).all():
            row, column = (int(at[0]) for at in np.nonzero(~finite))
            raise DataError(
                f"{name}: {part} sample {index * BLOCK + row}, input {column} is {block[row, column]}; "
                "every input must be a finite float32 number"
            )
    return flat


def _blocks(inputs: np.ndarray) -> Iterator[np.ndarray]:
    return (inputs[at : at + BLOCK] for at in range(0, len(inputs), BLOCK))


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
