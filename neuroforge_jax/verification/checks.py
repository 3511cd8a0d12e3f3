"""One backend against the oracle, through its public door: its parts for a batch, its prepared run for steps."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.shuffle import sample_order, steps_per_epoch
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.job.pieces import make_training
from neuroforge_jax.kernels.forms import FORMS
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.loss_scale import dynamic_scale, make_loss_scale, unscaled
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.training.optimizer import make_schedule
from neuroforge_jax.training.state import TrainState, init_state
from neuroforge_jax.training.step import Parts, Training
from neuroforge_jax.typing import Params
from neuroforge_jax.verification.bounds import TOLERANCE, UNIT, relative_error
from neuroforge_jax.verification.cases import BACKOFF, OVERFLOW, Case, standard_cases
from neuroforge_jax.verification.descent import KNOWN, tree_map
from neuroforge_jax.verification.draws import Problem, draw, problem_of
from neuroforge_jax.verification.faults import Fault
from neuroforge_jax.verification.oracle import gradients
from neuroforge_jax.verification.verdict import Check, Verdict


def verify_backend(
    backend: Backend,
    tolerance: float | None = None,
    *,
    cases: Sequence[Case] | None = None,
    fault: Fault | None = None,
    progress: Callable[[str], None] = lambda case: None,
) -> Verdict:
    """Compare a backend with the float64 oracle.

    tolerance: the largest relative error, in norm, that float32 may have in logits, loss, gradients and after one
    step; 1e-6 unless given. cases: what is trained and compared; all standard cases unless given. fault: is planted
    in the backend's step. progress: is told the name of each case before it begins. The result has `passed` and
    `checks`, each with its error and its bound. Raises DeviceError where the backend's platform is absent.
    """
    begun = time.perf_counter()
    checks: list[Check] = []
    for case in standard_cases() if cases is None else cases:
        progress(case.name)
        problem = _drawn(case, unit_roundoff(backend.policy))
        checks += check_problem(backend, problem, TOLERANCE if tolerance is None else tolerance, fault)
    seconds = time.perf_counter() - begun
    return Verdict(backend.name, describe(backend), tuple(checks), seconds, fault.name if fault else None)


def verify_config(
    backend: Backend, config: TrainConfig, *, data_dir: Path | None = None, fault: Fault | None = None
) -> Verdict:
    """The network and the optimizer of a config, at their sizes and on its data, within derived bounds."""
    if config.optimizer not in KNOWN:
        raise ConfigError(
            f"the oracle has no optimizer {config.optimizer!r}: it has {', '.join(KNOWN)}; add --backend and "
            "leave --config out to verify the rest"
        )
    begun = time.perf_counter()
    dataset = load_dataset(config.dataset, data_dir=data_dir, target=config.target)
    dataset = dataset.first(config.train_samples)
    make_training(config, dataset)  # tells what is wrong with the config, if anything is
    problem = problem_of(config, dataset, unit_roundoff(backend.policy), order_of, rates_of)
    checks = tuple(check_problem(backend, problem, TOLERANCE, fault))
    seconds = time.perf_counter() - begun
    return Verdict(backend.name, describe(backend), checks, seconds, fault.name if fault else None)


def describe(backend: Backend) -> str:
    """Its execution, precision and kernels in a line."""
    return f"{backend.execution_name}, {backend.policy}, {backend.kernels}"


def check_problem(
    backend: Backend, problem: Problem, tolerance: float, fault: Fault | None = None
) -> Iterator[Check]:
    """The checks of one case."""
    with jax.default_device(backend.device):
        model, training = _model(backend, problem), _training(backend, problem)
        parts = backend.parts(model, training)
        if fault is not None:
            parts = fault.plant(parts, model, training)
        if problem.case.parts:
            yield from _check_batch(backend, problem, parts, training, tolerance)
        if problem.case.steps:
            yield from _check_path(backend, problem, model, parts, training, tolerance)


def unit_roundoff(policy: Policy) -> float:
    """Of the products of a policy and what is kept of them; TF32 has the digits of float16."""
    doors = {jnp.dtype(dtype).name for dtype in (policy.compute, policy.output)}
    return max(UNIT[name] for name in doors | ({"float16"} if policy.matmul == "tf32" else set()))


def _unit(backend: Backend, case: Case) -> float:
    """The roundoff of a case: of the products or, where it is larger, what kernels' form of φ is off by."""
    unit = unit_roundoff(backend.policy)
    if backend.kernels == "xla":
        return unit
    form = FORMS[case.config.activation]
    off = form.off + form.slope_off
    return max(unit, off) if off > 2 * UNIT["float32"] else unit


