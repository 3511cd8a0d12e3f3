"""The network in float64 NumPy: logits, loss and every gradient, written out by hand; no jax anywhere.

    hₖ = φ(norm(hₖ₋₁·Wₖ + bₖ)) [+ hₖ₋₁ where the widths are equal],   logits = h·W + b,   h₀: `oracle_inputs.py`

    ∂W = hₖ₋₁ᵀ·∂a,   ∂b = Σ_B ∂a,   ∂hₖ₋₁ = ∂a·Wᵀ [+ ∂hₖ],   ∂a = norm′(φ′(z) ∘ ∂hₖ)

It shares no code with what it judges: two programs that agree to the last digits are wrong in the same way
only if their authors were. There is no dropout here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.verification.oracle_inputs import prepare, scale_targets

Array = np.ndarray
Tree = dict[str, dict[str, Array]]
"""Layer name → leaf name → float64, layers in the order in which they are applied."""

NORM_EPSILON = 1e-6


@dataclass(frozen=True, eq=False)
class Network:
    """What is computed, as plain values; the widths are those of the parameters.

    plan, fitted: what becomes of rows before the first layer, and of targets before the loss. quantiles: of the
    loss `quantile`.
    """

    activation: str
    normalization: str
    residual: bool
    loss: str
    label_smoothing: float
    plan: Preprocessor
    fitted: Fitted
    quantiles: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Samples:
    """A batch: inputs [B, I] as stored, targets int [B] or float [B, O], mask [B] (0: padding), weights [B]."""

    inputs: Array
    targets: Array
    mask: Array
    weights: Array


@dataclass(frozen=True, eq=False)
class Layer:
    """What the backward pass needs of a hidden layer: its input, normalized sum, 1/deviation, φ's argument."""

    x: Array
    normalized: Array
    inverse: Array
    z: Array


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _sigmoid(z: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * z))


def _gelu_slope(z: Array) -> Array:
    return 0.5 * (1 + _erf(z / math.sqrt(2))) + z * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


ACTIVATIONS: Mapping[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "gelu": (lambda z: 0.5 * z * (1 + _erf(z / math.sqrt(2))), _gelu_slope),
    "silu": (lambda z: z * _sigmoid(z), lambda z: _sigmoid(z) * (1 + z * (1 - _sigmoid(z)))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z))),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    ),
    "leaky-relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "identity": (lambda z: z, np.ones_like),
}
"""φ and φ′."""

KINKED = frozenset({"relu", "leaky-relu"})
"""φ′ jumps at 0: a sum within rounding of 0 can have either derivative, and neither is wrong."""

KINKED_LOSSES = frozenset({"mae", "quantile"})
"""The slope jumps where the output is the target. That of huber does not: its kink is in the second derivative."""


def forward(network: Network, params: Tree, inputs: Array) -> tuple[Array, list[Layer]]:
    """Logits [B, C], and what the hidden layers went through."""
    activation, _ = ACTIVATIONS[network.activation]
    h = prepare(network.plan, network.fitted, inputs)
    *hidden, output = params.values()
    layers = []
    for leaves in hidden:
        layer = _layer(network, leaves, h)
        y = activation(layer.z)
        h = h + y if network.residual and h.shape == y.shape else y
        layers.append(layer)
    layers.append(Layer(h, h, h, h))  # of the output layer only the input matters
    return h @ output["kernel"] + output["bias"], layers


def _layer(network: Network, leaves: Mapping[str, Array], x: Array) -> Layer:
    a = x @ leaves["kernel"] + leaves["bias"]
    if network.normalization == "none":
        return Layer(x, a, np.ones(1), a)
    if network.normalization == "layer":
        a = a - a.mean(axis=1, keepdims=True)
    inverse = 1 / np.sqrt((a**2).mean(axis=1, keepdims=True) + NORM_EPSILON)
    normalized = a * inverse
    return Layer(x, normalized, inverse, normalized * leaves["scale"] + leaves.get("shift", 0))


def _targets(network: Network, targets: Array) -> Array:
    """As the loss sees them; counts are never scaled."""
    return targets if network.loss == "poisson" else scale_targets(network.fitted, targets)


def loss(network: Network, logits: Array, samples: Samples) -> tuple[float, Array]:
    """Σ m·w·ℓ / Σ m, and its derivative by the logits [B, C]."""
    each, slope = _LOSSES[network.loss](network, logits, _targets(network, samples.targets))
    share = samples.mask * samples.weights / samples.mask.sum()
    return float((each * share).sum()), slope * share[:, None]


def _spread(network: Network, logits: Array, targets: Array, of_smoothing: float) -> Array:
    """Classes as one-hot rows, smoothed; numbers as they are."""
    if targets.ndim > 1:
        return targets
    smoothing = network.label_smoothing
    return np.eye(logits.shape[1])[targets] * (1 - smoothing) + smoothing * of_smoothing


def _cross_entropy(network: Network, logits: Array, targets: Array) -> tuple[Array, Array]:
    wanted = _spread(network, logits, targets, 1 / logits.shape[1])
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return ((log_total - shifted) * wanted).sum(axis=1), np.exp(shifted - log_total) - wanted


