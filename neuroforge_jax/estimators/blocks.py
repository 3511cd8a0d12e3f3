"""The loop of an estimator: many epochs in one dispatch where nothing has to happen between two."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from neuroforge_jax.backends.executors.base import Run, SegmentMetrics
from neuroforge_jax.estimators.stopping import Rule
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.trainer import Observers, Trainer
from neuroforge_jax.precision.loss_scale import LossScale, update_loss_scale
from neuroforge_jax.training.progress import TrainProgress
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Array, Bool

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
            scale = jax.device_get(self.state.loss_scale)
            self.state, metrics = self.run(self.state, first, first + block * per_epoch)
            done = self._see(rule, metrics, block, begun, scale)
            seconds_each = (time.perf_counter() - begun) / block
            if done < block and before is not None:
                self.state, _ = self.run(before, first, first + done * per_epoch)

    def _see(
        self, rule: Rule, metrics: SegmentMetrics, block: int, begun: float, scale: LossScale | None
    ) -> int:
        """Show the rule each epoch of a block, until it has had enough; how many it saw. scale: of the loss, before
        the block.
        """
        samples, seconds = float(metrics.samples.sum()) / block, (time.perf_counter() - begun) / block
        memory = self.measure_memory()  # once: it takes as long as an epoch of a small training
        for done, epoch in enumerate(metrics.split(block), start=1):
            scale = None if scale is None else _update_scale(scale, epoch.skipped == 0)
            self.take(epoch, samples, seconds)
            record = self.describe_epoch(scale) | memory
            self.progress.end_epoch(record)
            rule.epoch(self, record)
            if rule.over:
                return done
        return block


def _begin_at(run: Run, behind: int) -> Run:
    """The run whose step 0 is this one."""

    def advance(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, SegmentMetrics]:
        state, metrics = run(state, first_step + behind, last_step + behind)
        return state, replace(metrics, first_step=first_step, last_step=last_step)

    return advance if behind else run


_copy: Callable[[TrainState], TrainState] = jax.jit(lambda state: jax.tree.map(jnp.copy, state))


@jax.jit
def _update_scale(scale: LossScale, finite: Bool[Array, "*P S"]) -> LossScale:
    """The scale after steps whose gradients were finite or not."""

    def update(before: LossScale, is_finite: Bool[Array, "*P"]) -> tuple[LossScale, None]:
        return update_loss_scale(before, is_finite), None

    return jax.lax.scan(update, scale, jnp.moveaxis(finite, -1, 0))[0]
