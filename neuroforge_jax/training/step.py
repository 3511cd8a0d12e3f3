"""One training step: state and batch in, state and metrics out, and nothing else touched.

g = ∇ Σ w·ℓ(logits(x), y) / Σ w,    state' = optimizer(g, state)

It is made of four public, pure parts, each of which can be compiled, measured and replaced on its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax
from flax import struct

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.nn.losses import LOSSES, correct, weighted_mean
from neuroforge_jax.training.model import Model
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Array, Float, Params, PRNGKey


@struct.dataclass
class StepMetrics:
    """loss: f32 [], the weighted mean that was minimised; correct: f32 [], samples classified rightly."""

    loss: Float[Array, "*S"]
    correct: Float[Array, "*S"]


@dataclass(frozen=True, eq=False)
class Training:
    """How a model is trained, as plain values.

    steps: of the whole run, over which the schedule runs. accumulate: parts in which a batch is computed.
    """

    optimizer: optax.GradientTransformation
    batch_size: int
    epochs: int
    steps: int
    label_smoothing: float = 0.0
    accumulate: int = 1


Step = Callable[[TrainState, Batch], tuple[TrainState, StepMetrics]]


@dataclass(frozen=True, eq=False)
class Parts:
    """What a step is made of: pure functions, to be used under `jit`, `vmap`, or as they are.

    forward: (params, inputs as stored [B, I], dropout key or None) → logits f32 [B, C].
    metrics: (logits, batch) → the loss that is minimised, and how many samples are right.
    backward: (state, batch) → the gradients of that loss by every parameter, and the metrics.
    optimize: (state, gradients) → the state after the step.
    """

    forward: Callable[[Params, Array, PRNGKey | None], Float[Array, "B C"]]
    metrics: Callable[[Float[Array, "B C"], Batch], StepMetrics]
    backward: Callable[[TrainState, Batch], tuple[Params, StepMetrics]]
    optimize: Callable[[TrainState, Params], TrainState]


def make_step(parts: Parts) -> Step:
    """The pure step of these parts, to be compiled by an execution."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        gradients, metrics = parts.backward(state, batch)
        return parts.optimize(state, gradients), metrics

    return step


def make_parts(model: Model, training: Training) -> Parts:
    """The parts of a step that trains this model so."""

    def forward(params: Params, inputs: Array, dropout_key: PRNGKey | None = None) -> Float[Array, "B C"]:
        return model.logits(params, inputs, dropout_key)

    def metrics(logits: Float[Array, "B C"], batch: Batch) -> StepMetrics:
        losses = LOSSES[model.loss].per_sample(
            logits, batch.targets, label_smoothing=training.label_smoothing
        )
        right = correct(logits, batch.targets) if model.classes else jnp.zeros_like(losses)
        return StepMetrics(weighted_mean(losses, batch.weights), (right * batch.weights).sum())

    def loss_of(params: Params, batch: Batch, dropout_key: PRNGKey | None) -> tuple[Array, StepMetrics]:
        measured = metrics(forward(params, batch.inputs, dropout_key), batch)
        return measured.loss, measured

    def backward(state: TrainState, batch: Batch) -> tuple[Params, StepMetrics]:
        dropout_key = state.dropout_key if model.mlp.dropout > 0 else None
        gradients_of = jax.grad(loss_of, has_aux=True)
        if training.accumulate == 1:
            return gradients_of(state.params, batch, dropout_key)
        return _accumulated(gradients_of, training.accumulate, state.params, batch, dropout_key)

    def optimize(state: TrainState, gradients: Params) -> TrainState:
        updates, opt_state = training.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return replace(state, params=params, opt_state=opt_state, step=state.step + 1)

    return Parts(forward, metrics, backward, optimize)


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

    zeros = jax.tree.map(jnp.zeros_like, params), StepMetrics(jnp.zeros(()), jnp.zeros(()))
    return jax.lax.fori_loop(0, parts, add_part, zeros)
