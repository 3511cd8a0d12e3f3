"""The fused operations and their derivatives, by whichever implementation the caller names.

    dense            φ(x·W + b)
    bias_activation  φ(z + b)
    mlp              every layer of an MLP whose widths are at most 128

    reference   jax.numpy, differentiated by jax: what the others must agree with (`reference.py`)
    xla         left to XLA, with the products in the form that it multiplies fastest (`xla.py`)
    tpu         Pallas kernels for TPUs (`tpu.py`)
    hopper      Pallas kernels for NVIDIA GPUs of compute capability 9.0 (`hopper/`)
    triton      Pallas kernels for NVIDIA GPUs of compute capability 8.0 and more (`triton.py`)
    interpret   the TPU's kernels as plain jax: for tests and teaching, on any device
    auto        the kernel that was measured to be the fastest on this device at about this size, else xla
    NAME        a dense layer that another package brings, or a `DenseKernel` itself (`dense_kernel.py`)

What a set of kernels has nothing for, such as fp16 on a TPU, runs XLA. A kernel's derivative is more kernels: the
pass forward keeps its operands and y or the sum z (`forms.py`); the pass backward reads dy and that once for dx
and once for dW and db, or makes dz of them, once for both. An mlp keeps its input alone, and computes the rest
again.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

import neuroforge_jax.kernels.reference as reference
import neuroforge_jax.kernels.xla as xla
from neuroforge_jax.errors import lookup
from neuroforge_jax.kernels.choice import default_kind, find_measurement
from neuroforge_jax.kernels.dense_kernel import DenseKernel, apply_dense
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS, NARROW_MLP, KernelSet
from neuroforge_jax.kernels.plugins import find_kernel
from neuroforge_jax.kernels.reference import Layers
from neuroforge_jax.kernels.tiling import Tiles
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.precision.policy import POLICIES, Policy
from neuroforge_jax.typing import Array, Float

IMPLEMENTATIONS = ("auto", "reference", "xla", *KERNEL_SETS)

Implementation = str | DenseKernel
"""A name of IMPLEMENTATIONS or of another package's kernel, or such a kernel."""


def dense(
    x: Float[Array, "B I"],
    kernel: Float[Array, "I O"],
    bias: Float[Array, " O"],
    activation: str = "identity",
    policy: Policy = POLICIES["f32"],
    implementation: Implementation = "auto",
) -> Float[Array, "B O"]:
    """φ(x·kernel + bias) in the policy's output dtype; sizes are arbitrary, and so is the batch's.

    Raises ConfigError for an unknown activation or implementation, ValueError for arrays that do not fit together,
    DeviceError where arrays lie on a device that cannot run the kernels that were named.
    """
    lookup(ACTIVATIONS, activation, "activation")
    _check_layer(x, kernel, bias)
    size = (len(x), kernel.shape[1], x.shape[1])
    chosen = _choose(implementation, "dense", policy.compute, size, x)
    if isinstance(chosen, KernelSet):
        return _dense(x, kernel, bias, activation, policy, chosen)
    if isinstance(chosen, DenseKernel) and activation in chosen.activations:
        return apply_dense(x, kernel, bias, activation, policy, chosen)
    return (reference if chosen == "reference" else xla).dense(x, kernel, bias, activation, policy)


def bias_activation(
    z: Float[Array, "B O"],
    bias: Float[Array, " O"],
    activation: str,
    implementation: Implementation = "auto",
) -> Float[Array, "B O"]:
    """φ(z + bias) in one pass, computed in float32, in the dtype of z. Raises as `dense` does."""
    lookup(ACTIVATIONS, activation, "activation")
    if bias.shape != z.shape[1:]:
        raise ValueError(f"a bias {bias.shape} does not fit sums {z.shape}: it has a number for each column")
    chosen = _choose(implementation, "bias_activation", z.dtype, (len(z), len(bias), 1), z)
    if isinstance(chosen, KernelSet):
        return _bias_activation(z, bias, activation, chosen)
    return reference.bias_activation(z, bias, activation)


