"""Sinks: what listens to a run. They are called between stretches of steps, never inside one."""

import json
from collections.abc import Mapping, Sequence
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

    def close(self) -> None:
        """The run is over, well or badly."""


class JsonLines:
    """Appends each record to a file as one line of JSON."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def header(self, rows: Rows) -> None:
        """Nothing: the header is for people."""

    def progress(self, progress: Progress) -> None:
        """Nothing: progress is for people."""

    def record(self, record: Record) -> None:
        """One line, on disk at once."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def result(self, rows: Rows) -> None:
        """Nothing: the result has a file of its own."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
