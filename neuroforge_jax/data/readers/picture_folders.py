"""Pictures from a folder of them by class: `folder/class/*.png`, `.jpg` or `.jpeg`.

    folder/cats/1.png   folder/dogs/1.png                                       a fifth of each class is test data
    folder/train/cats/1.png   folder/test/cats/1.png   folder/validation/…      a split of its own

All become bytes: grey levels where no picture has colour, else red, green and blue. They are neither cut nor
resized.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from neuroforge_jax.config.endings import PICTURES
from neuroforge_jax.data.pictures import Picture
from neuroforge_jax.data.readers.images import is_picture, list_folder, read_picture
from neuroforge_jax.data.splits import split_80_20
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import DataError
from neuroforge_jax.system import memory

SPLITS = {"train": "training", "validation": "validation", "val": "validation", "test": "test"}
"""Folder → the split that it holds, where `train` is one of them."""

THREADS = 4
BLOCK = 1024  # pictures that are decoded ahead
NAMED = 3  # files that are named in a note


def load_pictures(folder: Path) -> Dataset:
    """A dataset from the pictures of a folder, by class; the names of the folders are those of the classes.

    Its samples are uint8 [H, W], or [H, W, 3] where any picture has colour. Raises DataError for a file that is no
    whole picture, sizes that differ, and classes that are empty, or fewer than two.
    """
    found = _Found(folder)
    classes = tuple(found.splits["training"])
    labels = {name: index for index, name in enumerate(classes)}
    files = {
        part: [(path, labels[name]) for name, paths in by_class.items() for path in paths]
        for part, by_class in found.splits.items()
    }
    how = "their own split"
    if "test" not in files:
        y = np.array([label for _, label in files["training"]])
        train, test = split_80_20(folder.name, y, len(y))
        given, how = files["training"], "fixed 80/20 split"
        files |= {"training": [given[index] for index in train], "test": [given[index] for index in test]}
    reader = _Reader(files["training"][0][0], sum(map(len, files.values())))
    arrays = {part: reader.read([path for path, _ in pairs]) for part, pairs in files.items()}
    if reader.has_colour:
        arrays = {part: _as_colour(x) for part, x in arrays.items()}
    y_of = {part: np.array([label for _, label in pairs], np.int32) for part, pairs in files.items()}
    total = sum(map(len, files.values()))
    kind = "colour" if reader.has_colour else "grey"
    about = f"{total:,} {kind} pictures of {len(classes)} classes; {how}"
    return Dataset.from_arrays(
        arrays["training"],
        y_of["training"],
        arrays["test"],
        y_of["test"],
        validation=(arrays["validation"], y_of["validation"]) if "validation" in arrays else None,
        name=folder.resolve().name or "pictures",
        classes=tuple(map(_as_text, classes)),
        origin="; ".join([about, *reader.notes(), *found.notes()]),
    )


class _Reader:
    """Reads pictures that must all be of the size of the first, and counts what was done to them."""

    def __init__(self, first: Path, pictures: int) -> None:
        self._first, self._like = first, read_picture(first)
        self._changes: Counter[str] = Counter()
        self._grey = 0
        self.has_colour = False
        needed = pictures * self._like.pixels.size
        available = memory.memory().available_bytes
        if available is not None and needed > available:
            raise DataError(
                f"{first.parent.parent}: {pictures:,} pictures of {self._like.size} take {memory.text(needed)}, "
                f"and {memory.text(available)} of memory are free; make them smaller, or take fewer"
            )

    def read(self, paths: Sequence[Path]) -> np.ndarray:
        """uint8 [N, H, W], or [N, H, W, 3] where one of them has colour. Raises DataError."""
        height, width = self._like.pixels.shape[:2]
        x = np.empty((len(paths), height, width), np.uint8)
        for index, picture in enumerate(self._decode_all(paths)):
            self._changes.update(picture.changes)
            if picture.pixels.ndim == 3:
                self.has_colour = True
                x = _as_colour(x)
            else:
                self._grey += 1
            x[index] = picture.pixels if picture.pixels.ndim == x.ndim - 1 else picture.pixels[..., None]
        return x

    def notes(self) -> list[str]:
        """What was done, and to how many."""
        said = [f"{count:,} × {change}" for change, count in sorted(self._changes.items())]
        if self.has_colour and self._grey:
            said.append(f"{self._grey:,} grey ones among them are taken as colour")
        return said

    def _decode_all(self, paths: Sequence[Path]) -> Iterator[Picture]:
        """In their order, some ahead: decoding leaves Python's lock to others."""
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")
        try:
            for first in range(0, len(paths), BLOCK):
                yield from pool.map(self._decode_one, paths[first : first + BLOCK])
        finally:
            pool.shutdown(cancel_futures=True)

    def _decode_one(self, path: Path) -> Picture:
        picture = read_picture(path)
        if picture.pixels.shape[:2] != self._like.pixels.shape[:2]:
            raise DataError(
                f"{path}: has {picture.size} pixels, and {self._first} has {self._like.size}; all must have one "
                "size: resize or crop them first"
            )
        return picture


