"""Files that are whole or not there, and one sentence where that fails."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroforge_jax.errors import CheckpointError, ConfigError, UserError


def check_output(path: Path, flag: str) -> None:
    """Raises ConfigError where no file can be written: better now than after hours of training."""
    try:
        probe(path.parent)
        reason = "it is a folder" if path.is_dir() else ""
    except OSError as error:
        reason = error.strerror or type(error).__name__
    if reason:
        raise ConfigError(f"{flag} {path}: this file cannot be written ({reason}); give another one")


def probe(folder: Path) -> None:
    """Raises OSError where no file can be made in this folder."""
    file = folder / f".probe-{os.getpid()}"
    file.touch()
    file.unlink()


def restore_tuples(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a saved value, with tuples where JSON has lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}


def write_json(path: Path, value: Mapping[str, Any], failure: type[UserError] = CheckpointError) -> None:
    """A JSON file, whole or not at all. failure: what is raised where it cannot be written."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(), failure)


def write_bytes(path: Path, content: bytes, failure: type[UserError] = CheckpointError) -> None:
    """Written beside its name, brought to the disk and renamed; a device or a pipe is written to as it is.

    failure: as of `write_json`.
    """
    try:
        if path.exists() and not path.is_file():  # /dev/null must stay what it is
            path.write_bytes(content)
        else:
            _write_beside(path, content)
    except OSError as error:
        raise failure(
            f"{path} could not be written ({error.strerror or type(error).__name__}); make room, and start again"
        ) from None


def _write_beside(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run's folder. Raises CheckpointError where there is none."""
    try:
        value = json.loads(read_bytes(path))
    except ValueError:
        raise CheckpointError(f"{path} is not JSON; it is damaged, or not of a run") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object; it is damaged, or not of a run")
    return value


def read_bytes(path: Path) -> bytes:
    """The contents of a file of a run. Raises CheckpointError."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise CheckpointError(
            f"{path}: {reason}; give the folder of a run that was saved, such as runs/mixed"
        ) from None
