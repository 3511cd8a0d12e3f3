"""Every dataset by its name: from the data folder, from a mirror, or from inside scikit-learn.

`auto` alone chooses, and says what and why in `Dataset.origin`. A file that is present and wrong is an error
for `auto` too: falling back would hide it.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from neuroforge_jax.data.download import ARCHIVES, Archive, ArchiveFile, DownloadError, download
from neuroforge_jax.data.readers.arrays import load_folder, load_npz
from neuroforge_jax.data.readers.idx import read_idx
from neuroforge_jax.data.readers.table import load_csv, split_80_20
from neuroforge_jax.data.types import Column, Dataset
from neuroforge_jax.errors import ConfigError, DataError, unknown

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load_dataset(name: str = "auto", *, data_dir: Path | None = None, target: str | None = None) -> Dataset:
    """Load a dataset: a name of `DATASETS`, or the path of an .npz or .csv file or of a folder of arrays.

    data_dir: where named datasets are looked for and downloaded to; unless given, the folder that
    NEUROFORGE_DATA_DIR names, else the user's cache folder. target: the column of a .csv file to predict; the last
    one unless given. Raises ConfigError for an unknown name, DataError for files that are missing, damaged or not
    what they should be.
    """
    kind = Path(name).suffix.lower()
    if target is not None and kind != ".csv":
        raise ConfigError(f"--target {target}: it names a column of a .csv file, and the dataset is {name!r}")
    if kind in (".npz", ".csv"):
        # The path is the user's own words: a leading ~ that came quoted is still their home.
        path = Path(name).expanduser()
        return load_npz(path) if kind == ".npz" else load_csv(path, target)
    if name not in DATASETS:
        if (folder := Path(name).expanduser()).is_dir():
            return load_folder(folder)
        raise ConfigError(
            f"{unknown('dataset', name, DATASETS)}; or give the path of an .npz or .csv file, or of a folder"
        )
    return DATASETS[name](data_folder(data_dir))


def begin_loading(
    name: str, *, data_dir: Path | None = None, target: str | None = None
) -> Callable[[], Dataset]:
    """`load_dataset` in a thread of its own; what is given waits for it, and gives or raises what it does.

    Reading and checking files leaves most of the processor to whoever imports or compiles meanwhile. A process
    may end before it is done. What must be downloaded first is loaded in the thread of whoever waits: a signal
    ends that, and its half a file is removed.
    """
    load = partial(load_dataset, name, data_dir=data_dir, target=target)
    archive = ARCHIVES.get("mnist" if name == "auto" else name)
    if archive and None in find_files(archive, data_folder(data_dir)).values():
        return load
    loaded: Future[Dataset] = Future()

    def fulfil() -> None:
        try:
            loaded.set_result(load())
        except BaseException as error:
            loaded.set_exception(error)

    threading.Thread(target=fulfil, name="loading", daemon=True).start()
    return loaded.result


def data_folder(data_dir: Path | None = None) -> Path:
    """Where the datasets lie: `data_dir`, else NEUROFORGE_DATA_DIR, else the user's cache folder."""
    if data_dir is not None:
        return data_dir
    if named := os.environ.get("NEUROFORGE_DATA_DIR"):
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("neuroforge-jax")


def find_files(archive: Archive, folder: Path) -> dict[str, Path | None]:
    """The path of each file of an archive in `<folder>/<its name>/`, None where there is none.

    Accepted are train-images-idx3-ubyte.gz, the same without .gz, and either with a dot before idx3.
    """
    found: dict[str, Path | None] = {}
    for file in archive.files:
        plain = file.name.removesuffix(".gz")
        spellings = (plain, plain.replace("-idx", ".idx"))
        paths = [folder / archive.name / (name + end) for end in ("", ".gz") for name in spellings]
        found[file.name] = next((path for path in paths if os.path.lexists(path)), None)
    return found


def fetch(archive: Archive, folder: Path) -> bool:
    """Download what is missing of an archive; returns whether anything was."""
    missing = [file for file in archive.files if find_files(archive, folder)[file.name] is None]
    if missing:
        download(missing, archive.mirrors, folder / archive.name)
    return bool(missing)


