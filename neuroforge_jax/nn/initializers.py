"""Initial weights [I, O]: variance scaling, truncated normal, and orthogonal matrices.

he      variance gain / I        (He et al., 2015, arXiv:1502.01852; the gain is the activation's)
lecun   variance 1 / I           (LeCun et al., 1998, "Efficient BackProp")
glorot  variance 2 / (I + O)     (Glorot and Bengio, 2010)
orthogonal  Q · √gain            (Saxe et al., 2014, arXiv:1312.6120)
lsuv    orthogonal, then divided layer by layer by the deviation of what it makes of training rows
        (Mishkin and Matas, 2016, arXiv:1511.06422)
auto    the one that suits the activation
"""

from collections.abc import Callable

import jax

from neuroforge_jax.errors import lookup
from neuroforge_jax.nn.activations import Activation
from neuroforge_jax.typing import Array

Initializer = Callable[..., Array]
"""(key, shape, dtype) → weights."""

_variance = jax.nn.initializers.variance_scaling

INITIALIZERS: dict[str, Callable[[Activation], Initializer]] = {
    "auto": lambda activation: INITIALIZERS[activation.initializer](activation),
    "he": lambda activation: _variance(activation.gain, "fan_in", "truncated_normal"),
    "lecun": lambda _: _variance(1.0, "fan_in", "truncated_normal"),
    "glorot": lambda _: _variance(1.0, "fan_avg", "truncated_normal"),
    "orthogonal": lambda activation: jax.nn.initializers.orthogonal(activation.gain**0.5),
    "lsuv": lambda _: jax.nn.initializers.orthogonal(),
}

FITS_ROWS = frozenset({"lsuv"})
"""These are drawn first, and then fitted to training rows; see `nn.init`."""


def initializer(name: str, activation: Activation) -> Initializer:
    """The initializer of this name for layers with this activation. Raises ConfigError if unknown."""
    return lookup(INITIALIZERS, name, "initializer")(activation)
