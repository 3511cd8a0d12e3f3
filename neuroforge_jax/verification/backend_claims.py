"""What a backend of another package must do: the steps of a training, in segments of any length."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import numpy as np

from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.writer import named_leaves
from neuroforge_jax.errors import UserError
from neuroforge_jax.job.job import Job
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.verification.bounds import relative_error
from neuroforge_jax.verification.cases import standard_cases
from neuroforge_jax.verification.checks import flatten, verify_backend
from neuroforge_jax.verification.findings import Claim, ClaimError
from neuroforge_jax.verification.step_by_step import follow_stepped
from neuroforge_jax.verification.trial import (
    BATCH,
    CONFIG,
    RAGGED,
    SAMPLES,
    STEPS,
    Trial,
    describe_error,
    draw_dataset,
    first_that_differs,
    on_device,
    same_bits,
    with_stepped,
)
from neuroforge_jax.verification.verdict import Check

CUTS = (0, 1, 1, 4, 6, 15, STEPS)
"""Segments of no step, of one, of parts of an epoch, and across the ends of several."""

COMPILED = "/jax/core/compile/backend_compile_duration"
ORACLE = ("sgd, small batches", "overflowing")
"""Of the standard cases: few samples a batch; Adam with a schedule, and a loss scale that overflows at first."""


def backend_claims(backend: Backend) -> Iterator[Claim]:
    """Claims on a backend, on its device; what others need comes first."""
    trial = Trial(backend)
    yield Claim(f"finds its device ({backend.platform})", partial(_finds_device, backend), needed=True)
    yield Claim("prepares a training, and runs all of its steps", partial(_run_all, trial), needed=True)
    yield Claim("keeps the structure of the state", partial(_keeps_structure, trial), needed=True)
    yield Claim("gives the metrics of every step", partial(_gives_metrics, trial))
    yield Claim(
        "trains on each batch once, in its order, the smaller last one too", partial(follow_stepped, trial)
    )
    yield Claim("counts each step once", partial(_counts_steps, trial))
    yield Claim(
        "leaves the values of the training (state.hyper) and the seed's key alone",
        partial(_keeps_values, trial),
    )
    yield Claim("donates the state that it is given", partial(_donates, trial))
    yield Claim("gives the same bits wherever a run is cut", partial(_cuts_anywhere, trial))
    yield Claim("compiles nothing after its first run", partial(_compiles_once, trial))
    yield Claim("goes on from a saved state as if it had never stopped", partial(_resumes, trial))
    if not trial.follows:
        return  # a wrong step is told once
    yield Claim("weighs samples by their weights", partial(_weighs_samples, trial))
    if backend.executor.keeps_order:
        yield Claim("takes samples in the order in which they are stored", partial(_keeps_order, trial))
    if backend.executor.trains_many:
        yield Claim(
            "trains each member of a population as it trains one network", partial(_trains_many, trial)
        )
    for name in ORACLE:
        yield Claim(f"trains as the oracle does: {name}", partial(_trains, backend, name))


def _finds_device(backend: Backend) -> None:
    try:
        _ = backend.device, backend.implementation
    except UserError as error:
        raise ClaimError(str(error), "verify it on a machine that has such a device") from None


def _run_all(trial: Trial) -> None:
    if not callable(trial.run):
        raise ClaimError(
            f"prepare gives a {type(trial.run).__name__}",
            "it gives a function run(state, first_step, last_step)",
        )
    try:
        state, metrics = trial.whole
    except (TypeError, ValueError) as error:
        raise ClaimError(
            f"run(state, 0, {STEPS}) fails ({type(error).__name__}: {error})",
            "it takes a state and two steps, and gives the state after them and a SegmentMetrics",
        ) from error
    if not isinstance(state, TrainState) or not isinstance(metrics, SegmentMetrics):
        raise ClaimError(
            f"run gives a {type(state).__name__} and a {type(metrics).__name__}",
            "it gives the state after the steps and a SegmentMetrics",
        )


def _gives_metrics(trial: Trial) -> None:
    _, metrics = trial.whole
    if (metrics.first_step, metrics.last_step) != (0, STEPS):
        told = f"steps {metrics.first_step} to {metrics.last_step}"
        raise ClaimError(
            f"they are said to be of {told}, and are of 0 to {STEPS}", "hand both bounds on as they are"
        )
    for name in ("loss", "correct", "samples"):
        count = len(getattr(metrics, name))
        if count != STEPS:
            raise ClaimError(
                f"{count} numbers of {name} for {STEPS} steps",
                "chunks are pairs of metrics and how many of their numbers count",
            )
    wanted = np.where(
        np.arange(STEPS) % trial.job.steps_per_epoch == trial.job.steps_per_epoch - 1, RAGGED, BATCH
    )
    step = first_that_differs(metrics.samples, wanted)
    if step is not None:
        raise ClaimError(
            f"step {step} has {metrics.samples[step]:g} samples, and should have {wanted[step]}",
            "mask the padding of the last batch of an epoch, as nf.draw_batch does",
        )


def _counts_steps(trial: Trial) -> None:
    state, _ = trial.whole
    if int(state.step) != STEPS:
        raise ClaimError(
            f"state.step is {int(state.step)} after {STEPS} steps",
            "spec.step counts: call it once a step",
        )


def _keeps_structure(trial: Trial) -> None:
    state, like = trial.whole[0], jax.device_get(trial.job.start())
    if str(jax.tree.structure(state)) != str(jax.tree.structure(like)):
        raise ClaimError(
            "the state has another structure after a run", "give back the state of the last step"
        )
    for name, found in named_leaves(state).items():
        wanted = named_leaves(like)[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ClaimError(
                f"{name} was {wanted.dtype} {list(wanted.shape)} and is {found.dtype} {list(found.shape)}",
                "give back the state of the last step as it is",
            )


def _keeps_values(trial: Trial) -> None:
    state, like = trial.whole[0], jax.device_get(trial.job.start())
    for name in ("hyper", "key_data"):
        if not same_bits(getattr(state, name), getattr(like, name)):
            raise ClaimError(f"state.{name} has changed", "hand it on as it was")


def _donates(trial: Trial) -> None:
    before = trial.job.start()
    trial.run(before, 0, 1)
    left = [name for name, leaf in _moving(before).items() if not leaf.is_deleted()]
    if left:
        raise ClaimError(
            f"{len(left)} arrays of the state are still there after a run ({left[0]}): it takes its memory "
            "twice",
            "jax.jit(program, donate_argnums=0)",
        )


def _cuts_anywhere(trial: Trial) -> None:
    state, losses = trial.job.start(), []
    for first, last in pairwise(CUTS):
        state, metrics = trial.run(state, first, last)
        if len(metrics.loss) != last - first:
            raise ClaimError(
                f"run(state, {first}, {last}) gives {len(metrics.loss)} losses, and has {last - first} steps",
                "a run has the steps first_step … last_step − 1, and may have none",
            )
        losses.append(metrics.loss)
    step = first_that_differs(np.concatenate(losses), trial.whole[1].loss)
    hint = f"cut at {', '.join(map(str, CUTS[1:-1]))}; let programs of one step and of many compute it alike"
    if step is not None:
        raise ClaimError(f"the loss of step {step} has other bits in a run that is cut", hint)
    if not same_bits(jax.device_get(_rest(state)), _rest(trial.whole[0])):
        raise ClaimError("the state has other bits after a run that is cut", hint)


def _compiles_once(trial: Trial) -> None:
    _ = trial.whole  # the first run, in which what is compiled late may be compiled
    compiled: list[str] = []

    def note(event: str, duration_secs: float, **details: str | int) -> None:
        if event == COMPILED:
            compiled.append(str(details.get("fun_name", "a program")))

    state = trial.job.start()
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        for first, last in ((0, 2), (2, 7), (7, STEPS)):
            state, metrics = trial.run(state, first, last)
            _ = metrics.loss
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    if compiled:
        raise ClaimError(
            f"runs of 2, 5 and {STEPS - 7} steps compile {len(compiled)} programs more ({compiled[0]})",
            "compile in prepare, and let the steps be arguments of the program, not constants of it",
        )


def _resumes(trial: Trial) -> None:
    half = STEPS // 2 + 1
    state, _ = trial.run(trial.job.start(), 0, half)
    leaves = {name: np.asarray(leaf) for name, leaf in named_leaves(state).items()}
    with tempfile.TemporaryDirectory() as folder:
        saved = files.read(files.write(Path(folder), half, leaves, {})).arrays()
    tree = jax.tree.unflatten(jax.tree.structure(state), [saved[name] for name in leaves])
    again = trial.job_on(draw_dataset())
    state, metrics = again.compile()(on_device(tree, again.device), half, STEPS)
    hint = "let all that a run needs be in the state: nothing may be kept between two runs"
    step = first_that_differs(metrics.loss, trial.whole[1].loss[half:])
    if step is not None:
        raise ClaimError(f"saved after step {half}, the loss of step {half + step} has other bits", hint)
    if not same_bits(jax.device_get(_rest(state)), _rest(trial.whole[0])):
        raise ClaimError(f"saved after step {half}, the last state has other bits", hint)


def _weighs_samples(trial: Trial) -> Check:
    dataset = draw_dataset()
    weights = np.random.default_rng(2).uniform(0.2, 1.8, SAMPLES).astype(np.float32)
    dataset = replace(dataset, train=replace(dataset.train, weights=weights))
    advice = "hand on batch.weight beside batch.mask, as nf.draw_batch does"
    return _compare_losses(trial, trial.job_on(dataset), "weights", advice)


def _keeps_order(trial: Trial) -> Check:
    job = replace(trial.job, training=replace(trial.job.training, shuffles=False))
    advice = "give nf.draw_batch shuffles=spec.shuffles, or leave keeps_order out"
    return _compare_losses(trial, job, "stored order", advice)


def _compare_losses(trial: Trial, job: Job, case: str, advice: str) -> Check:
    """The losses of three steps of a job, beside those of `stepped`."""
    (_, found), (_, wanted) = (each.compile()(each.start(), 0, 3) for each in (job, with_stepped(job)))
    error = relative_error(found.loss, wanted.loss.astype(np.float64))
    check = Check("metrics", case, "loss", error, 3 * trial.bounds.logits)
    if not check.passed:
        raise ClaimError(describe_error(check), advice, check)
    return check


def _trains_many(trial: Trial) -> Check:
    job = replace(trial.job, seeds=(CONFIG.seed, CONFIG.seed + 1))
    many, _ = job.compile()(job.start(), 0, 3)
    alone = trial.job_on(draw_dataset(), seed=CONFIG.seed + 1)
    one, _ = alone.compile()(alone.start(), 0, 3)
    second = jax.tree.map(lambda leaf: leaf[1], many.params)  # the first could stand for all
    bound = 3 * trial.bounds.gradient
    error = relative_error(flatten(second), flatten(one.params))
    check = Check("parameters", "3 steps", "parameters of the second of two networks", error, bound)
    if not check.passed:
        raise ClaimError(
            describe_error(check),
            "map the step by jax.vmap over the state alone, or leave trains_many out",
            check,
        )
    return check


def _trains(backend: Backend, name: str) -> Check:
    (case,) = (case for case in standard_cases() if case.name == name)
    verdict = verify_backend(backend, cases=[case])
    if not verdict.passed:
        raise ClaimError(verdict.sentence(), "mend what is wrong above; this is made of it", verdict.worst)
    return verdict.worst


def _rest(state: TrainState) -> Any:
    return state.params, state.opt_state


def _moving(state: TrainState) -> dict[str, jax.Array]:
    """The arrays that a step changes, by their names."""
    return {
        name: leaf for name, leaf in named_leaves(state).items() if name.startswith(("params/", "opt_state/"))
    }
