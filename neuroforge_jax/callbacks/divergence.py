"""Where a training lost its numbers: found afterwards, so that it costs a healthy run nothing.

A step whose loss is not finite is seen in the metrics that the host reads anyway. The steps before it are
trained again from the last state that was saved, or from the seed: the same program, the same bits. Then the
layer is known:

    parameters finite before the step      → the forward pass: the first layer whose output is not
    not finite                             → the step before: the gradient that was not, or else its update
"""

import math
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax import kernels
from neuroforge_jax.backends.executors.base import Run, SegmentMetrics
from neuroforge_jax.backends.executors.eager import batch_of_step
from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.checkpoint.writer import named_leaves
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.errors import DivergedError
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.nn.dropout import Dropout
from neuroforge_jax.precision.loss_scale import PERMANENT
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Parts, make_step
from neuroforge_jax.typing import Array, Params

REPLAY_SECONDS = 60.0
"""How long the steps before may take to be trained again, unless --debug-nans asks for it."""


class NonFiniteLossError(DivergedError):
    """The loss of a step, counted from 0, is no longer a number."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class Divergence(Callback):
    """Ends a run whose losses are no numbers, or whose every step is skipped. It looks before anything is saved."""

    def segment(self, trainer: Trainer, metrics: SegmentMetrics) -> None:
        """Raises DivergedError."""
        check_overflow(trainer.state, metrics.last_step, trainer.job.steps_per_epoch)
        check_finite(metrics, trainer.progress.last_loss, trainer.job.steps_per_epoch)


def check_overflow(state: TrainState, step: int, per_epoch: int) -> None:
    """A run whose every step is skipped ends, as soon as no smaller loss scale is left to be tried.

    step: steps done. Raises DivergedError.
    """
    if state.loss_scale is None or int(state.loss_scale.failed) < PERMANENT:
        return
    scale = float(state.loss_scale.scale)
    if scale == 1 and state.loss_scale.is_static:
        raise DivergedError(
            f"the gradients were not finite in {PERMANENT} steps in a row, before step {step + 1} (epoch "
            f"{step // per_epoch + 1}), and skipping them did not help; lower --learning-rate, or set --clip-norm 1"
        )
    lower = "set --loss-scale dynamic" if state.loss_scale.is_static and scale > 1 else "use --precision bf16"
    raise DivergedError(
        f"the gradients overflowed in {PERMANENT} steps in a row at the lowest loss scale, "
        f"{scale:,.10g}, before step {step + 1} (epoch {step // per_epoch + 1}); {lower}, or lower --learning-rate"
    )


def check_finite(metrics: SegmentMetrics, loss_before: float, per_epoch: int) -> None:
    """Every step that updated something must have had a finite loss; a skipped one may have had any.

    loss_before: of the step before the segment, or NaN. Raises NonFiniteLossError.
    """
    finite = np.isfinite(metrics.loss) | (metrics.skipped > 0)
    if finite.all():
        return
    at = int(np.argmin(finite))
    last = metrics.loss[at - 1] if at else loss_before
    step = metrics.first_step + at
    before = f", after {last:.4g} in the step before" if math.isfinite(last) else ""
    raise NonFiniteLossError(
        f"the loss became {metrics.loss[at]} at step {step + 1} (epoch {step // per_epoch + 1}){before}", step
    )


RestartPoint = Callable[[], tuple[TrainState, int]]
"""The state of the last save, or the one before the first step, and how many steps are behind it."""


@dataclass(frozen=True, eq=False)
class Replay:
    """How to train the steps before a bad one again."""

    job: Job
    run: Run
    restart: RestartPoint

    def state_before(self, step: int) -> TrainState:
        """The state before this step, counted from 0."""
        state, first = self.restart()
        state, _ = self.run(state, first, step)
        return self.job.placement.gather(state)

    @cached_property
    def parts(self) -> Parts:
        """Of its step, on one device."""
        return self.job.on_one_device.parts

    def batch(self, state: TrainState, step: int) -> Batch:
        """The samples of this step."""
        training = self.job.training
        return batch_of_step(
            self.job.dataset.weighted_train, state, step, training.batch_size, shuffles=training.shuffles
        )


@contextmanager
def explain_divergence(
    trainer: Trainer, restart: RestartPoint | None, *, debug_nans: bool = False
) -> Iterator[None]:
    """Turn a loss that is no number into the whole sentence on what made it so, and what to do.

    restart: None where the steps cannot be trained again, as in one of several processes. They are not where they
    took too long, unless debug_nans asks. Raises DivergedError.
    """
    try:
        yield
    except NonFiniteLossError as error:
        what = "; --debug-nans trains its steps again and says where"
        if restart is None:
            what = "; one process alone can train its steps again and say where"
        elif debug_nans or trainer.progress.throughput.train_seconds <= REPLAY_SECONDS:
            replay = Replay(trainer.job, trainer.run, restart)
            what = f": {find_cause(replay, error.step, name_operation=debug_nans)}"
        raise DivergedError(
            f"{error}{what}; lower --learning-rate, set --clip-norm 1, or try --on-divergence skip"
        ) from None


def find_cause(replay: Replay, step: int, *, name_operation: bool) -> str:
    """A sentence on what made the loss of this step, counted from 0, non-finite."""
    state = replay.state_before(step)
    guilty, what = step, ""
    if (broken := _first_bad(state.params)) is None:
        what = _in_forward(replay, state, step)
    elif step == 0:
        what = f"the first parameters of {broken} are not finite"
    else:
        guilty, state = step - 1, replay.state_before(step - 1)
        backward = jax.jit(replay.parts.backward)
        gradients, _ = backward(state, replay.job.model.fitted, replay.batch(state, guilty))
        gradient = _nearest_to_loss(gradients, nn.layer_names(replay.job.model.mlp))
        cause = "its update" if gradient is None else f"the gradient of {gradient}"
        what = f"{cause} was not finite in step {guilty + 1}, and {broken} with it"
    if not name_operation:
        return what
    return f"{what}; {_operation(replay, state, guilty)}"


def _in_forward(replay: Replay, state: TrainState, step: int) -> str:
    model, batch = replay.job.model, replay.batch(state, step)
    outputs: list[Array] = []

    def dense(x: Array, kernel: Array, bias: Array, activation: str) -> Array:
        outputs.append(kernels.dense(x, kernel, bias, activation, model.policy, "xla"))
        return outputs[-1]

    dropout = Dropout(state.dropout_key, state.hyper.dropout) if model.mlp.dropout else None
    model.spec.logits(state.params, model.fitted, batch.inputs, dropout, dense)
    for name, output in zip(nn.layer_names(model.mlp), outputs, strict=True):
        if not bool(jnp.isfinite(output).all()):
            return f"{name} is the first layer whose output is not finite"
    loss = replay.parts.metrics(outputs[-1], batch, state.hyper).loss
    if bool(jnp.isfinite(loss)):
        return "trained again its loss was finite: a callback changed the state on the way"
    largest = max(float(jnp.abs(outputs[-1]).max()), 0.0)
    return f"every layer's output was finite, the logits up to {largest:.3g}, and their loss was not"


def _operation(replay: Replay, state: TrainState, step: int) -> str:
    """Run one step operation by operation; jax stops at the first that makes a NaN, or else an infinity.

    An infinity alone may be meant, as the start of a maximum: it is looked for only where no NaN is found.
    """
    batch = replay.batch(state, step)
    for what, watch in (("NaN", jax.debug_nans), ("infinity", jax.debug_infs)):
        try:
            with jax.disable_jit(), watch(True):
                make_step(replay.parts)(state, replay.job.model.fitted, batch)
        except FloatingPointError as error:
            named = re.search(r"encountered in (\w+)", str(error))
            operation = named[1] if named else "an operation"
            return f"operation by operation, {operation} made the first {what}, in {_place(error)}"
    return "operation by operation, every number stayed finite"


def _place(error: BaseException) -> str:
    """The innermost line of this package, or else of optax, in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    here = Path(__file__).parents[1]
    ours = [frame for frame in frames if here in Path(frame.filename).parents and frame.filename != __file__]
    optax = [frame for frame in frames if "optax" in Path(frame.filename).parts]
    if not (found := optax or ours):
        return "the step"
    frame = found[-1]
    return f"{frame.name} ({Path(frame.filename).name}, line {frame.lineno})"


def _first_bad(params: Params) -> str | None:
    return next(iter(_not_finite(params)), None)


def _nearest_to_loss(gradients: Params, layers: tuple[str, ...]) -> str | None:
    """The gradient that is not finite and was made first: the backward pass begins at the last layer."""
    return max(_not_finite(gradients), key=lambda name: layers.index(name.partition("/")[0]), default=None)


def _not_finite(tree: Params) -> list[str]:
    return [name for name, leaf in named_leaves(tree).items() if not np.isfinite(np.asarray(leaf)).all()]
