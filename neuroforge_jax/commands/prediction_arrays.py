"""Arrays that are to be predicted, row by row of .npy and .npz files, by position."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from neuroforge_jax.commands.prediction_pieces import ROWS, Piece, Reading
from neuroforge_jax.commands.prediction_targets import find_targets
from neuroforge_jax.data.array_sets import target_columns
from neuroforge_jax.data.readers.changes import refuse_changes
from neuroforge_jax.data.targets import Targets
from neuroforge_jax.data.values import is_number, names_of, write_number
from neuroforge_jax.errors import DataError

ARRAYS = (".npy", ".npz")


def read_arrays(reading: Reading, path: Path) -> Iterator[Piece]:
    """The pieces of an array; of an .npy file, which is mapped, no more than one is in memory.

    Raises DataError for a file that is none of numbers, and where it has changed when its last piece was read.
    """
    with refuse_changes(path):
        rows, right = _load(path)
        for first in range(0, max(len(rows), 1), ROWS):
            part = slice(first, first + ROWS)
            inputs = reading.store_rows(rows[part], str(path))
            targets = None if right is None else _read_known_targets(reading, path, right[part])
            yield Piece(reading.names.describe([str(path)] * len(inputs), first), inputs, targets)


def _read_known_targets(reading: Reading, path: Path, right: np.ndarray) -> Targets | None:
    """What the rows of a piece are said to be; −1 or NaN in one of which that is no number, or not one class."""
    known = np.ones(len(right), bool)
    if right.dtype.kind == "f":
        known = np.isfinite(right).all(axis=tuple(range(1, right.ndim)))
    if reading.model.classes and right.ndim == 2 and right.shape[1] > 1 and right.dtype.kind in "fiub":
        one_true = np.isin(right, (0, 1)).all(axis=1) & (right.sum(axis=1) == 1)
        others = [" ".join(map(write_number, row)) for row in right[known & ~one_true]]
        reading.notes.count("y", "are no class of the model are not scored", others)
        known &= one_true
        right = right.argmax(axis=1)
    if known.all():
        return _read_targets(reading, path, right)
    found = _read_targets(reading, path, right[known])
    if found is None:
        return None
    targets = np.full((len(right), *found.shape[1:]), -1 if found.dtype.kind == "i" else np.nan, found.dtype)
    targets[known] = found
    return targets


def _read_targets(reading: Reading, path: Path, right: np.ndarray) -> Targets | None:
    """The same of targets that are all there."""
    if not len(right):
        return None
    classes, target = reading.model.classes, reading.model.target
    if classes and right.dtype.kind in "iu" and right.ndim == 1 and not any(map(is_number, classes)):
        # Of classes that were named, arrays hold the places.
        return np.where((right >= 0) & (right < len(classes)), right, -1).astype(np.int32)
    columns = target_columns(path.name, "given", right)
    if len(columns) == max(1, len(target.names)):
        return find_targets(target, columns, None, reading.notes)
    reading.notes.add(
        f"{path}: holds {len(columns)} targets a row, and the model predicts others; not scored"
    )
    return None


def _load(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The array of an .npy file, mapped, or `x` or `x_test` of an .npz file with its `y`. Raises DataError."""
    try:
        rows, right = _read(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except DataError:
        raise
    except (
        Exception
    ) as error:  # a dozen kinds, from zip, zlib and NumPy, which reads a header as Python is read
        fact = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: is no {path.suffix} file of numbers, or a damaged one ({fact})") from None
    if right is not None and len(right) != len(rows):
        raise DataError(
            f"{path}: holds {len(rows):,} rows, and {len(right):,} targets of them; they must agree"
        )
    return rows, right


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    if path.suffix.lower() == ".npy":
        return np.atleast_1d(np.load(path, mmap_mode="r", allow_pickle=False)), None
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return _choose(path, arrays)


def _choose(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    for x, y in (("x", "y"), ("x_test", "y_test")):
        if x in arrays:
            return np.atleast_1d(arrays[x]), np.atleast_1d(arrays[y]) if y in arrays else None
    names = names_of(list(arrays)) or "nothing"
    raise DataError(f"{path}: holds {names}; rows to predict are in x or x_test")
