"""Many networks at once: one program trains P networks of one architecture, each from a seed of its own.

    result = fit_population(config, dataset, seeds=range(64))
    result.accuracies.mean(), result.member(3)

A member is the run of its seed: its first weights, the order of its samples and its dropout follow from its key
alone, and the members meet nowhere. So a population is `vmap` of the program that trains one network, under the
same loop, and its arrays have an axis more, P, before all others. Small networks gain, for they share what a
step costs whatever its size; a large one keeps the units busy on its own.
"""

import operator
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from neuroforge_jax.backends.executors.base import HostMetrics, SegmentMetrics
from neuroforge_jax.backends.jax_settings import OwnSettings
from neuroforge_jax.backends.memory_estimate import check_fits, explain_out_of_memory
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.errors import ConfigError, DivergedError
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.resolve import select_rows
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.kernels.dense_kernel import DenseKernel
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.precision.loss_scale import PERMANENT
from neuroforge_jax.system.processes import are_several
from neuroforge_jax.training.best import BestEpoch
from neuroforge_jax.training.evaluate import Evaluation, Evaluator
from neuroforge_jax.training.progress import Record, TrainProgress
from neuroforge_jax.typing import Float, Params

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, eq=False)
class PopulationResult:
    """The trained networks of a population, in the order of their seeds.

    params: every leaf [P, …]; of each member the best weights where validation data were held out, else the last
    ones. evaluations: loss and accuracy of each network on the test data, or on the validation data where there are
    none. losses: of the steps of the last epoch, f32 [P, S]. train_seconds: of all networks together. best_epochs:
    of each member, from 0, where validation data were held out. diverged: member → the step, from 0, at which its
    loss or update was no number: it ends there, with its best weights where validation data found some before, else
    with those before that step.
    """

    model: FittedModel
    params: Params
    evaluations: tuple[Evaluation, ...]
    losses: Float[np.ndarray, "P S"]
    train_seconds: float
    best_epochs: tuple[int, ...] | None
    diverged: Mapping[int, int]

    @property
    def accuracies(self) -> Float[np.ndarray, " P"]:
        """Accuracy of each member; NaN for a regression."""
        return np.array([np.nan if e.accuracy is None else e.accuracy for e in self.evaluations])

    def member(self, index: int) -> Params:
        """The parameters of one network, for `evaluate` and `predict`."""
        return member(self.params, index)


def fit_population(config: TrainConfig, dataset: Dataset, seeds: Iterable[int]) -> PopulationResult:
    """Train one network for each seed, all in one program, and evaluate each.

    Network i is the one that `config` with seed `seeds[i]` trains, but that the validation data are those that
    `config.seed` holds out, for all of them. Early stopping is each member's own: one that has had enough keeps its
    best weights while the others train on. A member that diverges is frozen alone and reported; where all do, it is
    an error. Raises ConfigError where there are no seeds, and for a backend that does not keep its data on the
    device, DeviceError where the memory is too small, DivergedError.
    """
    with OwnSettings(), ExitStack() as stack:
        chosen = tuple(seeds)
        job = build_population(config, select_rows(config, dataset), chosen)
        job.prepare_start()
        check_fits(job.memory, job.device)
        watch = _Members(job, len(chosen))
        stack.enter_context(explain_out_of_memory(job.memory, job.device))
        trainer = _PopulationTrainer(job, job.compile(), job.start(), TrainProgress(), {})
        trainer.train(watch)
        return watch.result(trainer)


def build_population(config: TrainConfig, dataset: Dataset, seeds: Iterable[int]) -> Job:
    """The job that trains a network for each seed at once, on a dataset as it is.

    Over a mesh whose devices they do not divide, the last is trained more than once: behind the others.
    """
    chosen = tuple(map(_as_seed, seeds))
    if are_several():
        raise ConfigError(
            "a population is trained by one process, over its devices by --mesh population=N; start one alone"
        )
    if not chosen:
        raise ConfigError("a population needs a seed for each of its networks, and there are none")
    if not 0 <= min(chosen) <= max(chosen) <= LARGEST_SEED:
        raise ConfigError(
            f"seeds from {min(chosen)} to {max(chosen)}: they are whole numbers from 0 to {LARGEST_SEED}"
        )
    job = Job.build(config, dataset, many=True)
    if not job.backend.executor.trains_many:
        raise ConfigError(
            f"backend {job.backend.name!r} ({job.backend.executor.name} execution) trains one network at a time; a "
            "population needs one whose data lie on the device, such as optimized or mixed"
        )
    kernels = job.backend.kernels
    if isinstance(kernels, DenseKernel) and not kernels.vmap:
        raise kernels.error("it does not work under jax.vmap, which trains a population; use --kernels xla")
    missing = job.placement.round_up(len(chosen), "members") - len(chosen)
    job = replace(job, seeds=chosen + chosen[-1:] * missing)
    rows = config.batch_size // job.placement.parts("batch")
    return replace(job, compile_options=job.backend.options(rows, job.flops))


