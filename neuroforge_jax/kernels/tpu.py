"""Kernels for the TPU, in Pallas: a dense layer forward and backward, bias and activation, and a whole narrow MLP.

Each product is a grid of tiles. Pallas moves the tiles of a step while those of the step before are multiplied
(two buffers of each operand); the float32 sum stays on chip; bias and activation are applied to it before it is
written, and the activation's slope to dy as it is read, so that neither costs a pass over memory:

    forward   y  = φ(x·W + b)              grid rows × columns × terms
    inputs    dx = (dy ⊙ φ′)·Wᵀ            grid rows × columns × terms
    weights   dW = xᵀ·(dy ⊙ φ′), db = Σ_B  grid columns × rows × terms; db in the first row of tiles

Sizes are arbitrary: a last tile hangs over the edge, where memory holds anything, and along the axis that is summed
over the overhang is set to zero on both sides. Operands have the compute dtype; sums, b, φ and db are float32.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.typing import DTypeLike

from neuroforge_jax.kernels.forms import FORMS, Form
from neuroforge_jax.kernels.gradients import compose_gradients
from neuroforge_jax.kernels.tiling import TILES, Tiles, blocks, fit_tiles
from neuroforge_jax.typing import Array, Float

Ref = Any
"""A kernel's view of memory; Pallas has no public type for it."""

ROW_TILES = Tiles(512, 1024, 1)
"""Of bias and activation, which are elementwise: 2 MB of float32."""

ROWS_AT_ONCE = 512
"""Of a batch in the kernels of a whole narrow MLP."""

PARALLEL: Final = "parallel"
SEQUENTIAL: Final = "arbitrary"

VMEM_BYTES = 32 * 2**20
"""What a kernel may take of a core's on-chip memory."""


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
    (rows, terms), columns, form = x.shape, kernel.shape[1], FORMS[activation]
    t = fit_tiles(tiles or TILES, rows, columns, terms)
    shapes = [jax.ShapeDtypeStruct((rows, columns), output)]
    if form.keeps_sum:
        shapes.append(jax.ShapeDtypeStruct((rows, columns), x.dtype))
    result = pl.BlockSpec((t.rows, t.columns), lambda i, j, k: (i, j))
    y, *z = pl.pallas_call(
        partial(_forward_kernel, form=form, terms=terms),
        grid=(blocks(rows, t.rows), blocks(columns, t.columns), blocks(terms, t.terms)),
        in_specs=[
            pl.BlockSpec((t.rows, t.terms), lambda i, j, k: (i, k)),
            pl.BlockSpec((t.terms, t.columns), lambda i, j, k: (k, j)),
            pl.BlockSpec((1, t.columns), lambda i, j, k: (0, j)),
        ],
        out_specs=[result] * len(shapes),
        out_shape=shapes,
        scratch_shapes=[pltpu.VMEM((t.rows, t.columns), jnp.float32)],
        compiler_params=_parameters(PARALLEL, PARALLEL, SEQUENTIAL),
        interpret=interpret,
        name="dense_forward",
    )(x, kernel, bias[None])
    return y, z[0] if z else None


def _forward_kernel(x: Ref, kernel: Ref, bias: Ref, y: Ref, *rest: Ref, form: Form, terms: int) -> None:
    *z, total = rest
    _start(total, 2)
    left, right = _within(x[...], 1, terms, 2), _within(kernel[...], 0, terms, 2)
    total[...] += _product(left, right, 1, 0)

    @pl.when(_is_last(2))
    def _write() -> None:
        added = total[...] + bias[...]
        y[...] = form.value(added).astype(y.dtype)
        for kept in z:
            kept[...] = added.astype(kept.dtype)


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
    (rows, terms), columns = dy.shape, kernel.shape[0]
    t = fit_tiles(tiles or TILES, rows, columns, terms)
    of_dy = pl.BlockSpec((t.rows, t.terms), lambda i, j, k: (i, k))
    return pl.pallas_call(
        partial(_input_gradient_kernel, form=FORMS[activation], terms=terms),
        grid=(blocks(rows, t.rows), blocks(columns, t.columns), blocks(terms, t.terms)),
        in_specs=[of_dy, of_dy, pl.BlockSpec((t.columns, t.terms), lambda i, j, k: (j, k))],
        out_specs=pl.BlockSpec((t.rows, t.columns), lambda i, j, k: (i, j)),
        out_shape=jax.ShapeDtypeStruct((rows, columns), kernel.dtype),
        scratch_shapes=[pltpu.VMEM((t.rows, t.columns), jnp.float32)],
        compiler_params=_parameters(PARALLEL, PARALLEL, SEQUENTIAL),
        interpret=interpret,
        name="dense_input_gradient",
    )(dy, kept, kernel)


