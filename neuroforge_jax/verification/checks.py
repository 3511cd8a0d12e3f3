"""One backend against the oracle, through what it offers: its parts for a batch, its prepared run for steps."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from neuroforge_jax.backends.resolve import Choice
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.shuffle import sample_order, steps_per_epoch
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.job.job import Job
from neuroforge_jax.kernels.forms import FORMS, Form
from neuroforge_jax.precision.loss_scale import LossScale, dynamic_scale, make_loss_scale, unscale_gradients
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.hyper import make_hyper
from neuroforge_jax.training.schedules import learning_rate_at
from neuroforge_jax.training.state import TrainState, state_around
from neuroforge_jax.training.step import Parts
from neuroforge_jax.typing import CompileOptions, Params
from neuroforge_jax.verification.bounds import TOLERANCE, UNIT, relative_error
from neuroforge_jax.verification.cases import BACKOFF, OVERFLOW, Case, standard_cases
from neuroforge_jax.verification.descent import KNOWN, tree_map
from neuroforge_jax.verification.draws import Problem, draw, problem_of
from neuroforge_jax.verification.faults import Fault
from neuroforge_jax.verification.oracle import correct, gradients
from neuroforge_jax.verification.verdict import RIGHT_ANSWERS, Check, Verdict

HALF_A_SAMPLE = 0.5
"""How far a count of samples may be off; it is exact."""


def verify_backend(
    backend: Backend,
    tolerance: float | None = None,
    *,
    cases: Sequence[Case] | None = None,
    fault: Fault | None = None,
    flops: float = math.inf,
    mesh: Mesh | None = None,
    progress: Callable[[str], None] = lambda case: None,
) -> Verdict:
    """Compare a backend with the float64 oracle.

    tolerance: the largest relative error, in norm, that float32 may have in logits, loss, gradients and after one
    step; 1e-6 unless given. cases: what is trained and compared; all standard cases unless given. fault: is
    planted in the backend's step. flops: of the training in question, whose length decides how it is compiled; a
    long one unless given. mesh: over which it trains; one device unless given. progress: is told the name of each
    case before it begins. The result has `passed` and `checks`, each with its error and its bound. Raises
    DeviceError where the backend's platform is absent.
    """
    begun = time.perf_counter()
    checks: list[Check] = []
    allowed = TOLERANCE if tolerance is None else tolerance
    for case in standard_cases() if cases is None else cases:
        progress(case.name)
        problem = _draw_once(case, unit_roundoff(backend.policy))
        checks += check_problem(make_job(backend, problem, flops, mesh), problem, allowed, fault)
    seconds = time.perf_counter() - begun
    return Verdict(backend.name, describe(backend), tuple(checks), seconds, fault.name if fault else None)


def verify_config(
    backend: Backend,
    config: TrainConfig,
    *,
    data_dir: Path | None = None,
    fault: Fault | None = None,
    mesh: Mesh | None = None,
) -> Verdict:
    """The network and the optimizer of a config, at their sizes and on its data, within derived bounds.

    Raises ConfigError for an optimizer that the oracle does not have.
    """
    if config.optimizer not in KNOWN:
        raise ConfigError(
            f"the oracle has no optimizer {config.optimizer!r}: it has {', '.join(KNOWN)}; add --backend and "
            "leave --config out to verify the rest"
        )
    dataset = load_dataset(config, data_dir=data_dir)
    return verify_training(backend, config, dataset.first(config.train_samples), fault=fault, mesh=mesh)


def verify_training(
    backend: Backend,
    config: TrainConfig,
    dataset: Dataset,
    *,
    fault: Fault | None = None,
    mesh: Mesh | None = None,
) -> Verdict:
    """As `verify_config`, on a dataset as it is; an optimizer that the oracle does not have is taken for SGD, so
    that the network is verified all the same.
    """
    begun = time.perf_counter()
    if config.optimizer not in KNOWN:
        config = replace(config, optimizer="sgd", beta1=None, beta2=None)
    whole = Job.build(config, dataset, Choice(backend, "", mesh))
    problem = problem_of(config, dataset.in_memory(), unit_roundoff(backend.policy), order_of, rates_of)
    checks = tuple(check_problem(make_job(backend, problem, whole.flops, mesh), problem, TOLERANCE, fault))
    seconds = time.perf_counter() - begun
    return Verdict(backend.name, describe(backend), checks, seconds, fault.name if fault else None)


def describe(backend: Backend) -> str:
    """Its execution, precision and kernels in a line."""
    return f"{backend.executor.name}, {backend.policy}, {backend.kernels}"


def check_problem(
    job: Job, problem: Problem, tolerance: float, fault: Fault | None = None
) -> Iterator[Check]:
    """The checks of one case, whose training is the job."""
    with jax.default_device(job.device):
        parts = job.parts if fault is None else fault.plant(job)
        if problem.case.parts:
            yield from _check_batch(job, problem, parts, tolerance)
        if problem.case.steps:
            yield from _check_path(job, problem, parts, tolerance)


def unit_roundoff(policy: Policy) -> float:
    """Of the products of a policy and what is kept of them; TF32 has the digits of float16."""
    dtypes = {jnp.dtype(dtype).name for dtype in (policy.compute, policy.output)}
    return max(UNIT[name] for name in dtypes | ({"float16"} if policy.matmul == "tf32" else set()))


def unit_of_kernels(unit: float, form: Form) -> float:
    """Of this roundoff, or what the kernels' form of φ and its slope are off by, where that is more."""
    off = form.off + form.slope_off
    return max(unit, off) if off > 2 * UNIT["float32"] else unit


