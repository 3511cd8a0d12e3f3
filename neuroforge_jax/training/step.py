"""One training step: state and batch in, state and metrics out, and nothing else touched.

    g = ∇ Σ m·w·ℓ(logits(x), y) / Σ m,    state' = optimizer(g, state)        m: 0 for padding, w: sample weights

With loss scaling, g is the gradient of s times that loss until `optimize` divides it by s; a g that overflowed
leaves parameters and optimizer, its count and schedule too, as they were, and only `step` and s move on.

It is made of four public, pure parts, each of which can be compiled, measured and replaced on its own. A compiled
program tells them apart: jax names the two passes `jvp` and `transpose(jvp)`, and scopes name the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.dropout import Dropout
from neuroforge_jax.precision.loss_scale import LossScale, all_finite, unscale_gradients, update_loss_scale
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.gradients import GradientsOfBatch, StepMetrics
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.optimizer import OptimizerSpec
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Array, Bool, Float, Params


@dataclass(frozen=True, eq=False)
class Training:
    """How a model is trained, as plain values.

    hyper: the values before the first step. steps: of the whole run. metrics_held: steps whose metrics a dispatch
    has room for, which makes runs of all lengths one program; as many as the run has unless given. smooths: whether
    labels are smoothed. accumulate: parts in which a batch is computed. loss_scale: before the first step, or None
    for no scaling.
    shows_penalty: whether the loss of a step's metrics has the penalty of the parameters before it; its gradients
    are the same with it and without. shuffles: whether each epoch has an order of its own, and not the one in which
    the samples are stored. shards: in which a batch is divided whatever the devices, their gradients summed in one
    order; None where any order will do.
    """

    optimizer: OptimizerSpec
    hyper: Hyper
    batch_size: int
    steps: int
    smooths: bool = False
    accumulate: int = 1
    loss_scale: LossScale | None = None
    shows_penalty: bool = False
    shuffles: bool = True
    metrics_held: int | None = None
    shards: int | None = None


Step = Callable[[TrainState, Fitted, Batch], tuple[TrainState, StepMetrics]]


@dataclass(frozen=True, eq=False)
class Parts:
    """What a step is made of: pure functions, to be used under `jit`, `vmap`, or as they are.

    forward: (params, fitted, inputs as stored [B, I], dropout or None) → logits f32 [B, C].
    metrics: (logits, batch, hyper) → the loss that is minimised, and how many samples are right; its targets are
    scaled already.
    backward: (state, fitted, batch) → the gradients of that loss, scaled, by every parameter, and the metrics.
    optimize: (state, scaled gradients) → the state after the step.
    """

    forward: Callable[[Params, Fitted, Array, Dropout | None], Float[Array, "B C"]]
    metrics: Callable[[Float[Array, "B C"], Batch, Hyper], StepMetrics]
    backward: Callable[[TrainState, Fitted, Batch], tuple[Params, StepMetrics]]
    optimize: Callable[[TrainState, Params], TrainState]


@by_structure
def make_step(parts: Parts) -> Step:
    """The pure step of these parts, to be compiled by an execution."""

    def step(state: TrainState, fitted: Fitted, batch: Batch) -> tuple[TrainState, StepMetrics]:
        gradients, metrics = parts.backward(state, fitted, batch)
        after = parts.optimize(state, gradients)
        if state.loss_scale is not None and after.loss_scale is not None:
            skipped = after.loss_scale.skipped - state.loss_scale.skipped
            metrics = replace(metrics, skipped=skipped.astype(jnp.float32))
        return _freeze(state, after, metrics) if state.frozen is not None else (after, metrics)

    return step


def make_parts(model: Model, training: Training, placement: Placement | None = None) -> Parts:
    """The parts of a step that trains this model so. placement: of its state, where that is over a mesh."""
    model, over_mesh = model.without_names, None
    if placement is not None and placement.mesh is not None:
        model, over_mesh = placement.sum_in_float32(model), placement
    gradients = GradientsOfBatch(model, training.smooths, training.accumulate, training.shards, over_mesh)
    return _parts(gradients, training.optimizer, training.shows_penalty)


@by_structure
def _parts(gradients: GradientsOfBatch, optimizer: OptimizerSpec, shows_penalty: bool) -> Parts:
    """As `make_parts`, of the structure alone: other values, more epochs or other data are the same parts."""

    def backward_with_penalty(state: TrainState, fitted: Fitted, batch: Batch) -> tuple[Params, StepMetrics]:
        found, measured = gradients(state, fitted, batch)
        with jax.named_scope("forward"):
            penalty = optimizer.penalty(state.hyper, state.params)
        return found, replace(measured, loss=measured.loss + penalty)

    backward = backward_with_penalty if shows_penalty else gradients
    return Parts(gradients.model.logits, gradients.metrics, backward, partial(update_state, optimizer))


@jax.named_scope("optimizer")
def update_state(optimizer: OptimizerSpec, state: TrainState, gradients: Params) -> TrainState:
    """The state after a step with these gradients, scaled as its losses are; as it was where one is not finite."""
    if state.loss_scale is None:
        return apply_gradients(optimizer, state, gradients)
    # Unscaled before the optimizer's chain: a limit of the norm is in true units.
    gradients = unscale_gradients(gradients, state.loss_scale)
    finite = all_finite(gradients)
    after = select_if_finite(finite, apply_gradients(optimizer, state, gradients), state)
    return replace(after, loss_scale=update_loss_scale(state.loss_scale, finite))


def apply_gradients(optimizer: OptimizerSpec, state: TrainState, gradients: Params) -> TrainState:
    """The state after these true gradients: new parameters and optimizer state, one step more."""
    chain = optimizer.build(state.hyper)
    updates, opt_state = chain.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return replace(state, params=params, opt_state=opt_state, step=state.step + 1)


def select_if_finite(finite: Bool[Array, ""], after: TrainState, before: TrainState) -> TrainState:
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


def _freeze(before: TrainState, after: TrainState, metrics: StepMetrics) -> tuple[TrainState, StepMetrics]:
    """A member of a population ends at the first step whose loss or update is no number, with the parameters before
    it; from there on its loss is NaN.
    """
    assert before.frozen is not None
    lost = ~jnp.isfinite(metrics.loss)
    if metrics.skipped is not None:  # the loss scale has dealt with it
        lost &= metrics.skipped == 0
    # A gradient that is no number is none in the biases of its layer either, and to look at the kernels too would
    # make the steps of small networks a fifth longer.
    vectors = [leaf for leaf in jax.tree.leaves(after.params) if leaf.ndim == 1]
    frozen = before.frozen | lost | ~all_finite(vectors)
    after = replace(select_if_finite(~frozen, after, before), frozen=frozen)
    return after, replace(metrics, loss=jnp.where(frozen, jnp.nan, metrics.loss))
