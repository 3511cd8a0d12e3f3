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
from flax import struct

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.model.model import Model
from neuroforge_jax.model.network_inputs import scale_targets
from neuroforge_jax.nn.dropout import Dropout
from neuroforge_jax.nn.losses import correct, weighted_mean
from neuroforge_jax.precision.loss_scale import (
    LossScale,
    all_finite,
    scale_loss,
    unscale_gradients,
    update_loss_scale,
)
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.accumulation import Part, sum_over_parts
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.optimizer import OptimizerSpec
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.shards import sum_over_shards
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Array, Bool, Float, Params


@struct.dataclass
class StepMetrics:
    """loss: f32 [], the mean that was minimised, unscaled, with the penalty where a training shows it; correct:
    f32 [], samples classified rightly; samples: f32 [], the real ones of the batch.

    skipped: f32 [], 1 where the gradients overflowed and nothing was updated; None without loss scaling.
    """

    loss: Float[Array, "*S"]
    correct: Float[Array, "*S"]
    samples: Float[Array, "*S"]
    skipped: Float[Array, "*S"] | None = None

    @classmethod
    def zeros(cls, steps: tuple[int, ...], *, scaled: bool) -> "StepMetrics":
        """Metrics to be written into or added to; scaled: of a training with loss scaling."""
        zeros = jnp.zeros(steps)
        return cls(zeros, zeros, zeros, zeros if scaled else None)


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
    return _parts(
        model.without_names,
        training.optimizer,
        training.smooths,
        training.accumulate,
        training.shows_penalty,
        training.shards,
        placement if placement is not None and placement.mesh is not None else None,
    )


@by_structure
def _parts(
    model: Model,
    optimizer: OptimizerSpec,
    smooths: bool,
    accumulate: int,
    shows_penalty: bool,
    shards: int | None,
    placement: Placement | None,
) -> Parts:
    """As `make_parts`, of the structure alone: other values, more epochs or other data are the same parts."""
    if placement is not None:
        model = placement.sum_in_float32(model)
    # A shard is one device's already, and so is a device's share of a part.
    by_device = shards is not None or accumulate > 1
    dense = None if placement is None or by_device else placement.divide_kernels(model)

    def metrics(logits: Float[Array, "B C"], batch: Batch, hyper: Hyper) -> StepMetrics:
        smoothing = hyper.label_smoothing if smooths else None
        losses = model.objective.per_sample(logits, batch.targets, label_smoothing=smoothing)
        right = correct(logits, batch.targets) if model.classes else jnp.zeros_like(losses)
        mean = weighted_mean(losses, batch.mask, batch.weight)
        return StepMetrics(mean, (right * batch.mask).sum(), batch.mask.sum())

    def loss_of(
        params: Params,
        state: TrainState,
        fitted: Fitted,
        batch: Batch,
        dropout: Dropout | None,
        share: Array | None = None,
    ) -> tuple[Array, StepMetrics]:
        if placement is not None and not by_device:
            params = placement.mark_params(params)
        logits = model.logits(params, fitted, batch.inputs, dropout, dense)
        measured = metrics(logits, batch, state.hyper)
        if share is not None:
            measured = replace(measured, loss=measured.loss * share)
        return scale_loss(measured.loss, state.loss_scale), measured

    gradients_of = jax.grad(loss_of, has_aux=True)

    def of_rows(
        arguments: tuple[TrainState, Fitted, Dropout | None],
        rows: Batch,
        number: Array,
        share: Array | None = None,
        device: tuple[Array, int] | None = None,
    ) -> tuple[Params, StepMetrics]:
        state, fitted, dropout = arguments
        if dropout is not None:
            dropout = dropout._replace(key=jax.random.fold_in(dropout.key, number), share=device)
        return gradients_of(state.params, state, fitted, rows, dropout, share)

    def of_part(
        arguments: tuple[TrainState, Fitted, Dropout | None], part: Part
    ) -> tuple[Params, StepMetrics]:
        device, share = part.share or (None, None)
        gradients, measured = of_rows(arguments, part.rows, part.number, share, device)
        weighted = jax.tree.map(lambda g: g * part.of_batch, gradients)
        return weighted, replace(measured, loss=measured.loss * part.of_batch)

    @jax.named_scope("backward")
    def accumulated(
        state: TrainState, fitted: Fitted, batch: Batch, dropout: Dropout | None
    ) -> tuple[Params, StepMetrics]:
        def zeros() -> tuple[Params, StepMetrics]:
            gradients = jax.tree.map(lambda p: jnp.zeros(p.shape, p.dtype), state.params)
            return gradients, StepMetrics.zeros((), scaled=False)

        if placement is not None:
            state = replace(state, params=placement.mark_params(state.params))
        arguments = state, fitted, dropout
        gradients, measured = sum_over_parts(of_part, accumulate, zeros, arguments, batch, placement)
        if placement is not None:  # which rows are real is known to every device
            measured = replace(measured, samples=batch.mask.sum())
        return gradients, measured

    def backward(state: TrainState, fitted: Fitted, batch: Batch) -> tuple[Params, StepMetrics]:
        with jax.named_scope("forward"):
            batch = replace(batch, targets=scale_targets(fitted, batch.targets))
            dropout = Dropout(state.dropout_key, state.hyper.dropout) if model.mlp.dropout else None
        if shards is not None:
            mesh = None if placement is None else placement.mesh
            return sum_over_shards(of_rows, shards, mesh, (state, fitted, dropout), batch)
        if accumulate == 1:
            return gradients_of(state.params, state, fitted, batch, dropout)
        return accumulated(state, fitted, batch, dropout)

    def backward_with_penalty(state: TrainState, fitted: Fitted, batch: Batch) -> tuple[Params, StepMetrics]:
        gradients, measured = backward(state, fitted, batch)
        with jax.named_scope("forward"):
            penalty = optimizer.penalty(state.hyper, state.params)
        return gradients, replace(measured, loss=measured.loss + penalty)

    shown = backward_with_penalty if shows_penalty else backward
    return Parts(model.logits, metrics, shown, partial(update_state, optimizer))


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
