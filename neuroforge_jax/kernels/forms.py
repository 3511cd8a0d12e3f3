"""Activations as kernels compute them: φ of a sum z, and its slope φ′ from what the forward pass keeps.

Compilers of kernels have no erf and no expm1, so that two of them are other functions than the table's
(`nn/activations.py`):

    gelu  z/2·(1 + tanh(√(2/π)·(z + 0.044715·z³)))   within 4.8e-4 of z·Φ(z), its slope within 1.1e-3
    elu   z where z > 0, else e^z − 1                within 6.0e-8 (a rounding of e^z ≤ 1) of expm1

A slope that follows from φ(z) alone lets the layer keep its output, which the next layer reads anyway; only gelu
and silu keep the sum itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from neuroforge_jax.errors import lookup
from neuroforge_jax.typing import Array


@dataclass(frozen=True)
class Form:
    """An activation for kernels; all of it elementwise, float32 → float32.

    value: φ(z). gradient: dy ⊙ φ′ from dy and what is kept. keeps_sum: whether that is z; else it is φ(z).
    off, slope_off: the largest distance of φ and φ′ from the table's, beyond rounding.
    """

    value: Callable[[Array], Array]
    gradient: Callable[[Array, Array], Array]
    keeps_sum: bool = False
    off: float = 0.0
    slope_off: float = 0.0


_ROOT, _CUBIC = math.sqrt(2 / math.pi), 0.044715


def _gelu(z: Array) -> Array:
    # As z/2·(1 + tanh u) XLA's CPU compiler takes it into the product before it (jax 0.12, bf16, interpreted), and
    # hands the pass backward φ(z) where it means z: gradients are off by a half.
    return z * (0.5 * jnp.tanh(_ROOT * (z + _CUBIC * z * z * z)) + 0.5)


def _gelu_slope(z: Array) -> Array:
    t = jnp.tanh(_ROOT * (z + _CUBIC * z * z * z))
    # Where t is ±1, z² may have overflowed, and inf · 0 is NaN.
    rest = 1 - t * t
    bend = jnp.where(rest == 0, 0.0, 0.5 * z * rest * _ROOT * (1 + 3 * _CUBIC * z * z))
    return 0.5 * (1 + t) + bend


def _silu_slope(z: Array) -> Array:
    s = _sigmoid(z)
    return s + jnp.where(s * (1 - s) == 0, 0.0, z * s * (1 - s))


def _sigmoid(z: Array) -> Array:
    return 0.5 * jnp.tanh(0.5 * z) + 0.5


FORMS: dict[str, Form] = {
    "relu": Form(lambda z: jnp.maximum(z, 0.0), lambda dy, y: jnp.where(y > 0, dy, 0.0)),
    "gelu": Form(_gelu, lambda dy, z: dy * _gelu_slope(z), keeps_sum=True, off=4.8e-4, slope_off=1.1e-3),
    "silu": Form(lambda z: z * _sigmoid(z), lambda dy, z: dy * _silu_slope(z), keeps_sum=True),
    "tanh": Form(jnp.tanh, lambda dy, y: dy * (1 - y * y)),
    "sigmoid": Form(_sigmoid, lambda dy, y: dy * (y * (1 - y))),
    "elu": Form(
        lambda z: jnp.where(z > 0, z, jnp.exp(jnp.minimum(z, 0.0)) - 1),
        lambda dy, y: jnp.where(y > 0, dy, dy * (y + 1)),
        off=6.0e-8,
        slope_off=6.0e-8,
    ),
    "leaky-relu": Form(
        lambda z: jnp.where(z >= 0, z, 0.01 * z), lambda dy, y: jnp.where(y >= 0, dy, 0.01 * dy)
    ),
    "identity": Form(lambda z: z, lambda dy, y: dy),
}
"""By the names of ACTIVATIONS."""


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def activate(z: Array, activation: str) -> Array:
    """φ(z) of float32, by operations that the compilers of kernels have; jax differentiates it by the form's slope,
    which no sum makes NaN. Raises ConfigError for an unknown name.
    """
    return lookup(FORMS, activation, "activation").value(z)


@activate.defjvp
def _activate_tangent(activation: str, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (z,), (dz,), form = primals, tangents, FORMS[activation]
    y = activate(z, activation)
    return y, form.gradient(dz, z if form.keeps_sum else y)
