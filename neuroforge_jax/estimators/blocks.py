"""The loop of an estimator: many epochs in one dispatch where nothing has to happen between two."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax.backends.executors.base import Run, SegmentMetrics
from neuroforge_jax.estimators.stopping import Rule
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.trainer import Observers, Trainer
from neuroforge_jax.training.progress import TrainProgress
from neuroforge_jax.training.state import TrainState

BLOCK_SECONDS = 0.2
"""A block of epochs takes about so long at most: Ctrl-C is heard between two."""

LOOK_AHEAD = 8
"""A block may be as long as an eighth of what is behind it: what is beyond the last epoch is thrown away."""


class BlockTrainer(Trainer):
    """Trains so many epochs at most, and one at least. first_epoch: passes behind the state, by which the order of
    the rows goes on. An epoch that turns out to be the last within a block is trained to again, from a copy of the
    state before the block: the same bits.
    """

    def __init__(
        self,
        job: Job,
        run: Run,
        state: TrainState,
        progress: TrainProgress,
        evaluators: Mapping[str, Callable[[Any], Any]],
        *,
        epochs: int,
        first_epoch: int = 0,
    ) -> None:
        shifted = _begin_at(run, first_epoch * job.steps_per_epoch)
        super().__init__(job, shifted, state, progress, evaluators)
        self._epochs = epochs

    def is_over(self, observers: Observers) -> bool:
        """Whether to stop after the epochs so far."""
        return self.progress.epoch >= self._epochs or super().is_over(observers)

    def train_blocks(self, rule: Rule) -> None:
        """To the end that the rule sees."""
        per_epoch, seconds_each = self.job.steps_per_epoch, BLOCK_SECONDS
        while rule.epochs < self._epochs and not (rule.epochs and rule.is_over()):
            sure = rule.epochs_until_it_can_stop
            left = self._epochs - rule.epochs
            block = left if sure is None else min(left, max(sure, rule.epochs // LOOK_AHEAD))
            block = max(1, min(block, int(BLOCK_SECONDS / seconds_each)))
            first, begun = self.progress.step, time.perf_counter()
            before = _copy(self.state) if sure is not None and block > sure else None
            self.state, metrics = self.run(self.state, first, first + block * per_epoch)
            done = self._see(rule, metrics, block, begun)
            seconds_each = (time.perf_counter() - begun) / block
            if done < block and before is not None:
                self.state, _ = self.run(before, first, first + done * per_epoch)

    def _see(self, rule: Rule, metrics: SegmentMetrics, block: int, begun: float) -> int:
        """Show the rule each epoch of a block, until it has had enough; how many it saw."""
        parts = [
            np.asarray(each, np.float64).reshape(*each.shape[:-1], block, -1)
            for each in (metrics.loss, metrics.correct, metrics.samples)
        ]
        seconds = (time.perf_counter() - begun) / block
        for index in range(block):
            losses, correct, samples = (part[..., index, :] for part in parts)
            rule.see(self.end_epoch(losses, correct, samples, seconds))
            if rule.over:
                return index + 1
        return block

    def end_epoch(self, losses: np.ndarray, correct: np.ndarray, samples: np.ndarray, seconds: float) -> Any:
        """Take note of an epoch of a block, by the metrics of its steps f64 [S]; the mean loss of those that have a
        finite one, NaN where none has.
        """
        progress, counted, finite = self.progress, float(samples.sum()), np.isfinite(losses)
        loss = float(losses[finite] @ samples[finite] / samples[finite].sum()) if finite.any() else math.nan
        progress.step += len(losses)
        progress.throughput.add(len(losses), counted, seconds)
        progress.end_epoch(
            {
                "event": "epoch",
                "epoch": progress.epoch + 1,
                "step": progress.step,
                "train_loss": None if math.isnan(loss) else loss,
                "train_accuracy": float(correct.sum()) / counted if self.job.model.classes else None,
                "train_seconds": progress.throughput.train_seconds,
                "samples_per_second": counted / seconds,
            }
        )
        return loss


def _begin_at(run: Run, behind: int) -> Run:
    """The run whose step 0 is this one."""

    def advance(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, SegmentMetrics]:
        state, metrics = run(state, first_step + behind, last_step + behind)
        return state, replace(metrics, first_step=first_step, last_step=last_step)

    return advance if behind else run


_copy: Callable[[TrainState], TrainState] = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
