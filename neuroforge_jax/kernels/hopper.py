"""Kernels for NVIDIA GPUs of compute capability 9.0, in Pallas for Mosaic: tensor cores by the warpgroup.

A product is cut into tiles that the multiprocessors take in turn, each as many as there are. A warpgroup multiplies
from shared memory (wgmma) while the copy engine brings the tiles of the steps ahead, and the float32 sum is in its
registers, where bias and activation are applied before it is written:

    forward     y  = φ(x·W + b)
    gradient    dz = dy ⊙ φ′, and its sums over the rows of a group, in one pass over dy and what is kept
    inputs      dx = dz·Wᵀ
    weights     dW = xᵀ·dz
    mlp         all layers of a tile of the batch, with the weights in shared memory

dz is written, in the compute dtype, and not made in the prologue of both products: wgmma takes its operands from
shared memory in 16 bits, and dy is float32. Operands are padded with zeros to whole tiles. A padded row of y is
φ(b), and is cut off; one of dy is 0, and so is its part of every gradient. No sum depends on who is first.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.typing import DTypeLike

from neuroforge_jax.kernels.forms import FORMS, Form
from neuroforge_jax.kernels.tiling import Tiles, blocks, padded
from neuroforge_jax.kernels.versions import interpreter, load
from neuroforge_jax.typing import Array, Float

Ref = Any
"""A kernel's view of memory; Pallas has no public type for it."""

TILES = Tiles(128, 128, 64)
"""Unless others were measured to be faster: 128 registers of sum for each of a warpgroup's 128 threads."""

STEPS_AHEAD = 3
"""Tiles of operands in shared memory at a time: with TILES 96 of its 227 kB; y in float32 and z in bf16 take 96."""

ROWS, COLUMNS = 64, 128
"""The tile of elementwise kernels, and of the batch in an MLP."""

SHARED_BYTES = 200 * 1024
"""Of a multiprocessor's shared memory, what the weights of an MLP may fill with the rest beside them."""

SWIZZLE_BYTES = 128
"""Rows of a tile in shared memory are broken at this width and their pieces permuted: no bank is hit twice."""


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

    y, *z = _product(x, kernel, dtypes, finish, bias=bias, tiles=tiles, interpret=interpret)
    return y, z[0] if z else None


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
    how = {"transposed": (False, True), "tiles": tiles, "interpret": interpret}
    return _product(dz, kernel, [kernel.dtype], lambda dx: [dx], **how)[0]


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
    how = {"transposed": (True, False), "tiles": tiles, "interpret": interpret}
    return _product(x, dz, [jnp.float32], lambda dkernel: [dkernel], **how)[0], dbias


def bias_activation(
    z: Float[Array, "B O"], bias: Float[Array, " O"], activation: str, *, interpret: Any = False
) -> Float[Array, "B O"]:
    """φ(z + b) in one pass, in the dtype of z."""

    def body(operands: list[Array], bias: Array) -> Array:
        return FORMS[activation].value(operands[0] + bias)

    return _elementwise(body, [z], bias, z.dtype, interpret)[0]


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

    return _elementwise(body, [z, dy], bias, z.dtype, interpret)


