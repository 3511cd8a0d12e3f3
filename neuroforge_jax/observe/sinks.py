"""Sinks: what listens to a run. They are called between stretches of steps, never inside one."""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

Rows = Sequence[tuple[str, str]]
"""Lines of a header or a final table: a label and its text."""

Record = Mapping[str, float | int | str | None]
"""What a line of metrics.jsonl holds; the names carry their units."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands. loss and accuracy are means over the stretch just trained."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float | None
    samples_per_second: float


@runtime_checkable
class Sink(Protocol):
    """The events of a run, in their order."""

    def header(self, rows: Rows) -> None:
        """What is going to be trained, on what, and why so; called once, before compiling."""

    def progress(self, progress: Progress) -> None:
        """About twice a second."""

    def record(self, record: Record) -> None:
        """A line of metrics: of an epoch, or of a logged step."""

    def result(self, rows: Rows) -> None:
        """The final table; called once."""

    def note(self, text: str) -> None:
        """A sentence about the run itself: what it continues, what could not be saved."""

    def close(self) -> None:
        """The run is over, well or badly."""


class RecordsOnly:
    """A sink for programs: all the rest is for people, and nothing is done about it."""

    def header(self, rows: Rows) -> None:
        """Nothing."""

    def progress(self, progress: Progress) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def result(self, rows: Rows) -> None:
        """Nothing: it has a file of its own."""


class JsonLines(RecordsOnly):
    """Appends each record to a file as one line of JSON.

    Where the disk is full, `warn` hears of it once, and the lines wait in memory for room.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn = path, warn
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size
        self._waiting = b""
        self._warned = False

    def record(self, record: Record) -> None:
        """One line, handed to the system at once."""
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
            self._warn(
                f"{self._path} cannot be written ({reason}); training goes on, and its lines wait for room"
            )

    def synced_size(self) -> int:
        """Bytes of the file with all lines so far, those that are there brought to the disk."""
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())
        return self._size

    def close(self) -> None:
        """Close the file."""
        self._file.close()
