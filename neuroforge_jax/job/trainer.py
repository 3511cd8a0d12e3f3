"""The loop: it advances a state by segments of steps, and evaluates it at the end of each epoch.

A segment is a range of steps that the device trains on its own. Between segments the host looks at the clock, the
loss and the keyboard; where a run is cut changes none of its bits. All that is done with what the host sees then
(saving, stopping, printing) is done by callbacks.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from neuroforge_jax.backends.executors.base import HostMetrics, Run, SegmentMetrics
from neuroforge_jax.job.job import Job
from neuroforge_jax.precision.loss_scale import LossScale
from neuroforge_jax.system.agreement import Agreement
from neuroforge_jax.system.memory import device_bytes, resident_bytes
from neuroforge_jax.system.peers import Peers
from neuroforge_jax.system.signals import SignalWatch
from neuroforge_jax.system.spans import span
from neuroforge_jax.training.evaluate import Evaluation, Evaluator
from neuroforge_jax.training.progress import Record, TrainProgress
from neuroforge_jax.training.state import TrainState


class Observers(Protocol):
    """What the loop asks and tells those who look on, as one."""

    def steps_until_due(self, step: int) -> int | None:
        """Steps after which one of them must look; None where none must."""
        ...

    def segment(self, trainer: "Trainer", metrics: SegmentMetrics) -> None:
        """A segment is done."""
        ...

    def epoch(self, trainer: "Trainer", record: Record) -> None:
        """An epoch is evaluated."""
        ...

    def should_stop(self, progress: TrainProgress) -> bool:
        """Whether one of them has seen enough."""
        ...


class Trainer:
    """A run under way.

    job: what is trained. run: its prepared program. state, progress: where it stands. evaluators: by the name of
    what they evaluate on, `validation` before `test`. evaluations: what they said of the last epoch. agreement:
    with the other processes that train the same; this one is alone unless given.
    """

    def __init__(
        self,
        job: Job,
        run: Run,
        state: TrainState,
        progress: TrainProgress,
        evaluators: Mapping[str, Evaluator],
        agreement: Agreement | None = None,
    ) -> None:
        self.job, self.run, self.state, self.progress = job, run, state, progress
        self.evaluators = evaluators
        self._agreement = agreement or Agreement(Peers(), SignalWatch())
        self.evaluations: dict[str, Evaluation] = {}
        self._decided: tuple[int, bool] = (-1, False)

    def train(self, observers: Observers) -> None:
        """To the end of the run."""
        while not self.is_over(observers):
            end = (self.progress.epoch + 1) * self.job.steps_per_epoch
            with span("train"):
                while self.progress.step < end:
                    self._advance(end, observers)
            with span("evaluate"):
                record = self.evaluate_epoch()
            self.progress.end_epoch(record)
            observers.epoch(self, record)

    def is_over(self, observers: Observers) -> bool:
        """Whether to stop after the epochs so far: decided once an epoch, for who saves and for the loop alike."""
        epoch = self.progress.epoch
        if self._decided[0] != epoch:
            over = self._agreement.decide(lambda: is_over(self.job, self.progress, observers))
            self._decided = epoch, over
        return self._decided[1]

    def _advance(self, end: int, observers: Observers) -> None:
        """Train a segment that ends at this step at the latest."""
        begun, first = time.perf_counter(), self.progress.step
        last = self._agreement.decide_segment(lambda: self._find_end(first, end, observers))
        with span("steps"):
            self.state, metrics = self.run(self.state, first, last)
            samples = float(metrics.samples.sum())  # waits for the device
        seconds = time.perf_counter() - begun
        self.take(metrics, samples, seconds)
        observers.segment(self, metrics)

    def _find_end(self, first: int, end: int, observers: Observers) -> int:
        until_due = observers.steps_until_due(first)
        last = first + self.progress.throughput.next_segment(end - first)
        return last if until_due is None else min(last, first + max(until_due, 1))

    def take(self, metrics: SegmentMetrics | HostMetrics, samples: float, seconds: float) -> None:
        """Take note of a segment: where the run stands, and the sums of its epoch."""
        progress, skipped = self.progress, int(metrics.skipped.sum())
        progress.step = metrics.last_step
        progress.throughput.add(metrics.last_step - metrics.first_step, samples, seconds)
        progress.sums.add(metrics.loss, metrics.correct, metrics.samples, skipped, seconds)
        if np.isfinite(metrics.loss).all():
            progress.last_loss = float(metrics.loss[-1])

    def evaluate_epoch(self) -> dict[str, Any]:
        """The record of an epoch: its means over samples, and what is shown of validation or else test data."""
        state = self.state
        record = self.describe_epoch(state.loss_scale)
        for part, evaluate in self.evaluators.items():
            self.evaluations[part] = evaluate(state.params)
            record |= self.evaluations[part].named(part)
        return record | self.measure_memory()

    def describe_epoch(self, scale: LossScale | None) -> dict[str, Any]:
        """Of the epoch under way the means over its samples. scale: of the loss, after it."""
        progress, sums = self.progress, self.progress.sums
        samples = len(self.job.source or self.job.dataset.train)
        record: dict[str, Any] = {
            "event": "epoch",
            "epoch": progress.epoch + 1,
            "step": progress.step,
            "train_loss": sums.mean_loss,
            "train_accuracy": sums.correct / samples if self.job.model.classes else None,
            "train_seconds": progress.throughput.train_seconds,
            "samples_per_second": samples / sums.seconds,
        }
        if scale is not None:
            record |= {"skipped_steps": sums.skipped, "loss_scale": float(scale.scale)}
        return record

    def measure_memory(self) -> dict[str, int | None]:
        """What arrays take on the device now; the process, where it does not say."""
        return {"memory_bytes": device_bytes(self.job.device) or resident_bytes()}


def is_over(job: Job, progress: TrainProgress, observers: Observers) -> bool:
    """Whether the last epoch has been trained, or nothing better is to be expected; never before the first."""
    return progress.epoch >= job.config.epochs or (progress.epoch > 0 and observers.should_stop(progress))
