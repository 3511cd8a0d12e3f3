"""A run's folder: what it was, on what it ran, how it went, and what came out.

    config.json        the resolved configuration     metrics.jsonl        a line an epoch and a logged step
    environment.json   versions, device, options      result.json          the final figures
    model.json         architecture, scaling, classes params.safetensors   the final parameters
    predictions.npz    what the model says of the test samples, and the worst mistakes with their inputs
    checkpoints/       the steps that can be continued from
    lock               held by the process that trains, and the number of the last one that did

Every file is written beside its name and renamed, so that a file that is there is whole.
"""

import contextlib
import errno
import fcntl
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from neuroforge_jax.checkpointing import files
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Column, Scaling
from neuroforge_jax.errors import CheckpointError, ConfigError, UserError
from neuroforge_jax.nn.mlp import MLP, abstract_params
from neuroforge_jax.precision.policy import policy
from neuroforge_jax.training.model import Model
from neuroforge_jax.typing import Params


@dataclass(frozen=True)
class RunFolder:
    """A folder that is there, can be written, and is this process's alone until `release`."""

    path: Path
    _lock: int = field(default=-1, repr=False, compare=False)

    @staticmethod
    def create(path: Path) -> "RunFolder":
        """Make the folder of a new run. Raises ConfigError where it cannot be written, is in use or holds a run."""
        folder = RunFolder._taken(path, "--run-dir")
        if RunFolder.holds_run(path):
            folder.release()
            raise ConfigError(
                f"--run-dir {path} holds a run already; go on with it by --resume {path}, give a new folder, or "
                "remove that one"
            )
        return folder

    @staticmethod
    def reopen(path: Path) -> "RunFolder":
        """Take the folder of a run that began, and clear away what a killed process left in it.

        Raises CheckpointError where there is none, ConfigError where it cannot be written or is in use.
        """
        if not RunFolder.holds_run(path):
            raise CheckpointError(
                f"--resume {path}: there is no run in this folder; give one that holds a config.json"
            )
        folder = RunFolder._taken(path, "--resume")
        for left in path.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        files.clean(folder.checkpoints)
        return folder

    @staticmethod
    def holds_run(path: Path) -> bool:
        """Whether a run began in this folder."""
        return (path / "config.json").exists()

    @property
    def checkpoints(self) -> Path:
        """Where its saved steps are."""
        return self.path / "checkpoints"

    def epochs_finished(self) -> int | None:
        """Epochs of the run by its result.json; None where there is none that can be read."""
        with contextlib.suppress(CheckpointError, KeyError):
            return int(read_json(self.path / "result.json")["epochs"])
        return None

    def release(self) -> None:
        """Let others have it; the end of the process does the same, however it ends."""
        with contextlib.suppress(OSError):
            os.close(self._lock)

    @staticmethod
    def _taken(path: Path, flag: str) -> "RunFolder":
        try:
            path.mkdir(parents=True, exist_ok=True)
            _probe(path)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(
                f"{flag} {path}: this folder cannot be written ({reason}); give one that can"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(
                    f"{flag} {path}: its file system has no locks ({error.strerror}); give a folder on another one"
                ) from None
            raise ConfigError(
                f"{flag} {path} is in use by process {holder or 'unknown'}; wait until that has ended, or give "
                "another folder"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        return RunFolder(path, lock)

    def keep_metrics(self, size: int, history: Sequence[Mapping[str, Any]]) -> str:
        """Cut metrics.jsonl to its first `size` bytes, those of the steps behind a checkpoint.

        A file that is shorter, or not cut between two lines there, is written anew from the records of the epochs;
        the sentence that is returned says so, and is empty otherwise.
        """
        path = self.path / "metrics.jsonl"
        content = path.read_bytes() if path.is_file() else b""
        if len(content) >= size and (size == 0 or content[size - 1 : size] == b"\n"):
            if len(content) > size:
                _write(path, content[:size])
            return ""
        _write(path, "".join(json.dumps(record) + "\n" for record in history).encode())
        return f"{path} was damaged, and is written anew from the epochs of the checkpoint"

    @staticmethod
    def unused(parent: Path, name: str) -> Path:
        """`parent/name`, or `parent/name-2` and so on where that is taken: no run is written over."""
        taken, number = parent / name, 1
        while taken.exists():
            number += 1
            taken = parent / f"{name}-{number}"
        return taken

    def write_config(self, config: TrainConfig) -> None:
        """The resolved configuration: loading it needs no Python to be run again."""
        self.write_json("config.json", asdict(config))

    def write_model(self, model: Model, params: Params) -> None:
        """The model and its parameters, for `load`."""
        described = {
            "format": 1,
            "mlp": asdict(model.mlp),
            "precision": str(model.policy),
            "loss": model.loss,
            "scaling": {
                "shift": np.asarray(model.scaling.shift).tolist(),
                "scale": np.asarray(model.scaling.scale).tolist(),
            },
            "shape": model.shape,
            "classes": model.classes,
            "columns": [asdict(column) for column in model.columns],
        }
        tensors = {
            f"{layer}/{leaf}": np.asarray(value)
            for layer, leaves in params.items()
            for leaf, value in leaves.items()
        }
        self.write_json("model.json", described)
        _write(self.path / "params.safetensors", save_tensors(tensors))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """A file that a person can read too."""
        write_json(self.path / name, value)

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Arrays of numbers, compressed."""
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        _write(self.path / name, content.getvalue())


def check_output(path: Path, flag: str) -> None:
    """Raises ConfigError where no file can be written: better now than after hours of training."""
    try:
        _probe(path.parent)
        reason = "it is a folder" if path.is_dir() else ""
    except OSError as error:
        reason = error.strerror or type(error).__name__
    if reason:
        raise ConfigError(f"{flag} {path}: this file cannot be written ({reason}); give another one")


def _probe(folder: Path) -> None:
    probe = folder / f".probe-{os.getpid()}"
    probe.touch()
    probe.unlink()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    _write(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise CheckpointError(
            f"{path} could not be written ({error.strerror or type(error).__name__}); make room, and start again"
        ) from None


def load(path: str | Path) -> tuple[Model, Params]:
    """Load the model and the float32 parameters of a saved run, for `evaluate` and `predict`.

    path: the run's folder. Raises CheckpointError, which names the file that is missing or damaged.
    """
    folder = Path(path)
    described = read_json(folder / "model.json")
    try:
        with np.errstate(over="raise"):  # a number that float32 does not hold
            model = _model(described)
    except (KeyError, TypeError, ValueError, ArithmeticError, UserError) as error:
        raise CheckpointError(f"{folder / 'model.json'} does not describe a model ({error!r})") from None
    file = folder / "params.safetensors"
    try:
        tensors = load_tensors(_read(file))
    except SafetensorError as error:
        raise CheckpointError(
            f"{file} is damaged ({error}); train again, or restore it from a copy"
        ) from None
    params: dict[str, dict[str, np.ndarray]] = {}
    for layer, leaves in abstract_params(model.mlp).items():
        for leaf, wanted in leaves.items():
            name = f"{layer}/{leaf}"
            found = tensors.pop(name, None)
            if found is None or found.shape != wanted.shape or found.dtype != np.dtype(wanted.dtype):
                seen = "nothing" if found is None else f"{found.dtype} {found.shape}"
                raise CheckpointError(
                    f"{file}: {name} is {seen}, and model.json says {np.dtype(wanted.dtype)} {wanted.shape}"
                )
            params.setdefault(layer, {})[leaf] = found
    if tensors:
        raise CheckpointError(f"{file} holds {', '.join(sorted(tensors))}, which model.json does not know")
    return model, jax.device_put(params)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run's folder. Raises CheckpointError where there is none."""
    try:
        value = json.loads(_read(path))
    except ValueError:
        raise CheckpointError(f"{path} is not JSON; it is damaged, or not of a run") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no JSON object; it is damaged, or not of a run")
    return value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise CheckpointError(
            f"{path}: {reason}; give the folder of a finished run, such as runs/mixed"
        ) from None


def _model(described: dict[str, Any]) -> Model:
    if described["format"] != 1:
        raise ValueError(f"format {described['format']} is of a later version")
    mlp = described["mlp"]
    return Model(
        mlp=MLP(**{**mlp, "hidden": tuple(mlp["hidden"])}),
        policy=policy(described["precision"]),
        loss=described["loss"],
        scaling=Scaling(*(np.asarray(described["scaling"][name], np.float32) for name in ("shift", "scale"))),
        shape=tuple(described["shape"]),
        classes=tuple(described["classes"]),
        columns=tuple(Column(item["name"], tuple(item["categories"])) for item in described["columns"]),
    )
