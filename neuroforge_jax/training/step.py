"""One training step: state and batch in, state and metrics out, and nothing else touched.

g = ∇ Σ w·ℓ(logits(x), y) / Σ w,    state' = optimizer(g, state)

With loss scaling, g is the gradient of s times that loss until `optimize` divides it by s; a g that overflowed
leaves parameters and optimizer, its count and schedule too, as they were, and only `step` and s move on.

It is made of four public, pure parts, each of which can be compiled, measured and replaced on its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import struct

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.losses import LOSSES, correct, weighted_mean
from neuroforge_jax.precision.loss_scale import LossScale, adjusted, all_finite, scaled, unscaled
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Array, Bool, Float, Params, PRNGKey


@struct.dataclass
class StepMetrics:
    """loss: f32 [], the weighted mean that was minimised, unscaled; correct: f32 [], samples classified rightly.

    skipped: f32 [], 1 where the gradients overflowed and nothing was updated; None without loss scaling.
    """

    loss: Float[Array, "*S"]
    correct: Float[Array, "*S"]
    skipped: Float[Array, "*S"] | None = None

    @classmethod
    def zeros(cls, steps: tuple[int, ...], *, scaled: bool) -> "StepMetrics":
        """Metrics to be written into or added to; scaled: of a training with loss scaling."""
        return cls(jnp.zeros(steps), jnp.zeros(steps), jnp.zeros(steps) if scaled else None)


@dataclass(frozen=True, eq=False)
class Training:
    """How a model is trained, as plain values.

    steps: of the whole run, over which the schedule runs. accumulate: parts in which a batch is computed.
    loss_scale: before the first step, or None for no scaling.
    """

    optimizer: optax.GradientTransformation
    batch_size: int
    epochs: int
    steps: int
    label_smoothing: float = 0.0
    accumulate: int = 1
    loss_scale: LossScale | None = None


Step = Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]


@dataclass(frozen=True, eq=False)
class Parts:
    """What a step is made of: pure functions, to be used under `jit`, `vmap`, or as they are.

    forward: (params, inputs as stored [B, I], dropout key or None) → logits f32 [B, C].
    metrics: (logits, batch) → the loss that is minimised, and how many samples are right.
    backward: (state, batch) → the gradients of that loss, scaled, by every parameter, and the metrics.
    optimize: (state, scaled gradients) → the state after the step.
    """

    forward: Callable[[Params, Array, PRNGKey | None], Float[Array, "B C"]]
    metrics: Callable[[Float[Array, "B C"], Batch], StepMetrics]
    backward: Callable[[TrainState, Batch], tuple[Params, StepMetrics]]
    optimize: Callable[[TrainState, Params], TrainState]


@by_structure
def make_step(parts: Parts) -> Step:
    """The pure step of these parts, to be compiled by an execution."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        gradients, metrics = parts.backward(state, batch)
        after = parts.optimize(state, gradients)
        if state.loss_scale is not None and after.loss_scale is not None:
            skipped = after.loss_scale.skipped - state.loss_scale.skipped
            metrics = replace(metrics, skipped=skipped.astype(jnp.float32))
        return after, metrics

    return step


def make_parts(model: Model, training: Training) -> Parts:
    """The parts of a step that trains this model so."""
    return _parts(model, training.optimizer, training.label_smoothing, training.accumulate)


@by_structure
def _parts(
    model: Model, optimizer: optax.GradientTransformation, label_smoothing: float, accumulate: int
) -> Parts:
    """As `make_parts`, of just what the parts depend on: more epochs or another batch size are the same parts."""

    def forward(params: Params, inputs: Array, dropout_key: PRNGKey | None = None) -> Float[Array, "B C"]:
        return model.logits(params, inputs, dropout_key)

    def metrics(logits: Float[Array, "B C"], batch: Batch) -> StepMetrics:
        losses = LOSSES[model.loss].per_sample(logits, batch.targets, label_smoothing=label_smoothing)
        right = correct(logits, batch.targets) if model.classes else jnp.zeros_like(losses)
        return StepMetrics(weighted_mean(losses, batch.weights), (right * batch.weights).sum())

    def loss_of(
        params: Params, batch: Batch, dropout_key: PRNGKey | None, scale: LossScale | None
    ) -> tuple[Array, StepMetrics]:
        measured = metrics(forward(params, batch.inputs, dropout_key), batch)
        return scaled(measured.loss, scale), measured

    def backward(state: TrainState, batch: Batch) -> tuple[Params, StepMetrics]:
        dropout_key = state.dropout_key if model.mlp.dropout > 0 else None
        gradients_of = partial(jax.grad(loss_of, has_aux=True), scale=state.loss_scale)
        if accumulate == 1:
            return gradients_of(state.params, batch, dropout_key)
        return _accumulated(gradients_of, accumulate, state.params, batch, dropout_key)

    def optimize(state: TrainState, gradients: Params) -> TrainState:
        if state.loss_scale is None:
            return updated(optimizer, state, gradients)
        # Unscaled before the optimizer's chain: a limit of the norm is in true units.
        gradients = unscaled(gradients, state.loss_scale)
        finite = all_finite(gradients)
        after = updated(optimizer, state, gradients)
        return replace(kept(finite, after, state), loss_scale=adjusted(state.loss_scale, finite))

    return Parts(forward, metrics, backward, optimize)


def updated(optimizer: optax.GradientTransformation, state: TrainState, gradients: Params) -> TrainState:
    """The state after these true gradients: new parameters and optimizer state, one step more."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return replace(state, params=params, opt_state=opt_state, step=state.step + 1)


def kept(finite: Bool[Array, ""], after: TrainState, before: TrainState) -> TrainState:
    """`after`, but the parameters and the optimizer's state of `before` where the gradients were not finite.

    The step counts either way: it addresses the samples, and the next ones are others.
    """
    # `where` and no `cond`: it fuses into the update, and stays a choice of each member under vmap.
    params, opt_state = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old),
        (after.params, after.opt_state),
        (before.params, before.opt_state),
    )
    return replace(after, params=params, opt_state=opt_state)


def _accumulated(
    gradients_of: Callable[[Params, Batch, PRNGKey | None], tuple[Params, StepMetrics]],
    parts: int,
    params: Params,
    batch: Batch,
    dropout_key: PRNGKey | None,
) -> tuple[Params, StepMetrics]:
    """The gradients of a batch computed in parts: a part's mean counts by its share of the weight."""
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
    total = jnp.maximum(batch.weights.sum(), 1)

    def add_part(index: Array, carry: tuple[Params, StepMetrics]) -> tuple[Params, StepMetrics]:
        part = jax.tree.map(lambda x: x[index], split)
        part_key = None if dropout_key is None else jax.random.fold_in(dropout_key, index)
        gradients, measured = gradients_of(params, part, part_key)
        share = part.weights.sum() / total
        weighted = jax.tree.map(lambda g: g * share, gradients), replace(measured, loss=measured.loss * share)
        return jax.tree.map(jnp.add, carry, weighted)

    zeros = jax.tree.map(jnp.zeros_like, params), StepMetrics.zeros((), scaled=False)
    return jax.lax.fori_loop(0, parts, add_part, zeros)
