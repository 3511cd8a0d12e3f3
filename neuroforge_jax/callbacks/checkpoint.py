"""Saving: when it is due, when a signal has come, and at the end; and going on from there."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.callbacks.base import Callback, Callbacks
from neuroforge_jax.callbacks.early_stopping import EarlyStopping
from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.interval import Interval
from neuroforge_jax.checkpoint.restore import (
    OWN,
    describe_config,
    describe_hyper,
    describe_loss_scale,
    restore,
)
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.checkpoint.writer import CheckpointWriter
from neuroforge_jax.config import RunOptions
from neuroforge_jax.errors import CheckpointError, ConfigError, DeviceError
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.model.io import save
from neuroforge_jax.system.peers import Peers
from neuroforge_jax.system.placing import is_whole_here
from neuroforge_jax.system.signals import SignalWatch
from neuroforge_jax.system.spans import span
from neuroforge_jax.training.progress import Record, TrainProgress
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Params


class Checkpointer(Callback):
    """Saves a run in its folder, with the states of all callbacks, and its model; it stands last, so that they have
    seen all. Of several processes the first writes, and all decide with it and bring it their parts of the state.

    Raises CheckpointError where nothing that is saved in the folder can be used.
    """

    def __init__(
        self,
        folder: RunFolder,
        job: Job,
        options: RunOptions,
        signals: SignalWatch,
        callbacks: Callbacks,
        peers: Peers,
    ) -> None:
        self._folder, self._job, self._signals, self._callbacks = folder, job, signals, callbacks
        self._peers = peers
        self._config = replace(job.config, loss=job.model.spec.loss)  # what `auto` chose
        self._identity = job.dataset.identity()
        names = [callback.name for callback in callbacks if callback.name]
        for name in names:
            if name in OWN or "/" in name or names.count(name) > 1:
                raise ConfigError(
                    f"a callback that saves something cannot have the name {name!r}: another callback or the "
                    "checkpoint itself has it, or it contains a slash; choose another name"
                )
        self._saved = self._find_saved()
        self.interval = Interval.parse(options.checkpoint_every)
        self._writer = CheckpointWriter(
            folder.checkpoints,
            self.interval,
            keep_latest=options.keep_latest,
            keep_best=options.keep_best,
            warn=callbacks.note if options.on_save_error == "continue" else None,
            export=self._export_model,
            peers=peers,
        )

    def _find_saved(self) -> files.SavedStep | None:
        """The step to go on from: process 0 looks, for damaged ones are put aside, and the others read the same."""
        peers, saved = self._peers, None
        if peers.process == 0:
            saved, damaged = files.newest(self._folder.checkpoints)
            for sentence in damaged:
                self._callbacks.note(f"{sentence}; the step before it is used")
        name: str | None = peers.decide(lambda: None if saved is None else saved.path.name)
        if name is None or saved is not None:
            return saved
        return files.read(self._folder.checkpoints / name)

    def restore(self, first: Callable[[], TrainState]) -> tuple[Callable[[], TrainState], TrainProgress]:
        """What makes the state to begin with, and the progress behind it: those of the last save, whose callbacks
        are brought back too; or `first` where there is none.
        """
        if self._saved is None:
            return first, TrainProgress()
        state, progress, callbacks = restore(
            self._saved, self._config, self._identity, first(), self._job.placement
        )
        self._callbacks.load_states(callbacks)
        return lambda: state, progress

    def start(self, job: Job, progress: TrainProgress) -> None:
        """Say where a run goes on."""
        if not self._folder.began:
            return
        path, epochs = self._folder.path, job.config.epochs
        if progress.step == 0:
            self._callbacks.note(f"resume    no checkpoint in {path} yet: starts at step 0")
        else:
            where = (
                f"step {progress.step:,} of {job.training.steps:,}, in epoch {progress.epoch + 1} of {epochs}"
            )
            self._callbacks.note(f"resume    {path} at {where}")

    def steps_until_due(self, step: int) -> int | None:
        """Steps until the next save, where saves are counted in steps."""
        return self.interval.steps_left(step)

    def segment(self, trainer: Trainer, metrics: SegmentMetrics) -> None:
        """Save if that is due; where a signal has come, save and raise Stopped.

        Raises CheckpointError for a save that has failed since the last look.
        """
        with span("save"):
            self._look_up(trainer, ends_epoch=False, score=None)

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """The same at the end of an epoch; at the end of the run, save and wait until all is written."""
        score = trainer.job.selection.score(trainer.evaluations.get("validation"))
        with span("save"):
            self._look_up(trainer, ends_epoch=True, score=score if math.isfinite(score) else None)
            if trainer.is_over(self._callbacks):
                if self.interval.unit != "never":
                    self._save(trainer, None)
                self._writer.wait()

    def latest(self, first: Callable[[], TrainState]) -> tuple[TrainState, int]:
        """The state that was saved last and its step, or the first one and 0."""
        self.close()
        saved, _ = files.newest(self._folder.checkpoints)
        if saved is None:
            return first(), 0
        state, progress, _ = restore(saved, self._config, self._identity, first(), self._job.placement)
        return state, progress.step

    def close(self) -> None:
        """Wait for a save that is being written; what went wrong in it no longer matters."""
        with suppress(CheckpointError, DeviceError):
            self._writer.wait()

    def _look_up(self, trainer: Trainer, *, ends_epoch: bool, score: float | None) -> None:
        self._writer.check()
        step, epoch = trainer.progress.step, trainer.progress.epoch
        if self._signals.received is not None:
            self._save(trainer, score)
            self._writer.wait()
            if self._peers.process > 0:
                self._peers.wait_for_end(0)  # it says what was saved, once it is
                raise self._signals.stopped(silent=True)
            raise self._signals.stopped(f"saved at step {self._writer.written:,}; {self._signals.hint}")
        if self._peers.decide(lambda: self._writer.is_due(step, epoch, ends_epoch=ends_epoch)):
            self._save(trainer, score)

    def _export_model(self, tree: Mapping[str, Any], weights: Params | None) -> None:
        """The model of a save, so that a run that was stopped, or goes on, can be loaded."""
        save(self._folder.path, self._job.model, _weights_to_keep(tree) if weights is None else weights)

    def _save(self, trainer: Trainer, score: float | None) -> None:
        states = self._callbacks.states()
        progress: dict[str, Any] = {
            **trainer.progress.to_json(),
            "config": describe_config(self._config),
            "hyper": describe_hyper(self._job.training.hyper),
            "loss_scale": describe_loss_scale(self._job.training.loss_scale),
            "data": self._identity,
            "callbacks": {name: values for name, (values, _) in states.items()},
        }
        tree = {"state": trainer.state, **{name: arrays for name, (_, arrays) in states.items()}}
        kept = _weights_to_keep(tree)
        # The file of a model is whole: processes that have parts of it bring them together.
        weights = None if is_whole_here(kept) else self._job.placement.gather(kept)
        self._writer.save(trainer.progress.step, tree, progress, score, weights)


def _weights_to_keep(tree: Mapping[str, Any]) -> Params:
    """The best where some are selected, else the latest."""
    best: Params | None = tree.get(EarlyStopping.name)
    latest: Params = tree["state"].params
    return latest if best is None else best
