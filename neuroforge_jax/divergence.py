"""Where a training lost its numbers: found afterwards, so that it costs a healthy run nothing.

A step whose loss is not finite is seen in the metrics that the host reads anyway. The steps before it are
trained again from the last state that was saved, or from the seed: the same program, the same bits. Then the
layer is known:

    parameters finite before the step      → the forward pass: the first layer whose output is not
    not finite                             → the step before: the gradient that was not, or else its update
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax import kernels
from neuroforge_jax.checkpointing.saver import named_leaves
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.types import Split
from neuroforge_jax.errors import DivergedError
from neuroforge_jax.execution.eager import batch_of_step
from neuroforge_jax.execution.interface import Run
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.training.model import Model
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


@dataclass(frozen=True, eq=False)
class Replay:
    """How to train the steps before a bad one again.

    restart: the state of the last save, or the one before the first step, and how many steps are behind it.
    """

    run: Run
    restart: Callable[[], tuple[TrainState, int]]
    model: Model
    parts: Parts
    train: Split
    batch_size: int

    def state_before(self, step: int) -> TrainState:
        """The state before this step, counted from 0."""
        state, first = self.restart()
        state, _ = self.run(state, first, step)
        return state

    def batch(self, state: TrainState, step: int) -> Batch:
        """The samples of this step."""
        return batch_of_step(self.train, state, step, self.batch_size)


def blamed(replay: Replay, step: int, *, name_operation: bool) -> str:
    """A sentence on what made the loss of this step, counted from 0, non-finite."""
    state = replay.state_before(step)
    guilty, what = step, ""
    if (broken := _first_bad(state.params)) is None:
        what = _in_forward(replay, state, step)
    elif step == 0:
        what = f"the first parameters of {broken} are not finite"
    else:
        guilty, state = step - 1, replay.state_before(step - 1)
        gradients, _ = jax.jit(replay.parts.backward)(state, replay.batch(state, guilty))
        gradient = _nearest_to_loss(gradients, nn.layer_names(replay.model.mlp))
        cause = "its update" if gradient is None else f"the gradient of {gradient}"
        what = f"{cause} was not finite in step {guilty + 1}, and {broken} with it"
    if not name_operation:
        return what
    return f"{what}; {_operation(replay, state, guilty)}"


def _in_forward(replay: Replay, state: TrainState, step: int) -> str:
    model, batch = replay.model, replay.batch(state, step)
    outputs: list[Array] = []

    def dense(x: Array, kernel: Array, bias: Array, activation: str) -> Array:
        outputs.append(kernels.dense(x, kernel, bias, activation, model.policy, "xla"))
        return outputs[-1]

    x = (batch.inputs.astype(model.policy.output) - model.scaling.shift) * model.scaling.scale
    dropout_key = state.dropout_key if model.mlp.dropout > 0 else None
    nn.apply(model.mlp, state.params, x, dense=dense, dropout_key=dropout_key)
    for name, output in zip(nn.layer_names(model.mlp), outputs, strict=True):
        if not bool(jnp.isfinite(output).all()):
            return f"{name} is the first layer whose output is not finite"
    largest = max(float(jnp.abs(outputs[-1]).max()), 0.0)
    return f"every layer's output was finite, the logits up to {largest:.3g}, and their loss was not"


def _operation(replay: Replay, state: TrainState, step: int) -> str:
    """Run one step operation by operation; jax stops at the first that makes a NaN or an infinity."""
    batch = replay.batch(state, step)
    try:
        with jax.disable_jit(), jax.debug_nans(True), jax.debug_infs(True):
            make_step(replay.parts)(state, batch)
    except FloatingPointError as error:
        words = str(error).split()
        operation = words[words.index("in") + 1].rstrip(".") if "in" in words else "an operation"
        value = "nan" if "(nan)" in str(error) else "infinity"
        return f"operation by operation, {operation} made the first {value}, in {_place(error)}"
    return "operation by operation, every number stayed finite"


def _place(error: BaseException) -> str:
    """The innermost line of this package, or else of optax, in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    here = Path(__file__).parent
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