def _unit(backend: Backend, case: Case) -> float:
    """The roundoff of a case: of the products or, where it is larger, what kernels' form of φ is off by."""
    unit = unit_roundoff(backend.policy)
    if backend.kernels == "xla":
        return unit
    return unit_of_kernels(unit, FORMS[case.config.activation])


def _check_batch(job: Job, problem: Problem, parts: Parts, tolerance: float) -> Iterator[Check]:
    case, samples, unit = problem.case, problem.batch, _unit(job.backend, problem.case)
    factors = (jnp.asarray(numbers, jnp.float32) for numbers in (samples.mask, samples.weights))
    rows = job.rows_of(len(samples.mask))
    batch = jax.tree.map(
        rows.spread, Batch(jnp.asarray(samples.inputs), jnp.asarray(samples.targets), *factors)
    )
    program = _batch_program(parts, job.compile_options)
    found = jax.device_get(program(_state(job, _params(problem)), job.model.fitted, batch))
    outputs = found[0][rows.row_of]
    logits, value, grads = gradients(problem.network, problem.params, samples)
    bounds = case.bounds(unit, kinks=not problem.avoided)
    tight = case.standard and unit == UNIT["float32"]

    def check(group: str, what: str, got: np.ndarray, wanted: np.ndarray, bound: float) -> Check:
        error = relative_error(got, wanted)
        return Check(case.row or group, case.name, what, error, tolerance if tight else bound)

    yield check("logits", "logits", outputs, logits, bounds.logits)
    yield check("loss", "loss", found[1], np.asarray(value), bounds.logits)
    if case.classes:  # of logits rounded to whole numbers, among which many are equal
        wanted = (correct(np.round(outputs), samples.targets) * samples.mask).sum()
        off = abs(float(found[3]) - float(wanted))
        yield Check(RIGHT_ANSWERS, case.name, "samples classified rightly", off, bound=HALF_A_SAMPLE)
    for name, leaves in grads.items():
        for leaf, wanted in leaves.items():
            what = f"gradient of {name}/{leaf}"
            yield check("gradients", what, found[2][name][leaf], wanted, bounds.gradient)


@by_structure
def _batch_program(parts: Parts, options: CompileOptions) -> jax.stages.Wrapped:
    """(state, fitted, batch) → logits, loss, true gradients, and how many of the logits, rounded, are right:
    one for backends of the same parts and options.
    """

    def program(
        state: TrainState, fitted: Fitted, batch: Batch
    ) -> tuple[jax.Array, jax.Array, Params, jax.Array]:
        logits = parts.forward(state.params, fitted, batch.inputs, None)
        grads, metrics = parts.backward(state, fitted, batch)
        if state.loss_scale is not None:
            grads = unscale_gradients(grads, state.loss_scale)
        return logits, metrics.loss, grads, parts.metrics(jnp.round(logits), batch, state.hyper).correct

    return jax.jit(program, compiler_options=dict(options) or None)


