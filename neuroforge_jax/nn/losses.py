"""Losses of a sample, from logits, and their weighted mean over a batch; all in float32.

    cross-entropy         (1 − ε)·(lse(z) − z_y) + ε·(lse(z) − mean z)      lse: log-sum-exp over classes
    mse                   mean_c (z_c − t_c)²
    binary-cross-entropy  mean_c softplus(z_c) − t_c·z_c                    t: one-hot, smoothed to t·(1 − ε) + ε/2

Label smoothing ε: Szegedy et al., 2016, arXiv:1512.00567. A sample of weight 0 counts for nothing: not in the
value, whatever its logits, and not in the gradient as long as its own gradient is finite, which finite logits
make certain (mse: below 1e38). Past a NaN logit 0 · NaN is NaN: padding must repeat real samples, not garbage.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from neuroforge_jax.typing import Array, Float, Integer, Num

Targets = Num[Array, "B ..."]
"""i32 [B] class indices, or f32 [B, O] numbers."""

Smoothing = Float[Array, ""] | float | None
"""ε; None where there is none, which is another program."""


@dataclass(frozen=True)
class Loss:
    """A loss: `per_sample(logits, targets, label_smoothing=…)` → f32 [B], and the targets that it takes."""

    name: str
    per_sample: Callable[..., Array]
    for_classes: bool
    for_numbers: bool


def softmax_cross_entropy(
    logits: Float[Array, "B C"], labels: Integer[Array, " B"], *, label_smoothing: Smoothing
) -> Float[Array, " B"]:
    """−log softmax(logits)[label], with the target spread over all classes by `label_smoothing`."""
    log_total = jax.nn.logsumexp(logits, axis=-1)
    loss = log_total - _of_label(logits, labels)
    if label_smoothing is not None:
        loss = (1 - label_smoothing) * loss + label_smoothing * (log_total - logits.mean(axis=-1))
    return loss


def squared_error(
    logits: Float[Array, "B C"], targets: Targets, *, label_smoothing: Smoothing
) -> Float[Array, " B"]:
    """Mean over outputs of the squared difference; classes are one-hot (Brier, 1950)."""
    wanted = _as_numbers(logits, targets)
    if label_smoothing is not None and _are_labels(targets):
        wanted = wanted * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    return ((logits - wanted) ** 2).mean(axis=-1)


def sigmoid_cross_entropy(
    logits: Float[Array, "B C"], targets: Targets, *, label_smoothing: Smoothing
) -> Float[Array, " B"]:
    """Mean over outputs of the binary cross-entropy of sigmoid(logit): each class against all others."""
    wanted = _as_numbers(logits, targets)
    if label_smoothing is not None:
        wanted = wanted * (1 - label_smoothing) + label_smoothing / 2
    return (jax.nn.softplus(logits) - wanted * logits).mean(axis=-1)


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("cross-entropy", softmax_cross_entropy, for_classes=True, for_numbers=False),
        Loss("mse", squared_error, for_classes=True, for_numbers=True),
        Loss("binary-cross-entropy", sigmoid_cross_entropy, for_classes=True, for_numbers=False),
    )
}


def weighted_mean(
    values: Float[Array, " B"], mask: Float[Array, " B"], weight: Float[Array, " B"] | None = None
) -> Float[Array, ""]:
    """Σ mask·weight·v / Σ mask, and 0 where all is padding; a value that counts for nothing may be inf or NaN."""
    factor = mask if weight is None else mask * weight
    # 0 · inf is NaN, and finite logits can have an infinite squared error.
    counted = jnp.where(factor > 0, values, 0)
    total = mask.sum()
    return (counted * factor).sum() / jnp.where(total > 0, total, 1)


def correct(logits: Float[Array, "B C"], labels: Integer[Array, " B"]) -> Float[Array, " B"]:
    """1 where no logit is above the label's, else 0; also 0 where any is NaN. A tie counts as correct.

    XLA computes the maximum once for this and for the cross-entropy of the same logits.
    """
    return (_of_label(logits, labels) >= logits.max(axis=-1)).astype(logits.dtype)


def _of_label(logits: Float[Array, "B C"], labels: Integer[Array, " B"]) -> Float[Array, " B"]:
    # A masked sum, whose derivative is elementwise; that of an index is a scatter. On a CPU with 10 classes the
    # two are equally fast.
    is_label = labels[:, None] == jnp.arange(logits.shape[-1])
    return jnp.where(is_label, logits, 0).sum(axis=-1)


def _as_numbers(logits: Float[Array, "B C"], targets: Targets) -> Float[Array, "B C"]:
    if _are_labels(targets):
        return jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
    return targets.astype(logits.dtype)


def _are_labels(targets: Targets) -> bool:
    return jnp.issubdtype(targets.dtype, jnp.integer)