def _as_seed(value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ConfigError(f"seed {value!r}: seeds are whole numbers") from None


def member(tree: Params, index: int) -> Params:
    """One network's part of a tree whose leaves are [P, …]."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


class _PopulationTrainer(Trainer):
    """The loop over a state [P, …]; what it counts is what its members do together."""

    def take(self, metrics: SegmentMetrics | HostMetrics, samples: float, seconds: float) -> None:
        """Where the population stands; what each member does is watched by `_Members`."""
        self.progress.step = metrics.last_step
        self.progress.throughput.add(metrics.last_step - metrics.first_step, samples, seconds)

    def evaluate_epoch(self) -> dict[str, Any]:
        """Nothing that is of all members."""
        return {"event": "epoch", "epoch": self.progress.epoch + 1, "step": self.progress.step}


class _Members:
    """Looks after each member: its losses, its best epoch, whether it has had enough, and whether it diverged."""

    def __init__(self, job: Job, members: int) -> None:
        self._job = job
        self._evaluators: dict[str, Evaluator] = {}
        self.best = [BestEpoch() for _ in range(members)]
        self.stopped = [False for _ in range(members)]
        self.diverged: dict[int, int] = {}
        self.losses: list[np.ndarray] = []

    def steps_until_due(self, step: int) -> int | None:
        """No step is special."""
        return None

    def segment(self, trainer: Trainer, metrics: SegmentMetrics) -> None:
        """Whose loss is no number. Raises DivergedError where no member is left."""
        members = len(self.best)
        losses = metrics.loss[:members]
        self.losses.append(losses)
        lost = ~(np.isfinite(losses) | (metrics.skipped[:members] > 0))
        if trainer.state.loss_scale is not None:  # one whose every step is skipped trains nothing any more
            lost[:, -1] |= np.asarray(trainer.state.loss_scale.failed)[:members] >= PERMANENT
        for index in np.flatnonzero(lost.any(axis=1)).tolist():
            if not self.stopped[index]:
                self.diverged.setdefault(index, metrics.first_step + int(np.argmax(lost[index])))
        if len(self.diverged) == len(self.best) and all(best.params is None for best in self.best):
            raise DivergedError(
                f"the loss of every member of the population became no number, of the first at step "
                f"{min(self.diverged.values()) + 1}; lower --learning-rate, or set --clip-norm 1"
            )

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """Which members are better than ever, and which have had enough."""
        if len(self.losses) > 1:
            kept = np.concatenate(self.losses, axis=1)[:, -self._job.steps_per_epoch :]
            self.losses = [kept]
        if self._job.dataset.validation is None:
            return
        evaluate, epoch = self._evaluator(self._job.dataset.validation), trainer.progress.epoch - 1
        selection = self._job.selection
        for index, best in enumerate(self.best):
            if self.stopped[index] or index in self.diverged:
                continue
            params = member(trainer.state.params, index)
            self.best[index] = selection.better_of(best, evaluate(params), epoch, params)
            self.stopped[index] = selection.is_enough(self.best[index], epoch)

    def should_stop(self, progress: TrainProgress) -> bool:
        """Once no member trains any more."""
        return all(stopped or index in self.diverged for index, stopped in enumerate(self.stopped))

    def result(self, trainer: Trainer) -> PopulationResult:
        """The weights that are kept, and what they are worth."""
        job, held_out = self._job, self._job.dataset.validation is not None
        members, state = len(self.best), trainer.state
        kept = jax.tree.map(lambda leaf: leaf[:members], state.params)
        if held_out:
            own = [
                best.params if best.params is not None else member(kept, index)
                for index, best in enumerate(self.best)
            ]
            kept = jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *own)
        split = job.dataset.test if job.dataset.test is not None else job.dataset.validation
        per_epoch = job.steps_per_epoch
        return PopulationResult(
            job.model,
            job.placement.gather(kept),
            () if split is None else tuple(self._evaluate(split, kept)),
            np.concatenate(self.losses, axis=1)[:, -per_epoch:],
            trainer.progress.throughput.train_seconds,
            tuple(best.epoch for best in self.best) if held_out else None,
            dict(self.diverged),
        )

    def _evaluate(self, split: Split, params: Params) -> Iterable[Evaluation]:
        evaluate = self._evaluator(split)
        return (evaluate(member(params, index)) for index in range(len(self.best)))

    def _evaluator(self, split: Split) -> Evaluator:
        part = "test" if split is self._job.dataset.test else "validation"
        if part not in self._evaluators:
            self._evaluators[part] = self._job.evaluator(split)
        return self._evaluators[part]