def mlp(
    x: Float[Array, "B I"],
    kernels: Sequence[Float[Array, "_ _"]],
    biases: Sequence[Float[Array, " _"]],
    activation: str,
    output: DTypeLike,
    *,
    interpret: Any = False,
) -> Float[Array, "B C"]:
    """The logits of a narrow MLP; one whose weights shared memory does not hold goes layer by layer."""
    width = padded(max(x.shape[1], *(kernel.shape[1] for kernel in kernels)), 64)
    if 2 * width * width * len(kernels) > SHARED_BYTES - ROWS * width * 8:
        *_, h = _inputs(x, kernels, biases, activation, output, interpret)
        return forward(h[0], kernels[-1], biases[-1], "identity", output, interpret=interpret)[0]
    weights = jnp.concatenate([_whole_tiles(kernel, width, width) for kernel in kernels])
    rows = jnp.concatenate([_whole_tiles(bias[None], 1, width)[0] for bias in biases])

    def run(x: Array, weights: Array, rows: Array) -> Array:
        return _mlp(x, weights, rows, FORMS[activation], output, interpret)

    return sequential_vmap(run)(_whole_tiles(x, ROWS, width), weights, rows)[: len(x), : len(biases[-1])]


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

    The activations are computed again, layer by layer: the float32 gradients of a few layers' weights fit neither
    the registers nor the shared memory of a multiprocessor.
    """
    inputs = _inputs(x, kernels, biases, activation, output, interpret)
    dkernels, dbiases, dy, form = [], [], dlogits, "identity"
    for layer in reversed(range(len(kernels))):
        # Nothing is kept of the logits, and the slope of the identity asks for nothing.
        kept = inputs[layer + 1][1] if layer + 1 < len(kernels) else dlogits
        dkernel, dbias = weight_gradient(inputs[layer][0], dy, kept, form, interpret=interpret)
        dy, form = input_gradient(dy, kept, kernels[layer], form, interpret=interpret), activation
        dkernels.append(dkernel)
        dbiases.append(dbias)
    return dy, dkernels[::-1], dbiases[::-1]


def _inputs(
    x: Array,
    kernels: Sequence[Array],
    biases: Sequence[Array],
    activation: str,
    output: DTypeLike,
    interpret: Any,
) -> list[tuple[Array, Array]]:
    """What goes into each layer, in the compute dtype, and what the slope before it is computed from."""
    inputs = [(x, x)]
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        y, z = forward(inputs[-1][0], kernel, bias, activation, output, interpret=interpret)
        inputs.append((y.astype(x.dtype), y if z is None else z))
    return inputs


def _sum_gradient(
    dy: Array, kept: Array, activation: str, compute: DTypeLike, interpret: Any
) -> tuple[Float[Array, "B O"], Float[Array, " O"]]:
    """The gradient of the sum, dy ⊙ φ′, in the compute dtype, and its sum over the batch in float32."""
    form = FORMS[activation]

    def body(operands: list[Array], _: Array | None) -> Array:
        return form.gradient(*operands)

    return _elementwise(body, [dy, kept], None, compute, interpret)


def _product(
    a: Array,
    b: Array,
    dtypes: Sequence[DTypeLike],
    finish: Callable[[Array], list[Array]],
    *,
    bias: Array | None = None,
    transposed: tuple[bool, bool] = (False, False),
    tiles: Tiles | None = None,
    interpret: Any = False,
) -> list[Array]:
    """Finish(a·b + bias), a result for each dtype; transposed: whether a and b lie so in memory."""
    t = tiles or TILES
    a_tile, b_tile = _turned((t.rows, t.terms), transposed[0]), _turned((t.terms, t.columns), transposed[1])
    rows, columns = _turned(a.shape, transposed[0])[0], _turned(b.shape, transposed[1])[1]

    def run(a: Array, b: Array, row: Array) -> list[Array]:
        m, terms = _turned(a.shape, transposed[0])
        n = _turned(b.shape, transposed[1])[1]

        def body(a: Ref, b: Ref, row: Ref, *refs: Ref) -> None:
            results, staged = refs[: len(dtypes)], refs[len(dtypes) :]

            @plgpu.nd_loop((m // t.rows, n // t.columns), collective_axes="processor")
            def _tile(loop: plgpu.NDLoopInfo) -> None:
                i, j = loop.index
                at = pl.ds(i * t.rows, t.rows), pl.ds(j * t.columns, t.columns)

                def multiplied(total: Ref) -> Array:
                    def step(_: Any, a_tile: Ref, b_tile: Ref) -> None:
                        plgpu.wgmma(
                            total, _turned_ref(a_tile, transposed[0]), _turned_ref(b_tile, transposed[1])
                        )
                        plgpu.wgmma_wait(1)

                    # One product is still being computed when the next step begins: its tiles must not be written
                    # over before that step has waited for it, hence the delay.
                    plgpu.emit_pipeline(
                        step,
                        grid=(terms // t.terms,),
                        in_specs=[
                            _tile_spec(a_tile, a.dtype, lambda k: _turned((i, k), transposed[0]), delay=1),
                            _tile_spec(b_tile, b.dtype, lambda k: _turned((k, j), transposed[1]), delay=1),
                        ],
                        max_concurrent_steps=STEPS_AHEAD,
                    )(a, b)
                    return total[...]

                z = pl.run_scoped(multiplied, plgpu.ACC((t.rows, t.columns), jnp.float32))
                if bias is not None:
                    z = z + _row(row.at[at[1]], z.shape)
                for result, stage, values in zip(results, staged, finish(z), strict=True):
                    stage[...] = values.astype(stage.dtype)
                    plgpu.commit_smem()
                    plgpu.copy_smem_to_gmem(stage, result.at[at])
                plgpu.wait_smem_to_gmem(0)

        return plgpu.kernel(
            body,
            out_type=[jax.ShapeDtypeStruct((m, n), dtype) for dtype in dtypes],
            scratch_types=[_shared((t.rows, t.columns), dtype) for dtype in dtypes],
            grid=(min(_processors(), m // t.rows * (n // t.columns)),),
            grid_names=("processor",),
            **interpreter(interpret),
        )(a, b, row)

    row = jnp.zeros(columns, jnp.float32) if bias is None else bias
    padded_row = _whole_tiles(row[None], 1, t.columns)[0]
    made = sequential_vmap(run)(_whole_tiles(a, *a_tile), _whole_tiles(b, *b_tile), padded_row)
    return [result[:rows, :columns] for result in made]


def _elementwise(
    body: Callable[[list[Array], Any], Array],
    operands: Sequence[Array],
    bias: Array | None,
    output: DTypeLike,
    interpret: Any,
) -> tuple[Float[Array, "B O"], Float[Array, " O"]]:
    """Body(operands, bias) in the output dtype, and its sum over the rows in float32, in one pass.

    The rows are divided into groups; each adds its tiles up in registers and writes one tile of sums, and XLA adds
    those of all groups.
    """
    rows, columns = operands[0].shape
    across = blocks(columns, COLUMNS)
    groups = max(1, min(blocks(rows, ROWS), _processors() // across))
    each = blocks(rows, groups * ROWS)

    def run(row: Array, *operands: Array) -> list[Array]:
        def kernel(row: Ref, *refs: Ref) -> None:
            *operands, result, sums, made, summed = refs
            group, column = lax.axis_index("group"), lax.axis_index("column")
            columns = pl.ds(column * COLUMNS, COLUMNS)
            added = None if bias is None else _row(row.at[columns], (ROWS, COLUMNS))

            def step(index: Any, *refs: Ref) -> Array:
                (k,), (*tiles, total) = index, refs
                value = body([load(tile, plgpu.Layout.WGMMA).astype(jnp.float32) for tile in tiles], added)
                # Two tiles of results take turns: that of the step before may still be on its way to memory.
                plgpu.wait_smem_to_gmem(1, wait_read_only=True)
                slot = made.at[lax.rem(k, 2)]
                slot[...] = value.astype(made.dtype)
                plgpu.commit_smem()
                plgpu.copy_smem_to_gmem(slot, result.at[pl.ds((group * each + k) * ROWS, ROWS), columns])
                return total + value

            def spec(dtype: DTypeLike) -> plgpu.BlockSpec:
                return _tile_spec((ROWS, COLUMNS), dtype, lambda k: (group * each + k, column))

            total = plgpu.emit_pipeline(
                step,
                grid=(each,),
                in_specs=[spec(operand.dtype) for operand in operands],
                max_concurrent_steps=2,
                init_carry=plgpu.layout_cast(jnp.zeros((ROWS, COLUMNS), jnp.float32), plgpu.Layout.WGMMA),
            )(*operands)
            summed[...] = total
            plgpu.commit_smem()
            plgpu.copy_smem_to_gmem(summed, sums.at[pl.ds(group * ROWS, ROWS), columns])
            plgpu.wait_smem_to_gmem(0)

        shape = operands[0].shape
        return plgpu.kernel(
            kernel,
            out_type=[
                jax.ShapeDtypeStruct(shape, output),
                jax.ShapeDtypeStruct((groups * ROWS, shape[1]), jnp.float32),
            ],
            scratch_types=[_shared((2, ROWS, COLUMNS), output), _shared((ROWS, COLUMNS), jnp.float32)],
            grid=(groups, across),
            grid_names=("group", "column"),
            **interpreter(interpret),
        )(row, *operands)

    row = jnp.zeros((1, columns), jnp.float32) if bias is None else bias[None]
    whole = [_whole_tiles(operand, groups * each * ROWS, COLUMNS) for operand in operands]
    made, sums = sequential_vmap(run)(_whole_tiles(row, 1, COLUMNS)[0], *whole)
    return made[:rows, :columns], sums.sum(axis=0)[:columns]


def _mlp(x: Array, weights: Array, rows: Array, form: Form, output: DTypeLike, interpret: Any) -> Array:
    """The logits of an MLP whose layers are all of one width, by tiles of the batch."""
    width, samples = weights.shape[1], len(x)
    depth = len(weights) // width

    def body(x: Ref, weights: Ref, rows: Ref, logits: Ref, w: Ref, h: Ref, out: Ref, arrived: Ref) -> None:
        for layer in range(depth):
            plgpu.copy_gmem_to_smem(weights.at[pl.ds(layer * width, width)], w.at[layer], arrived)
            plgpu.barrier_wait(arrived)

        @plgpu.nd_loop((samples // ROWS,), collective_axes="processor")
        def _tile(loop: plgpu.NDLoopInfo) -> None:
            (i,) = loop.index
            plgpu.copy_gmem_to_smem(x.at[pl.ds(i * ROWS, ROWS)], h, arrived)
            plgpu.barrier_wait(arrived)
            for layer in range(depth):

                def multiplied(total: Ref, layer: int = layer) -> Array:
                    plgpu.wgmma(total, h, w.at[layer])
                    return total[...]  # waits for the product

                z = pl.run_scoped(multiplied, plgpu.ACC((ROWS, width), jnp.float32))
                z = z + _row(rows.at[pl.ds(layer * width, width)], z.shape)
                if layer < depth - 1:
                    h[...] = form.value(z).astype(output).astype(h.dtype)
                else:
                    out[...] = z.astype(out.dtype)
                plgpu.commit_smem()
            plgpu.copy_smem_to_gmem(out, logits.at[pl.ds(i * ROWS, ROWS)])
            plgpu.wait_smem_to_gmem(0)

    return plgpu.kernel(
        body,
        out_type=jax.ShapeDtypeStruct((samples, width), output),
        scratch_types=[
            _shared((depth, width, width), weights.dtype),
            _shared((ROWS, width), x.dtype),
            _shared((ROWS, width), output),
            plgpu.Barrier(),
        ],
        grid=(min(_processors(), samples // ROWS),),
        grid_names=("processor",),
        **interpreter(interpret),
    )(x, weights, rows)


def _row(row: Ref, shape: tuple[int, ...]) -> Array:
    """A row of numbers in memory, repeated for each row of a sum in a warpgroup's registers."""
    values = load(row, plgpu.Layout.WGMMA.reduce(0), optimized=False)
    return lax.broadcast_in_dim(values, shape, (1,))


