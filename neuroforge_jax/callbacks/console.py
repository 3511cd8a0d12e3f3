"""The console: a header, a line an epoch, a live bar on a terminal, a final table.

Piped into a file it is plain lines; when the reader of the pipe or the terminal goes away, or the file's disk is
full, it falls silent, and the run goes on.
"""

import os
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, cast

from rich import box
from rich.console import Console as RichConsole
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.summary import header_rows, result_rows
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.training.progress import Record, TrainProgress

MINIMUM_WIDTH = 100
"""Columns assumed where output is no terminal: a log should not break its lines at 80."""


LABEL = 10
"""Columns of a label in the header."""


class Console(Callback):
    """Prints a run for a person: a header, a line for each epoch, a live bar, a final table.

    To standard output, in a terminal or a notebook; where that is a pipe or a file, plain lines without the bar.
    """

    main_process_only = True
    shows_figures = True

    def __init__(self) -> None:
        self._console = _SilencedConsole(highlight=False, markup=False, emoji=False)
        if not self._console.is_terminal and not self._console.is_jupyter:
            self._console.width = max(self._console.width, MINIMUM_WIDTH)
        self._bar: RichProgress | None = None
        self._monitored = ""

    def start(self, job: Job, progress: TrainProgress) -> None:
        """Print what is going to be trained, on what, and why so: one line for each, a label and a text."""
        self._monitored = job.selection.monitor.name
        for label, text in header_rows(job):
            first, *more = textwrap.wrap(text, max(self._console.width - LABEL, 40)) or [""]
            self._print(Text.assemble((f"{label:<{LABEL}}", "bold cyan"), first))
            for line in more:
                self._print(Text(" " * LABEL + line))
        self._print()

    def segment(self, trainer: Trainer, metrics: SegmentMetrics) -> None:
        """Move the bar; outside a terminal or a notebook do nothing."""
        if self._console.quiet or not (self._console.is_terminal or self._console.is_jupyter):
            return
        if self._bar is None:
            self._bar = _bar(self._console)
            self._bar.add_task("training", total=trainer.job.training.steps)
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=metrics.last_step, description=_describe_segment(trainer, metrics))

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """Print one line for each epoch."""
        self._print(Text(_epoch_line(record, self._monitored)))

    def finish(self, trainer: Trainer, result: Any) -> None:
        """Print the final table."""
        self.close()
        table = Table(box=box.ROUNDED, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for label, text in result_rows(result.figures):
            table.add_row(label, Text(text))
        self._print()
        self._print(table)

    def note(self, text: str) -> None:
        """Print a line."""
        self._print(Text(text))

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, *what: object) -> None:
        self._console.print(*what)


class _SilencedConsole(RichConsole):
    """Falls silent where what it writes to is gone or full: a training has better things to do than to end."""

    @property
    def file(self) -> IO[str]:
        """Where it writes to."""
        return cast("IO[str]", _Tolerant(super().file, self._fall_silent))

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def _fall_silent(self) -> None:
        self.quiet = True
        silence_stdout()


class _Tolerant:
    """A text file whose `write` and `flush` raise nothing where it fails; `fails` is called then."""

    def __init__(self, file: IO[str], fails: Callable[[], None]) -> None:
        self._file, self._fails = file, fails

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """As much of it as the file takes."""
        try:
            return self._file.write(text)
        except UnicodeEncodeError as error:
            return self.write(text.encode(error.encoding, "replace").decode(error.encoding))
        except (OSError, ValueError):  # ValueError: it was closed
            self._fails()
            return len(text)

    def flush(self) -> None:
        """What is written goes out."""
        try:
            self._file.flush()
        except (OSError, ValueError):
            self._fails()


def silence_stdout() -> None:
    """Send standard output nowhere, so that not even the interpreter's last flush meets the broken pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):  # it is no file of the system's, or is closed
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _bar(console: RichConsole) -> RichProgress:
    return RichProgress(
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.description}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
        refresh_per_second=4,
    )


def _describe_segment(trainer: Trainer, metrics: SegmentMetrics) -> str:
    """Loss and accuracy are means over the segment just trained."""
    job, epoch = trainer.job, trainer.progress.epoch + 1
    right = float(metrics.correct.sum() / metrics.samples.sum())
    accuracy = f"accuracy {right:.2%}  " if job.model.classes else ""
    return (
        f"epoch {epoch}/{job.config.epochs}  loss {metrics.mean_loss:.4f}  {accuracy}"
        f"{trainer.progress.throughput.samples_per_second:,.0f} samples/s"
    )


def _epoch_line(record: Record, monitored: str) -> str:
    """`epoch  3   train 0.0455  98.57%   test 0.0629  98.04%   43,164 samples/s`: loss and accuracy of each, and
    behind them what is monitored beside.
    """
    parts = [f"epoch {record['epoch']:>3}"]
    for part in ("train", "validation", "test"):
        if (loss := record.get(f"{part}_loss")) is not None:
            accuracy = record.get(f"{part}_accuracy")
            metric = record.get(f"{part}_{monitored.replace('-', '_')}")
            beside = ""
            if metric is not None and monitored not in ("loss", "accuracy"):
                digits = ",.0f" if abs(float(metric)) >= 1000 else ".4f"
                beside = f" {monitored} {metric:{digits}}"
            parts.append(f"{part} {loss:.4f}" + ("" if accuracy is None else f" {accuracy:7.2%}") + beside)
    parts.append(f"{record['samples_per_second']:>9,.0f} samples/s")
    return "   ".join(parts)
