"""Sinks: what listens to a run. They are called between stretches of steps, never inside one."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from neuroforge_jax.job.summary import Rows
from neuroforge_jax.training.progress import Record


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
