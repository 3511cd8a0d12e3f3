"""The network in float64 NumPy: logits, loss and every gradient, written out by hand; no jax anywhere.

    hₖ = φ(norm(hₖ₋₁·Wₖ + bₖ)) [+ hₖ₋₁ where the widths are equal],   logits = h·W + b,   h₀ = (x − shift)·scale

    ∂W = hₖ₋₁ᵀ·∂a,   ∂b = Σ_B ∂a,   ∂hₖ₋₁ = ∂a·Wᵀ [+ ∂hₖ],   ∂a = norm′(φ′(z) ∘ ∂hₖ)

It shares no code with what it judges: two programs that agree to the last digits are wrong in the same way
only if their authors were. There is no dropout here.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Tree = dict[str, dict[str, Array]]
"""Layer name → leaf name → float64, layers in the order in which they are applied."""

NORM_EPSILON = 1e-6


@dataclass(frozen=True, eq=False)
class Network:
    """What is computed, as plain values; the widths are those of the parameters.

    shift, scale: float64 [] or [I], of the inputs.
    """

    activation: str
    normalization: str
    residual: bool
    loss: str
    label_smoothing: float
    shift: Array
    scale: Array


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


def forward(network: Network, params: Tree, inputs: Array) -> tuple[Array, list[Layer]]:
    """Logits [B, C], and what the hidden layers went through."""
    activation, _ = ACTIVATIONS[network.activation]
    h = (np.asarray(inputs, np.float64) - network.shift) * network.scale
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


def loss(network: Network, logits: Array, samples: Samples) -> tuple[float, Array]:
    """Σ m·w·ℓ / Σ m, and its derivative by the logits [B, C]."""
    classes, smoothing = logits.shape[1], network.label_smoothing
    wanted = samples.targets
    if wanted.ndim == 1:
        spread = {"binary-cross-entropy": 1 / 2}.get(network.loss, 1 / classes)
        wanted = np.eye(classes)[wanted] * (1 - smoothing) + smoothing * spread
    if network.loss == "cross-entropy":
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        each = ((log_total - shifted) * wanted).sum(axis=1)
        slope = np.exp(shifted - log_total) - wanted
    elif network.loss == "mse":
        each = ((logits - wanted) ** 2).mean(axis=1)
        slope = 2 * (logits - wanted) / classes
    else:
        each = (np.logaddexp(0, logits) - wanted * logits).mean(axis=1)
        slope = (_sigmoid(logits) - wanted) / classes
    share = samples.mask * samples.weights / samples.mask.sum()
    return float((each * share).sum()), slope * share[:, None]


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


def nearness_to_kink(network: Network, params: Tree, inputs: Array) -> Array:
    """[B]: the smallest |z| of each sample over its hidden units, in units of its layer's rms; inf if smooth."""
    if network.activation not in KINKED:
        return np.full(len(inputs), np.inf)
    nearest = np.full(len(inputs), np.inf)
    for layer in forward(network, params, inputs)[1][:-1]:
        rms = np.sqrt((layer.z**2).mean())
        nearest = np.minimum(nearest, np.abs(layer.z).min(axis=1) / rms)
    return nearest
