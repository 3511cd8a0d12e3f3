"""A file that changes while it is read: what came before and what comes after do not belong together."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuroforge_jax.errors import DataError


@contextmanager
def refuse_changes(path: Path) -> Iterator[None]:
    """Raises DataError where a file is not at the end what it was at the beginning, by its place, size and time.

    An error of the reading is then one of the change, which explains it. Raises OSError where there is no file.
    """
    before = _identity(path)
    try:
        yield
    except Exception:
        _check(path, before)
        raise
    _check(path, before)


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _check(path: Path, before: tuple[int, ...]) -> None:
    if _identity(path) != before:
        raise DataError(f"{path}: changed while it was read; try again when nothing writes to it") from None