def _input_gradient_kernel(
    dy: Ref, kept: Ref, kernel: Ref, dx: Ref, total: Ref, *, form: Form, terms: int
) -> None:
    _start(total, 2)
    dz = _within(_dz(dy, kept, form), 1, terms, 2).astype(kernel.dtype)
    total[...] += _product(dz, _within(kernel[...], 1, terms, 2), 1, 1)

    @pl.when(_is_last(2))
    def _write() -> None:
        dx[...] = total[...].astype(dx.dtype)


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
    (terms, rows), columns = x.shape, dy.shape[1]
    t = fit_tiles(tiles or TILES, rows, columns, terms)
    of_dy = pl.BlockSpec((t.terms, t.columns), lambda j, i, k: (k, j))
    dkernel, dbias = pl.pallas_call(
        partial(_weight_gradient_kernel, form=FORMS[activation], terms=terms),
        grid=(blocks(columns, t.columns), blocks(rows, t.rows), blocks(terms, t.terms)),
        in_specs=[pl.BlockSpec((t.terms, t.rows), lambda j, i, k: (k, i)), of_dy, of_dy],
        out_specs=[
            pl.BlockSpec((t.rows, t.columns), lambda j, i, k: (i, j)),
            pl.BlockSpec((1, t.columns), lambda j, i, k: (0, j)),
        ],
        out_shape=[
            jax.ShapeDtypeStruct((rows, columns), jnp.float32),
            jax.ShapeDtypeStruct((1, columns), jnp.float32),
        ],
        # The sum over the batch of one column of tiles is left where it is until the next column.
        compiler_params=_parameters(PARALLEL, SEQUENTIAL, SEQUENTIAL),
        interpret=interpret,
        name="dense_weight_gradient",
    )(x, dy, kept)
    return dkernel, dbias[0]


def _weight_gradient_kernel(
    x: Ref, dy: Ref, kept: Ref, dkernel: Ref, dbias: Ref, *, form: Form, terms: int
) -> None:
    _start(dkernel, 2)
    dz = _within(_dz(dy, kept, form), 0, terms, 2)
    dkernel[...] += _product(_within(x[...], 0, terms, 2), dz.astype(x.dtype), 0, 0)

    # In the first row of tiles alone; the interpreter takes no question for the place in the grid in here.
    first_row, first_term = pl.program_id(1) == 0, pl.program_id(2) == 0

    @pl.when(first_row)
    def _sum_over_batch() -> None:
        before = jnp.where(first_term, 0.0, dbias[...])
        dbias[...] = before + dz.sum(axis=0, keepdims=True)


gradients = compose_gradients(input_gradient, weight_gradient)


def bias_activation(
    z: Float[Array, "B O"], bias: Float[Array, " O"], activation: str, *, interpret: Any = False
) -> Float[Array, "B O"]:
    """φ(z + b) in one pass, in the dtype of z."""
    grid, of_z, of_bias = _rows_and_columns(z)

    def kernel(z: Ref, bias: Ref, y: Ref) -> None:
        y[...] = FORMS[activation].value(z[...].astype(jnp.float32) + bias[...]).astype(y.dtype)

    return pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=[of_z, of_bias],
        out_specs=of_z,
        out_shape=jax.ShapeDtypeStruct(z.shape, z.dtype),
        compiler_params=_parameters(PARALLEL, PARALLEL),
        interpret=interpret,
        name="bias_activation",
    )(z, bias[None])


