"""One training step: state and batch in, state and metrics out, and nothing else touched.

g = ∇ Σ w·ℓ(logits(x), y) / Σ w,    state' = optimizer(g, state)
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


def make_step(model: Model, training: Training) -> Step:
    """The pure step of this model and training, to be compiled by an execution."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        gradients, metrics = _gradients(model, training, state, batch)
        updates, opt_state = training.optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return replace(state, params=params, opt_state=opt_state, step=state.step + 1), metrics

    return step


def batch_loss(
    model: Model, training: Training, params: Params, batch: Batch, dropout_key: PRNGKey | None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The weighted mean loss of a batch, and how many of its samples are classified rightly."""
    logits = model.logits(params, batch.inputs, dropout_key)
    losses = LOSSES[model.loss].per_sample(logits, batch.targets, label_smoothing=training.label_smoothing)
    right = correct(logits, batch.targets) if model.classes else jnp.zeros_like(losses)
    return weighted_mean(losses, batch.weights), (right * batch.weights).sum()


def _gradients(
    model: Model, training: Training, state: TrainState, batch: Batch
) -> tuple[Params, StepMetrics]:
    dropout_key = state.dropout_key if model.mlp.dropout > 0 else None
    value_and_grad = jax.value_and_grad(batch_loss, argnums=2, has_aux=True)
    if training.accumulate == 1:
        (loss, right), gradients = value_and_grad(model, training, state.params, batch, dropout_key)
        return gradients, StepMetrics(loss, right)

    # A part's mean counts by its share of the weight, so the sum is the gradient of the whole batch.
    parts = jax.tree.map(lambda x: x.reshape(training.accumulate, -1, *x.shape[1:]), batch)
    total = jnp.maximum(batch.weights.sum(), 1)

    def add_part(index: Array, carry: tuple[Params, StepMetrics]) -> tuple[Params, StepMetrics]:
        part = jax.tree.map(lambda x: x[index], parts)
        part_key = None if dropout_key is None else jax.random.fold_in(dropout_key, index)
        (loss, right), gradients = value_and_grad(model, training, state.params, part, part_key)
        share = part.weights.sum() / total
        weighted = jax.tree.map(lambda g: g * share, gradients), StepMetrics(loss * share, right)
        return jax.tree.map(jnp.add, carry, weighted)

    zeros = jax.tree.map(jnp.zeros_like, state.params), StepMetrics(jnp.zeros(()), jnp.zeros(()))
    return jax.lax.fori_loop(0, training.accumulate, add_part, zeros)
