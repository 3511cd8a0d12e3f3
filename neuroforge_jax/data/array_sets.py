"""Samples from arrays: what is in them decides what they are, and what cannot be used is named."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from neuroforge_jax.data.mapped import BLOCK, MappedRows, is_mapped
from neuroforge_jax.data.preprocess import Inputs, choose_origin, in_blocks
from neuroforge_jax.data.readers.frames import take_array
from neuroforge_jax.data.sampling import sample_rows
from neuroforge_jax.data.target_choice import MAX_CLASSES, ONE_HOT, choose_target, describe_guess
from neuroforge_jax.data.targets import Target, Targets, encode_targets
from neuroforge_jax.data.values import Values
from neuroforge_jax.errors import DataError

Arrays = Mapping[str, tuple[Any, Any]]
"""Part of a dataset → its inputs [N, …] and targets [N, …]."""

ROWS_FOR_ORIGINS = 65_536


@dataclass(frozen=True, eq=False)
class ArraySets:
    """What arrays come to. inputs, targets: by part. shape: of one sample. origins: subtracted from the inputs."""

    inputs: Mapping[str, Inputs]
    targets: Mapping[str, Targets]
    target: Target
    shape: tuple[int, ...]
    origins: Float64[np.ndarray, " I"] | None


def read_arrays(name: str, given: Arrays, classes: Sequence[str] | None, task: str) -> ArraySets:
    """See `Dataset.from_arrays`. given: at least the part `training`."""
    arrays = {part: (take_array(x, name), _as_targets(y)) for part, (x, y) in given.items()}
    _check_shapes(name, arrays)
    target, targets = _read_targets(name, {part: y for part, (_, y) in arrays.items()}, classes, task)
    x_train = arrays["training"][0]
    origins = choose_origins(x_train)
    return ArraySets(
        {part: store_inputs(name, part, x, origins) for part, (x, _) in arrays.items()},
        targets,
        target,
        tuple(int(axis) for axis in x_train.shape[1:]) or (1,),
        origins,
    )


def _check_shapes(name: str, arrays: Arrays) -> None:
    """Every part has samples of one shape, and as many targets."""
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
        if len(x) == 0:
            raise DataError(f"{name}: the {part} set is empty; at least one sample is needed")
        if x.dtype.kind not in "fiub":
            raise DataError(f"{name}: {part} inputs are of type {x.dtype}; they must be numbers")
        if len(y) != len(x):
            raise DataError(
                f"{name}: {len(x)} {part} samples and {len(y)} labels; their numbers must be equal"
            )


def choose_origins(x: np.ndarray) -> Float64[np.ndarray, " I"] | None:
    """What is subtracted from each input, where float32 would round away what differs; None for nothing."""
    if x.dtype == np.float32 or x.dtype.itemsize < 4:
        return None
    rows = x[sample_rows(len(x), ROWS_FOR_ORIGINS)]
    rows = rows.reshape(len(rows), -1).astype(np.float64)
    # Most arrays need none: whether a column may is seen at once.
    with np.errstate(invalid="ignore"):
        low, high = np.nanmin(rows, axis=0, initial=np.inf), np.nanmax(rows, axis=0, initial=-np.inf)
        far = np.minimum(np.abs(low), np.abs(high)) > 1000 * (high - low)
    origins = np.zeros(rows.shape[1])
    for at in np.flatnonzero(far & np.isfinite(high)):
        origins[at] = choose_origin(x.reshape(len(x), -1)[:, at].astype(np.float64))
    return origins if origins.any() else None


def store_inputs(name: str, part: str, x: np.ndarray, origins: Float64[np.ndarray, " I"] | None) -> Inputs:
    """Uint8 as it is, other numbers as float32 less their origins; those in a file stay there, and are converted
    where they are read.
    """
    width = math.prod(x.shape[1:])
    if x.flags.c_contiguous:
        x = x.reshape(len(x), width)
    rows = MappedRows(x, None, origins)
    if is_mapped(x) and not rows.is_stored:
        if rows.dtype != np.uint8:
            _check_inputs(name, part, rows)
        return rows
    flat = x.reshape(len(x), width)
    if flat.dtype == np.uint8 and origins is None:
        return np.ascontiguousarray(flat)
    stored = flat
    if flat.dtype != np.float32 or origins is not None or not flat.flags.c_contiguous:
        stored = np.asarray(MappedRows(flat, None, origins))
    _check_inputs(name, part, stored)
    return stored


def _check_inputs(name: str, part: str, x: np.ndarray | MappedRows) -> None:
    """Every number is finite, or missing. Raises DataError for the first that is not."""
    for index, block in enumerate(in_blocks(x)):
        if np.isinf(block).any():
            row, column = (int(at[0]) for at in np.nonzero(np.isinf(block)))
            raise DataError(
                f"{name}: {part} sample {index * BLOCK + row}, input {column} is {block[row, column]}; every input "
                "must be a finite float32 number, or NaN where it is missing"
            )


def _read_targets(
    name: str, y: Mapping[str, np.ndarray], classes: Sequence[str] | None, task: str
) -> tuple[Target, dict[str, Targets]]:
    """The target, and what is stored of each part's."""
    if classes is not None:
        target = Target("classification", ("label",), tuple(classes))
        return target, {part: _check_labels(name, part, labels, len(classes)) for part, labels in y.items()}
    one_hot = task in ("auto", "classification") and all(map(_is_one_hot, y.values()))
    if one_hot:
        y = {part: labels.argmax(axis=1) for part, labels in y.items()}
    columns = {part: target_columns(name, part, labels) for part, labels in y.items()}
    for part, found in columns.items():
        if len(found) != len(columns["training"]):
            raise DataError(
                f"{name}: training targets are {y['training'].shape} and {part} targets {y[part].shape}; "
                "they must have as many numbers a sample"
            )
    for column, values in columns["training"].items():
        if any((found[column].numbers is None) != (values.numbers is None) for found in columns.values()):
            raise DataError(
                f"{name}: the targets of one part are numbers, and of another texts; give one kind"
            )
    every = {
        column: _concatenate([columns[part][column] for part in columns]) for column in columns["training"]
    }
    of_whole = all(labels.dtype.kind in "iu" and labels.size == len(labels) for labels in y.values())
    are_classes = one_hot or (of_whole and task == "auto" and every["label"].distinct() <= MAX_CLASSES)
    target = choose_target(every, name, "classification" if are_classes else task)
    if task == "auto":
        target = replace(target, said=ONE_HOT if one_hot else describe_guess(target, every))
    return target, {
        part: encode_targets(target, found, f"{name}, {part} data")[0] for part, found in columns.items()
    }


