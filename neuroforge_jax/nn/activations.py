"""Activations φ, elementwise, with what their initialization follows from.

`gain` is 1 / E[φ(z)²] for z ~ N(0, 1): weights of variance gain / fan-in keep the second moment of a signal
from layer to layer (He et al., 2015, arXiv:1502.01852, for relu; the same integral for the others).
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from neuroforge_jax.typing import Array, Float


@dataclass(frozen=True)
class Activation:
    """An activation: its function on arrays of any shape, its gain, and the initializer that suits it."""

    name: str
    function: Callable[[Array], Array]
    gain: float
    initializer: str


def relu(x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """max(x, 0), with derivative 0 at 0; NaN stays NaN."""
    return jax.nn.relu(x)


def gelu(x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """x·Φ(x) with the exact Φ (Hendrycks and Gimpel, 2016, arXiv:1606.08415)."""
    return jax.nn.gelu(x, approximate=False)


def silu(x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """x·σ(x) (Elfwing et al., 2018, arXiv:1702.03118), σ written with tanh.

    As x / (1 + e⁻ˣ) XLA's CPU compiler (jax 0.12, bf16, all products left to oneDNN) takes it into the product
    before it, and the backward pass then reads φ(z) where it means z: gradients are off by a third.
    """
    return x * (0.5 * jnp.tanh(0.5 * x) + 0.5)


def identity(x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """x: the network is linear."""
    return x


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("relu", relu, 2.0, "he"),
        Activation("gelu", gelu, 2.3517156, "he"),
        Activation("silu", silu, 2.8107611, "he"),
        # Where φ saturates, larger weights would push more units into its flat ends.
        Activation("tanh", jnp.tanh, 2.5361754, "glorot"),
        Activation("sigmoid", jax.nn.sigmoid, 3.4085598, "glorot"),
        Activation("elu", jax.nn.elu, 1.5505188, "he"),
        Activation("leaky-relu", jax.nn.leaky_relu, 1.9998, "he"),
        Activation("identity", identity, 1.0, "lecun"),
    )
}