def bias_activation_gradient(
    z: Float[Array, "B O"],
    bias: Float[Array, " O"],
    dy: Float[Array, "B O"],
    activation: str,
    *,
    interpret: Any = False,
) -> tuple[Float[Array, "B O"], Float[Array, " O"]]:
    """Gradients of z, in its dtype, and of b, in float32, in one pass over z and dy."""
    rows, form = len(z), FORMS[activation]
    grid, of_z, of_bias = _rows_and_columns(z)

    def kernel(z: Ref, bias: Ref, dy: Ref, dz: Ref, dbias: Ref) -> None:
        _start(dbias, 1)
        added = z[...].astype(jnp.float32) + bias[...]
        kept = added if form.keeps_sum else form.value(added)
        gradient = form.gradient(dy[...].astype(jnp.float32), kept)
        dz[...] = gradient.astype(dz.dtype)
        dbias[...] += _within(gradient, 0, rows, 1).sum(axis=0, keepdims=True)

    dz, dbias = pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=[of_z, of_bias, of_z],
        out_specs=[of_z, of_bias],
        out_shape=[
            jax.ShapeDtypeStruct(z.shape, z.dtype),
            jax.ShapeDtypeStruct((1, z.shape[1]), jnp.float32),
        ],
        compiler_params=_parameters(PARALLEL, SEQUENTIAL),
        interpret=interpret,
        name="bias_activation_gradient",
    )(z, bias[None], dy)
    return dz, dbias[0]


def mlp(
    x: Float[Array, "B I"],
    kernels: Sequence[Float[Array, "_ _"]],
    biases: Sequence[Float[Array, " _"]],
    activation: str,
    output: DTypeLike,
    *,
    interpret: Any = False,
) -> Float[Array, "B C"]:
    """The logits of a narrow MLP: the weights stay on chip, and so do the activations of a tile of the batch."""
    depth, rows = len(kernels), min(len(x), ROWS_AT_ONCE)

    def kernel(*refs: Ref) -> None:
        (x, *weights), logits = refs[:-1], refs[-1]
        hidden = _hidden(x[...], weights[:depth], weights[depth:], FORMS[activation], output)
        logits[...] = _layer_sum(hidden[-1][0], weights[depth - 1], weights[-1]).astype(logits.dtype)

    shapes = _weight_shapes(kernels, biases)
    return pl.pallas_call(
        kernel,
        grid=(blocks(len(x), rows),),
        in_specs=[_row_tile(rows, x.shape[1]), *map(_whole, shapes)],
        out_specs=_row_tile(rows, kernels[-1].shape[1]),
        out_shape=jax.ShapeDtypeStruct((len(x), kernels[-1].shape[1]), output),
        compiler_params=_parameters(PARALLEL),
        interpret=interpret,
        name="mlp_forward",
    )(x, *kernels, *(bias[None] for bias in biases))


def mlp_gradient(
    x: Float[Array, "B I"],
    kernels: Sequence[Float[Array, "_ _"]],
    biases: Sequence[Float[Array, " _"]],
    dlogits: Float[Array, "B C"],
    activation: str,
    output: DTypeLike,
    *,
    interpret: Any = False,
) -> tuple[Float[Array, "B I"], list[Float[Array, "_ _"]], list[Float[Array, " _"]]]:
    """Gradients of x, in the compute dtype, and of every kernel and bias, in float32.

    The activations are computed again on chip, tile by tile of the batch, and the gradients of the weights are
    summed there: of the batch only x and dlogits are read, and only the gradient of x is written.
    """
    depth, samples, form = len(kernels), len(x), FORMS[activation]
    rows = min(samples, ROWS_AT_ONCE)

    def kernel(*refs: Ref) -> None:
        x, dlogits, *weights = refs[: 2 + 2 * depth]
        dx, *gradients = refs[2 + 2 * depth :]
        for gradient in gradients:
            _start(gradient, 0)
        first = _within(x[...], 0, samples, 0)
        hidden = _hidden(first, weights[:depth], weights[depth:], form, output)
        dz = _within(dlogits[...].astype(jnp.float32), 0, samples, 0)
        for layer in reversed(range(depth)):
            dz_hat = dz.astype(first.dtype)
            gradients[layer][...] += _product(hidden[layer][0], dz_hat, 0, 0)
            gradients[depth + layer][...] += dz.sum(axis=0, keepdims=True)
            dhidden = _product(dz_hat, weights[layer][...], 1, 1).astype(first.dtype)
            if layer:
                dz = form.gradient(dhidden.astype(jnp.float32), hidden[layer][1])
        dx[...] = dhidden

    shapes = _weight_shapes(kernels, biases)
    dx, *gradients = pl.pallas_call(
        kernel,
        grid=(blocks(samples, rows),),
        in_specs=[_row_tile(rows, x.shape[1]), _row_tile(rows, dlogits.shape[1]), *map(_whole, shapes)],
        out_specs=[_row_tile(rows, x.shape[1]), *map(_whole, shapes)],
        out_shape=[
            jax.ShapeDtypeStruct(x.shape, x.dtype),
            *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes),
        ],
        compiler_params=_parameters(SEQUENTIAL),
        interpret=interpret,
        name="mlp_gradient",
    )(x, dlogits, *kernels, *(bias[None] for bias in biases))
    return dx, gradients[:depth], [gradient[0] for gradient in gradients[depth:]]


