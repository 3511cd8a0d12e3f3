"""The training of an estimator: the project's job and loop, and for small fits many epochs in one dispatch."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax.backends.compilation_cache import keep_programs
from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.backends.jax_settings import OwnSettings
from neuroforge_jax.backends.memory_estimate import check_fits, explain_out_of_memory
from neuroforge_jax.callbacks.base import Callback, Callbacks
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.batch import bucket
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.estimators.stopping import StoppingRule
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.summary import final_figures
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.training.best import Selection
from neuroforge_jax.training.progress import EpochSums, TrainProgress
from neuroforge_jax.training.state import TrainState

METRICS_HELD = 4096
"""Steps whose metrics a dispatch holds, whatever the length of the training: one program for all lengths."""

BLOCK_SECONDS = 0.2
"""A block of epochs takes about so long at most: Ctrl-C is heard between two."""

LOOK_AHEAD = 8
"""A block may be as long as an eighth of what is behind it; what is trained beyond the last epoch is lost."""


def build_job(config: TrainConfig, dataset: Dataset, *, selection: Selection | None = None) -> Job:
    """The job of an estimator: its loss shows the penalty, and another number of rows is the same program.

    A batch of all rows is padded to a bucket.
    """
    job = Job.build(replace(config, batch_size=min(config.batch_size, len(dataset.train))), dataset)
    training = replace(job.training, steps=METRICS_HELD, shows_penalty=config.weight_decay > 0)
    if training.batch_size == len(dataset.train):
        training = replace(training, batch_size=bucket(len(dataset.train)))
    fitted = job.model.fitted
    if dataset.fitted.target_shift is None:  # targets as they are, whatever the loss would like
        fitted = fitted._replace(target_shift=None, target_scale=None)
    job = replace(job, training=training, model=replace(job.model, fitted=fitted))
    return job if selection is None else replace(job, selection=selection)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a training came to. state: after the last epoch. model: what it is a state of. params: those to keep."""

    state: TrainState
    model: FittedModel
    params: Any
    history: tuple[Any, ...]
    figures: dict[str, Any]


def train(
    job: Job,
    start: Callable[[], TrainState],
    rule: StoppingRule,
    *,
    epochs: int,
    first_epoch: int = 0,
    callbacks: Iterable[Callback] = (),
) -> Outcome:
    """Train to the end that the rule sees, or so many epochs. first_epoch: passes behind the state, by which the
    order of the rows goes on. Raises DeviceError where the memory is too small.
    """
    own = list(callbacks)
    with ExitStack() as stack:
        stack.enter_context(OwnSettings())
        team = stack.enter_context(Callbacks([rule, *own]))
        stack.enter_context(keep_programs(job.device, job.compile_options, team.note))
        check_fits(job.memory, job.device)
        stack.enter_context(explain_out_of_memory(job.memory, job.device))
        begun = time.perf_counter()
        progress = TrainProgress()
        team.start(job, progress)
        validation = job.dataset.validation
        evaluators = {} if validation is None else {"validation": job.evaluator(validation)}
        trainer = _BlockTrainer(job, job.compile(), start(), progress, evaluators)
        compile_seconds = time.perf_counter() - begun
        if rule.looks_at_every_epoch or own:
            trainer.train(team)
        else:
            trainer.train_blocks(rule, epochs, first_epoch)
        params = trainer.state.params if rule.best.params is None else rule.best.params
        figures = final_figures(trainer, rule.best, None, compile_seconds, None)
        outcome = Outcome(trainer.state, job.model, params, tuple(progress.history), figures)
        team.finish(trainer, outcome)
        return outcome


class _BlockTrainer(Trainer):
    """Trains many epochs in one dispatch where nothing has to happen between two. An epoch that turns out to be the
    last within a block is trained to again, from a copy of the state before the block: the same bits.
    """

    def train_blocks(self, rule: StoppingRule, epochs: int, first_epoch: int) -> None:
        per_epoch = self.job.steps_per_epoch
        self.progress.step = first_epoch * per_epoch
        seconds_each = BLOCK_SECONDS
        while rule.epochs < epochs and not rule.is_over():
            sure = rule.epochs_until_it_can_stop
            left = epochs - rule.epochs
            block = left if sure is None else min(left, max(sure, rule.epochs // LOOK_AHEAD))
            block = max(1, min(block, int(BLOCK_SECONDS / seconds_each)))
            first, begun = self.progress.step, time.perf_counter()
            before = _copy(self.state) if sure is not None and block > sure else None
            self.state, metrics = self.run(self.state, first, first + block * per_epoch)
            done = self._see(rule, metrics, block, begun)
            seconds_each = (time.perf_counter() - begun) / block
            if done < block and before is not None:
                self.state, _ = self.run(before, first, first + done * per_epoch)
            self.progress.step = first + done * per_epoch

    def _see(self, rule: StoppingRule, metrics: SegmentMetrics, block: int, begun: float) -> int:
        """Show the rule each epoch of a block, until it has had enough; how many it saw."""
        losses, samples, correct = (
            np.asarray(each, np.float64).reshape(block, -1)
            for each in (metrics.loss, metrics.samples, metrics.correct)
        )
        seconds = (time.perf_counter() - begun) / block
        for index in range(block):
            self._record(losses[index], correct[index], samples[index], seconds)
            loss = self.progress.history[-1]["train_loss"]
            rule.see(np.nan if loss is None else float(loss))
            if rule.over:
                return index + 1
        return block

    def _record(self, losses: np.ndarray, correct: np.ndarray, samples: np.ndarray, seconds: float) -> None:
        progress, counted = self.progress, float(samples.sum())
        sums = EpochSums()
        sums.add(losses, correct, samples, 0, seconds)
        progress.throughput.add(len(losses), counted, seconds)
        progress.end_epoch(
            {
                "event": "epoch",
                "epoch": progress.epoch + 1,
                "step": progress.step + len(losses),
                "train_loss": sums.mean_loss if np.isfinite(losses).all() else None,
                "train_accuracy": sums.correct / counted if self.job.model.classes else None,
                "train_seconds": progress.throughput.train_seconds,
                "samples_per_second": counted / seconds,
            }
        )


_copy: Callable[[TrainState], TrainState] = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
