"""The training of an estimator: the project's job and loop."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from neuroforge_jax.backends.compilation_cache import keep_programs
from neuroforge_jax.backends.jax_settings import OwnSettings
from neuroforge_jax.backends.memory_estimate import check_fits, explain_out_of_memory
from neuroforge_jax.callbacks.base import Callback, Callbacks
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.batch import bucket
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.estimators.blocks import BlockTrainer
from neuroforge_jax.estimators.ensemble import EnsembleTrainer
from neuroforge_jax.estimators.stopping import Rule
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.summary import final_figures
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.population import build_population
from neuroforge_jax.training.progress import TrainProgress
from neuroforge_jax.training.state import TrainState

METRICS_HELD = 4096
"""Steps whose metrics a dispatch holds, whatever the length of the training: one program for all lengths."""


def build_job(config: TrainConfig, dataset: Dataset, seeds: Sequence[int]) -> Job:
    """The job of an estimator, with a network for each seed: another number of rows is the same program. A batch
    of all rows is padded to a bucket. Adam adds its epsilon where scikit-learn's does, so that a unit whose
    gradient is the penalty alone, as small as that, moves as there.
    """
    config = replace(config, batch_size=min(config.batch_size, len(dataset.train)))
    job = Job.build(config, dataset) if len(seeds) == 1 else build_population(config, dataset, seeds)
    optimizer = replace(job.training.optimizer, adds_epsilon_first=config.optimizer == "adam")
    training = replace(
        job.training, optimizer=optimizer, metrics_held=METRICS_HELD, shows_penalty=config.weight_decay > 0
    )
    if training.batch_size == len(dataset.train):
        training = replace(training, batch_size=bucket(len(dataset.train)))
    fitted = job.model.fitted
    if dataset.fitted.target_shift is None:  # targets as they are, whatever the loss would like
        fitted = fitted._replace(target_shift=None, target_scale=None)
    return replace(job, training=training, model=replace(job.model, fitted=fitted))


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
    rule: Rule,
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
        begun, progress = time.perf_counter(), TrainProgress()
        team.start(job, progress)
        validation = job.dataset.validation
        alone = job.seeds is None
        prepare: Any = job.evaluator if alone else job.evaluator_of_members
        evaluators = {} if validation is None else {"validation": prepare(validation)}
        trainer = (BlockTrainer if alone else EnsembleTrainer)(
            job, job.compile(), start(), progress, evaluators, epochs=epochs, first_epoch=first_epoch
        )
        compile_seconds = time.perf_counter() - begun
        if rule.looks_at_every_epoch or own:
            trainer.train(team)
        else:
            trainer.train_blocks(rule)
        params = trainer.state.params if rule.best.params is None else rule.best.params
        figures = final_figures(trainer, rule.best, None, compile_seconds, None)
        outcome = Outcome(trainer.state, job.model, params, tuple(progress.history), figures)
        team.finish(trainer, outcome)
        return outcome