def _shared(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    return plgpu.SMEM(shape, dtype, transforms=_transforms(dtype))


def _tile_spec(
    tile: tuple[int, int], dtype: DTypeLike, index: Callable[[Any], tuple[Any, Any]], delay: int = 0
) -> plgpu.BlockSpec:
    return plgpu.BlockSpec(tile, index, transforms=_transforms(dtype), delay_release=delay)


def _transforms(dtype: DTypeLike) -> tuple[Any, ...]:
    tiling: Any = plgpu.TilingTransform
    swizzle: Any = plgpu.SwizzleTransform
    return tiling((8, SWIZZLE_BYTES // jnp.dtype(dtype).itemsize)), swizzle(SWIZZLE_BYTES)


def _turned(pair: tuple[Any, ...], turned: bool) -> tuple[Any, Any]:
    first, second = pair
    return (second, first) if turned else (first, second)


def _turned_ref(tile: Ref, turned: bool) -> Ref:
    return tile.T if turned else tile


def _whole_tiles(array: Array, rows: int, columns: int) -> Array:
    wanted = padded(array.shape[0], rows), padded(array.shape[1], columns)
    short = [(0, full - length) for full, length in zip(wanted, array.shape, strict=True)]
    return jnp.pad(array, short) if array.shape != wanted else array


def _processors() -> int:
    """Multiprocessors: of the abstract device of the mesh in force, else of the device that is here."""
    abstract = jax.sharding.get_abstract_mesh().abstract_device
    if abstract is not None and abstract.num_cores:
        return abstract.num_cores
    return getattr(jax.devices()[0], "core_count", None) or 1
