"""What a backend of another package must do: the steps of a training, in segments of any length."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import numpy as np

from neuroforge_jax.backends.executors.base import Run, SegmentMetrics
from neuroforge_jax.backends.resolve import Choice
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.writer import named_leaves
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import UserError
from neuroforge_jax.job.job import Job
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.verification.bounds import Bounds, relative_error
from neuroforge_jax.verification.cases import standard_cases
from neuroforge_jax.verification.checks import unit_roundoff, verify_backend
from neuroforge_jax.verification.findings import Claim, ClaimError
from neuroforge_jax.verification.verdict import Check

SAMPLES, INPUTS, CLASSES, BATCH = 181, 61, 7, 67
EPOCHS = 6
RAGGED = SAMPLES % BATCH
"""The last batch of an epoch has so many samples, and the others BATCH."""

STEPS = EPOCHS * -(-SAMPLES // BATCH)
CUTS = (0, 1, 1, 4, 6, 15, STEPS)
"""Segments of no step, of one, of parts of an epoch, and across the ends of several."""

COMPILED = "/jax/core/compile/backend_compile_duration"
ORACLE = ("sgd, small batches", "overflowing")
"""Of the standard cases: few samples a batch; Adam with a schedule, and a loss scale that overflows at first."""

CONFIG = TrainConfig(
    hidden=(33,), activation="tanh", batch_size=BATCH, epochs=EPOCHS, optimizer="momentum", learning_rate=0.05
)


def backend_claims(backend: Backend) -> Iterator[Claim]:
    """Claims on a backend, on its device; what others need comes first."""
    trial = Trial(backend)
    yield Claim(f"finds its device ({backend.platform})", partial(_finds_device, backend), needed=True)
    yield Claim("prepares a training, and runs all of its steps", trial.run_all, needed=True)
    yield Claim("keeps the structure of the state", trial.keeps_structure, needed=True)
    yield Claim("gives the metrics of every step", trial.gives_metrics)
    yield Claim("trains on each batch once, in its order, the smaller last one too", trial.follows_stepped)
    yield Claim("counts each step once", trial.counts_steps)
    yield Claim(
        "leaves the values of the training (state.hyper) and the seed's key alone", trial.keeps_values
    )
    yield Claim("donates the state that it is given", trial.donates)
    yield Claim("gives the same bits wherever a run is cut", trial.cuts_anywhere)
    yield Claim("compiles nothing after its first run", trial.compiles_once)
    yield Claim("goes on from a saved state as if it had never stopped", trial.resumes)
    if not trial.follows:
        return  # a wrong step is told once
    yield Claim("weighs samples by their weights", trial.weighs_samples)
    if backend.executor.trains_many:
        yield Claim("trains each member of a population as it trains one network", trial.trains_many)
    for name in ORACLE:
        yield Claim(f"trains as the oracle does: {name}", partial(_trains, backend, name))


def _finds_device(backend: Backend) -> None:
    try:
        _ = backend.device, backend.implementation
    except UserError as error:
        raise ClaimError(str(error), "verify it on a machine that has such a device") from None


def _trains(backend: Backend, name: str) -> Check:
    (case,) = (case for case in standard_cases() if case.name == name)
    verdict = verify_backend(backend, cases=[case])
    if not verdict.passed:
        raise ClaimError(verdict.sentence(), "mend what is wrong above; this is made of it", verdict.worst)
    return verdict.worst


class Trial:
    """One small training by a backend, and by `stepped` of the same precision and kernels, which is its measure.

    follows: whether each of its steps is found to be that of `stepped`.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend, self.follows = backend, False

    @cached_property
    def job(self) -> Job:
        """The training by the backend."""
        return Job.build(CONFIG, _dataset(), Choice(self.backend, ""))

    @cached_property
    def run(self) -> Run:
        """As the backend prepares it."""
        return self.job.compile()

    @cached_property
    def stepped(self) -> Run:
        """The same training, a step a dispatch."""
        return _by_stepped(self.job).compile()

    @cached_property
    def whole(self) -> tuple[TrainState, SegmentMetrics]:
        """The state and the metrics of all steps at once, on the host."""
        state, metrics = self.run(self.job.start(), 0, STEPS)
        return jax.device_get(state), metrics

    def run_all(self) -> None:
        """Prepare and run."""
        if not callable(self.run):
            raise ClaimError(
                f"prepare gives a {type(self.run).__name__}",
                "it gives a function run(state, first_step, last_step)",
            )
        try:
            state, metrics = self.whole
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

    def gives_metrics(self) -> None:
        """The right number of them, and of the right steps and samples."""
        _, metrics = self.whole
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
            np.arange(STEPS) % self.job.steps_per_epoch == self.job.steps_per_epoch - 1, RAGGED, BATCH
        )
        step = _first_that_differs(metrics.samples, wanted)
        if step is not None:
            raise ClaimError(
                f"step {step} has {metrics.samples[step]:g} samples, and should have {wanted[step]}",
                "mask the padding of the last batch of an epoch, as nf.draw_batch does",
            )

    def follows_stepped(self) -> Check:
        """Loss, samples that are right and parameters after each step."""
        state, after = self.job.start(), _by_stepped(self.job).start()
        worst = None
        for step in range(STEPS):
            before = jax.device_get(state)
            state, metrics = self.run(state, step, step + 1)
            after, wanted = self.stepped(after, step, step + 1)
            # Each step begins where the other is: what is wrong is wrong at the first step that is.
            for check in self._checks(step, (state, metrics), (after, wanted)):
                if not check.passed:
                    raise ClaimError(
                        f"{_place(step, self.job)}: {_off(check)}", self._advice(step, before, state), check
                    )
                worst = check if worst is None or check.share > worst.share else worst
            state = _on_device(jax.device_get(after), self.job.device)
        assert worst is not None
        self.follows = True
        return worst

    def _checks(
        self, step: int, found: tuple[TrainState, SegmentMetrics], wanted: tuple[TrainState, SegmentMetrics]
    ) -> Iterator[Check]:
        bounds = Bounds(unit_roundoff(self.backend.policy), 2, BATCH)
        case, params = f"step {step}", [named_leaves(state.params) for state, _ in (found, wanted)]
        off = {
            name: relative_error(leaf, _numbers(params[1][name]).reshape(leaf.shape))
            for name, leaf in params[0].items()
        }
        what = f"parameters, {max(off, key=lambda name: off[name])} most of all,"
        error = relative_error(*map(_numbers, params))
        yield Check("parameters", case, what, error, bounds.gradient)
        error = relative_error(found[1].loss, wanted[1].loss.astype(np.float64))
        yield Check("metrics", case, "loss", error, bounds.logits)
        # One sample whose two best classes are within rounding of each other may count or not.
        error = float(np.abs(found[1].correct - wanted[1].correct).max())
        yield Check("metrics", case, "samples classified rightly", error, 1.5)

    def _advice(self, step: int, before: TrainState, after: TrainState) -> str:
        """What the step looks like, by what `stepped` makes of the same state."""
        if _alike(before.params, after.params):
            return "it trains nothing"
        for other in range(min(STEPS, 3 * self.job.steps_per_epoch)):
            if other != step and self._is_like(before, after, (other,)):
                return f"it trains on the batch of step {other}"
        if self._is_like(before, after, (step, step)):
            return "it takes the step twice"
        return "draw each batch by nf.draw_batch(data, state.order_key, step, batch_size), and give it to spec.step"

    def _is_like(self, before: TrainState, after: TrainState, steps: Sequence[int]) -> bool:
        state = _on_device(before, self.job.device)
        for step in steps:
            state, _ = self.stepped(state, step, step + 1)
        pairs = zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True)
        return all(np.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in pairs)

    def counts_steps(self) -> None:
        """state.step."""
        state, _ = self.whole
        if int(state.step) != STEPS:
            raise ClaimError(
                f"state.step is {int(state.step)} after {STEPS} steps",
                "spec.step counts: call it once a step",
            )

    def keeps_structure(self) -> None:
        """Tree, shapes and dtypes."""
        state, like = self.whole[0], jax.device_get(self.job.start())
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

    def keeps_values(self) -> None:
        """What a step reads and never changes."""
        state, like = self.whole[0], jax.device_get(self.job.start())
        for name in ("hyper", "key_data"):
            if not _alike(getattr(state, name), getattr(like, name)):
                raise ClaimError(f"state.{name} has changed", "hand it on as it was")

    def donates(self) -> None:
        """The buffers of parameters and of the optimizer's state."""
        before = self.job.start()
        self.run(before, 0, 1)
        left = [name for name, leaf in _moving(before).items() if not leaf.is_deleted()]
        if left:
            raise ClaimError(
                f"{len(left)} arrays of the state are still there after a run ({left[0]}): it takes its memory "
                "twice",
                "jax.jit(program, donate_argnums=0)",
            )

    def cuts_anywhere(self) -> None:
        """Segments of any length, none of them left out."""
        state, losses = self.job.start(), []
        for first, last in pairwise(CUTS):
            state, metrics = self.run(state, first, last)
            if len(metrics.loss) != last - first:
                raise ClaimError(
                    f"run(state, {first}, {last}) gives {len(metrics.loss)} losses, and has {last - first} steps",
                    "a run has the steps first_step … last_step − 1, and may have none",
                )
            losses.append(metrics.loss)
        step = _first_that_differs(np.concatenate(losses), self.whole[1].loss)
        hint = (
            f"cut at {', '.join(map(str, CUTS[1:-1]))}; let programs of one step and of many compute it alike"
        )
        if step is not None:
            raise ClaimError(f"the loss of step {step} has other bits in a run that is cut", hint)
        if not _alike(jax.device_get(_rest(state)), _rest(self.whole[0])):
            raise ClaimError("the state has other bits after a run that is cut", hint)

    def compiles_once(self) -> None:
        """Segments of other lengths are the same program."""
        _ = self.whole  # the first run, in which what is compiled late may be compiled
        compiled: list[str] = []

        def note(event: str, duration_secs: float, **details: str | int) -> None:
            if event == COMPILED:
                compiled.append(str(details.get("fun_name", "a program")))

        state = self.job.start()
        jax.monitoring.register_event_duration_secs_listener(note)
        try:
            for first, last in ((0, 2), (2, 7), (7, STEPS)):
                state, metrics = self.run(state, first, last)
                _ = metrics.loss
        finally:
            jax.monitoring.unregister_event_duration_listener(note)
        if compiled:
            raise ClaimError(
                f"runs of 2, 5 and {STEPS - 7} steps compile {len(compiled)} programs more ({compiled[0]})",
                "compile in prepare, and let the steps be arguments of the program, not constants of it",
            )

    def resumes(self) -> None:
        """Through the files of a checkpoint, by a run that is prepared anew."""
        half = STEPS // 2 + 1
        state, _ = self.run(self.job.start(), 0, half)
        leaves = {name: np.asarray(leaf) for name, leaf in named_leaves(state).items()}
        with tempfile.TemporaryDirectory() as folder:
            saved = files.read(files.write(Path(folder), half, leaves, {})).arrays()
        tree = jax.tree.unflatten(jax.tree.structure(state), [saved[name] for name in leaves])
        again = Job.build(CONFIG, _dataset(), Choice(self.backend, ""))
        state, metrics = again.compile()(_on_device(tree, again.device), half, STEPS)
        hint = "let all that a run needs be in the state: nothing may be kept between two runs"
        step = _first_that_differs(metrics.loss, self.whole[1].loss[half:])
        if step is not None:
            raise ClaimError(f"saved after step {half}, the loss of step {half + step} has other bits", hint)
        if not _alike(jax.device_get(_rest(state)), _rest(self.whole[0])):
            raise ClaimError(f"saved after step {half}, the last state has other bits", hint)

    def weighs_samples(self) -> Check:
        """A weight for each sample."""
        dataset = _dataset()
        weights = np.random.default_rng(2).uniform(0.2, 1.8, SAMPLES).astype(np.float32)
        dataset = replace(dataset, train=replace(dataset.train, weights=weights))
        job = Job.build(CONFIG, dataset, Choice(self.backend, ""))
        (_, found), (_, wanted) = (each.compile()(each.start(), 0, 3) for each in (job, _by_stepped(job)))
        bound = 3 * Bounds(unit_roundoff(self.backend.policy), 2, BATCH).logits
        check = Check(
            "metrics", "weights", "loss", relative_error(found.loss, wanted.loss.astype(np.float64)), bound
        )
        if not check.passed:
            raise ClaimError(
                _off(check), "hand on batch.weight beside batch.mask, as nf.draw_batch does", check
            )
        return check

    def trains_many(self) -> Check:
        """Two networks of other seeds, the first of them that of the training."""
        job = replace(self.job, seeds=(CONFIG.seed, CONFIG.seed + 1))
        many, _ = job.compile()(job.start(), 0, 3)
        one, _ = self.run(self.job.start(), 0, 3)
        first = jax.tree.map(lambda leaf: leaf[0], many.params)
        bound = 3 * Bounds(unit_roundoff(self.backend.policy), 2, BATCH).gradient
        error = relative_error(_numbers(first), _numbers(one.params))
        check = Check("parameters", "3 steps", "parameters of the first of two networks", error, bound)
        if not check.passed:
            raise ClaimError(
                _off(check), "map the step by jax.vmap over the state alone, or leave trains_many out", check
            )
        return check


