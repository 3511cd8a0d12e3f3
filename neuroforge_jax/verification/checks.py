"""One backend against the oracle, through its public door: its parts for a batch, its prepared run for steps."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax.assembly import make_training
from neuroforge_jax.backends import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.order import sample_order, steps_per_epoch
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.training.model import Model
from neuroforge_jax.training.optimizer import make_schedule
from neuroforge_jax.training.state import TrainState, init_state
from neuroforge_jax.training.step import Parts, Training
from neuroforge_jax.typing import Params
from neuroforge_jax.verification.bounds import TOLERANCE, UNIT, relative_error
from neuroforge_jax.verification.cases import Case, Problem, draw, standard_cases
from neuroforge_jax.verification.descent import tree_map
from neuroforge_jax.verification.faults import Fault
from neuroforge_jax.verification.oracle import Tree, gradients

LARGER = "larger sums and nets"

GROUPS = (
    "logits",
    "loss",
    "gradients",
    "1 step",
    "20 steps",
    "losses",
    "adam, 1 step",
    "adam, 20 steps",
    "adam, losses",
    LARGER,
)
"""The rows of the table, in its order."""


@dataclass(frozen=True)
class Check:
    """One comparison: relative error in norm, and how much of it a correct program may have."""

    group: str
    case: str
    what: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the bound; NaN is not."""
        return self.error <= self.bound

    @property
    def share(self) -> float:
        """Error ÷ bound; NaN counts as infinite."""
        return self.error / self.bound if self.error == self.error else np.inf


