"""A run's folder: what it was, on what it ran, how it went, and what came out.

    config.json        the resolved configuration     metrics.jsonl        a line an epoch and a logged step
    options.json       how the run is carried out
    environment.json   versions, device, options      result.json          the final figures
    model.json         architecture, scaling, classes params.safetensors   the final parameters
    predictions.npz    what the model says of the test samples, and the worst mistakes with their inputs
    importance.json    of a table: what the loss rises by where a column is shuffled
    checkpoints/       the steps that can be continued from
    lock               held by the process that trains, and the number of the last one that did

Every file is written beside its name and renamed, so that a file that is there is whole.
"""

import contextlib
import io
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.saved_options import describe_options
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.errors import CheckpointError, ConfigError
from neuroforge_jax.system.files import read_json, write_bytes, write_json
from neuroforge_jax.system.locks import take_lock
from neuroforge_jax.system.matching import share_folder
from neuroforge_jax.system.peers import Peers


@dataclass(frozen=True)
class RunFolder:
    """A folder that is there, can be written, and is this process's alone until `release`.

    began: whether a run began in it before. warning: a sentence where nothing keeps other processes out.
    """

    path: Path
    _lock: int = field(default=-1, repr=False, compare=False)
    began: bool = False
    warning: str = ""

    @staticmethod
    def create(path: Path) -> "RunFolder":
        """Make the folder of a new run. Raises ConfigError where it cannot be written, is in use or holds a run."""
        folder = RunFolder._take(path, "--run-dir")
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
        folder = RunFolder._take(path, "--resume")
        for left in path.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        files.clean(folder.checkpoints)
        return replace(folder, began=True)

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
    def _take(path: Path, flag: str) -> "RunFolder":
        lock = take_lock(path, flag)
        return RunFolder(path, lock.descriptor, warning=lock.warning)

    def keep_metrics(self, size: int, history: Sequence[Mapping[str, Any]]) -> str:
        """Cut metrics.jsonl to its first `size` bytes, those of the steps behind a checkpoint.

        A file that is shorter, or not cut between two lines there, is written anew from the records of the epochs;
        the sentence that is returned says so, and is empty otherwise.
        """
        path = self.path / "metrics.jsonl"
        content = path.read_bytes() if path.is_file() else b""
        if len(content) >= size and (size == 0 or content[size - 1 : size] == b"\n"):
            if len(content) > size:
                write_bytes(path, content[:size])
            return ""
        write_bytes(path, "".join(json.dumps(record) + "\n" for record in history).encode())
        return f"{path} was damaged, and is written anew from the epochs of the checkpoint"

    def write_config(self, config: TrainConfig, options: RunOptions) -> None:
        """The resolved configuration: loading it needs no Python to be run again. And how the run is carried
        out.
        """
        self.write_json("config.json", asdict(config))
        self.write_json("options.json", describe_options(options, self.path))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """A file that a person can read too."""
        write_json(self.path / name, value)

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Arrays of numbers, compressed."""
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        write_bytes(self.path / name, content.getvalue())


@contextlib.contextmanager
def new_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder of one's own, `parent/name`, or `parent/name-2` and so on where that is taken: made at once, so that
    of several processes each has another, and removed at the end where nothing was put into it, as the parent is.
    """
    is_first = not parent.exists()
    for number in itertools.count(1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError:  # who takes the folder says what is wrong with it
            break
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.rmdir()
            if is_first:
                parent.rmdir()


@contextlib.contextmanager
def open_run(options: RunOptions, peers: Peers) -> Iterator[RunFolder | None]:
    """The folder that the run is saved to, locked while this lasts; the one of a run that began where that is to be
    continued. None where nothing is to be saved. Of several processes the first holds it, and all see it.

    Raises ConfigError or CheckpointError.
    """
    folder = _open(options) if peers.process == 0 else None
    try:
        path = share_folder(peers, None if folder is None else folder.path)
        began = peers.decide(lambda: folder is not None and folder.began)
        yield folder if folder is not None or path is None else RunFolder(path, began=began)
    finally:
        if folder is not None:
            folder.release()


def _open(options: RunOptions) -> RunFolder | None:
    if options.resume not in (None, "auto"):
        return RunFolder.reopen(Path(options.resume))
    if options.run_dir is None:
        if options.resume == "auto":
            raise ConfigError("--resume auto needs the folder of the run; give it as --run-dir")
        return None
    if options.resume == "auto" and RunFolder.holds_run(options.run_dir):
        return RunFolder.reopen(options.run_dir)
    return RunFolder.create(options.run_dir)
