"""The multilayer perceptron: one description of its parameters, `init` and `apply`.

    h₀ = x,   hₖ = drop(φ(norm(hₖ₋₁·Wₖ + bₖ))) [+ hₖ₋₁ where the widths are equal],   logits = h·W + b

The description (`abstract_params`) says shape, dtype, logical axes and initializer of every leaf; initial
values, counts, memory estimates and file layouts all come from it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from neuroforge_jax.errors import lookup
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.nn.dropout import Dropout
from neuroforge_jax.nn.initializers import FITS_ROWS, initializer
from neuroforge_jax.typing import Array, Float, Params, PRNGKey

Initializer = Callable[..., Array]

ParamsLike = Mapping[str, Mapping[str, jax.ShapeDtypeStruct]]
"""Shapes and dtypes in the places of parameters."""

GROUPS = ("kernels", "biases", "norms")
"""Of parameters, for what is to differ between them: a factor of the learning rate, say."""


@dataclass(frozen=True)
class MLP:
    """The architecture, as plain values; names are checked by their tables in `abstract_params`.

    dropout: whether there is any; how much is given to `apply`, which draws it.
    """

    inputs: int
    hidden: tuple[int, ...]
    outputs: int
    activation: str = "relu"
    normalization: str = "none"
    dropout: bool = False
    residual: bool = False
    initializer: str = "auto"


@dataclass(frozen=True)
class AbstractParam:
    """What is known of a parameter before it exists.

    group: one of GROUPS. decays: whether weight decay applies.
    """

    shape: tuple[int, ...]
    dtype: DTypeLike
    axes: tuple[str, ...]
    init: Initializer
    group: str
    decays: bool = False


@runtime_checkable
class Dense(Protocol):
    """A dense layer, φ(x·kernel + bias); the argument of `apply` by which kernels are put in."""

    def __call__(self, x: Array, kernel: Array, bias: Array, activation: str) -> Array:
        """[B, I], [I, O], [O], name of φ → [B, O]."""
        ...


def plain_dense(
    x: Float[Array, "B I"], kernel: Float[Array, "I O"], bias: Float[Array, " O"], activation: str
) -> Float[Array, "B O"]:
    """The meaning of a dense layer, in the dtype of its arguments."""
    return ACTIVATIONS[activation].function(x @ kernel + bias)


def layer_norm(x: Float[Array, "B O"], scale: Float[Array, " O"], shift: Float[Array, " O"]) -> Array:
    """Zero mean and unit variance of each sample (Ba et al., 2016, arXiv:1607.06450), in float32."""
    x = x.astype(jnp.float32)
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * scale + shift


def rms_norm(x: Float[Array, "B O"], scale: Float[Array, " O"]) -> Array:
    """Unit root mean square of each sample (Zhang and Sennrich, 2019, arXiv:1910.07467), in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * scale


NORMALIZATIONS: dict[str, tuple[Callable[..., Array] | None, tuple[str, ...]]] = {
    "none": (None, ()),
    "layer": (layer_norm, ("scale", "shift")),
    "rms": (rms_norm, ("scale",)),
}
"""Name → the function and the parameters that it takes."""


def layer_names(mlp: MLP) -> tuple[str, ...]:
    """`layer0`, `layer1`, …, `output`, in the order in which they are applied."""
    return (*(f"layer{index}" for index in range(len(mlp.hidden))), "output")


def abstract_params(mlp: MLP, dtype: DTypeLike = jnp.float32) -> dict[str, dict[str, AbstractParam]]:
    """The description of every parameter: layer name → leaf name → shape, dtype, axes, initializer.

    Raises ConfigError for an activation, normalization or initializer that no table knows.
    """
    activation = lookup(ACTIVATIONS, mlp.activation, "activation")
    _, norm_params = lookup(NORMALIZATIONS, mlp.normalization, "normalization")
    hidden_init = initializer(mlp.initializer, activation)
    # Logits start small and equal for every activation: nothing is squashed after the last layer.
    output_init = initializer("lecun", ACTIVATIONS["identity"])
    zeros, ones = jax.nn.initializers.zeros, jax.nn.initializers.ones
    widths = (mlp.inputs, *mlp.hidden, mlp.outputs)
    layers = {}
    for index, name in enumerate(layer_names(mlp)):
        fan_in, fan_out = widths[index], widths[index + 1]
        last = name == "output"
        in_axis = "inputs" if index == 0 else _hidden_axis(index - 1)
        out_axis = "outputs" if last else _hidden_axis(index)
        kernel_init = output_init if last else hidden_init
        layers[name] = {
            "kernel": AbstractParam(
                (fan_in, fan_out), dtype, (in_axis, out_axis), kernel_init, "kernels", decays=True
            ),
            "bias": AbstractParam((fan_out,), dtype, (out_axis,), zeros, "biases"),
        }
        for leaf in () if last else norm_params:
            init_leaf = ones if leaf == "scale" else zeros
            layers[name][leaf] = AbstractParam((fan_out,), dtype, (out_axis,), init_leaf, "norms")
    return layers


