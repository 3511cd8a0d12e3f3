"""Every dataset by its name: from the data folder, from a mirror, or from inside scikit-learn.

`auto` alone chooses, and says what and why in `Dataset.origin`. A file that is present and wrong is an error
for `auto` too: falling back would hide it.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neuroforge_jax.config import DataConfig
from neuroforge_jax.config.endings import TABLES
from neuroforge_jax.data.download import ARCHIVES, Archive, ArchiveFile, DownloadError, download
from neuroforge_jax.data.readers.arrays import holds_arrays, load_folder, load_npz
from neuroforge_jax.data.readers.frames import is_frame, table_of
from neuroforge_jax.data.readers.idx import read_idx
from neuroforge_jax.data.shards.manifest import holds_shards
from neuroforge_jax.data.splits import split_80_20
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import ConfigError, DataError, unknown

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


ANY_DATA = ("dataset", "task", "scaling", "class_weight")
"""Fields of a DataConfig that are not for tables alone."""


def load_dataset(
    data: str | Path | DataConfig | Any = "auto", *, data_dir: Path | None = None, **fields: Any
) -> Dataset:
    """Load a dataset: a name of `DATASETS`, the path of a table, of an .npz file, of a folder or of a manifest of
    shards, or a data frame.

    data: the name, path or frame (of pandas, polars or Arrow), with the fields of a DataConfig beside it
    (`target="price"`; `test` and `validation` may be frames), or a DataConfig, such as a
    TrainConfig is. data_dir: where named datasets are looked for and downloaded to; unless given, the folder that
    NEUROFORGE_DATA_DIR names, else the user's cache folder. Raises ConfigError for an unknown name or column,
    DataError for files that are missing, damaged or not what they should be.
    """
    if is_frame(data):
        return _load_frame(data, fields)
    config = replace(data, **fields) if isinstance(data, DataConfig) else DataConfig(str(data), **fields)
    # The path is the user's own words: a leading ~ that came quoted is still their home.
    path = Path(config.dataset).expanduser()
    if path.suffix.lower() in TABLES:
        # Only who reads a table needs Arrow.
        from neuroforge_jax.data.tables import load_table

        return load_table(path, config)
    if config.dataset not in DATASETS and holds_shards(path):
        from neuroforge_jax.data.shards.load import load_shards

        return load_shards(path, config)
    is_npz = path.suffix.lower() == ".npz"
    _refuse_fields_of_tables(config, (*ANY_DATA, "missing") if is_npz else ANY_DATA)
    if is_npz:
        dataset = load_npz(path, config.task, config.missing)
    elif config.dataset in DATASETS:
        _refuse_regression(config)
        dataset = DATASETS[config.dataset](data_folder(data_dir))
    elif path.is_dir():
        dataset = _load_any_folder(path, config)
    else:
        raise ConfigError(
            f"{unknown('dataset', config.dataset, DATASETS)}; or give the path of a folder, or of a file: "
            f"{' '.join(TABLES)} .npz"
        )
    return dataset.with_weights_of(config.class_weight).with_scaling(config.scaling)


def load_frame(frame: Any, config: DataConfig) -> Dataset:
    """A dataset from a data frame, by the columns that a config names."""
    return _load_frame(
        frame, {field.name: getattr(config, field.name) for field in dataclass_fields(DataConfig)}
    )


def _load_frame(frame: Any, fields: dict[str, Any]) -> Dataset:
    from neuroforge_jax.data.readers.missing import read_missing
    from neuroforge_jax.data.tables import make_dataset, read_table, types_of

    parts = {part: fields.pop(part) for part in ("test", "validation") if fields.get(part) is not None}
    config = DataConfig(**{**fields, "dataset": "frame"})
    table = read_missing(table_of(frame, drop=config.drop), config.missing, config.keys)
    like = types_of(table)
    others = {
        part: read_missing(table_of(data, f"the {part} frame", config.drop), config.missing, config.keys)
        if is_frame(data)
        else read_table(Path(data).expanduser(), config, like)
        for part, data in parts.items()
    }
    return make_dataset(table, config, others, "frame")


def _load_any_folder(folder: Path, config: DataConfig) -> Dataset:
    if holds_arrays(folder):
        return load_folder(folder, config.task)
    _refuse_regression(config)
    # With Pillow, which nothing else here needs.
    from neuroforge_jax.data.readers.picture_folders import load_pictures

    return load_pictures(folder)


def _refuse_regression(config: DataConfig) -> None:
    """Of data whose targets are classes whatever is asked for."""
    if config.task not in ("auto", "classification"):
        raise ConfigError(f"--task {config.task}: the targets of {config.dataset} are classes; leave it out")


def _refuse_fields_of_tables(config: DataConfig, allowed: Sequence[str]) -> None:
    for field in dataclass_fields(DataConfig):
        value = getattr(config, field.name)
        if field.name not in allowed and value != field.default:
            shown = value if isinstance(value, str) else " ".join(value)
            raise ConfigError(
                f"--{field.name.replace('_', '-')} {shown}: it is for tables, and the dataset is "
                f"{config.dataset!r}; leave it out"
            )


def begin_loading(config: DataConfig, *, data_dir: Path | None = None) -> Callable[[], Dataset]:
    """`load_dataset` in a thread of its own; what is given waits for it, and gives or raises what it does.

    Reading and checking files leaves most of the processor to whoever imports or compiles meanwhile. A process
    may end before it is done. What must be downloaded first is loaded in the thread of whoever waits: a signal
    ends that, and its half a file is removed.
    """
    load = partial(load_dataset, config, data_dir=data_dir)
    archive = ARCHIVES.get("mnist" if config.dataset == "auto" else config.dataset)
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


def installed_folders() -> list[Path]:
    """Where packages of the system put datasets, as Debian's dataset-fashion-mnist does: the folder `datasets` of
    /usr/share, or of each folder that XDG_DATA_DIRS names.
    """
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [Path(folder) / "datasets" for folder in shared.split(os.pathsep) if folder]


def find_files(archive: Archive, folder: Path) -> dict[str, Path | None]:
    """The path of each file of an archive in `<folder>/<its name>/`, else where the system has it installed, None
    where there is none.

    Accepted are train-images-idx3-ubyte.gz, the same without .gz, and either with a dot before idx3.
    """
    found: dict[str, Path | None] = {}
    folders = [place / archive.name for place in (folder, *installed_folders())]
    for file in archive.files:
        plain = file.name.removesuffix(".gz")
        spellings = (plain, plain.replace("-idx", ".idx"))
        paths = [place / (name + end) for place in folders for end in ("", ".gz") for name in spellings]
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
        names=tuple(map(str, table.feature_names)),
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
    installed = any(path and not path.is_relative_to(folder) for path in paths.values())
    here = "as the system has it installed" if installed else "from the data folder"
    origin = "downloaded and checked" if downloaded else here
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
