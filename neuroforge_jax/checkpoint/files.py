"""How a saved step lies on disk.

    checkpoints/120/arrays/        orbax's own files, uncompressed: a flat table of named arrays
                    progress.json  where the run stood: plain numbers and names
                    manifest       its own SHA-256; then size and SHA-256 of every file, dtype, shape and SHA-256 of
                                   every array, by regions, and the version of this format
    checkpoints/.saving-120/       the same while it is being written

A step is written beside its name, brought to the disk, and renamed: one that has its name is whole. Nothing is
believed when it is read: a bit that differs anywhere is found before orbax looks at a file, and again in the arrays
that it hands out: region by region, as they lay over devices. Of several processes each writes what its devices
alone have, and a share of the rest. The names of the arrays are paths in the state, such as params/layer0/kernel;
no name of a Python object is ours, and none is ever imported.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neuroforge_jax.checkpoint.arrays import Arrays, join_parts, load_arrays, save_arrays
from neuroforge_jax.checkpoint.regions import Leaf, from_text, size_of, to_text, whole
from neuroforge_jax.errors import CheckpointError, DeviceError, first_line
from neuroforge_jax.system.peers import Peers

FORMAT = 2
"""1 had one digest an array."""
SAVING, REMOVED, DAMAGED = ".saving-", ".removed-", ".damaged-"

T = TypeVar("T")


class DamagedError(CheckpointError):
    """A saved step that is not what was written."""


@dataclass(frozen=True)
class SavedStep:
    """A step whose every file has been found to be what was written. progress: as it was given to `write`."""

    path: Path
    leaves: Mapping[str, Leaf]
    progress: Mapping[str, Any]

    def arrays(self, like: Mapping[str, Any] | None = None) -> Arrays:
        """Read the arrays: where those of `like` lie, shapes and dtypes on devices; the others to the host.

        Raises DamagedError where one is not what was written.
        """
        host = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in self.leaves.items()}
        try:
            loaded = load_arrays(self.path / "arrays", {**host, **(like or {})})
        except Exception as error:
            raise DamagedError(f"{self.path}: orbax cannot read its arrays ({first_line(error)})") from None
        for name, leaf in self.leaves.items():
            if name not in loaded or not leaf.describes(loaded[name]):
                raise DamagedError(f"{self.path}: the array {name} is not what was written")
        return {name: loaded[name] for name in self.leaves}


def write(
    folder: Path, step: int, arrays: Arrays, progress: Mapping[str, Any], peers: Peers | None = None
) -> Path:
    """Save a step, whole or not at all; a step of that number that is there already is replaced. peers: of a run in
    several processes, all of which call it, in the same order.

    Raises CheckpointError with the system's reason, in all of them, and leaves every other step as it is.
    """
    final, temporary = folder / str(step), folder / f"{SAVING}{step}"
    peers = peers or Peers()
    try:
        _together(peers, lambda: _begin(temporary) if peers.process == 0 else None)
        parts = _together(peers, lambda: _save_own(temporary / "arrays", arrays))
        _together(
            peers, lambda: _finish(temporary, final, arrays, parts, progress) if peers.process == 0 else None
        )
    except DeviceError:
        raise  # another process has ended
    except Exception as error:
        if peers.process == 0:
            shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"the checkpoint of step {step} could not be written to {folder} ({_reason(error)}); the steps before "
            "it are whole: make room and go on by --resume, or train on all the same by --on-save-error continue"
        ) from error
    return final


def _begin(temporary: Path) -> None:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)


def _save_own(folder: Path, arrays: Arrays) -> dict[str, dict[str, str]]:
    """Write what this process has, and give the digests of its regions as they lie in memory."""
    save_arrays(folder, arrays)
    digests = {name: Leaf.of(array).digests for name, array in arrays.items()}
    return {
        name: {to_text(region): digest for region, digest in own.items()} for name, own in digests.items()
    }


def _finish(
    temporary: Path,
    final: Path,
    arrays: Arrays,
    parts: list[dict[str, dict[str, str]]],
    progress: Mapping[str, Any],
) -> None:
    """On the first process: join what all have written, describe it, and give it its name."""
    join_parts(temporary / "arrays")
    (temporary / "progress.json").write_text(json.dumps(progress, indent=1))
    leaves = {}
    for name, array in arrays.items():
        digests = {region: digest for part in parts for region, digest in part[name].items()}
        assert sum(map(size_of, map(from_text, digests))) == array.size, name
        leaves[name] = (array.dtype.name, array.shape, digests)
    _write_manifest(temporary, leaves)
    if final.exists():
        remove(final.parent, int(final.name))
    temporary.replace(final)
    _sync(final.parent)


def _together(peers: Peers, work: Callable[[], T]) -> list[T]:
    """What this work, each process's own, gives on each of them; where it fails on one it fails on all."""
    own, failure = None, None
    try:
        own = work()
    except Exception as error:
        failure = error
    told = peers.gather(json.dumps((own, failure and _reason(failure))))
    if failure is not None:
        raise failure
    results = [json.loads(text) for text in told]
    for process, (_, reason) in enumerate(results):
        if reason:
            raise OSError(0, f"on process {process}: {reason}")
    return [result for result, _ in results]


