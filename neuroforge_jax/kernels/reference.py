"""What each kernel means, in jax.numpy; every kernel is tested against these and their gradients.

    dense            y = φ(x̂·Ŵ + b)↓        x̂, Ŵ: rounded to the compute dtype; ↓: to the output dtype
    bias_activation  y = φ(z + b)
    mlp              h₀ = x,  hₖ = dense(hₖ₋₁, Wₖ, bₖ, φ),  logits = dense(h, W, b, identity)

Sums, biases and φ are float32; a product is of operands in the compute dtype.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.typing import Array, Float

Layers = Sequence[tuple[Float[Array, "_ _"], Float[Array, " _"]]]
"""Kernel and bias of each layer, in the order in which they are applied."""


def dense(
    x: Float[Array, "B I"],
    kernel: Float[Array, "I O"],
    bias: Float[Array, " O"],
    activation: str,
    policy: Policy,
) -> Float[Array, "B O"]:
    """The layer, in the policy's output dtype."""
    product = lax.dot(
        policy.to_compute(x),
        policy.to_compute(kernel),
        precision=policy.precision,
        preferred_element_type=jnp.float32,
    )
    return policy.to_output(ACTIVATIONS[activation].function(product + bias))


def bias_activation(z: Float[Array, "B O"], bias: Float[Array, " O"], activation: str) -> Float[Array, "B O"]:
    """φ(z + b), computed in float32, in the dtype of z."""
    return ACTIVATIONS[activation].function(z.astype(jnp.float32) + bias).astype(z.dtype)


def mlp(x: Float[Array, "B I"], layers: Layers, activation: str, policy: Policy) -> Float[Array, "B C"]:
    """All layers, the last without an activation."""
    *hidden, (kernel, bias) = layers
    for hidden_kernel, hidden_bias in hidden:
        x = dense(x, hidden_kernel, hidden_bias, activation, policy)
    return dense(x, kernel, bias, "identity", policy)
