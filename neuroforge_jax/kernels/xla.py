"""The dense layer φ(x·W + b) left to XLA, with the derivative of its product written out.

    forward   y  = φ((x̂·Ŵ + b)↓)                  x̂, Ŵ: rounded to the compute dtype; ↓: to the output dtype
    backward  dx = dŷ·Ŵᵀ,  dW = x̂ᵀ·dŷ,  db = Σ_B dy in float32

Every product accumulates in float32 and is rounded at most once, to the compute dtype, before it is float32
again; where devices sum its terms it is not rounded, so that their sum is one of float32. The rule is written out
because of dW: left to autodiff, its dtype and layout follow from the forward pass, and they decide the speed of
mixed precision on a CPU.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.typing import Array, Float

SMALL_BATCH = 16
"""Up to here a CPU computes dW as a sum of outer products in float32: at batch 8 training gains 40 % with SGD and
30 % with Adam. That dx comes first, as (Ŵ·dŷᵀ)ᵀ, gains another 70 % at batch 1, 24 % at 8, 10 % at 16; at batch 32
neither gains. Above it dW is x̂ᵀ·dŷ, laid out as the weights are. As (dŷᵀ·x̂)ᵀ it would be 0 to 5 % faster with SGD,
but each loop of an optimizer that remembers gradients would read it across its rows: bf16 at batch 64 takes 2.0
times as long with Nesterov's momentum, 1.9 with Adam; at 512 1.2 (jax 0.12, layers 784-1024-512-10)."""

NARROW = 64
"""Of a layer with fewer outputs a CPU computes (dŷᵀ·x̂)ᵀ all the same: x̂ᵀ·dŷ takes four times as long where neither
oneDNN nor YNNPACK takes it."""


def dense(
    x: Float[Array, "B I"],
    kernel: Float[Array, "I O"],
    bias: Float[Array, " O"],
    activation: str,
    policy: Policy,
) -> Float[Array, "B O"]:
    """The layer: its product in the compute dtype, its sum in float32, φ and the result in the output dtype."""
    return ACTIVATIONS[activation].function(policy.to_output(product(x, kernel, policy) + bias))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: Float[Array, "B I"], kernel: Float[Array, "I O"], policy: Policy) -> Float[Array, "B O"]:
    """x·kernel: operands rounded to the compute dtype, result f32 [B, O]."""
    return _forward(x, kernel, policy)[0]


def product_gradient(
    x: Float[Array, "B I"], kernel: Float[Array, "I O"], dy: Float[Array, "B O"], policy: Policy
) -> tuple[Float[Array, "B I"], Float[Array, "I O"]]:
    """Gradients of the operands of `product`, in their dtypes, from that of its result."""
    return _backward(policy, _round(x, kernel, policy), dy)


def _round(x: Array, kernel: Array, policy: Policy) -> tuple[Array, Array, Array, Array]:
    # Empty slices carry the dtypes of the primals, which the cotangents must have.
    return policy.to_compute(x), policy.to_compute(kernel), x[:0], kernel[:0]


def _forward(x: Array, kernel: Array, policy: Policy) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    residuals = _round(x, kernel, policy)
    return _multiply(*residuals[:2], (1, 0), policy), residuals


def _backward(policy: Policy, residuals: tuple[Array, Array, Array, Array], dy: Array) -> tuple[Array, Array]:
    x_hat, kernel_hat, x_like, kernel_like = residuals
    small = len(x_hat) <= SMALL_BATCH
    on_cpu = _few_samples if small else partial(_two_products, narrow=dy.shape[1] < NARROW)
    dx, dkernel = lax.platform_dependent(
        x_hat,
        kernel_hat,
        policy.to_compute(dy),
        cpu=partial(on_cpu, policy=policy),
        default=partial(_two_products, policy=policy, rounded_to=jnp.float32 if small else None),
    )
    return dx.astype(x_like.dtype), dkernel.astype(kernel_like.dtype)


product.defvjp(_forward, _backward)


def _two_products(
    x_hat: Array,
    kernel_hat: Array,
    dy_hat: Array,
    *,
    policy: Policy,
    rounded_to: DTypeLike | None = None,
    narrow: bool = False,
) -> tuple[Float[Array, "B I"], Float[Array, "I O"]]:
    """Both gradients as the equations say. narrow: the second as (dŷᵀ·x̂)ᵀ, which XLA must not turn around."""
    dx = _multiply(dy_hat, kernel_hat, (1, 1), policy)
    if narrow:
        return dx, lax.optimization_barrier(_multiply(dy_hat, x_hat, (0, 0), policy, rounded_to)).T
    return dx, _multiply(x_hat, dy_hat, (0, 0), policy, rounded_to)


def _few_samples(
    x_hat: Array, kernel_hat: Array, dy_hat: Array, *, policy: Policy
) -> tuple[Float[Array, "B I"], Float[Array, "I O"]]:
    """The weight gradient as a sum of outer products in float32, which XLA computes in the loop that updates the
    weights, so that it is never written to memory; dx before it, so that the update can write where the weights
    are: left free, XLA copies them first.
    """
    dx = lax.optimization_barrier(_multiply(kernel_hat, dy_hat, (1, 1), policy)).T
    dx, dy_hat = lax.optimization_barrier((dx, dy_hat))
    pairs = zip(x_hat.astype(jnp.float32), dy_hat.astype(jnp.float32), strict=True)
    return dx, reduce(jnp.add, (x[:, None] * dy[None, :] for x, dy in pairs))


def _multiply(
    a: Array, b: Array, axes: tuple[int, int], policy: Policy, rounded_to: DTypeLike | None = None
) -> Array:
    """f32: the product of two matrices in the compute dtype, summed over an axis of each.

    rounded_to: what leaves the product, before it is float32 again; the compute dtype unless given, and float32
    where the policy rounds no products.

    Where the platform multiplies in another dtype than `compute`, the choice is made when XLA's program is
    made, so that one traced program is right on each.
    """
    if not policy.rounds_products:
        rounded_to = jnp.float32

    def multiply(a: Array, b: Array) -> Array:
        dimensions = (((axes[0],), (axes[1],)), ((), ()))
        y = lax.dot_general(a, b, dimensions, policy.precision, preferred_element_type=rounded_to)
        return y.astype(jnp.float32)

    on_cpu = policy.multiplied_in("cpu")
    if on_cpu == policy.compute:
        return multiply(a, b)
    return lax.platform_dependent(
        a, b, cpu=lambda a, b: multiply(a.astype(on_cpu), b.astype(on_cpu)), default=multiply
    )
