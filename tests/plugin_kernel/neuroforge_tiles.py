from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

import neuroforge_jax as nf

TILE = 128  # rows and columns of a tile of y, and terms of its sum that are multiplied at a time


def whole_tiles(matrix, rows=TILE):  # padded with zeros, which add nothing to a sum
    return jnp.pad(matrix, [(0, -matrix.shape[0] % rows), (0, -matrix.shape[1] % TILE)])


def fill_tile(x, kernel, bias, y, activation):
    # x, kernel, bias, y: references to the rows and the columns of one tile of y
    exact = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None  # a GPU would take TF32

    def add_block(block, total):
        terms = pl.ds(pl.multiple_of(block * TILE, TILE), TILE)
        a, b = x[:, terms], kernel[terms, :]
        return total + jnp.dot(a, b, precision=exact, preferred_element_type=jnp.float32)

    zeros = jnp.zeros((TILE, TILE), jnp.float32)
    total = lax.fori_loop(0, x.shape[1] // TILE, add_block, zeros)
    y[...] = nf.activate(total + bias[...], activation)


def fill_all(x, kernel, bias, activation, **how):
    (rows, terms), columns = x.shape, kernel.shape[1]
    return pl.pallas_call(
        partial(fill_tile, activation=activation),
        grid=(rows // TILE, columns // TILE),
        in_specs=[
            pl.BlockSpec((TILE, terms), lambda i, j: (i, 0)),
            pl.BlockSpec((terms, TILE), lambda i, j: (0, j)),
            pl.BlockSpec((1, TILE), lambda i, j: (0, j)),
        ],
        out_specs=pl.BlockSpec((TILE, TILE), lambda i, j: (i, j)),
        out_shape=jax.ShapeDtypeStruct((rows, columns), jnp.float32),
        **how,
    )(x, kernel, bias)


def dense(x, kernel, bias, activation):
    operands = whole_tiles(x), whole_tiles(kernel), whole_tiles(bias[None], rows=1)
    fill = partial(fill_all, activation=activation)
    on_gpu = partial(fill, compiler_params=triton.CompilerParams(num_warps=8))
    y = lax.platform_dependent(*operands, cpu=partial(fill, interpret=True), tpu=fill, default=on_gpu)
    return y[: len(x), : len(bias)]  # without the rows and columns that the padding made


tiles = nf.DenseKernel("tiles", dense, dtypes=("float32", "bfloat16"), devices=("cpu", "gpu", "tpu"))
