"""metrics.jsonl: a line for each epoch and each logged step."""

import contextlib
import json
import math
import os
from abc import abstractmethod
from collections.abc import Iterator
from io import FileIO
from typing import Any

from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.training.progress import Record, TrainProgress


def step_records(trainer: Trainer, metrics: SegmentMetrics, log_every: int) -> Iterator[Record]:
    """A record for every so many steps of a segment; 0: for none."""
    per_epoch = trainer.job.steps_per_epoch
    for step in range(metrics.first_step, metrics.last_step) if log_every else ():
        if (step + 1) % log_every == 0:
            loss = float(metrics.loss[step - metrics.first_step])
            # The loss of a skipped step may be a NaN, which JSON does not know.
            known = loss if math.isfinite(loss) else None
            yield {"event": "step", "step": step + 1, "epoch": step // per_epoch + 1, "loss": known}


class RecordWriter(Callback):
    """Writes each record somewhere: of every epoch, and of every `log_every`th step; 0 for none of the steps."""

    main_process_only = True

    def __init__(self, log_every: int = 0) -> None:
        self._log_every = log_every

    def segment(self, trainer: Trainer, metrics: SegmentMetrics) -> None:
        """The lines of its logged steps."""
        for record in step_records(trainer, metrics, self._log_every):
            self.write(record)

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """The line of an epoch."""
        self.write(record)

    @abstractmethod
    def write(self, record: Record) -> None:
        """Where the records go."""


class MetricsLog(RecordWriter):
    """Appends each record to metrics.jsonl as one line of JSON: of each epoch, and of every `log_every`th step.

    A run that goes on has the file cut to what its checkpoint has seen. Where the disk is full, it says so
    once, and the lines wait in memory for room.
    """

    name = "metrics"

    def __init__(self, folder: RunFolder, log_every: int = 0) -> None:
        super().__init__(log_every)
        self._folder = folder
        self._path = folder.path / "metrics.jsonl"
        self._size = 0
        self._waiting = b""
        self._warned = False
        self._file: FileIO | None = None

    def start(self, job: Job, progress: TrainProgress) -> None:
        """Open the file behind the lines that count."""
        if sentence := self._folder.keep_metrics(self._size, progress.history):
            self.say(sentence)
        self._file = self._path.open("ab", buffering=0)
        self._size = self._path.stat().st_size

    def write(self, record: Record) -> None:
        """One line, handed to the system at once."""
        assert self._file is not None, "a run writes after its start"
        line = json.dumps(record).encode() + b"\n"
        self._size += len(line)
        self._waiting += line
        try:
            # Where only a part fits, the rest of the line follows its beginning.
            self._waiting = self._waiting[self._file.write(self._waiting) :]
            reason = "the disk is full" if self._waiting else ""
        except OSError as error:
            reason = error.strerror or type(error).__name__
        if reason and not self._warned:
            self._warned = True
            self.say(
                f"{self._path} cannot be written ({reason}); training goes on, and its lines wait for room"
            )

    def state(self) -> tuple[dict[str, Any], Any]:
        """Bytes of the file with all lines so far, those that are there brought to the disk."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())
        return {"bytes": self._size}, None

    def load_state(self, values: dict[str, Any], arrays: Any) -> None:
        """The inverse of `state`."""
        self._size = values["bytes"]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
