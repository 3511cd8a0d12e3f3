"""Callbacks: all that happens beside the steps of a run, each with the same methods.

    class EveryTenth(nf.Callback):
        def steps_until_due(self, step):
            return 10 - step % 10  # no segment passes this step

        def segment(self, trainer, metrics):
            print(trainer.progress.step, metrics.loss[-1])

    nf.fit(config, dataset, callbacks=[EveryTenth(), nf.Console()])

A callback implements the methods that it needs. They are called between segments of steps, never inside one.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.system.processes import is_main_process
from neuroforge_jax.training.progress import Record, TrainProgress

if TYPE_CHECKING:
    from types import TracebackType


class Callback:
    """The methods, in the order in which a run comes to them; each does nothing here.

    name: under which `state` is saved with a checkpoint; empty where there is nothing to save. main_process_only:
    whether it writes files or speaks to people, which one process of several does. shows_figures: whether it shows
    the figures of the result, for which the machine's peak is measured. say: tells all callbacks of the run a
    sentence, by their `note`; it is there from the beginning of the run.
    """

    name: str = ""
    main_process_only: bool = False
    shows_figures: bool = False
    say: Callable[[str], None]

    def note(self, text: str) -> None:
        """A sentence about the run itself: what it continues, what could not be saved. At any time."""

    def start(self, job: Job, progress: TrainProgress) -> None:
        """Once, before the steps are compiled. progress: of a resumed run, what lies behind
        it.
        """

    def steps_until_due(self, step: int) -> int | None:
        """After `step` steps: how many more, at least 1, until `segment` must be called; None where that is all the
        same.
        """
        return None

    def segment(self, trainer: Trainer, metrics: SegmentMetrics) -> None:
        """About twice a second, and where it was due: the steps metrics.first_step … metrics.last_step − 1 are
        done.
        """

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """An epoch has been trained and evaluated; `record` is its line of metrics."""

    def should_stop(self, progress: TrainProgress) -> bool:
        """Whether the run is to end after the epochs so far."""
        return False

    def finish(self, trainer: Trainer, result: Any) -> None:
        """The run has come to its end; `result` is what `fit` returns."""

    def close(self) -> None:
        """The run is over, well or badly."""

    def state(self) -> tuple[dict[str, Any], Any]:
        """What a resumed run must bring back: plain values, and dictionaries of arrays by name, or None."""
        return {}, None

    def load_state(self, values: dict[str, Any], arrays: Any) -> None:
        """The inverse of `state`."""


class Callbacks:
    """The callbacks of a run as one, called in their order. Leaving the block closes each, the one added last
    first, even where another's `close` raises.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self._all: list[Callback] = []
        self._closing = ExitStack()
        for callback in callbacks:
            self.add(callback)

    def add(self, callback: Callback, *, first: bool = False) -> None:
        """Put one behind the others, or before them. Files and the console belong to the main process."""
        if callback.main_process_only and not is_main_process():
            return
        callback.say = self.note
        self._all.insert(0 if first else len(self._all), callback)
        self._closing.callback(callback.close)

    @property
    def show_figures(self) -> bool:
        """Whether one of them does."""
        return any(callback.shows_figures for callback in self)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._all)

    def __enter__(self) -> "Callbacks":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        self._closing.__exit__(kind, error, traceback)

    def note(self, text: str) -> None:
        """Tell every callback."""
        for callback in self:
            callback.note(text)

    def start(self, job: Job, progress: TrainProgress) -> None:
        """In their order."""
        for callback in self:
            callback.start(job, progress)

    def steps_until_due(self, step: int) -> int | None:
        """The fewest that one of them asks for."""
        due = [callback.steps_until_due(step) for callback in self]
        return min((steps for steps in due if steps is not None), default=None)

    def segment(self, trainer: Trainer, metrics: SegmentMetrics) -> None:
        """In their order."""
        for callback in self:
            callback.segment(trainer, metrics)

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """In their order."""
        for callback in self:
            callback.epoch(trainer, record)

    def should_stop(self, progress: TrainProgress) -> bool:
        """Whether one of them says so."""
        return any(callback.should_stop(progress) for callback in self)

    def finish(self, trainer: Trainer, result: Any) -> None:
        """In their order."""
        for callback in self:
            callback.finish(trainer, result)

    def states(self) -> dict[str, tuple[dict[str, Any], Any]]:
        """Name → what is to be saved of it."""
        return {callback.name: callback.state() for callback in self if callback.name}

    def load_states(self, saved: dict[str, tuple[dict[str, Any], Any]]) -> None:
        """The inverse of `states`; one that was not there then begins anew."""
        for callback in self:
            if callback.name in saved:
                callback.load_state(*saved[callback.name])
