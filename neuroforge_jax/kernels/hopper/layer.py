"""The dense layer, forward and backward, and bias and activation alone."""

from typing import Any

from jax.typing import DTypeLike

from neuroforge_jax.kernels.forms import FORMS
from neuroforge_jax.kernels.hopper.elementwise import Pass, map_elements
from neuroforge_jax.kernels.hopper.product import (
    TILES,
    Epilogue,
    Plan,
    multiply,
    multiply_by_transpose,
    multiply_over_batch,
)
from neuroforge_jax.kernels.tiling import Tiles
from neuroforge_jax.typing import Array, Float


def forward(
    x: Float[Array, "B I"],
    kernel: Float[Array, "I O"],
    bias: Float[Array, " O"],
    activation: str,
    output: DTypeLike,
    *,
    tiles: Tiles | None = None,
    interpret: Any = False,
) -> tuple[Float[Array, "B O"], Float[Array, "B O"] | None]:
    """The layer's y in the output dtype and, where φ′ needs it, its sum z in the compute dtype."""
    form = FORMS[activation]
    dtypes = [output, x.dtype] if form.keeps_sum else [output]

    def finish(z: Array) -> list[Array]:
        return [form.value(z), z][: len(dtypes)]

    y, *z = multiply(x, kernel, Plan(tiles or TILES, interpret=interpret), Epilogue(dtypes, finish, bias))
    return y, z[0] if z else None


def gradients(
    x: Float[Array, "B I"],
    kernel: Float[Array, "I O"],
    dy: Float[Array, "B O"],
    kept: Float[Array, "B O"],
    activation: str,
    *,
    tiles: tuple[Tiles | None, Tiles | None] = (None, None),
    interpret: Any = False,
) -> tuple[Float[Array, "B I"], Float[Array, "I O"], Float[Array, " O"]]:
    """Gradients of x, in the compute dtype, of W and of b, in float32, from one dz.

    XLA does not merge two kernels that make the same dz: some versions of jax write equal kernels in unequal ways.
    """
    dz, dbias = _sum_gradient(dy, kept, activation, kernel.dtype, interpret)
    return (
        multiply_by_transpose(dz, kernel, tiles[0], interpret),
        multiply_over_batch(x, dz, tiles[1], interpret),
        dbias,
    )


def input_gradient(
    dy: Float[Array, "B O"],
    kept: Float[Array, "B O"],
    kernel: Float[Array, "I O"],
    activation: str,
    *,
    tiles: Tiles | None = None,
    interpret: Any = False,
) -> Float[Array, "B I"]:
    """Gradient of x, (dy ⊙ φ′)·Wᵀ, rounded to the compute dtype."""
    dz, _ = _sum_gradient(dy, kept, activation, kernel.dtype, interpret)
    return multiply_by_transpose(dz, kernel, tiles, interpret)


def weight_gradient(
    x: Float[Array, "B I"],
    dy: Float[Array, "B O"],
    kept: Float[Array, "B O"],
    activation: str,
    *,
    tiles: Tiles | None = None,
    interpret: Any = False,
) -> tuple[Float[Array, "I O"], Float[Array, " O"]]:
    """Gradients of W, xᵀ·(dy ⊙ φ′), and of b, both in float32."""
    dz, dbias = _sum_gradient(dy, kept, activation, x.dtype, interpret)
    return multiply_over_batch(x, dz, tiles, interpret), dbias


def bias_activation(
    z: Float[Array, "B O"], bias: Float[Array, " O"], activation: str, *, interpret: Any = False
) -> Float[Array, "B O"]:
    """φ(z + b) in one pass, in the dtype of z."""

    def body(operands: list[Array], bias: Array) -> Array:
        return FORMS[activation].value(operands[0] + bias)

    return map_elements(Pass(body, z.dtype, interpret), [z], bias)[0]


def bias_activation_gradient(
    z: Float[Array, "B O"],
    bias: Float[Array, " O"],
    dy: Float[Array, "B O"],
    activation: str,
    *,
    interpret: Any = False,
) -> tuple[Float[Array, "B O"], Float[Array, " O"]]:
    """Gradients of z, in its dtype, and of b, in float32, in one pass over z and dy."""
    form = FORMS[activation]

    def body(operands: list[Array], bias: Array) -> Array:
        added = operands[0] + bias
        return form.gradient(operands[1], added if form.keeps_sum else form.value(added))

    return map_elements(Pass(body, z.dtype, interpret), [z, dy], bias)


def _sum_gradient(
    dy: Array, kept: Array, activation: str, compute: DTypeLike, interpret: Any
) -> tuple[Float[Array, "B O"], Float[Array, " O"]]:
    """The gradient of the sum, dy ⊙ φ′, in the compute dtype, and its sum over the batch in float32."""
    form = FORMS[activation]

    def body(operands: list[Array], _: Array | None) -> Array:
        return form.gradient(*operands)

    return map_elements(Pass(body, compute, interpret), [dy, kept])