def _as_colour(x: np.ndarray) -> np.ndarray:
    """[N, H, W, 3], of grey levels the same in each colour."""
    return x if x.ndim == 4 else np.repeat(x[..., None], 3, axis=-1)


class _Found:
    """The picture files of a folder, by split and class, and what else lies there.

    Raises DataError where they are no pictures of at least two classes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._left_out: list[Path] = []
        self.splits = {
            part: {path.name: self._pictures(path) for path in self._classes(root)}
            for part, root in self._roots().items()
        }
        self._check()

    def notes(self) -> list[str]:
        """The files that were left out."""
        if not self._left_out:
            return []
        names = [_as_text(str(path.relative_to(self._folder))) for path in self._left_out[:NAMED]]
        more = len(self._left_out) - len(names)
        return [
            f"left out {', '.join(names)}{f' and {more:,} more' if more else ''}, which are no pictures of a class"
        ]

    def _roots(self) -> dict[str, Path]:
        """The folder of each split; where there is no split, the folder itself is that of the training data."""
        entries = list_folder(self._folder)
        inner = {path.name: path for path in entries if path.is_dir()}
        # A folder `train` that holds pictures itself is a class: there are pictures of trains.
        if "train" not in inner or not any(path.is_dir() for path in list_folder(inner["train"])):
            return {"training": self._folder}
        if "val" in inner and "validation" in inner:
            raise DataError(f"{self._folder}: val and validation both hold validation data; keep one of them")
        self._leave_out([path for path in entries if path.name not in SPLITS])
        return {SPLITS[name]: path for name, path in inner.items() if name in SPLITS}

    def _classes(self, root: Path) -> list[Path]:
        """The folders of the classes in the folder of a split."""
        entries = list_folder(root)
        folders = [path for path in entries if path.is_dir()]
        for path in folders:
            if root.resolve().is_relative_to(path.resolve()):
                raise DataError(f"{path}: is a link to a folder that it lies in; remove it")
        self._leave_out([path for path in entries if not path.is_dir()])
        return folders

    def _pictures(self, folder: Path) -> list[Path]:
        """The pictures of a class."""
        entries = list_folder(folder)
        pictures = [path for path in entries if is_picture(path)]
        self._left_out += [path for path in entries if not is_picture(path)]
        return pictures

    def _leave_out(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if is_picture(path):
                raise DataError(
                    f"{path}: lies in no folder of a class; put each picture into the folder of its class"
                )
        self._left_out += paths

    def _check(self) -> None:
        """Every class has training pictures, also those of the other splits."""
        train = self.splits["training"]
        if not any(any(by_class.values()) for by_class in self.splits.values()):
            raise DataError(
                f"{self._folder}: holds neither pictures ({', '.join(PICTURES)}) in a folder for each class, nor "
                "arrays (x_train y_train x_test y_test, each as .npy or .idx), nor shards (.parquet, or x*.npy "
                "with y*.npy)"
            )
        if len(train) < 2:
            raise DataError(
                f"{self._folder}: has training pictures of one class only, {', '.join(map(_as_text, train))}; "
                "there must be a folder for each of at least two classes"
            )
        if empty := [name for name, paths in train.items() if not paths]:
            raise DataError(
                f"{self._folder}: class {_as_text(empty[0])} has no training picture; put some into its folder, "
                "or remove it"
            )
        for part, by_class in self.splits.items():
            if strange := [name for name in by_class if name not in train]:
                raise DataError(
                    f"{self._folder}: {part} class {_as_text(strange[0])} is no class of the training pictures; "
                    f"those are {', '.join(map(_as_text, list(train)[:20]))}"
                )
            if not any(by_class.values()):
                raise DataError(f"{self._folder}: its {part} folder holds no pictures; fill or remove it")


def _as_text(name: str) -> str:
    """A name of a file as text, whatever its bytes."""
    return os.fsencode(name).decode("utf-8", "replace")