def _binary_cross_entropy(network: Network, logits: Array, targets: Array) -> tuple[Array, Array]:
    smoothing = network.label_smoothing
    wanted = targets if targets.ndim > 1 else np.eye(logits.shape[1])[targets]
    wanted = wanted * (1 - smoothing) + smoothing / 2
    each = np.logaddexp(0, logits) - wanted * logits
    return each.mean(axis=1), (_sigmoid(logits) - wanted) / logits.shape[1]


def _mse(network: Network, logits: Array, targets: Array) -> tuple[Array, Array]:
    off = logits - _spread(network, logits, targets, 1 / logits.shape[1])
    return (off**2).mean(axis=1), 2 * off / logits.shape[1]


def _mae(network: Network, logits: Array, targets: Array) -> tuple[Array, Array]:
    off = logits - targets
    return np.abs(off).mean(axis=1), np.sign(off) / logits.shape[1]


def _huber(network: Network, logits: Array, targets: Array) -> tuple[Array, Array]:
    off = logits - targets
    each = np.where(np.abs(off) <= 1, off**2 / 2, np.abs(off) - 0.5)
    return each.mean(axis=1), np.clip(off, -1, 1) / logits.shape[1]


def _quantile(network: Network, logits: Array, targets: Array) -> tuple[Array, Array]:
    levels = np.tile(network.quantiles, targets.shape[1])
    off = np.repeat(targets, len(network.quantiles), axis=1) - logits
    slope = np.where(off > 0, -levels, 1 - levels)
    return (-slope * off).mean(axis=1), slope / logits.shape[1]


def _poisson(network: Network, logits: Array, targets: Array) -> tuple[Array, Array]:
    mean = np.exp(logits)
    return (mean - targets * logits).mean(axis=1), (mean - targets) / logits.shape[1]


_LOSSES: Mapping[str, Callable[[Network, Array, Array], tuple[Array, Array]]] = {
    "cross-entropy": _cross_entropy,
    "binary-cross-entropy": _binary_cross_entropy,
    "mse": _mse,
    "mae": _mae,
    "huber": _huber,
    "quantile": _quantile,
    "poisson": _poisson,
}
"""ℓ of each sample [B], and its derivative by the logits [B, C]."""


def gradients(network: Network, params: Tree, samples: Samples) -> tuple[Array, float, Tree]:
    """Logits, loss, and the derivative of the loss by every parameter."""
    _, slope_of = ACTIVATIONS[network.activation]
    logits, layers = forward(network, params, samples.inputs)
    value, d_out = loss(network, logits, samples)
    *hidden, output = params
    tree = {output: {"kernel": layers[-1].x.T @ d_out, "bias": d_out.sum(axis=0)}}
    dh = d_out @ params[output]["kernel"].T
    for name, layer in zip(reversed(hidden), reversed(layers[:-1]), strict=True):
        leaves, dz = params[name], dh * slope_of(layer.z)
        tree[name] = {}
        if network.normalization != "none":
            tree[name]["scale"] = (dz * layer.normalized).sum(axis=0)
            if "shift" in leaves:
                tree[name]["shift"] = dz.sum(axis=0)
            dz = dz * leaves["scale"]
            along = (dz * layer.normalized).mean(axis=1, keepdims=True)
            dz = layer.inverse * (dz - layer.normalized * along)
            if network.normalization == "layer":
                dz = dz - dz.mean(axis=1, keepdims=True)
        tree[name] |= {"kernel": layer.x.T @ dz, "bias": dz.sum(axis=0)}
        through = network.residual and layer.x.shape == dz.shape
        dh = dz @ leaves["kernel"].T + (dh if through else 0)
    return logits, value, {name: {leaf: tree[name][leaf] for leaf in params[name]} for name in params}


def central_difference(
    network: Network, params: Tree, samples: Samples, direction: Tree, width: float = 1e-5
) -> float:
    """(L(p + w·d) − L(p − w·d)) / 2w: the derivative along a direction, without any formula for it."""

    def at(distance: float) -> float:
        moved = {
            name: {leaf: value + distance * direction[name][leaf] for leaf, value in leaves.items()}
            for name, leaves in params.items()
        }
        return loss(network, forward(network, moved, samples.inputs)[0], samples)[0]

    return (at(width) - at(-width)) / (2 * width)


def nearness_to_kink(network: Network, params: Tree, inputs: Array, targets: Array) -> Array:
    """[B]: how near each sample comes to a kink, over its hidden units and over the outputs of a kinked loss.

    In units of the layer's rms: the smallest |z|, the smallest difference of an output from its target; inf if all
    is smooth.
    """
    nearest = np.full(len(inputs), np.inf)
    if network.activation not in KINKED and network.loss not in KINKED_LOSSES:
        return nearest
    logits, layers = forward(network, params, inputs)
    if network.activation in KINKED:
        for layer in layers[:-1]:
            nearest = np.minimum(nearest, np.abs(layer.z).min(axis=1) / _rms(layer.z))
    if network.loss in KINKED_LOSSES:
        kinks = np.repeat(_targets(network, targets), max(len(network.quantiles), 1), axis=1)
        nearest = np.minimum(nearest, np.abs(logits - kinks).min(axis=1) / _rms(logits))
    return nearest


def _rms(z: Array) -> Array:
    return np.sqrt((z**2).mean())


def correct(logits: Array, labels: Array) -> Array:
    """[B]: whether the label is the predicted class, the first of the largest logits; never where one is NaN."""
    return (logits.argmax(axis=1) == labels) & ~np.isnan(logits).any(axis=1)
