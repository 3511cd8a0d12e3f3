"""What a run does when the host looks up between two stretches: save when it is due, stop when it is asked to."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from neuroforge_jax.callbacks.metrics_log import JsonLines
from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.interval import Schedule
from neuroforge_jax.checkpoint.restore import described, restored
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.checkpoint.writer import Saver
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import CheckpointError, ConfigError
from neuroforge_jax.system.signals import SignalWatch
from neuroforge_jax.training.progress import Standing
from neuroforge_jax.training.state import TrainState


def open_folder(options: RunOptions) -> RunFolder | None:
    """The folder that the run is saved to, locked; the one of a run that began where that is to be continued.

    None where nothing is to be saved. Raises ConfigError or CheckpointError.
    """
    if options.resume not in (None, "auto"):
        return RunFolder.reopen(Path(options.resume))
    if options.run_dir is None:
        if options.resume == "auto":
            raise ConfigError("--resume auto needs the folder of the run; give it as --run-dir")
        return None
    if options.resume == "auto" and RunFolder.holds_run(options.run_dir):
        return RunFolder.reopen(options.run_dir)
    return RunFolder.create(options.run_dir)


def continued(folder: RunFolder, standing: Standing, epochs: int, per_epoch: int) -> str:
    """A line for the header of a run that goes on."""
    if standing.step == 0:
        return f"resume    no checkpoint in {folder.path} yet: starts at step 0"
    steps, epoch = epochs * per_epoch, len(standing.history) + 1
    return f"resume    {folder.path} at step {standing.step:,} of {steps:,}, in epoch {epoch} of {epochs}"


class Keeper:
    """Keeps the run in `folder`; tell: called with each sentence that the user should read.

    metrics: the log of the run, which is cut to what a checkpoint has seen when that is continued.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: TrainConfig,
        options: RunOptions,
        dataset: Dataset,
        signals: SignalWatch,
        tell: Callable[[str], None],
    ) -> None:
        self.folder, self._signals, self._tell = folder, signals, tell
        self._config, self._identity = config, dataset.identity()
        saved, damaged = files.newest(folder.checkpoints)
        for sentence in damaged:
            tell(f"{sentence}; the step before it is used")
        self._saved = saved
        self.schedule = Schedule.parse(options.checkpoint_every)
        self._saver = Saver(
            folder.checkpoints,
            self.schedule,
            keep_latest=options.keep_latest,
            keep_best=options.keep_best,
            warn=tell if options.on_save_error == "continue" else None,
        )
        self._metrics: JsonLines | None = None

    def restored(self, first: Callable[[], TrainState]) -> tuple[Callable[[], TrainState], Standing]:
        """What gives the state to begin with, and its standing: those of the last save, or `first` where there is
        none; the metrics are cut to it.
        """
        if self._saved is None:
            self.folder.keep_metrics(0, ())
            return first, Standing()
        state, standing = restored(self._saved, self._config, self._identity, first())
        if sentence := self.folder.keep_metrics(self._saved.progress["metrics_bytes"], standing.history):
            self._tell(sentence)
        return lambda: state, standing

    def open_metrics(self) -> JsonLines:
        """The log of the run, to be appended to."""
        self._metrics = JsonLines(self.folder.path / "metrics.jsonl", self._tell)
        return self._metrics

    def steps_left(self, step: int) -> int | None:
        """Steps until the next save, where saves are counted in steps."""
        return self.schedule.steps_left(step)

    def look_up(
        self, state: TrainState, standing: Standing, *, ends_epoch: bool = False, score: float | None = None
    ) -> None:
        """Save this state if that is due; where a signal has come, save it and raise Stopped.

        Raises CheckpointError for a save that has failed since the last look.
        """
        self._saver.check()
        if self._signals.received is not None:
            self._save(state, standing, score)
            self._saver.wait()
            raise self._signals.stopped(f"saved at step {self._saver.written:,}; {self._signals.hint}")
        if self._saver.saves(standing.step, len(standing.history), ends_epoch=ends_epoch):
            self._save(state, standing, score)

    def finish(self, state: TrainState, standing: Standing) -> None:
        """Save the last state, unless saving is off, and wait until all is written."""
        if self.schedule.unit != "never":
            self._save(state, standing, None)
        self._saver.wait()

    def latest(self, state: TrainState) -> tuple[TrainState, int]:
        """The state that was saved last and its step, or this first one and 0."""
        self.close()
        saved, _ = files.newest(self.folder.checkpoints)
        if saved is None:
            return state, 0
        state, standing = restored(saved, self._config, self._identity, state)
        return state, standing.step

    def close(self) -> None:
        """Wait for a save that is being written; what went wrong in it no longer matters."""
        with suppress(CheckpointError):
            self._saver.wait()

    def _save(self, state: TrainState, standing: Standing, score: float | None) -> None:
        assert self._metrics is not None
        progress: dict[str, Any] = {
            **standing.to_json(),
            "config": described(self._config),
            "data": self._identity,
            "metrics_bytes": self._metrics.synced_size(),
        }
        tree = {"state": state, "best": standing.best.params}
        self._saver.save(standing.step, tree, progress, score)


def restarted(keeper: Keeper | None, first: Callable[[], TrainState]) -> tuple[TrainState, int]:
    """The state of the last save, or the one before the first step, and the steps behind it."""
    return keeper.latest(first()) if keeper else (first(), 0)