def mlp(
    x: Float[Array, "B I"],
    layers: Layers,
    activation: str,
    policy: Policy = POLICIES["f32"],
    implementation: Implementation = "auto",
) -> Float[Array, "B C"]:
    """The logits of an MLP; with kernels one alone, which keeps weights and activations on chip.

    Raises as `dense` does, and ValueError where kernels are named and a width is above 128.
    """
    lookup(ACTIVATIONS, activation, "activation")
    width = x.shape[1]
    for kernel, bias in layers:
        _check_layer(jax.ShapeDtypeStruct((len(x), width), x.dtype), kernel, bias)
        width = kernel.shape[1]
    widest = max(x.shape[1], *(kernel.shape[1] for kernel, _ in layers))
    chosen = _choose(implementation, "mlp", policy.compute, (len(x), widest, len(layers)), x)
    if isinstance(chosen, KernelSet):
        if widest > NARROW_MLP:
            raise ValueError(
                f"an MLP of width {widest} does not fit on chip: one kernel takes widths up to {NARROW_MLP}; "
                "use dense for each layer, or implementation='xla'"
            )
        kernels, biases = zip(*layers, strict=True)
        return _mlp(x, kernels, biases, activation, policy, chosen)
    *hidden, (kernel, bias) = layers
    for hidden_kernel, hidden_bias in hidden:
        x = dense(x, hidden_kernel, hidden_bias, activation, policy, chosen)
    return dense(x, kernel, bias, "identity", policy, chosen)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _dense(
    x: Array, kernel: Array, bias: Array, activation: str, policy: Policy, kernel_set: KernelSet
) -> Array:
    return _dense_forward(x, kernel, bias, activation, policy, kernel_set)[0]


def _dense_forward(
    x: Array, kernel: Array, bias: Array, activation: str, policy: Policy, kernel_set: KernelSet
) -> tuple[Array, tuple[Array, ...]]:
    x_hat, kernel_hat = policy.to_compute(x), policy.to_compute(kernel)
    tiles = _tiles(kernel_set, "forward", policy, (len(x), kernel.shape[1], x.shape[1]))
    y, z = kernel_set.kernels.forward(
        x_hat,
        kernel_hat,
        bias.astype(jnp.float32),
        activation,
        policy.output,
        tiles=tiles,
        interpret=kernel_set.interpret,
    )
    # Empty slices carry the dtypes of the primals, which the cotangents must have.
    return y, (x_hat, kernel_hat, y if z is None else z, x[:0], kernel[:0], bias[:0])


def _dense_backward(
    activation: str, policy: Policy, kernel_set: KernelSet, residuals: tuple[Array, ...], dy: Array
) -> tuple[Array, Array, Array]:
    x_hat, kernel_hat, kept, x_like, kernel_like, bias_like = residuals
    (inputs, outputs), batch = kernel_hat.shape, len(x_hat)
    tiles = (
        _tiles(kernel_set, "input_gradient", policy, (batch, inputs, outputs)),
        _tiles(kernel_set, "weight_gradient", policy, (inputs, outputs, batch)),
    )
    dx, dkernel, dbias = kernel_set.kernels.gradients(
        x_hat, kernel_hat, dy, kept, activation, tiles=tiles, interpret=kernel_set.interpret
    )
    return dx.astype(x_like.dtype), dkernel.astype(kernel_like.dtype), dbias.astype(bias_like.dtype)