def _check_labels(name: str, part: str, labels: np.ndarray, classes: int) -> Targets:
    if labels.dtype.kind not in "iub" or labels.ndim != 1:
        raise DataError(
            f"{name}: {part} labels are {labels.dtype} {labels.shape}; they must be whole numbers [N]"
        )
    wrong = np.nonzero((labels < 0) | (labels >= classes))[0]
    if len(wrong):
        raise DataError(
            f"{name}: {part} label {wrong[0]} is {labels[wrong[0]]}; labels are from 0 to {classes - 1}"
        )
    return labels.astype(np.int32)


def target_columns(name: str, part: str, y: np.ndarray) -> dict[str, Values]:
    """Targets [N] or [N, O] as columns."""
    if y.ndim > 2:
        raise DataError(f"{name}: {part} targets have shape {y.shape}; they must be [N] or [N, O]")
    if y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind in "fiub":
        return {f"target {at}": _values(name, part, y[:, at]) for at in range(y.shape[1])}
    return {"label": _values(name, part, y.reshape(len(y)))}


def _is_one_hot(y: np.ndarray) -> bool:
    """Whether each row says with a 1 among zeros which class it is of."""
    if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "fiub":
        return False
    return bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())


def _as_targets(y: Any) -> np.ndarray:
    """An array; what is masked is missing."""
    if isinstance(y, np.ma.MaskedArray) and np.ma.getmaskarray(y).any():
        return np.ma.filled(y.astype(np.float64), np.nan)
    return np.asarray(y)


def _is_plain_number(label: object) -> bool:
    return isinstance(label, int | float | np.number) and not isinstance(label, bool)


def _values(name: str, part: str, y: np.ndarray) -> Values:
    if y.dtype.kind in "fiu":
        wide = y.astype(np.float64)
        if not np.isfinite(wide).all():
            row = int(np.nonzero(~np.isfinite(wide))[0][0])
            raise DataError(f"{name}: the target of {part} sample {row} is not a finite number")
        return Values("number", wide)
    if y.dtype.kind == "b":
        return Values("yes/no", codes=y.astype(np.int32), texts=("false", "true"))
    if y.dtype.kind == "O" and all(label is None or _is_plain_number(label) for label in y.tolist()):
        return _values(name, part, np.array([np.nan if label is None else label for label in y], np.float64))
    if y.dtype.kind in "UTO":
        texts, codes = np.unique([str(label) for label in y.tolist()], return_inverse=True)
        return Values("category", codes=codes.astype(np.int32), texts=tuple(map(str, texts)))
    raise DataError(f"{name}: {part} targets are of type {y.dtype}; they must be numbers, texts or booleans")


def _concatenate(parts: Sequence[Values]) -> Values:
    """The same column of several parts."""
    if all(part.numbers is not None for part in parts):
        return Values(
            parts[0].kind, np.concatenate([part.numbers for part in parts if part.numbers is not None])
        )
    texts = tuple(sorted({text for part in parts for text in part.texts}))
    codes = [np.array([texts.index(text) for text in part.texts], np.int32)[part.codes] for part in parts]
    return Values(parts[0].kind, codes=np.concatenate(codes), texts=texts)