def _hidden(
    x: Array, kernels: Sequence[Ref], biases: Sequence[Ref], form: Form, output: DTypeLike
) -> list[tuple[Array, Array]]:
    """The inputs of each layer in the compute dtype and, but for the first, what the slope before it needs."""
    inputs = [(x, x)]
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        z = _layer_sum(inputs[-1][0], kernel, bias)
        y = form.value(z).astype(output).astype(jnp.float32)
        inputs.append((y.astype(x.dtype), z if form.keeps_sum else y))
    return inputs


def _layer_sum(x: Array, kernel: Ref, bias: Ref) -> Array:
    return _product(x, kernel[...], 1, 0) + bias[...]


def _product(a: Array, b: Array, a_axis: int, b_axis: int) -> Array:
    """Summed over an axis of each, in float32."""
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    dimensions = (((a_axis,), (b_axis,)), ((), ()))
    return lax.dot_general(a, b, dimensions, precision, preferred_element_type=jnp.float32)


def _dz(dy: Ref, kept: Ref, form: Form) -> Array:
    """The gradient of the sum, dy ⊙ φ′, in float32."""
    return form.gradient(dy[...].astype(jnp.float32), kept[...].astype(jnp.float32))


def _start(total: Ref, axis: int) -> None:
    """Zero what is summed along this axis of the grid."""

    @pl.when(pl.program_id(axis) == 0)
    def _zero() -> None:
        total[...] = jnp.zeros_like(total)


def _is_last(axis: int) -> Array:
    return pl.program_id(axis) == pl.num_programs(axis) - 1


def _within(tile: Array, axis: int, length: int, grid_axis: int) -> Array:
    """The tile, zero where it hangs over the end of an axis of this length, which this axis of the grid cuts."""
    size = tile.shape[axis]
    if length % size == 0:
        return tile
    at = lax.broadcasted_iota(jnp.int32, tile.shape, axis) + pl.program_id(grid_axis) * size
    return jnp.where(at < length, tile, jnp.zeros_like(tile))


def _rows_and_columns(z: Array) -> tuple[tuple[int, int], pl.BlockSpec, pl.BlockSpec]:
    """The grid, columns first, and the tiles of a matrix and of its bias."""
    rows, columns = z.shape
    t = fit_tiles(ROW_TILES, rows, columns, 1)
    grid = (blocks(columns, t.columns), blocks(rows, t.rows))
    of_matrix = pl.BlockSpec((t.rows, t.columns), lambda j, i: (i, j))
    return grid, of_matrix, pl.BlockSpec((1, t.columns), lambda j, i: (0, j))


def _row_tile(rows: int, columns: int) -> pl.BlockSpec:
    return pl.BlockSpec((rows, columns), lambda i: (i, 0))


def _whole(shape: tuple[int, ...]) -> pl.BlockSpec:
    return pl.BlockSpec(shape, lambda i: (0, 0))


def _weight_shapes(kernels: Sequence[Array], biases: Sequence[Array]) -> list[tuple[int, ...]]:
    return [*(kernel.shape for kernel in kernels), *((1, len(bias)) for bias in biases)]


def _parameters(*semantics: Literal["parallel", "arbitrary"]) -> pltpu.CompilerParams:
    return pltpu.CompilerParams(dimension_semantics=semantics, vmem_limit_bytes=VMEM_BYTES)
