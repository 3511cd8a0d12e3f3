"""Which files are the shards of which part: of a folder as it lies there, or as its manifest says.

    {"format": "neuroforge-shards", "version": 1, "kind": "parquet",
     "parts": {"train": [{"rows": 65536, "files": [{"name": "train/0.parquet", "bytes": 1, "sha256": "…"}]}]}}

A shard of Parquet is one file, one of arrays two, inputs and targets. Names are below the manifest's folder. With a
manifest every shard of the folder must be in it, with its size, its rows and its contents.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from neuroforge_jax.data.values import names_of
from neuroforge_jax.errors import DataError

FORMAT, VERSION, NAME = "neuroforge-shards", 1, "manifest.json"
PARTS = ("train", "validation", "test")
ENDINGS = {"parquet": ".parquet", "npy": ".npy"}

Kind = Literal["parquet", "npy"]


@dataclass(frozen=True)
class ShardFile:
    """A file below the manifest's folder. bytes: its size. sha256: of its contents; "" where nothing says it."""

    name: str
    bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Shard:
    """A file of Parquet, or two of arrays. rows: of it; None where only its files say it."""

    files: tuple[ShardFile, ...]
    rows: int | None = None


@dataclass(frozen=True)
class Manifest:
    """The shards of each part, in their order, as a folder or a file lists them. listed: whether a file does.

    columns: the Arrow type of each column by name, as text; empty where nothing says it.
    """

    folder: Path
    kind: Kind
    parts: Mapping[str, tuple[Shard, ...]]
    listed: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)

    def path(self, file: ShardFile) -> Path:
        """Where a file lies."""
        return self.folder / file.name

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        parts = {
            part: [{"rows": shard.rows, "files": [vars(file) for file in shard.files]} for shard in shards]
            for part, shards in self.parts.items()
        }
        columns = {"columns": dict(self.columns)} if self.columns else {}
        return {"format": FORMAT, "version": VERSION, "kind": self.kind, **columns, "parts": parts}


def holds_shards(path: Path) -> bool:
    """Whether a path is a manifest, or a folder with one or with shards in it or in the folder of a part."""
    if path.suffix.lower() == ".json":
        return True
    if not path.is_dir():
        return False
    if (path / NAME).is_file():
        return True
    try:
        files = [file.name for folder in (path, *(path / part for part in PARTS)) for file in _files(folder)]
    except OSError:
        return False
    arrays = {name for name in files if name.endswith(".npy")}
    # x_train.npy and its three others are a folder of arrays.
    return any(name.endswith(".parquet") for name in files) or (
        "x_train.npy" not in arrays and any(_partner(name) in arrays for name in arrays if name[0] == "x")
    )


def find_shards(path: Path) -> Manifest:
    """The shards of a folder or of a manifest. Raises DataError, in one line, where there are none or where files
    and manifest do not agree.
    """
    if path.is_dir() and not (path / NAME).is_file():
        return list_folder(path)
    return read_manifest(path / NAME if path.is_dir() else path)


