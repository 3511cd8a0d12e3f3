from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

import neuroforge_jax as nf

TILE = 128  # rows and columns of a tile of the result, and terms of its sum that are multiplied at a time


def whole_tiles(matrix, rows=TILE):  # zeros beyond its edges add nothing to a sum
    return jnp.pad(matrix, [(0, -matrix.shape[0] % rows), (0, -matrix.shape[1] % TILE)])


def fill_tile(
    x, kernel, bias, y, activation
):  # its rows of x, its columns of kernel and bias, the tile itself
    precision = (
        lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    )  # else float32 has ten bits on a GPU

    def add(block, total):
        terms = pl.ds(pl.multiple_of(block * TILE, TILE), TILE)
        return total + jnp.dot(
            x[:, terms], kernel[terms, :], precision=precision, preferred_element_type=jnp.float32
        )

    total = lax.fori_loop(0, x.shape[1] // TILE, add, jnp.zeros((TILE, TILE), jnp.float32))
    y[...] = nf.activate(total + bias[...], activation)


def multiply(x, kernel, bias, activation, interpret):
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
        interpret=interpret,
    )(x, kernel, bias)


def dense(x, kernel, bias, activation):
    layer = partial(multiply, activation=activation)
    y = lax.platform_dependent(  # a CPU has no compiler of kernels: there it is plain jax
        whole_tiles(x),
        whole_tiles(kernel),
        whole_tiles(bias[None], rows=1),
        cpu=partial(layer, interpret=True),
        default=partial(layer, interpret=False),
    )
    return y[: len(x), : len(bias)]  # what the zeros made of the result is cut off


kernel = nf.DenseKernel("tiles", dense, dtypes=("float32", "bfloat16"), devices=("cpu", "gpu", "tpu"))