_dense.defvjp(_dense_forward, _dense_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _bias_activation(z: Array, bias: Array, activation: str, kernel_set: KernelSet) -> Array:
    bias = bias.astype(jnp.float32)
    return kernel_set.kernels.bias_activation(z, bias, activation, interpret=kernel_set.interpret)


def _bias_activation_forward(
    z: Array, bias: Array, activation: str, kernel_set: KernelSet
) -> tuple[Array, tuple[Array, Array]]:
    return _bias_activation(z, bias, activation, kernel_set), (z, bias)


def _bias_activation_backward(
    activation: str, kernel_set: KernelSet, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    z, bias = residuals
    dz, dbias = kernel_set.kernels.bias_activation_gradient(
        z, bias.astype(jnp.float32), dy, activation, interpret=kernel_set.interpret
    )
    return dz, dbias.astype(bias.dtype)


_bias_activation.defvjp(_bias_activation_forward, _bias_activation_backward)

Arrays = tuple[Array, ...]


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _mlp(
    x: Array, kernels: Arrays, biases: Arrays, activation: str, policy: Policy, kernel_set: KernelSet
) -> Array:
    return _mlp_forward(x, kernels, biases, activation, policy, kernel_set)[0]


def _mlp_forward(
    x: Array, kernels: Arrays, biases: Arrays, activation: str, policy: Policy, kernel_set: KernelSet
) -> tuple[Array, tuple[Array, Arrays, Arrays, tuple[Array, Arrays, Arrays]]]:
    x_hat, kernels_hat = jax.tree.map(policy.to_compute, (x, kernels))
    single = tuple(bias.astype(jnp.float32) for bias in biases)
    logits = kernel_set.kernels.mlp(
        x_hat, kernels_hat, single, activation, policy.output, interpret=kernel_set.interpret
    )
    like = jax.tree.map(lambda array: array[:0], (x, kernels, biases))
    return logits, (x_hat, kernels_hat, single, like)


def _mlp_backward(
    activation: str,
    policy: Policy,
    kernel_set: KernelSet,
    residuals: tuple[Array, Arrays, Arrays, tuple[Array, Arrays, Arrays]],
    dlogits: Array,
) -> tuple[Array, Arrays, Arrays]:
    x, kernels, biases, like = residuals
    dx, dkernels, dbiases = kernel_set.kernels.mlp_gradient(
        x, kernels, biases, dlogits, activation, policy.output, interpret=kernel_set.interpret
    )
    gradients = dx, tuple(dkernels), tuple(dbiases)
    return jax.tree.map(lambda gradient, like: gradient.astype(like.dtype), gradients, like)


_mlp.defvjp(_mlp_forward, _mlp_backward)


def _choose(
    implementation: Implementation, part: str, dtype: DTypeLike, size: tuple[int, int, int], operand: Array
) -> KernelSet | Implementation:
    """What runs: kernels of ours, another package's, or "xla" or "reference"."""
    if implementation == "auto":
        choice = find_measurement(default_kind(), part, dtype, size)
        implementation = choice.implementation if choice else "xla"
    if implementation in ("reference", "xla"):
        return implementation
    chosen = _find(implementation)
    if isinstance(operand, jax.Array) and not isinstance(operand, jax.core.Tracer):
        chosen.check_device(next(iter(operand.devices())))
    return chosen if chosen.does(part, dtype) else "xla"


def _find(implementation: Implementation) -> KernelSet | DenseKernel:
    if isinstance(implementation, DenseKernel):
        return implementation
    return KERNEL_SETS.get(implementation) or find_kernel(implementation, IMPLEMENTATIONS)


def _tiles(kernel_set: KernelSet, part: str, policy: Policy, size: tuple[int, int, int]) -> Tiles | None:
    """As they were measured for this device, or None for the kernel_set's own."""
    choice = find_measurement(default_kind(), part, policy.compute, size)
    return choice.tiles if choice and choice.implementation == kernel_set.name else None


def _check_layer(x: Array | jax.ShapeDtypeStruct, kernel: Array, bias: Array) -> None:
    if x.ndim != 2 or kernel.ndim != 2 or x.shape[1] != kernel.shape[0]:
        raise ValueError(
            f"inputs {x.shape} and a kernel {kernel.shape} do not multiply: [B, I] and [I, O] do"
        )
    if bias.shape != kernel.shape[1:]:
        raise ValueError(
            f"a bias {bias.shape} does not fit a kernel {kernel.shape}: it has a number a column"
        )
    if not jnp.issubdtype(x.dtype, jnp.floating) or not jnp.issubdtype(kernel.dtype, jnp.floating):
        raise ValueError(f"inputs {x.dtype} and a kernel {kernel.dtype}: both must be floating-point numbers")
    if kernel.dtype != bias.dtype:
        raise ValueError(f"a kernel {kernel.dtype} and a bias {bias.dtype}: both must have one dtype")
