"""Faults to plant: mistakes that trainers have been shipped with, each of which the verifier must name.

A fault takes the parts of a backend's step and gives them back with the mistake in them; everything around
the step (the execution, the order of samples, the compiler) stays as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.job.job import Job
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.nn.dropout import Dropout
from neuroforge_jax.nn.mlp import Dense
from neuroforge_jax.precision.loss_scale import unscale_gradients
from neuroforge_jax.training.gradients import StepMetrics
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Parts, apply_gradients, make_parts
from neuroforge_jax.typing import Array, Params


@dataclass(frozen=True)
class Fault:
    """A mistake: its name, what it does in a sentence, and how it is put into the parts of a job's step."""

    name: str
    sentence: str
    plant: Callable[[Job], Parts]


def _on_gradients(change: Callable[[Params, Batch], Params]) -> Callable[[Job], Parts]:
    def plant(job: Job) -> Parts:
        def backward(state: TrainState, fitted: Fitted, batch: Batch) -> tuple[Params, StepMetrics]:
            gradients, metrics = job.parts.backward(state, fitted, batch)
            return change(gradients, batch), metrics

        return replace(job.parts, backward=backward)

    return plant


def _on_batch(change: Callable[[Batch], Batch]) -> Callable[[Job], Parts]:
    def plant(job: Job) -> Parts:
        def backward(state: TrainState, fitted: Fitted, batch: Batch) -> tuple[Params, StepMetrics]:
            return job.parts.backward(state, fitted, change(batch))

        return replace(job.parts, backward=backward)

    return plant


def _sum_instead_of_mean(gradients: Params, batch: Batch) -> Params:
    return jax.tree.map(lambda g: g * batch.mask.sum(), gradients)


def _transpose(gradients: Params, batch: Batch) -> Params:
    return jax.tree.map(lambda g: g.T.reshape(g.shape), gradients)


def _nothing_of_a_ragged_batch(gradients: Params, batch: Batch) -> Params:
    return jax.tree.map(lambda g: jnp.where((batch.mask > 0).all(), g, 0), gradients)


def _every_sample_counts(batch: Batch) -> Batch:
    return batch.replace(mask=jnp.ones_like(batch.mask))  # type: ignore[attr-defined]


def _biases_stay(job: Job) -> Parts:
    def optimize(state: TrainState, gradients: Params) -> TrainState:
        after = job.parts.optimize(state, gradients)
        params = {
            name: {**leaves, "bias": state.params[name]["bias"]} for name, leaves in after.params.items()
        }
        return replace(after, params=params)

    return replace(job.parts, optimize=optimize)


def _not_unscaled(job: Job) -> Parts:
    def optimize(state: TrainState, gradients: Params) -> TrainState:
        if state.loss_scale is None:
            return job.parts.optimize(state, gradients)
        scale = state.loss_scale.scale
        return job.parts.optimize(state, jax.tree.map(lambda g: g * scale, gradients))

    return replace(job.parts, optimize=optimize)


def _never_skipped(job: Job) -> Parts:
    def optimize(state: TrainState, gradients: Params) -> TrainState:
        after = job.parts.optimize(state, gradients)
        if state.loss_scale is None:
            return after
        # What is not a number is taken for 0: the parameters hardly show it, the optimizer's count does.
        true = jax.tree.map(jnp.nan_to_num, unscale_gradients(gradients, state.loss_scale))
        after_all = apply_gradients(job.training.optimizer, state, true)
        return replace(after_all, loss_scale=after.loss_scale)

    return replace(job.parts, optimize=optimize)


def _ties_are_right(job: Job) -> Parts:
    def metrics(logits: Array, batch: Batch, hyper: Hyper) -> StepMetrics:
        own = jnp.take_along_axis(logits, batch.targets[:, None], axis=-1)[:, 0]
        right = (own >= logits.max(axis=-1)) * batch.mask
        return replace(job.parts.metrics(logits, batch, hyper), correct=right.sum())

    return replace(job.parts, metrics=metrics)


BLOCK = 8
"""Terms that one step of the accumulating loop adds: as many as a small matrix unit takes at once."""


def _bf16_sums(job: Job) -> Parts:
    """Products whose partial sums are kept in bfloat16, forward; the backward pass is autodiff's of that."""

    def narrow_dense(x: Array, kernel: Array, bias: Array, activation: str) -> Array:
        spare = -x.shape[1] % BLOCK
        left = jnp.pad(x, ((0, 0), (0, spare))).reshape(len(x), -1, BLOCK).astype(jnp.bfloat16)
        right = jnp.pad(kernel, ((0, spare), (0, 0))).reshape(-1, BLOCK, kernel.shape[1]).astype(jnp.bfloat16)

        def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
            return total + block[0] @ block[1], None

        zero = jnp.zeros((len(x), kernel.shape[1]), jnp.bfloat16)
        total, _ = lax.scan(add, zero, (left.swapaxes(0, 1), right))
        return ACTIVATIONS[activation].function(total.astype(x.dtype) + bias)

    class NarrowModel(Model):
        def logits(
            self,
            params: Params,
            fitted: Fitted,
            inputs: Array,
            dropout: Dropout | None = None,
            dense: Dense | None = None,
        ) -> Array:
            return super().logits(params, fitted, inputs, dropout, dense or narrow_dense)

    return make_parts(NarrowModel(**vars(job.model.spec)), job.training)


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(
            "missing-mean",
            "the gradient is the batch's sum, not its mean: the 1/batch is missing",
            _on_gradients(_sum_instead_of_mean),
        ),
        Fault(
            "transposed-gradient",
            "every kernel's gradient lies transposed in its memory",
            _on_gradients(_transpose),
        ),
        Fault("stale-bias", "an update leaves the biases as they were", _biases_stay),
        Fault(
            "dropped-batch",
            "the last, smaller batch of an epoch trains nothing",
            _on_gradients(_nothing_of_a_ragged_batch),
        ),
        Fault(
            "unweighted-batch",
            "the padding of the last batch counts as samples",
            _on_batch(_every_sample_counts),
        ),
        Fault(
            "scaled-gradient",
            "the gradient is not divided by the loss scale before the update (shows where losses are scaled)",
            _not_unscaled,
        ),
        Fault(
            "unskipped-update",
            "a step whose gradients overflowed is taken and counted (shows where losses are scaled)",
            _never_skipped,
        ),
        Fault(
            "ties-are-right",
            "a sample counts as classified rightly where its label is one of several largest logits",
            _ties_are_right,
        ),
        Fault("bf16-accumulation", "products add up their terms in bfloat16", _bf16_sums),
    )
}
"""Name → fault: what `verify --break` takes."""