def _hidden_axis(layer: int) -> str:
    """The units behind a hidden layer: of every other one they can be divided over devices, `hidden`; the layer
    behind it sums over them, and its units are whole on each.
    """
    return "hidden" if layer % 2 == 0 else "hidden_whole"


def params_like(mlp: MLP, dtype: DTypeLike = jnp.float32) -> ParamsLike:
    """The shapes and dtypes of the parameters, of which none is made."""
    return {
        name: {leaf: jax.ShapeDtypeStruct(param.shape, param.dtype) for leaf, param in leaves.items()}
        for name, leaves in abstract_params(mlp, dtype).items()
    }


def init(
    key: PRNGKey, mlp: MLP, dtype: DTypeLike = jnp.float32, sample: Float[Array, "S I"] | None = None
) -> Params:
    """Initial parameters; each leaf has a key of its own, so that adding one changes no other.

    sample: training rows as the first layer gets them, for an initializer that fits itself to them; any other
    does without.
    """
    params = {
        name: {
            leaf: param.init(jax.random.fold_in(jax.random.fold_in(key, index), at), param.shape, param.dtype)
            for at, (leaf, param) in enumerate(sorted(leaves.items()))
        }
        for index, (name, leaves) in enumerate(abstract_params(mlp, dtype).items())
    }
    return params if sample is None or not fits_rows(mlp) else _to_unit_variance(mlp, params, sample)


def fits_rows(mlp: MLP) -> bool:
    """Whether its initial parameters depend on training rows."""
    return mlp.initializer in FITS_ROWS


def _to_unit_variance(mlp: MLP, params: Params, sample: Float[Array, "S I"]) -> Params:
    """Layer by layer, the kernel divided by the deviation of what it makes of the rows; the output layer stays."""
    scaled, x = dict(params), sample.astype(jnp.float32)
    for name in layer_names(mlp)[:-1]:
        kernel = params[name]["kernel"]
        deviation = (x @ kernel).std()
        # Rows that are all alike say nothing, and are left out.
        divisor = jnp.where(deviation > 0, deviation, 1).astype(kernel.dtype)
        scaled[name] = {**params[name], "kernel": kernel / divisor}
        x = _hidden(mlp, scaled[name], x)
    return scaled


def count(mlp: MLP) -> int:
    """Parameters in all."""
    return sum(math.prod(param.shape) for layer in abstract_params(mlp).values() for param in layer.values())


def forward_flops(mlp: MLP) -> int:
    """Floating-point operations of the products that one sample passes through."""
    return 2 * sum(a * b for a, b in pairwise((mlp.inputs, *mlp.hidden, mlp.outputs)))


def train_flops(mlp: MLP) -> int:
    """Floating-point operations to train on one sample: forward, weight and input gradients of every
    product, without the input gradient of the first layer, which nobody needs.
    """
    return 3 * forward_flops(mlp) - 2 * mlp.inputs * (*mlp.hidden, mlp.outputs)[0]


def apply(
    mlp: MLP,
    params: Params,
    x: Float[Array, "B I"],
    *,
    dense: Dense = plain_dense,
    dropout: Dropout | None = None,
) -> Float[Array, "B C"]:
    """Logits of a batch. Dropout happens only where it is given, that is, in training."""
    if not mlp.dropout:
        dropout = None
    for index, name in enumerate(layer_names(mlp)[:-1]):
        own = None if dropout is None else dropout._replace(key=jax.random.fold_in(dropout.key, index))
        x = _hidden(mlp, params[name], x, dense, own)
    return dense(x, params["output"]["kernel"], params["output"]["bias"], "identity")


def _hidden(
    mlp: MLP, layer: Mapping[str, Array], x: Array, dense: Dense = plain_dense, dropout: Dropout | None = None
) -> Array:
    """What a hidden layer makes of the rows x [B, I]."""
    normalize, norm_params = NORMALIZATIONS[mlp.normalization]
    if normalize is None:
        y = dense(x, layer["kernel"], layer["bias"], mlp.activation)
    else:
        y = dense(x, layer["kernel"], layer["bias"], "identity")
        y = normalize(y, *(layer[leaf] for leaf in norm_params))
        y = ACTIVATIONS[mlp.activation].function(y)
    if dropout is not None:
        kept = dropout.draw_kept((len(y), y.shape[1]))
        # A product by one number, and no division: XLA turns that into a product in some programs, which rounds
        # otherwise.
        y = jnp.where(kept, y * jax.lax.optimization_barrier(1 / (1 - dropout.rate)), 0)
    return x + y if mlp.residual and x.shape == y.shape else y