def load_mnist(folder: Path) -> Dataset:
    """60,000 and 10,000 handwritten digits, uint8 28 × 28; the contents are checked by SHA-256."""
    return _load_archive(ARCHIVES["mnist"], folder, tuple("0123456789"))


def load_fashion_mnist(folder: Path) -> Dataset:
    """60,000 and 10,000 pictures of clothes, uint8 28 × 28."""
    return _load_archive(ARCHIVES["fashion-mnist"], folder, FASHION_CLASSES)


def load_digits(_folder: Path) -> Dataset:
    """scikit-learn's 1,797 real digits, uint8 8 × 8 from 0 to 16; 1,437 to train and 360 to test."""
    from sklearn.datasets import load_digits as embedded

    images, labels = embedded(return_X_y=True)
    train, test = split_80_20("digits", labels, len(labels))
    x = images.astype(np.uint8).reshape(-1, 8, 8)
    return Dataset.from_arrays(
        x[train], labels[train], x[test], labels[test],
        name="digits", classes=tuple("0123456789"), origin="scikit-learn's 1,797 handwritten digits",
    )  # fmt: skip


def load_breast_cancer(_folder: Path) -> Dataset:
    """scikit-learn's table of 569 tumours with 30 measures each, malignant or benign."""
    from sklearn.datasets import load_breast_cancer as embedded

    table = embedded()
    x, y = table.data, table.target
    train, test = split_80_20("breast-cancer", y, len(y))
    return Dataset.from_arrays(
        x[train], y[train], x[test], y[test],
        name="breast-cancer", classes=tuple(map(str, table.target_names)),
        columns=tuple(Column(str(name)) for name in table.feature_names),
        origin="scikit-learn's table of 569 tumours",
    )  # fmt: skip


def load_auto(folder: Path) -> Dataset:
    """MNIST, if it is in the data folder or a mirror answers; else digits, and the origin says so."""
    try:
        return load_mnist(folder)
    except DownloadError as error:
        why = f"MNIST could not be downloaded ({error.reason}); training on scikit-learn's digits instead"
        return replace(load_digits(folder), origin=why)


DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "auto": load_auto,
    "mnist": load_mnist,
    "fashion-mnist": load_fashion_mnist,
    "digits": load_digits,
    "breast-cancer": load_breast_cancer,
}


def _load_archive(archive: Archive, folder: Path, classes: tuple[str, ...]) -> Dataset:
    downloaded = fetch(archive, folder)
    paths = find_files(archive, folder)
    arrays: list[np.ndarray] = []
    for images, labels in (archive.files[:2], archive.files[2:]):
        arrays += _read_pair(images, labels, paths, len(classes))
    origin = "downloaded and checked" if downloaded else "from the data folder"
    return Dataset.from_arrays(*arrays, name=archive.name, classes=classes, origin=origin)


def _read_pair(
    images: ArchiveFile, labels: ArchiveFile, paths: dict[str, Path | None], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures [N, 28, 28] and labels [N] of one split, uint8 both."""
    x_path, y_path = paths[images.name], paths[labels.name]
    if x_path is None or y_path is None:
        raise DataError(f"{images.name} and {labels.name} vanished while they were read; start again")
    x = read_idx(x_path, sha256=images.payload_sha256)
    if x.dtype != np.uint8 or x.shape[1:] != (28, 28):
        raise DataError(f"{x_path}: holds {x.dtype} {x.shape}; pictures are uint8 (N, 28, 28)")
    y = read_idx(y_path, sha256=labels.payload_sha256)
    if y.dtype != np.uint8 or y.ndim != 1:
        raise DataError(f"{y_path}: holds {y.dtype} {y.shape}; labels are uint8 (N,)")
    if len(x) != len(y):
        raise DataError(
            f"{y_path}: holds {len(y)} labels, and {x_path} holds {len(x)} pictures; they must agree"
        )
    if y.max(initial=0) >= classes:
        raise DataError(f"{y_path}: holds the label {y.max()}; labels are from 0 to {classes - 1}")
    return x, y
