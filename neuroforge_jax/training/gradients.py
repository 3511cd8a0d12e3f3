"""The gradients of a batch, its rows computed at once, in parts one after another, or in shards of one order.

g = ∇ Σ m·w·ℓ(logits(x), y) / Σ m        m: 0 for padding, w: sample weights
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import struct

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.model.model import Model
from neuroforge_jax.model.network_inputs import scale_targets
from neuroforge_jax.nn.dropout import Dropout
from neuroforge_jax.nn.losses import correct, weighted_mean
from neuroforge_jax.precision.loss_scale import scale_loss
from neuroforge_jax.training.accumulation import Part, sum_over_parts
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.shards import sum_over_shards
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Array, Float, Params

Arguments = tuple[TrainState, Fitted, Dropout | None]


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


@dataclass(frozen=True)
class GradientsOfBatch:
    """A pure function: (state, fitted, batch) → the gradients of the loss, scaled, by every parameter; metrics.

    smooths: whether labels are smoothed. accumulate: parts in which a batch is computed. shards: in which it is
    divided whatever the devices; None where it is not. placement: of the state, where that is over a mesh.
    """

    model: Model
    smooths: bool = False
    accumulate: int = 1
    shards: int | None = None
    placement: Placement | None = None

    def __call__(self, state: TrainState, fitted: Fitted, batch: Batch) -> tuple[Params, StepMetrics]:
        """As the class says."""
        with jax.named_scope("forward"):
            batch = replace(batch, targets=scale_targets(fitted, batch.targets))
            dropout = Dropout(state.dropout_key, state.hyper.dropout) if self.model.mlp.dropout else None
        arguments = state, fitted, dropout
        if self.shards is not None:
            mesh = None if self.placement is None else self.placement.mesh
            return sum_over_shards(self._of_rows, self.shards, mesh, arguments, batch)
        if self.accumulate > 1:
            return self._in_parts(arguments, batch)
        return self._differentiate(arguments, batch)

    def metrics(self, logits: Float[Array, "B C"], batch: Batch, hyper: Hyper) -> StepMetrics:
        """The loss that is minimised, and how many samples are right; the batch's targets are scaled already."""
        smoothing = hyper.label_smoothing if self.smooths else None
        losses = self.model.objective.per_sample(logits, batch.targets, label_smoothing=smoothing)
        right = correct(logits, batch.targets) if self.model.classes else jnp.zeros_like(losses)
        mean = weighted_mean(losses, batch.mask, batch.weight)
        return StepMetrics(mean, (right * batch.mask).sum(), batch.mask.sum())

    def _in_parts(self, arguments: Arguments, batch: Batch) -> tuple[Params, StepMetrics]:
        state, fitted, dropout = arguments

        def zeros() -> tuple[Params, StepMetrics]:
            gradients = jax.tree.map(lambda p: jnp.zeros(p.shape, p.dtype), state.params)
            return gradients, StepMetrics.zeros((), scaled=False)

        def of_part(arguments: Arguments, part: Part) -> tuple[Params, StepMetrics]:
            device, share = part.share or (None, None)
            gradients, measured = self._of_rows(arguments, part.rows, part.number, share, device)
            weighted = jax.tree.map(lambda g: g * part.of_batch, gradients)
            return weighted, replace(measured, loss=measured.loss * part.of_batch)

        with jax.named_scope("backward"):
            if self.placement is not None:
                state = replace(state, params=self.placement.mark_params(state.params))
            gradients, measured = sum_over_parts(
                of_part, self.accumulate, zeros, (state, fitted, dropout), batch, self.placement
            )
            if self.placement is not None:  # which rows are real is known to every device
                measured = replace(measured, samples=batch.mask.sum())
        return gradients, measured

    def _of_rows(
        self,
        arguments: Arguments,
        rows: Batch,
        number: Array,
        share: Array | None = None,
        device: tuple[Array, int] | None = None,
    ) -> tuple[Params, StepMetrics]:
        """Of some rows of a batch, on the device that has them.

        number: of the part or shard, i32 []; share: by which their mean counts, f32 []; device: which one it is of
        how many, where the rows are a share of a part.
        """
        state, fitted, dropout = arguments
        if dropout is not None:
            dropout = dropout._replace(key=jax.random.fold_in(dropout.key, number), share=device)
        return self._differentiate((state, fitted, dropout), rows, share)

    def _differentiate(
        self, arguments: Arguments, rows: Batch, share: Array | None = None
    ) -> tuple[Params, StepMetrics]:
        state, fitted, dropout = arguments
        # A shard is one device's already, and so is a device's share of a part.
        divided = self.placement if self.shards is None and self.accumulate == 1 else None
        dense = None if divided is None else divided.divide_kernels(self.model)

        def loss_of(params: Params) -> tuple[Array, StepMetrics]:
            if divided is not None:
                params = divided.mark_params(params)
            logits = self.model.logits(params, fitted, rows.inputs, dropout, dense)
            measured = self.metrics(logits, rows, state.hyper)
            if share is not None:
                measured = replace(measured, loss=measured.loss * share)
            return scale_loss(measured.loss, state.loss_scale), measured

        return jax.grad(loss_of, has_aux=True)(state.params)
