"""Several networks as one estimator: they are trained together, as a population, and asked one after the other.

Member i is the network of its own first weights, order of rows and dropout; the first member's are those of an
estimator of one network. All train until each has had enough, and where rows are held out, each keeps the weights
of its own best epoch, of those before it had enough.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax.backends.executors.base import HostMetrics, SegmentMetrics
from neuroforge_jax.estimators.blocks import BlockTrainer
from neuroforge_jax.estimators.stopping import Curve, Rule, StoppingRule, with_rate
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.precision.loss_scale import LossScale
from neuroforge_jax.training.best import BestEpoch, Selection
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.progress import Record
from neuroforge_jax.typing import Params


def stack_members(members: Sequence[Params]) -> Params:
    """Parameters [P, …] of networks on the host; those of a single one as they are."""
    if len(members) == 1:
        return members[0]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *members)


def hyper_of_members(job: Job) -> Hyper:
    """The values of the training, for every network of a job."""
    hyper = job.training.hyper
    if job.seeds is None:
        return hyper
    return jax.tree.map(lambda leaf: np.full(len(job.seeds or ()), leaf, np.float32), hyper)


def make_rules(curve: Curve, make_rule: Callable[..., StoppingRule], members: int, *, verbose: bool) -> Rule:
    """The rule of one network, or of several. make_rule: from a curve. verbose: whether each epoch is printed."""
    if members == 1:
        return make_rule(curve, verbose=verbose)
    curve.members = curve.members or [Curve() for _ in range(members)]
    return EnsembleRule(curve, [make_rule(own) for own in curve.members], verbose=verbose)


class EnsembleTrainer(BlockTrainer):
    """The loop over a state [P, …]. losses: f64 [P], each member's mean of the last epoch. evaluations_of_members:
    what was said of each after it.
    """

    losses: np.ndarray
    evaluations_of_members: list[Evaluation]
    _segments: list[SegmentMetrics | HostMetrics]
    _seconds: float

    def take(self, metrics: SegmentMetrics | HostMetrics, samples: float, seconds: float) -> None:
        """Take note of a segment of the epoch under way."""
        if self.progress.step % self.job.steps_per_epoch == 0:
            self._segments, self._seconds = [], 0.0
        self._segments.append(metrics)
        self._seconds += seconds
        self.progress.step = metrics.last_step
        self.progress.throughput.add(metrics.last_step - metrics.first_step, samples, seconds)
        if np.isfinite(metrics.loss).all():
            self.progress.last_loss = float(metrics.loss[:, -1].mean())

    def evaluate_epoch(self) -> dict[str, Any]:
        """The record of the epoch under way: means over the members."""
        record = self.describe_epoch(None)
        for part, evaluate in self.evaluators.items():
            said: Any = evaluate(self.state.params)
            self.evaluations_of_members = said
            numbers = {name: np.mean([one.numbers[name] for one in said]) for name in said[0].numbers}
            record |= Evaluation(numbers, said[0].samples).named(part)
        return record | self.measure_memory()

    def describe_epoch(self, scale: LossScale | None) -> dict[str, Any]:
        """Of the epoch under way what is recorded of its training; the scales of the members are not."""
        losses, correct, samples = (
            np.concatenate([np.asarray(each, np.float64) for each in parts], axis=-1)
            for parts in zip(
                *((part.loss, part.correct, part.samples) for part in self._segments), strict=True
            )
        )
        counted = samples.sum()
        self.losses = (losses * samples).sum(axis=1) / samples.sum(axis=1)
        mean = float(self.losses.mean())
        return {
            "event": "epoch",
            "epoch": self.progress.epoch + 1,
            "step": self.progress.step,
            "train_loss": mean if np.isfinite(mean) else None,
            "train_accuracy": correct.sum() / counted if self.job.model.classes else None,
            "train_seconds": self.progress.throughput.train_seconds,
            "samples_per_second": counted / self._seconds,
        }


class EnsembleRule(Rule):
    """Over when every member's own rule is. curve: of the means over the members."""

    def __init__(self, curve: Curve, members: Sequence[StoppingRule], *, verbose: bool = False) -> None:
        self.curve, self.members, self._verbose = curve, members, verbose
        self.epochs = 0
        self.selection: Selection | None = members[0].selection
        self._kept: Params | None = None

    @property
    def best(self) -> BestEpoch:  # type: ignore[override]
        """The weights [P, …] of each member's best epoch."""
        return BestEpoch(params=self._kept)

    @property
    def over(self) -> bool:  # type: ignore[override]
        """Whether each has had enough."""
        return all(rule.over for rule in self.members)

    @property
    def looks_at_every_epoch(self) -> bool:
        """Whether something may have to happen between any two epochs."""
        return self.members[0].looks_at_every_epoch

    @property
    def epochs_until_it_can_stop(self) -> int | None:
        """Until the last of those that have not had enough can have."""
        left = [rule.epochs_until_it_can_stop for rule in self.members if not rule.over]
        known = [epochs for epochs in left if epochs is not None]
        return max(known, default=1) if len(known) == len(left) else None

    def see(self, loss: Any, scores: Sequence[float] | None = None) -> None:
        """Take note of an epoch. loss: f64 [P], this engine's mean of it; scores: of each member."""
        curve = self.curve
        self.epochs += 1
        for index, rule in enumerate(self.members):
            if not rule.over:
                rule.see(float(loss[index]), None if scores is None else scores[index])
        curve.rows = max(rule.curve.rows for rule in self.members)
        curve.losses.append(self.members[0].show_loss(float(np.mean(loss))))
        curve.best_loss = min(curve.best_loss, curve.losses[-1])
        curve.stale = min(rule.curve.stale for rule in self.members)
        if scores is not None:
            curve.scores.append(float(np.mean(scores)))
            curve.best_score = max(curve.best_score, curve.scores[-1])
        if self._verbose:
            print(f"Iteration {self.epochs}, loss = {curve.losses[-1]:.8f} (mean of {len(self.members)})")
            if scores is not None:
                print(f"Validation score: {curve.scores[-1]:f}")

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """See an epoch, keep the weights of members that are better than ever, and set the rates of the next."""
        assert isinstance(trainer, EnsembleTrainer)
        scores = None
        if self.selection is not None:
            said = trainer.evaluations_of_members
            scores = [rule.read_score(one) for rule, one in zip(self.members, said, strict=True)]
            self._keep(said, trainer)
        self.see(trainer.losses, scores)
        if self.members[0].changes_rate:
            trainer.state = with_rate(trainer.state, self.engine_rate)

    @property
    def engine_rate(self) -> np.ndarray:
        """The learning rate of each member's next epoch [P], as this engine has it."""
        return np.array([rule.engine_rate for rule in self.members])

    def _keep(self, said: Sequence[Evaluation], trainer: Trainer) -> None:
        assert self.selection is not None
        epoch, now = trainer.progress.epoch - 1, trainer.state.params
        better = np.zeros(len(said), bool)
        for index, (rule, evaluation) in enumerate(zip(self.members, said, strict=True)):
            if not rule.over:
                before, rule.best = rule.best, self.selection.better_of(rule.best, evaluation, epoch, None)
                better[index] = rule.best is not before or rule.best.epoch < 0
        if better.any():
            self._kept = _select(better, now, now if self._kept is None else self._kept)

    def is_over(self) -> bool:
        """By progress, by the time or by Ctrl-C."""
        return self.over or self.members[0].is_cut_short()


def _select_members(better: jax.Array, now: Params, before: Params) -> Params:
    def select(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(select, now, before)


_select: Callable[[np.ndarray, Params, Params], Params] = jax.jit(_select_members)
"""Of the members that are better the new weights, copied, of the others those before."""