def list_folder(folder: Path) -> Manifest:
    """The shards that lie in a folder, or in its folders `train`, `validation` and `test`, by their names."""
    try:
        names = _names_in(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from None
    kinds = sorted({kind for part in names.values() for name in part for kind in [_kind_of(name)]})
    if len(kinds) > 1:
        shown = names_of([min(n for part in names.values() for n in part if _kind_of(n) == k) for k in kinds])
        raise DataError(f"{folder}: holds shards of two kinds, such as {shown}; keep one kind in a folder")
    if "train" not in names:
        raise DataError(
            f"{folder}: holds no shards to train on; they are .parquet files, or x*.npy with y*.npy, in it or in "
            "its folder train/"
        )
    kind: Kind = "parquet" if kinds == ["parquet"] else "npy"
    parts = {part: tuple(_group(folder, kind, found)) for part, found in names.items()}
    return Manifest(folder, kind, parts)


def _names_in(folder: Path) -> dict[str, list[str]]:
    """The names of the shards' files of each part, sorted, from the folder; files beside `train/` are no part."""
    inner = {part: sorted(f"{part}/{file.name}" for file in _files(folder / part)) for part in PARTS}
    names = {part: [name for name in found if _kind_of(name)] for part, found in inner.items()}
    outer = sorted(file.name for file in _files(folder) if _kind_of(file.name))
    if outer and names["train"]:
        raise DataError(
            f"{folder}: {outer[0]!r} lies beside the folder train/; put it into train/, validation/ or test/"
        )
    names["train"] = names["train"] or outer
    return {part: found for part, found in names.items() if found}


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _kind_of(name: str) -> str:
    return next((kind for kind, ending in ENDINGS.items() if name.endswith(ending)), "")


def _partner(name: str) -> str:
    """The name of the targets that belong to inputs: `train/y-01.npy` to `train/x-01.npy`."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{'y' if file[0] == 'x' else 'x'}{file[1:]}"


def _group(folder: Path, kind: Kind, names: Sequence[str]) -> Iterator[Shard]:
    """Shards of these files. Raises DataError for inputs without targets, and the other way about."""

    def file_of(name: str) -> ShardFile:
        return ShardFile(name, (folder / name).stat().st_size)

    if kind == "parquet":
        yield from (Shard((file_of(name),)) for name in names)
        return
    for name in names:
        first = name.rpartition("/")[2][0]
        if first not in "xy" or _partner(name) not in names:
            beside = f", and {_partner(name)!r} is not there" if first in "xy" else ""
            raise DataError(
                f"{folder}: {name!r} is no part of a pair{beside}; inputs and targets are pairs such as "
                "x-01.npy and y-01.npy"
            )
        if first == "x":
            yield Shard((file_of(name), file_of(_partner(name))))


def read_manifest(path: Path) -> Manifest:
    """A manifest whose files are there with the sizes that it says, and no others beside them. Raises DataError."""
    try:
        saved = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise DataError(
            f"{path}: is no manifest of shards; python -m neuroforge_jax.data manifest FOLDER writes one"
        )
    if saved.get("version") != VERSION:
        raise DataError(
            f"{path}: is of version {saved.get('version')!r}, and {VERSION} is read; write it again"
        )
    try:
        manifest = _parse(path, saved)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path}: lacks what a manifest says ({type(error).__name__}: {error}); write it again"
        ) from None
    _check_files(path, manifest)
    return manifest


def _parse(path: Path, saved: Mapping[str, Any]) -> Manifest:
    kind = saved["kind"]
    if kind not in ENDINGS:
        raise ValueError(f"kind {kind!r}")
    if unknown := sorted(set(saved["parts"]) - set(PARTS)):
        raise ValueError(f"part {unknown[0]!r}")
    parts = {
        part: tuple(
            Shard(tuple(_parse_file(file) for file in shard["files"]), _whole(shard["rows"]))
            for shard in shards
        )
        for part, shards in saved["parts"].items()
        if shards
    }
    if "train" not in parts:
        raise DataError(f"{path}: lists no shards of the part train; there is nothing to learn from")
    wanted = 1 if kind == "parquet" else 2
    if any(len(shard.files) != wanted for shards in parts.values() for shard in shards):
        raise ValueError(f"shards of {kind} have {wanted} files each")
    columns = {str(name): str(type_) for name, type_ in saved.get("columns", {}).items()}
    return Manifest(path.parent, kind, parts, True, columns)


def _parse_file(saved: Mapping[str, Any]) -> ShardFile:
    name, digest = saved["name"], saved.get("sha256", "")
    if not isinstance(name, str) or not name or "\0" in name or not isinstance(digest, str):
        raise ValueError(f"name {name!r}")
    return ShardFile(name, _whole(saved["bytes"]), digest)


def _whole(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"{number!r} is no number of rows or bytes")
    return number


def _check_files(path: Path, manifest: Manifest) -> None:
    root = manifest.folder.resolve()
    listed: set[str] = set()
    places: set[Path] = set()
    for file in (file for shards in manifest.parts.values() for shard in shards for file in shard.files):
        place = manifest.path(file)
        if Path(file.name).is_absolute() or not place.resolve().is_relative_to(root):
            raise DataError(
                f"{path}: the name {file.name!r} leaves the manifest's folder; shards lie below it"
            )
        if place.resolve() in places:
            raise DataError(f"{path}: lists {file.name!r} twice; each shard is in one part, once")
        listed.add(str(Path(file.name)))
        places.add(place.resolve())
        if not place.is_file():
            raise DataError(
                f"{path}: the shard {file.name!r} is not there; bring it back, or write the manifest again"
            )
        if (size := place.stat().st_size) != file.bytes:
            raise DataError(
                f"{path}: the shard {file.name!r} has {size:,} bytes, and the manifest says {file.bytes:,}: it "
                "changed, or is cut short"
            )
    beside = [manifest.folder, *(manifest.folder / part for part in PARTS)]
    there = sorted(str(file.relative_to(manifest.folder)) for folder in beside for file in _files(folder))
    for name in there:
        if _kind_of(name) and name not in listed:
            raise DataError(
                f"{path}: {name!r} lies in the folder and is not in the manifest; remove it, or write the manifest "
                "again"
            )


def check_digest(manifest: Manifest, file: ShardFile) -> None:
    """Raises DataError where the contents of a file are not those that the manifest says; it is read as a whole."""
    if file.sha256 and digest_of(manifest.path(file)) != file.sha256:
        raise DataError(
            f"{manifest.path(file)}: this shard has another SHA-256 than the manifest says; it changed, or is "
            "damaged"
        )


def digest_of(path: Path) -> str:
    """The SHA-256 of a file. Raises DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: this shard cannot be read ({error.strerror or error})") from None
