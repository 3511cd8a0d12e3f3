"""Many networks at once: one program trains P networks of one architecture, each from a seed of its own.

    result = fit_population(config, dataset, seeds=range(64))
    result.accuracies.mean(), result.member(3)

A member is the run of its seed: its first weights, the order of its samples and its dropout follow from its key
alone, and the members meet nowhere. So a population is `vmap` of the program that trains one network, and its
arrays have an axis more, P, before all others. Small networks gain, for they share what a step costs whatever its
size; a large one keeps the units busy on its own.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neuroforge_jax.backends.executors.base import check_stretch
from neuroforge_jax.backends.executors.scanned import stretch_program
from neuroforge_jax.backends.resolve import choose
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.batch import to_device
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.job.pieces import make_model, make_training, steps_per_epoch
from neuroforge_jax.model.model import Model
from neuroforge_jax.precision.loss_scale import LossScale
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.evaluate import Evaluation, prepare_evaluation
from neuroforge_jax.training.state import TrainState, init_state
from neuroforge_jax.training.step import Step, StepMetrics, make_step
from neuroforge_jax.typing import CompileOptions, Float, Params

Advance = Callable[[TrainState, int, int], tuple[TrainState, StepMetrics]]
"""(states, first_step, last_step) → states, and metrics f32 [P, steps] of the stretch. The states are donated."""


@dataclass(frozen=True, eq=False)
class Population:
    """A prepared population. states: before the first step, every leaf [P, …], to be given to `run` once.

    steps: of a whole training. program: what XLA compiled for it.
    """

    model: Model
    states: TrainState
    run: Advance
    steps: int
    program: jax.stages.Compiled


@dataclass(frozen=True, eq=False)
class PopulationResult:
    """The trained networks of a population, in the order of their seeds.

    params: every leaf [P, …]. evaluations: loss and accuracy of each network on the test data. losses: of the steps
    of the last epoch, f32 [P, S]. train_seconds: of all networks together.
    """

    model: Model
    params: Params
    evaluations: tuple[Evaluation, ...]
    losses: Float[np.ndarray, "P S"]
    train_seconds: float

    @property
    def accuracies(self) -> Float[np.ndarray, " P"]:
        """Test accuracy of each member; NaN for a regression."""
        return np.array([np.nan if e.accuracy is None else e.accuracy for e in self.evaluations])

    def member(self, index: int) -> Params:
        """The parameters of one network, for `evaluate` and `predict`."""
        return member(self.params, index)


def fit_population(config: TrainConfig, dataset: Dataset, seeds: Sequence[int]) -> PopulationResult:
    """Train one network for each seed, all in one program, and evaluate each on the test data.

    Network i is the one that `config` with seed `seeds[i]` trains. Raises ConfigError where there are no seeds, and
    for a backend that does not keep its data on the device.
    """
    population = prepare_population(config, dataset, seeds)
    jax.block_until_ready(population.states)
    begun = time.perf_counter()
    states, metrics = population.run(population.states, 0, population.steps)
    losses = np.asarray(metrics.loss)
    seconds = time.perf_counter() - begun
    backend = choose(config).backend
    options = backend.options(config.batch_size)
    evaluated = prepare_evaluation(population.model, dataset.test, backend.device, options)
    evaluations = tuple(evaluated(member(states.params, index)) for index in range(len(seeds)))
    last_epoch = losses[:, -steps_per_epoch(config, dataset) :]
    return PopulationResult(population.model, states.params, evaluations, last_epoch, seconds)


def prepare_population(config: TrainConfig, dataset: Dataset, seeds: Sequence[int]) -> Population:
    """Draw the weights of every member, and compile the program that advances them all."""
    if not seeds:
        raise ConfigError("a population needs a seed for each of its networks, and there are none")
    backend = choose(config).backend
    if backend.execution != "scanned":
        raise ConfigError(
            f"backend {backend.name!r} ({backend.execution_name} execution) trains one network at a time; a "
            "population needs one whose data lie on the device, such as optimized or mixed"
        )
    model, training = make_model(config, dataset), make_training(config, dataset)
    device, options = backend.device, backend.options(config.batch_size)
    with jax.default_device(device):
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
        states = _initial(model, training.optimizer, training.loss_scale)(keys)
    data = to_device(dataset.train, device)
    step = make_step(backend.parts(model, training))
    program = _jitted(step, len(data), training.batch_size, max(training.steps, 1), options)
    compiled = program.lower(states, data, np.int32(0), np.int32(0)).compile()

    def run(states: TrainState, first_step: int, last_step: int) -> tuple[TrainState, StepMetrics]:
        check_stretch(first_step, last_step)
        states, metrics = compiled(states, data, np.int32(first_step), np.int32(last_step))
        return states, jax.tree.map(lambda values: values[:, : last_step - first_step], metrics)

    return Population(model, states, run, training.steps, compiled)


@by_structure
def _initial(
    model: Model, optimizer: optax.GradientTransformation, loss_scale: LossScale | None
) -> jax.stages.Wrapped:
    return jax.jit(jax.vmap(lambda key: init_state(key, model.init, optimizer, loss_scale)))


@by_structure
def _jitted(
    step: Step, samples: int, batch_size: int, capacity: int, options: CompileOptions
) -> jax.stages.Wrapped:
    one = stretch_program(step, samples=samples, batch_size=batch_size, capacity=capacity)
    every = jax.vmap(one, in_axes=(0, None, None, None))
    return jax.jit(every, donate_argnums=0, compiler_options=dict(options) or None)


def member(tree: Params, index: int) -> Params:
    """One network's part of a tree whose leaves are [P, …]."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