def _check_path(job: Job, problem: Problem, parts: Parts, tolerance: float) -> Iterator[Check]:
    case, path, unit = problem.case, problem.path, _unit(job.backend, problem.case)
    bounds = case.bounds(unit, kinks=not problem.path_avoided)
    allowed = bounds.parameters(problem.descent, path)
    adam = case.config.optimizer in ("adam", "adamw")
    tight = unit == UNIT["float32"] and case.standard and not adam
    steps = len(path)

    def check(group: str, what: str, error: float, bound: float) -> Check:
        group = f"adam, {group}" if adam else group
        return Check(case.row or group, case.name, what, error, bound)

    run = job.compile(parts)
    state, first = run(_state(job, _params(problem)), 0, 1)
    error = relative_error(_flat(jax.device_get(state.params)), _flat(path[0].params))
    yield check("1 step", "parameters after 1 step", error, tolerance if tight else allowed[0])
    if path[0].skipped:
        wanted = _state(job, _params(problem)).opt_state
        error = relative_error(flatten(state.opt_state), flatten(wanted))
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
def _draw_once(case: Case, unit: float) -> Problem:
    return draw(case, unit, order_of, rates_of)


@cache
def order_of(seed: int, epoch: int, samples: int) -> np.ndarray:
    """The indices of an epoch, from the one function that gives every execution its order."""
    key = jax.random.fold_in(jax.random.key(seed), 1)
    return np.asarray(_order_program(key, epoch, samples, np.arange(samples, dtype=np.int32)))


_order_program = jax.jit(sample_order, static_argnums=2)


def rates_of(case: Case) -> tuple[float, ...]:
    """The learning rates of the case's steps, from the schedule of the training."""
    config = case.config
    total_steps = config.epochs * steps_per_epoch(case.samples, config.batch_size)
    hyper = jax.tree.map(jnp.asarray, make_hyper(config, total_steps))
    steps = np.arange(case.steps, dtype=np.int32)
    return tuple(map(float, jax.vmap(lambda step: learning_rate_at(config.schedule, hyper, step))(steps)))


def make_job(backend: Backend, problem: Problem, flops: float, mesh: Mesh | None = None) -> Job:
    """The training of the case as `Job.build` builds it, with a loss scale of which it is known when it overflows.

    flops: of the training that it stands for, as which it is compiled.
    """
    case = problem.case
    with jax.default_device(backend.device):
        job = Job.build(case.config, problem.dataset, Choice(backend, "", mesh))
    if case.overflow:
        scale: LossScale | None = replace(dynamic_scale(OVERFLOW), backoff=BACKOFF)
    else:
        spec = "1024" if job.policy.has_fp16 else case.config.loss_scale
        scale = make_loss_scale(spec, job.policy)
    options = backend.options(case.config.batch_size, flops)
    return replace(job, training=replace(job.training, loss_scale=scale), compile_options=options)


def _params(problem: Problem) -> Params:
    """The problem's parameters as the programs take them."""
    return tree_map(lambda leaf: jnp.asarray(leaf, jnp.float32), problem.params)


def _state(job: Job, params: Params) -> TrainState:
    """The state before the first step, with these parameters."""
    training = job.training
    key = jax.random.key(job.config.seed)
    state = state_around(params, key, training.optimizer, training.hyper, training.loss_scale)
    return state if job.placement.mesh is None else job.place(state)


def flatten(tree: Any) -> np.ndarray:
    """All numbers of a pytree in one array, in float64."""
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)])


def _flat(params: Mapping[str, Mapping[str, Any]]) -> np.ndarray:
    """All leaves in one array, in the order of their names."""
    return np.concatenate(
        [np.ravel(leaves[leaf]) for _, leaves in sorted(params.items()) for leaf in sorted(leaves)]
    )
