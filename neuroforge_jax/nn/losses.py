"""Losses of a sample, from the network's outputs z, and their weighted mean over a batch; all in float32.

    cross-entropy         (1 − ε)·(lse(z) − z_y) + ε·(lse(z) − mean z)      lse: log-sum-exp over classes
    binary-cross-entropy  mean_o softplus(z_o) − t_o·z_o                    t: 0 or 1, smoothed to t·(1 − ε) + ε/2
    mse                   mean_o (z_o − t_o)²
    mae                   mean_o |z_o − t_o|
    huber                 mean_o h(z_o − t_o)                               h(r): r²/2 where |r| ≤ 1, else |r| − 1/2
    quantile              mean_o,q max(q·(t_o − z_oq), (q − 1)·(t_o − z_oq))
    poisson               mean_o exp(z_o) − t_o·z_o                         t: counts, of mean exp(z)

Label smoothing ε: Szegedy et al., 2016, arXiv:1512.00567. Huber: Huber, 1964, Ann. Math. Statist. 35(1), with a
limit of one standard deviation of the targets, which are standardised. Quantile (pinball): Koenker and Bassett,
1978, Econometrica 46(1); the outputs are [B, O·Q], the quantiles of the first number first. Poisson: without
log t!, which no output changes. At their kinks (z = t) mae and quantile have a slope that is one of the two sides',
or lies between them.

A sample of weight 0 counts for nothing: not in the value, whatever its outputs, and not in the gradient as long as
its own gradient is finite, which finite outputs make certain (mse: below 1e38; poisson: below 88). Past a NaN
output 0 · NaN is NaN: padding must repeat real samples, not garbage.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp

from neuroforge_jax.errors import lookup
from neuroforge_jax.typing import Array, Float, Integer, Num

Targets = Num[Array, "B ..."]
"""i32 [B] class indices, or f32 [B, O] numbers."""

Smoothing = Float[Array, ""] | float | None
"""ε; None where there is none, which is another program."""


@dataclass(frozen=True)
class Loss:
    """A loss: `per_sample(outputs, targets, label_smoothing=…)` → f32 [B], and what it takes and means.

    takes: the kinds of targets that it is for: `classes` (i32 [B]), `numbers` (f32 [B, O]), `labels` (f32 [B, O],
    each 0 or 1: any number of them are true of a sample), `counts` (f32 [B, O], none below 0). standardizes:
    whether numbers are brought to mean 0 and deviation 1 before; the others mean what they are.
    outputs_per_target: outputs of the network for each number, or 1 for each class.
    """

    name: str
    per_sample: Callable[..., Array]
    takes: frozenset[str]
    standardizes: bool = False
    outputs_per_target: int = 1


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


def absolute_error(
    outputs: Float[Array, "B O"], targets: Float[Array, "B O"], *, label_smoothing: Smoothing
) -> Float[Array, " B"]:
    """Mean over outputs of the absolute difference; the best output is the median."""
    return jnp.abs(outputs - targets).mean(axis=-1)


def huber(
    outputs: Float[Array, "B O"], targets: Float[Array, "B O"], *, label_smoothing: Smoothing
) -> Float[Array, " B"]:
    """Half the squared difference up to 1, and from there on the line that goes on from it."""
    off = jnp.abs(outputs - targets)
    near = jnp.minimum(off, 1)  # no infinite square, whose share of the gradient would be 0 · inf
    return (near * (off - near / 2)).mean(axis=-1)


def pinball(
    outputs: Float[Array, "B OQ"],
    targets: Float[Array, "B O"],
    *,
    label_smoothing: Smoothing,
    quantiles: tuple[float, ...],
) -> Float[Array, " B"]:
    """Mean over outputs of the difference, times q where the output is too low and 1 − q where it is too high."""
    short = targets[:, :, None] - outputs.reshape(*targets.shape, len(quantiles))
    q = jnp.asarray(quantiles, outputs.dtype)
    return jnp.maximum(q * short, (q - 1) * short).mean(axis=(-2, -1))


def poisson(
    outputs: Float[Array, "B O"], counts: Float[Array, "B O"], *, label_smoothing: Smoothing
) -> Float[Array, " B"]:
    """Negative log-likelihood of counts whose mean is exp(output), without what does not depend on the output."""
    return (jnp.exp(outputs) - counts * outputs).mean(axis=-1)


CLASSES, NUMBERS, LABELS, COUNTS = (frozenset({kind}) for kind in ("classes", "numbers", "labels", "counts"))

MEDIAN = (0.5,)

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("cross-entropy", softmax_cross_entropy, CLASSES),
        Loss("mse", squared_error, CLASSES | NUMBERS, standardizes=True),
        Loss("mae", absolute_error, NUMBERS, standardizes=True),
        Loss("huber", huber, NUMBERS, standardizes=True),
        Loss("quantile", partial(pinball, quantiles=MEDIAN), NUMBERS, standardizes=True),
        Loss("poisson", poisson, COUNTS),
        Loss("binary-cross-entropy", sigmoid_cross_entropy, CLASSES | LABELS),
    )
}


def make_loss(name: str, quantiles: tuple[float, ...] = MEDIAN) -> Loss:
    """The loss of this name; `quantile` is that of these quantiles. Raises ConfigError for an unknown name."""
    loss = lookup(LOSSES, name, "loss")
    if name != "quantile":
        return loss
    return replace(loss, per_sample=partial(pinball, quantiles=quantiles), outputs_per_target=len(quantiles))


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
    """1 where the label is the predicted class, the first of the largest logits, else 0; 0 where any is NaN."""
    # An argmax would reduce pairs of numbers, which costs a CPU more than two plain reductions, the first of which
    # XLA computes once for this and for the cross-entropy of the same logits. No number equals NaN.
    classes = logits.shape[-1]
    is_largest = logits == logits.max(axis=-1, keepdims=True)
    predicted = jnp.where(is_largest, jnp.arange(classes), classes).min(axis=-1)
    return (predicted == labels).astype(logits.dtype)


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