def _by_stepped(job: Job) -> Job:
    return replace(job, backend=replace(job.backend, execution="stepped"))


def _dataset() -> Dataset:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, CLASSES, SAMPLES).astype(np.int32)
    centres = rng.normal(size=(CLASSES, INPUTS))
    inputs = (centres[targets] + rng.normal(size=(SAMPLES, INPUTS))).astype(np.float32)
    return Dataset.from_arrays(inputs, targets, inputs[:9], targets[:9], name="drawn")


def _place(step: int, job: Job) -> str:
    if (step + 1) % job.steps_per_epoch:
        return f"step {step}"
    return f"step {step}, an epoch's last batch, of {RAGGED} samples"


def _off(check: Check) -> str:
    return f"{check.what} off by {check.error:.1e}, and {check.bound:.1e} is allowed"


def _first_that_differs(found: np.ndarray, wanted: np.ndarray) -> int | None:
    differs = np.nonzero(~np.equal(found, wanted))[0]
    return int(differs[0]) if len(differs) else None


def _alike(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _rest(state: TrainState) -> Any:
    return state.params, state.opt_state


def _numbers(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)])


def _moving(state: TrainState) -> dict[str, jax.Array]:
    """The arrays that a step changes, by their names."""
    return {
        name: leaf for name, leaf in named_leaves(state).items() if name.startswith(("params/", "opt_state/"))
    }


def _on_device(state: TrainState, device: jax.Device) -> TrainState:
    """A state of the host as arrays of the device's own, which may be donated."""
    return jax.tree.map(lambda leaf: jax.device_put(np.array(leaf), device, may_alias=False), state)