@dataclass(frozen=True)
class Verdict:
    """What a backend came to: all checks, and the fault that was planted in it, if any."""

    backend: Backend
    checks: tuple[Check, ...]
    seconds: float
    fault: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every check is."""
        return all(check.passed for check in self.checks)

    @property
    def worst(self) -> Check:
        """The check that is nearest to its bound, or furthest beyond it."""
        return max(self.checks, key=lambda check: check.share)

    def groups(self) -> dict[str, tuple[Check, ...]]:
        """The checks by row of the table; rows without any are left out."""
        rows = {group: tuple(c for c in self.checks if c.group == group) for group in GROUPS}
        return {group: checks for group, checks in rows.items() if checks}


def verify_backend(
    backend: Backend,
    tolerance: float | None = None,
    *,
    cases: Sequence[Case] | None = None,
    fault: Fault | None = None,
    progress: Callable[[str], None] = lambda case: None,
) -> Verdict:
    """Run a backend through the cases (all standard ones unless given) and compare it with the oracle.

    tolerance: the float32 bound of logits, loss, gradients and one step; 1e-6 unless given. fault: planted
    in the backend's step. progress: told the name of each case before it begins. Raises DeviceError where
    the backend's platform is absent.
    """
    begun = time.perf_counter()
    checks: list[Check] = []
    for case in standard_cases() if cases is None else cases:
        progress(case.name)
        problem = _drawn(case, unit_roundoff(backend.policy))
        checks += check_problem(backend, problem, TOLERANCE if tolerance is None else tolerance, fault)
    return Verdict(backend, tuple(checks), time.perf_counter() - begun, fault.name if fault else None)


def check_problem(
    backend: Backend, problem: Problem, tolerance: float, fault: Fault | None = None
) -> Iterator[Check]:
    """The checks of one case."""
    with jax.default_device(backend.device):
        model, training = _model(backend, problem), make_training(problem.case.config, problem.dataset)
        parts = backend.parts(model, training)
        if fault is not None:
            parts = fault.plant(parts, model, training)
        if problem.path:
            yield from _check_path(backend, problem, model, parts, training, tolerance)
        else:
            yield from _check_batch(backend, problem, parts, training, tolerance)


def unit_roundoff(policy: Policy) -> float:
    """Of the products of a policy."""
    return UNIT[jnp.dtype(policy.compute).name]


def _check_batch(
    backend: Backend, problem: Problem, parts: Parts, training: Training, tolerance: float
) -> Iterator[Check]:
    case, samples, unit = problem.case, problem.batch, unit_roundoff(backend.policy)

    def program(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array, Params]:
        state = _state(problem, training, params)
        logits = parts.forward(state.params, batch.inputs, None)
        grads, metrics = parts.backward(state, batch)
        return logits, metrics.loss, grads

    options = dict(backend.options(training.batch_size)) or None
    batch = Batch(samples.inputs, samples.targets, samples.weights.astype(np.float32))
    found = jax.device_get(jax.jit(program, compiler_options=options)(_params(problem), batch))
    logits, value, grads = gradients(problem.network, problem.params, samples)
    bounds = case.bounds(unit, kinks=not problem.avoided)
    tight = case.standard and unit == UNIT["float32"]

    def check(group: str, what: str, got: np.ndarray, wanted: np.ndarray, bound: float) -> Check:
        error = relative_error(got, np.asarray(wanted))
        return Check(
            group if case.standard else LARGER, case.name, what, error, tolerance if tight else bound
        )

    yield check("logits", "logits", found[0], logits, bounds.logits)
    yield check("loss", "loss", found[1], np.float64(value), bounds.logits)
    for name, leaves in grads.items():
        for leaf, wanted in leaves.items():
            what = f"gradient of {name}/{leaf}"
            yield check("gradients", what, found[2][name][leaf], wanted, bounds.gradient)


def _check_path(
    backend: Backend, problem: Problem, model: Model, parts: Parts, training: Training, tolerance: float
) -> Iterator[Check]:
    case, path, unit = problem.case, problem.path, unit_roundoff(backend.policy)
    bounds = case.bounds(unit, kinks=not problem.path_avoided)
    allowed = bounds.parameters(problem.descent, path)
    adam = case.config.optimizer in ("adam", "adamw")
    tight = unit == UNIT["float32"] and case.standard and not adam
    steps = len(path)

    def check(group: str, what: str, error: float, bound: float) -> Check:
        group = f"adam, {group}" if adam else group
        return Check(group if case.standard else LARGER, case.name, what, error, bound)

    run = backend.prepare(model, training, problem.dataset, parts)
    state, first = run(_state(problem, training, _params(problem)), 0, 1)
    error = relative_error(_flat(jax.device_get(state.params)), _flat(path[0].params))
    yield check("1 step", "parameters after 1 step", error, tolerance if tight else allowed[0])
    state, rest = run(state, 1, steps)
    error = relative_error(_flat(jax.device_get(state.params)), _flat(path[-1].params))
    yield check(f"{steps} steps", f"parameters after {steps} steps", error, allowed[-1])
    error = relative_error(
        np.concatenate([first.loss, rest.loss]), np.array([footstep.loss for footstep in path])
    )
    yield check(
        "losses", f"losses of {steps} steps", error, bounds.losses(problem.descent, problem.params, path)
    )


@cache
def _drawn(case: Case, unit: float) -> Problem:
    return draw(case, unit, order_of, rates_of(case.config, case.samples, case.steps))


@cache
def order_of(seed: int, epoch: int, samples: int) -> np.ndarray:
    """The indices of an epoch, from the one function that gives every execution its order."""
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return np.asarray(_order_program(key, epoch, samples))


_order_program = jax.jit(sample_order, static_argnums=2)


def rates_of(config: TrainConfig, samples: int, steps: int) -> tuple[float, ...]:
    """The learning rates of the first steps, as numbers: a schedule is the program's, and taken as it is."""
    total = config.epochs * steps_per_epoch(samples, config.batch_size)
    rate = make_schedule(
        config.schedule, learning_rate=config.learning_rate, total_steps=total, warmup=config.warmup
    )
    return tuple(float(rate(jnp.int32(step)) if callable(rate) else rate) for step in range(steps))


def _model(backend: Backend, problem: Problem) -> Model:
    config, dataset = problem.case.config, problem.dataset
    mlp = MLP(
        dataset.inputs,
        config.hidden,
        dataset.outputs,
        config.activation,
        config.normalization,
        residual=config.residual,
    )
    return Model(mlp, backend.policy, config.loss, dataset.scaling, dataset.shape, dataset.classes)


def _params(problem: Problem) -> Params:
    """The problem's parameters as the programs take them."""
    return tree_map(lambda leaf: jnp.asarray(leaf, jnp.float32), problem.params)


def _state(problem: Problem, training: Training, params: Params) -> TrainState:
    """The state before the first step, with these parameters."""
    return init_state(jax.random.key(problem.case.config.seed), lambda key: params, training.optimizer)


def _flat(params: Params | Tree) -> np.ndarray:
    """All leaves in one array, in the order of their names."""
    return np.concatenate(
        [np.ravel(leaves[leaf]) for _, leaves in sorted(params.items()) for leaf in sorted(leaves)]
    )