def read(path: Path) -> SavedStep:
    """A saved step, every file of it checked. Raises DamagedError, or CheckpointError for a later format."""
    manifest = _read_manifest(path)
    for name, (size, digest) in manifest["files"].items():
        found, read_back = _measure(path / name)
        if found != size:
            raise DamagedError(f"{path / name}: holds {found:,} bytes, and {size:,} were written")
        if read_back != digest:
            raise DamagedError(f"{path / name}: is not what was written")
    leaves = {name: _read_leaf(*described) for name, described in manifest["leaves"].items()}
    return SavedStep(path, leaves, json.loads(_bytes(path / "progress.json")))


def steps(folder: Path) -> list[int]:
    """The numbers of the steps that are there, the latest first."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def newest(folder: Path) -> tuple[SavedStep | None, list[str]]:
    """The latest step that is whole, or None where there is no step at all; and a sentence on each damaged one
    before it, which is put aside as .damaged-<step>.

    Raises CheckpointError where there are steps and none is whole, or where one is of a later format.
    """
    damaged: list[tuple[int, str]] = []
    found = None
    for step in steps(folder):
        try:
            found = read(folder / str(step))
            break
        except DamagedError as error:
            damaged.append((step, str(error)))
    sentences = [sentence for _, sentence in damaged]
    if damaged and found is None:
        raise CheckpointError(
            f"no checkpoint of {folder} can be used: {'; '.join(sentences)}; restore one from a copy, or train "
            "anew in another --run-dir"
        )
    for step, _ in damaged:
        (folder / str(step)).replace(_find_unused(folder / f"{DAMAGED}{step}"))
    return found, sentences


def scores(folder: Path) -> dict[int, float]:
    """What the steps that are there were measured at, where they were."""
    found = {}
    for step in steps(folder):
        with contextlib.suppress(OSError, ValueError, KeyError):  # a damaged step has no say
            if (
                score := json.loads((folder / str(step) / "progress.json").read_bytes())["score"]
            ) is not None:
                found[step] = float(score)
    return found


def clean(folder: Path) -> None:
    """Remove what a killed run left behind. Only for who holds the lock of the run."""
    for path in (*folder.glob(f"{SAVING}*"), *folder.glob(f"{REMOVED}*")):
        shutil.rmtree(path, ignore_errors=True)


def remove(folder: Path, step: int) -> None:
    """Remove a step: renamed first, so that half of one is never met under its name."""
    gone = folder / f"{REMOVED}{step}"
    shutil.rmtree(gone, ignore_errors=True)
    (folder / str(step)).replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _read_leaf(dtype: str, shape: list[int], digests: str | dict[str, str]) -> Leaf:
    if isinstance(digests, str):  # of format 1, which has one of a whole array
        return Leaf(dtype, tuple(shape), {whole(tuple(shape)): digests})
    return Leaf(dtype, tuple(shape), {from_text(region): digest for region, digest in digests.items()})


def _write_manifest(path: Path, leaves: Mapping[str, Any]) -> None:
    names = sorted(_files(path))
    for name in names:
        _sync(path / name)
    files = {name: _measure(path / name) for name in names}
    content = json.dumps({"format": FORMAT, "files": files, "leaves": leaves}, indent=1)
    (path / "manifest").write_text(f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}")
    _sync(path / "manifest")
    for folder in {file.parent for file in path.rglob("*")}:
        _sync(folder)


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest"
    digest, _, content = _bytes(file).partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise DamagedError(f"{file}: is not what was written")
    manifest: dict[str, Any] = json.loads(content)
    if manifest["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {manifest['format']}, and this version reads none above {FORMAT}; continue it with "
            "the version that wrote it, or a later one"
        )
    return manifest


def _files(path: Path) -> Iterator[str]:
    return (str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def _measure(file: Path) -> tuple[int, str]:
    """Size and digest of a file, of which a little is in memory at a time."""
    with _explaining(file), file.open("rb", buffering=0) as content:
        return os.fstat(content.fileno()).st_size, hashlib.file_digest(content, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bytes(file: Path) -> bytes:
    with _explaining(file):
        return file.read_bytes()


@contextlib.contextmanager
def _explaining(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DamagedError(f"{file}: {_reason(error).lower()}") from None


def _find_unused(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _reason(error: Exception) -> str:
    """The system's word for it: tensorstore wraps the one for a full disk into several lines of its own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        if "No space left" in str(cause) or "File too large" in str(cause):
            return "No space left on device" if "No space left" in str(cause) else "File too large"
        cause = cause.__cause__ or cause.__context__
    return first_line(error)
