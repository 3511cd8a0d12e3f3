"""Arrays from files: an .npz, read whole, or a folder of .npy and IDX files, mapped.

A mapped file is read where it is used and when it is used: a training set may be larger than the memory.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neuroforge_jax.data.readers.changes import refuse_changes
from neuroforge_jax.data.readers.idx import map_idx
from neuroforge_jax.data.splits import split_80_20
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import DataError

FOUR, TWO = ("x_train", "y_train", "x_test", "y_test"), ("x", "y")
"""The names of arrays that come with a split of their own, and of those that are split here."""


def load_npz(path: Path, task: str = "auto", missing: Sequence[str] = ()) -> Dataset:
    """A dataset from the arrays `x_train y_train x_test y_test` of an .npz file, or from `x y`, split 80/20.

    missing: numbers, as texts, that mean a missing one among the inputs. Raises DataError for anything that is no
    such file; Python objects in it are never unpickled.
    """
    try:
        # Opened here: np.load leaves a file open that turns out to be no archive.
        with refuse_changes(path), path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            found = sorted(saved.files)
            keys = next((keys for keys in (FOUR, TWO) if set(keys) <= set(found)), ())
            arrays = [saved[key] for key in keys]
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a dozen kinds, from zip, zlib and NumPy's own header
        if "Object arrays" in str(error):
            raise DataError(
                f"{path}: holds Python objects, which are never read; save plain numbers"
            ) from None
        raise DataError(f"{path}: is no .npz file, or a damaged one ({type(error).__name__})") from None
    if not keys:
        raise DataError(
            f"{path}: holds {', '.join(map(repr, found[:20])) or 'nothing'}; "
            f"it needs {' '.join(FOUR)}, or {' '.join(TWO)}"
        )
    for key, values in zip(keys, arrays, strict=True):
        if not isinstance(values, np.ndarray) or values.ndim == 0:
            raise DataError(f"{path}: {key} is no array of samples; its first axis must be the samples")
    if not missing:
        return _make_dataset(path, arrays, task)
    from neuroforge_jax.data.readers.missing import Marks, mark_arrays, tell_missing  # with pyarrow

    inputs = slice(0, None, 2)
    arrays[inputs], count = mark_arrays(arrays[inputs], missing)
    dataset = _make_dataset(path, arrays, task)
    notes = (*dataset.notes, tell_missing(missing, count))
    return replace(dataset, notes=notes, missing=Marks(missing).plain)


def _make_dataset(path: Path, arrays: Sequence[np.ndarray], task: str) -> Dataset:
    """Of four arrays with their split, or of two, which are split."""
    if len(arrays) == len(FOUR):
        samples = f"{len(arrays[0]):,} training and {len(arrays[2]):,} test samples"
        return Dataset.from_arrays(*arrays, name=path.name, task=task, origin=samples)
    x, y = arrays
    if len(x) != len(y):
        raise DataError(
            f"{path}: {len(x)} samples in x and {len(y)} labels in y; their numbers must be equal"
        )
    come_again = y.ndim == 1 and y.dtype.kind in "iubU" and 2 * len(np.unique(y)) <= len(y)
    train, test = split_80_20(path.name, y if come_again and task != "regression" else None, len(y))
    samples = f"{len(x):,} samples; fixed 80/20 split"
    return Dataset.from_arrays(
        x[train], y[train], x[test], y[test], name=path.name, task=task, origin=samples
    )


def load_folder(path: Path, task: str = "auto") -> Dataset:
    """A dataset from the files `x_train y_train x_test y_test` of a folder, each ending in .npy or .idx.

    Raises DataError for a file that is missing, damaged or no array. uint8 and float32 inputs stay in their
    files; inputs of another type are converted, and so are in memory.
    """
    arrays = [map_array(_find(path, key)) for key in FOUR]
    samples = f"{len(arrays[0]):,} training and {len(arrays[2]):,} test samples, mapped"
    return Dataset.from_arrays(*arrays, name=path.name, task=task, origin=samples)


def holds_arrays(folder: Path) -> bool:
    """Whether a file of a folder ends in .npy or .idx. Raises DataError for a folder that cannot be read."""
    try:
        return any(path.suffix in (".npy", ".idx") for path in folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from None


def _find(folder: Path, key: str) -> Path:
    for kind in (".npy", ".idx"):
        if (folder / (key + kind)).exists():
            return folder / (key + kind)
    raise DataError(f"{folder}: has no {key}.npy and no {key}.idx; it needs {' '.join(FOUR)}, of either kind")


def map_array(path: Path) -> np.ndarray:
    """The array [N, …] in a .npy or IDX file, mapped. Raises DataError for a file that is damaged or holds none."""
    try:
        with refuse_changes(path):
            array = map_idx(path) if path.suffix == ".idx" else _map_npy(path)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # NumPy reads the header as Python is read, whose errors these are too
        if "object" in str(error).lower():
            raise DataError(
                f"{path}: holds Python objects, which are never read; save plain numbers"
            ) from None
        raise DataError(f"{path}: is no .npy file, or a damaged one") from None
    if array.ndim == 0:
        raise DataError(f"{path}: is no array of samples; its first axis must be the samples")
    return array


def _map_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise DataError(f"{path}: is no .npy file; write it with numpy.save")
    return np.load(path, mmap_mode="r", allow_pickle=False)