def _check_batch(
    backend: Backend, problem: Problem, parts: Parts, training: Training, tolerance: float
) -> Iterator[Check]:
    case, samples, unit = problem.case, problem.batch, _unit(backend, problem.case)

    def program(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array, Params]:
        state = _state(problem, training, params)
        logits = parts.forward(state.params, batch.inputs, None)
        grads, metrics = parts.backward(state, batch)
        if state.loss_scale is not None:
            grads = unscaled(grads, state.loss_scale)
        return logits, metrics.loss, grads

    options = dict(backend.options(training.batch_size)) or None
    batch = Batch(
        jnp.asarray(samples.inputs), jnp.asarray(samples.targets), jnp.asarray(samples.weights, jnp.float32)
    )
    found = jax.device_get(jax.jit(program, compiler_options=options)(_params(problem), batch))
    logits, value, grads = gradients(problem.network, problem.params, samples)
    bounds = case.bounds(unit, kinks=not problem.avoided)
    tight = case.standard and unit == UNIT["float32"]

    def check(group: str, what: str, got: np.ndarray, wanted: np.ndarray, bound: float) -> Check:
        error = relative_error(got, wanted)
        return Check(case.row or group, case.name, what, error, tolerance if tight else bound)

    yield check("logits", "logits", found[0], logits, bounds.logits)
    yield check("loss", "loss", found[1], np.asarray(value), bounds.logits)
    for name, leaves in grads.items():
        for leaf, wanted in leaves.items():
            what = f"gradient of {name}/{leaf}"
            yield check("gradients", what, found[2][name][leaf], wanted, bounds.gradient)


def _check_path(
    backend: Backend, problem: Problem, model: Model, parts: Parts, training: Training, tolerance: float
) -> Iterator[Check]:
    case, path, unit = problem.case, problem.path, _unit(backend, problem.case)
    bounds = case.bounds(unit, kinks=not problem.path_avoided)
    allowed = bounds.parameters(problem.descent, path)
    adam = case.config.optimizer in ("adam", "adamw")
    tight = unit == UNIT["float32"] and case.standard and not adam
    steps = len(path)

    def check(group: str, what: str, error: float, bound: float) -> Check:
        group = f"adam, {group}" if adam else group
        return Check(case.row or group, case.name, what, error, bound)

    run = backend.prepare(model, training, problem.dataset, parts)
    state, first = run(_state(problem, training, _params(problem)), 0, 1)
    error = relative_error(_flat(jax.device_get(state.params)), _flat(path[0].params))
    yield check("1 step", "parameters after 1 step", error, tolerance if tight else allowed[0])
    if path[0].skipped:
        wanted = _state(problem, training, _params(problem)).opt_state
        error = relative_error(_numbers(state.opt_state), _numbers(wanted))
        yield check("1 step", "optimizer's state after a skipped step", error, UNIT["float32"])
    state, rest = run(state, 1, steps)
    error = relative_error(_flat(jax.device_get(state.params)), _flat(path[-1].params))
    yield check(f"{steps} steps", f"parameters after {steps} steps", error, allowed[-1])
    bound = bounds.losses(problem.descent, problem.params, path)
    if bound < 1:  # one that says nothing, of a wide net in a short dtype, is left out
        losses = np.array([footstep.loss for footstep in path])
        error = relative_error(np.concatenate([first.loss, rest.loss]), losses)
        yield check("losses", f"losses of {steps} steps", error, bound)


@cache
def _drawn(case: Case, unit: float) -> Problem:
    return draw(case, unit, order_of, rates_of)


@cache
def order_of(seed: int, epoch: int, samples: int) -> np.ndarray:
    """The indices of an epoch, from the one function that gives every execution its order."""
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return np.asarray(_order_program(key, epoch, samples))


_order_program = jax.jit(sample_order, static_argnums=2)


def rates_of(case: Case) -> tuple[float, ...]:
    """The learning rates of the case's steps, from the schedule of the training."""
    config = case.config
    total = config.epochs * steps_per_epoch(case.samples, config.batch_size)
    rate = make_schedule(
        config.schedule, learning_rate=config.learning_rate, total_steps=total, warmup=config.warmup
    )
    return tuple(float(rate(jnp.int32(step)) if callable(rate) else rate) for step in range(case.steps))


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
    return Model(
        mlp,
        backend.policy,
        config.loss,
        dataset.scaling,
        dataset.shape,
        dataset.classes,
        implementation=backend.implementation,
    )


def _training(backend: Backend, problem: Problem) -> Training:
    """How the config trains, with a loss scale of which it is known when it overflows."""
    case = problem.case
    training = make_training(case.config, problem.dataset)
    if case.overflow:
        return replace(training, loss_scale=replace(dynamic_scale(OVERFLOW), backoff=BACKOFF))
    spec = "1024" if backend.policy.has_fp16 else case.config.loss_scale
    return replace(training, loss_scale=make_loss_scale(spec, backend.policy))


def _params(problem: Problem) -> Params:
    """The problem's parameters as the programs take them."""
    return tree_map(lambda leaf: jnp.asarray(leaf, jnp.float32), problem.params)


def _state(problem: Problem, training: Training, params: Params) -> TrainState:
    """The state before the first step, with these parameters."""
    key = jax.random.key(problem.case.config.seed)
    return init_state(key, lambda key: params, training.optimizer, training.loss_scale)


def _numbers(tree: Any) -> np.ndarray:
    """All numbers of a pytree in one array."""
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)])


def _flat(params: Mapping[str, Mapping[str, Any]]) -> np.ndarray:
    """All leaves in one array, in the order of their names."""
    return np.concatenate(
        [np.ravel(leaves[leaf]) for _, leaves in sorted(params.items()) for leaf in sorted(leaves)]
    )
