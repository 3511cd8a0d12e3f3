"""Plain kernels for NVIDIA GPUs of compute capability 8.0 and more, in Pallas for Triton, while jax has it.

A program owns a tile of the result and walks along the sum itself; Triton turns the walk into a pipeline of copies
and products. Its tiles are powers of two, so operands are padded with zeros to whole tiles, and results cut back:

    forward   y  = φ(x·W + b)
    inputs    dx = (dy ⊙ φ′)·Wᵀ
    weights   dW = xᵀ·(dy ⊙ φ′), db = Σ_B    db by each row of tiles, of which the first is taken

A padded row of y is φ(b) and is cut off; a padded row of dy is 0, and so is its part of every gradient.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jax.typing import DTypeLike

from neuroforge_jax.kernels.forms import FORMS, Form
from neuroforge_jax.kernels.gradients import compose_gradients
from neuroforge_jax.kernels.tiling import Tiles, blocks, whole_tiles
from neuroforge_jax.typing import Array, Float

Ref = Any
"""A kernel's view of memory; Pallas has no public type for it."""

TILES = Tiles(64, 64, 32)
"""Unless others were measured to be faster; a float32 sum of this size is 32 registers of each of 128 threads."""

ROWS, COLUMNS = 64, 64
"""Of bias and activation: a program walks down so many rows of so many columns."""


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
    (rows, columns), form, t = (len(x), len(bias)), FORMS[activation], tiles or TILES
    x, kernel = whole_tiles(x, t.rows, t.terms), whole_tiles(kernel, t.terms, t.columns)
    terms, shape = x.shape[1], (len(x), kernel.shape[1])

    def body(x: Ref, kernel: Ref, bias: Ref, y: Ref, *kept: Ref) -> None:
        def add(k: Array, total: Array) -> Array:
            along = pl.ds(k * t.terms, t.terms)
            return total + _product(x[:, along], kernel[along, :])

        z = _walk(add, terms, t) + bias[...]
        y[...] = form.value(z).astype(y.dtype)
        for ref in kept:
            ref[...] = z.astype(ref.dtype)

    dtypes = [output, x.dtype] if form.keeps_sum else [output]
    tile = pl.BlockSpec((t.rows, t.columns), lambda i, j: (i, j))
    y, *z = pl.pallas_call(
        body,
        grid=(shape[0] // t.rows, shape[1] // t.columns),
        in_specs=[
            pl.BlockSpec((t.rows, terms), lambda i, j: (i, 0)),
            pl.BlockSpec((terms, t.columns), lambda i, j: (0, j)),
            pl.BlockSpec((1, t.columns), lambda i, j: (0, j)),
        ],
        out_specs=[tile] * len(dtypes),
        out_shape=[jax.ShapeDtypeStruct(shape, dtype) for dtype in dtypes],
        compiler_params=_parameters(),
        interpret=interpret,
        name="dense_forward",
    )(x, kernel, whole_tiles(bias[None], 1, t.columns))
    return y[:rows, :columns], z[0][:rows, :columns] if z else None


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
    (rows, columns), form, t = (len(dy), len(kernel)), FORMS[activation], tiles or TILES
    dy, kept = (whole_tiles(array, t.rows, t.terms) for array in (dy, kept))
    kernel = whole_tiles(kernel, t.columns, t.terms)
    terms, shape = dy.shape[1], (len(dy), len(kernel))

    def body(dy: Ref, kept: Ref, kernel: Ref, dx: Ref) -> None:
        def add(k: Array, total: Array) -> Array:
            along = pl.ds(k * t.terms, t.terms)
            dz = _dz(dy[:, along], kept[:, along], form).astype(kernel.dtype)
            return total + _product(dz, kernel[:, along].T)

        dx[...] = _walk(add, terms, t).astype(dx.dtype)

    of_dy = pl.BlockSpec((t.rows, terms), lambda i, j: (i, 0))
    dx = pl.pallas_call(
        body,
        grid=(shape[0] // t.rows, shape[1] // t.columns),
        in_specs=[of_dy, of_dy, pl.BlockSpec((t.columns, terms), lambda i, j: (j, 0))],
        out_specs=pl.BlockSpec((t.rows, t.columns), lambda i, j: (i, j)),
        out_shape=jax.ShapeDtypeStruct(shape, kernel.dtype),
        compiler_params=_parameters(),
        interpret=interpret,
        name="dense_input_gradient",
    )(dy, kept, kernel)
    return dx[:rows, :columns]


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
    (rows, columns), form, t = (x.shape[1], dy.shape[1]), FORMS[activation], tiles or TILES
    x = whole_tiles(x, t.terms, t.rows)
    dy, kept = (whole_tiles(array, t.terms, t.columns) for array in (dy, kept))
    terms, shape = len(x), (x.shape[1], dy.shape[1])

    def body(x: Ref, dy: Ref, kept: Ref, dkernel: Ref, dbias: Ref) -> None:
        def add(k: Array, totals: tuple[Array, Array]) -> tuple[Array, Array]:
            along = pl.ds(k * t.terms, t.terms)
            dz = _dz(dy[along, :], kept[along, :], form)
            product = _product(x[along, :].T, dz.astype(x.dtype))
            return totals[0] + product, totals[1] + dz.sum(axis=0)

        zeros = jnp.zeros((t.rows, t.columns), jnp.float32), jnp.zeros((t.columns,), jnp.float32)
        dkernel[...], summed = lax.fori_loop(0, blocks(terms, t.terms), add, zeros)
        dbias[...] = summed[None]

    of_dy = pl.BlockSpec((terms, t.columns), lambda i, j: (0, j))
    dkernel, dbias = pl.pallas_call(
        body,
        grid=(shape[0] // t.rows, shape[1] // t.columns),
        in_specs=[pl.BlockSpec((terms, t.rows), lambda i, j: (0, i)), of_dy, of_dy],
        out_specs=[
            pl.BlockSpec((t.rows, t.columns), lambda i, j: (i, j)),
            pl.BlockSpec((1, t.columns), lambda i, j: (i, j)),
        ],
        out_shape=[
            jax.ShapeDtypeStruct(shape, jnp.float32),
            jax.ShapeDtypeStruct((shape[0] // t.rows, shape[1]), jnp.float32),
        ],
        compiler_params=_parameters(),
        interpret=interpret,
        name="dense_weight_gradient",
    )(x, dy, kept)
    return dkernel[:rows, :columns], dbias[0, :columns]


gradients = compose_gradients(input_gradient, weight_gradient)


def bias_activation(
    z: Float[Array, "B O"], bias: Float[Array, " O"], activation: str, *, interpret: Any = False
) -> Float[Array, "B O"]:
    """φ(z + b) in one pass, in the dtype of z."""
    rows, columns = z.shape
    z, bias = whole_tiles(z, ROWS, COLUMNS), whole_tiles(bias[None], 1, COLUMNS)

    def body(z: Ref, bias: Ref, y: Ref) -> None:
        y[...] = FORMS[activation].value(z[...].astype(jnp.float32) + bias[...]).astype(y.dtype)

    tile, of_bias = _elementwise()
    y = pl.pallas_call(
        body,
        grid=(len(z) // ROWS, z.shape[1] // COLUMNS),
        in_specs=[tile, of_bias],
        out_specs=tile,
        out_shape=jax.ShapeDtypeStruct(z.shape, z.dtype),
        compiler_params=_parameters(),
        interpret=interpret,
        name="bias_activation",
    )(z, bias)
    return y[:rows, :columns]


def bias_activation_gradient(
    z: Float[Array, "B O"],
    bias: Float[Array, " O"],
    dy: Float[Array, "B O"],
    activation: str,
    *,
    interpret: Any = False,
) -> tuple[Float[Array, "B O"], Float[Array, " O"]]:
    """Gradients of z, in its dtype, and of b, in float32, in one pass; XLA adds up the sums of the tiles."""
    (rows, columns), form = z.shape, FORMS[activation]
    z, dy = (whole_tiles(array, ROWS, COLUMNS) for array in (z, dy))

    def body(z: Ref, bias: Ref, dy: Ref, dz: Ref, partial_sum: Ref) -> None:
        added = z[...].astype(jnp.float32) + bias[...]
        gradient = _dz(dy[...], added if form.keeps_sum else form.value(added), form)
        dz[...] = gradient.astype(dz.dtype)
        partial_sum[...] = gradient.sum(axis=0)[None]

    tile, of_bias = _elementwise()
    dz, sums = pl.pallas_call(
        body,
        grid=(len(z) // ROWS, z.shape[1] // COLUMNS),
        in_specs=[tile, of_bias, tile],
        out_specs=[tile, pl.BlockSpec((1, COLUMNS), lambda i, j: (i, j))],
        out_shape=[
            jax.ShapeDtypeStruct(z.shape, z.dtype),
            jax.ShapeDtypeStruct((len(z) // ROWS, z.shape[1]), jnp.float32),
        ],
        compiler_params=_parameters(),
        interpret=interpret,
        name="bias_activation_gradient",
    )(z, whole_tiles(bias[None], 1, COLUMNS), dy)
    return dz[:rows, :columns], sums.sum(axis=0)[:columns]


def _walk(add: Callable[[Array, Array], Array], terms: int, t: Tiles) -> Array:
    """The sum of a tile of the result, f32, along the padded terms."""
    return lax.fori_loop(0, blocks(terms, t.terms), add, jnp.zeros((t.rows, t.columns), jnp.float32))


def _product(a: Array, b: Array) -> Array:
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return lax.dot(a, b, precision=precision, preferred_element_type=jnp.float32)


def _dz(dy: Array, kept: Array, form: Form) -> Array:
    """The gradient of the sum, dy ⊙ φ′, in float32."""
    return form.gradient(dy.astype(jnp.float32), kept.astype(jnp.float32))


def _elementwise() -> tuple[pl.BlockSpec, pl.BlockSpec]:
    """The tiles of a matrix and of its bias."""
    tile = pl.BlockSpec((ROWS, COLUMNS), lambda i, j: (i, j))
    return tile, pl.BlockSpec((1, COLUMNS), lambda i, j: (0, j))


_parameters = partial(plgpu.CompilerParams, num_warps=4, num_stages=3)
