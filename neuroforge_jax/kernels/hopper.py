"""Kernels for NVIDIA GPUs of compute capability 9.0, in Pallas for Mosaic: tensor cores by the warpgroup.

A product is cut into tiles that the multiprocessors take in turn, each as many as there are. A warpgroup multiplies
from shared memory (wgmma) while the copy engine brings the tiles of the steps ahead, and the float32 sum is in its
registers, where bias and activation are applied before it is written:

    forward     y  = φ(x·W + b)
    gradient    dz = dy ⊙ φ′, and its sums over the rows of a group, in one pass over dy and what is kept
    inputs      dx = dz·Wᵀ
    weights     dW = xᵀ·dz
    mlp         all layers of a tile of the batch, with the weights in shared memory; backward they are computed
                again, down to every dz, which leaves the products dW

dz is written, in the compute dtype, and not made in the prologue of both products: wgmma takes its operands from
shared memory in 16 bits, and dy is float32. Operands are padded with zeros to whole tiles. A padded row of y is
φ(b), and is cut off; one of dy is 0, and so is its part of every gradient. No sum depends on who is first.
"""

import math
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
from neuroforge_jax.kernels.tiling import Tiles, blocks, padded, whole_tiles
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

LEAST_STEPS = 8
"""Of a part of a product whose terms are divided: each part writes a result of its own, to be read once more."""

WEIGHT_BYTES = 160 * 1024
"""Of a multiprocessor's shared memory, what the weights of an MLP may fill with the rest beside them; of more, each
layer's are fetched as they are needed."""

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
        _input_product(dz, kernel, tiles[0], interpret),
        _weight_product(x, dz, tiles[1], interpret),
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
    return _input_product(dz, kernel, tiles, interpret)


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
    return _weight_product(x, dz, tiles, interpret), dbias


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
    """The logits of a narrow MLP: the weights stay on chip, and so do the activations of a tile of the batch."""
    x_whole, weights, rows = _of_one_width(x, kernels, biases)

    def run(x: Array, weights: Array, rows: Array) -> Array:
        return _mlp(x, weights, rows, FORMS[activation], output, interpret)

    return sequential_vmap(run)(x_whole, weights, rows)[: len(x), : len(biases[-1])]


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

    One kernel computes the activations again and the gradients of the sums, tile by tile of the batch, and writes
    both for the products that follow: float32 gradients of a few layers' weights fit neither the registers nor the
    shared memory of a multiprocessor.
    """
    x_whole, weights, rows = _of_one_width(x, kernels, biases)

    def run(x: Array, dlogits: Array, weights: Array, rows: Array) -> list[Array]:
        return _mlp_gradient(x, dlogits, weights, rows, FORMS[activation], output, interpret)

    dlogits = whole_tiles(dlogits, ROWS, x_whole.shape[1])
    dx, dbias, *made = sequential_vmap(run)(x_whole, dlogits, weights, rows)
    inputs, dzs = [x_whole, *made[: len(kernels) - 1]], made[len(kernels) - 1 :]
    products = (_weight_product(h, dz, None, interpret) for h, dz in zip(inputs, dzs, strict=True))
    dkernels = [product[: len(w), : w.shape[1]] for product, w in zip(products, kernels, strict=True)]
    dbiases = dbias.reshape(-1, len(kernels), dbias.shape[1]).sum(axis=0)
    return dx[: len(x), : x.shape[1]], dkernels, [dbiases[k, : len(bias)] for k, bias in enumerate(biases)]


def _of_one_width(x: Array, kernels: Sequence[Array], biases: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Inputs, kernels and biases padded to the widest, the kernels one below the other, the biases too."""
    width = padded(max(x.shape[1], *(kernel.shape[1] for kernel in kernels)), 64)
    weights = jnp.concatenate([whole_tiles(kernel, width, width) for kernel in kernels])
    rows = jnp.concatenate([whole_tiles(bias[None], 1, width)[0] for bias in biases])
    return whole_tiles(x, ROWS, width), weights, rows


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
    parts: int = 1,
    tiles: Tiles | None = None,
    interpret: Any = False,
) -> list[Array]:
    """Finish(a·b + bias), a result for each dtype; transposed: whether a and b lie so in memory.

    parts: into which the terms are divided, where the tiles alone would leave processors without work. Each part is
    finished by itself, and XLA adds them up.
    """
    t = tiles or TILES
    a_tile, b_tile = _turn((t.rows, t.terms), transposed[0]), _turn((t.terms, t.columns), transposed[1])
    rows, columns = _turn(a.shape, transposed[0])[0], _turn(b.shape, transposed[1])[1]

    def run(a: Array, b: Array, row: Array) -> list[Array]:
        m, terms = _turn(a.shape, transposed[0])
        n = _turn(b.shape, transposed[1])[1]
        grid = (parts, m // t.rows, n // t.columns)

        def body(a: Ref, b: Ref, row: Ref, *refs: Ref) -> None:
            results, staged = refs[: len(dtypes)], refs[len(dtypes) :]

            @plgpu.nd_loop(grid, collective_axes="processor")
            def _tile(loop: plgpu.NDLoopInfo) -> None:
                part, i, j = loop.index
                at = pl.ds((part * grid[1] + i) * t.rows, t.rows), pl.ds(j * t.columns, t.columns)
                first, steps = _share(terms // t.terms, parts, part)

                def multiplied(total: Ref) -> Array:
                    def step(_: Any, a_tile: Ref, b_tile: Ref) -> None:
                        plgpu.wgmma(total, _turn_ref(a_tile, transposed[0]), _turn_ref(b_tile, transposed[1]))
                        plgpu.wgmma_wait(1)

                    # One product is still being computed when the next step begins: its tiles must not be written
                    # over before that step has waited for it, hence the delay.
                    plgpu.emit_pipeline(
                        step,
                        grid=(steps,),
                        in_specs=[
                            _tile_spec(a_tile, a.dtype, lambda k: _turn((i, first + k), transposed[0]), 1),
                            _tile_spec(b_tile, b.dtype, lambda k: _turn((first + k, j), transposed[1]), 1),
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
            out_type=[jax.ShapeDtypeStruct((parts * m, n), dtype) for dtype in dtypes],
            scratch_types=[_shared_memory((t.rows, t.columns), dtype) for dtype in dtypes],
            grid=(min(_processors(), math.prod(grid)),),
            grid_names=("processor",),
            **interpreter(interpret),
        )(a, b, row)

    row = jnp.zeros(columns, jnp.float32) if bias is None else bias
    padded_row = whole_tiles(row[None], 1, t.columns)[0]
    made = sequential_vmap(run)(whole_tiles(a, *a_tile), whole_tiles(b, *b_tile), padded_row)
    if parts > 1:
        made = [result.reshape(parts, -1, result.shape[1]).sum(axis=0) for result in made]
    return [result[:rows, :columns] for result in made]


def _input_product(dz: Array, kernel: Array, tiles: Tiles | None, interpret: Any) -> Array:
    """dz·Wᵀ in the compute dtype."""
    how = {"transposed": (False, True), "tiles": tiles, "interpret": interpret}
    return _product(dz, kernel, [kernel.dtype], lambda dx: [dx], **how)[0]


def _weight_product(x: Array, dz: Array, tiles: Tiles | None, interpret: Any) -> Array:
    """xᵀ·dz in float32. Its sum is as long as the batch and its tiles are few, so that it is divided."""
    t = tiles or TILES
    steps = blocks(len(x), t.terms)
    idle = _processors() // (blocks(x.shape[1], t.rows) * blocks(dz.shape[1], t.columns))
    parts = _parts(steps, min(idle, steps // LEAST_STEPS))
    how = {"transposed": (True, False), "parts": parts, "tiles": tiles, "interpret": interpret}
    return _product(x, dz, [jnp.float32], lambda dkernel: [dkernel], **how)[0]


def _parts(length: int, wanted: int) -> int:
    """Into how many equal parts to divide, of which the last is the shortest and not empty."""
    return blocks(length, blocks(length, max(1, wanted)))


def _share(length: int, parts: int, part: Array) -> tuple[Any, Any]:
    """Where a part begins, and how long it is."""
    each = blocks(length, parts)
    first = part * each
    return first, each if each * parts == length else jnp.minimum(each, length - first)


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
    groups = _parts(blocks(rows, ROWS), min(blocks(rows, ROWS), _processors() // across))

    def run(row: Array, *operands: Array) -> list[Array]:
        def kernel(row: Ref, *refs: Ref) -> None:
            *operands, result, sums, made, summed = refs
            group, column = lax.axis_index("group"), lax.axis_index("column")
            first, steps = _share(blocks(rows, ROWS), groups, group)
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
                plgpu.copy_smem_to_gmem(slot, result.at[pl.ds((first + k) * ROWS, ROWS), columns])
                return total + value

            def spec(dtype: DTypeLike) -> plgpu.BlockSpec:
                return _tile_spec((ROWS, COLUMNS), dtype, lambda k: (first + k, column))

            total = plgpu.emit_pipeline(
                step,
                grid=(steps,),
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
            scratch_types=[
                _shared_memory((2, ROWS, COLUMNS), output),
                _shared_memory((ROWS, COLUMNS), jnp.float32),
            ],
            grid=(groups, across),
            grid_names=("group", "column"),
            **interpreter(interpret),
        )(row, *operands)

    row = jnp.zeros((1, columns), jnp.float32) if bias is None else bias[None]
    whole = [whole_tiles(operand, ROWS, COLUMNS) for operand in operands]
    made, sums = sequential_vmap(run)(whole_tiles(row, 1, COLUMNS)[0], *whole)
    return made[:rows, :columns], sums.sum(axis=0)[:columns]


def _mlp(x: Array, weights: Array, rows: Array, form: Form, output: DTypeLike, interpret: Any) -> Array:
    """The logits of an MLP whose layers are all of one width, by tiles of the batch."""
    width, samples = weights.shape[1], len(x)
    depth = len(weights) // width

    def body(x: Ref, weights: Ref, rows: Ref, logits: Ref, w: Ref, h: Ref, out: Ref, arrived: Ref) -> None:
        layers = _Layers(weights, rows, w, arrived)

        @plgpu.nd_loop((samples // ROWS,), collective_axes="processor")
        def _tile(loop: plgpu.NDLoopInfo) -> None:
            at = pl.ds(loop.index[0] * ROWS, ROWS)
            _fetch(x.at[at], h, arrived)
            for layer in range(depth):
                z = layers.sums(h, layer)
                if layer < depth - 1:
                    h[...] = form.value(z).astype(output).astype(h.dtype)
                else:
                    out[...] = z.astype(out.dtype)
                plgpu.commit_smem()
            plgpu.copy_smem_to_gmem(out, logits.at[at])
            plgpu.wait_smem_to_gmem(0)

    return plgpu.kernel(
        body,
        out_type=jax.ShapeDtypeStruct((samples, width), output),
        scratch_types=[
            _held(weights),
            _shared_memory((ROWS, width), x.dtype),
            _shared_memory((ROWS, width), output),
            plgpu.Barrier(),
        ],
        grid=(min(_processors(), samples // ROWS),),
        grid_names=("processor",),
        **interpreter(interpret),
    )(x, weights, rows)


def _mlp_gradient(
    x: Array, dlogits: Array, weights: Array, rows: Array, form: Form, output: DTypeLike, interpret: Any
) -> list[Array]:
    """Gradients of x and, by processor and layer, of the biases; what goes into each layer; the sums' gradients."""
    width, samples = weights.shape[1], len(x)
    depth = len(weights) // width
    processors = min(_processors(), samples // ROWS)

    def body(x: Ref, dlogits: Ref, weights: Ref, rows: Ref, dx: Ref, dbias: Ref, *refs: Ref) -> None:
        made, (w, h, dy, sums, arrived) = refs[:-5], refs[-5:]
        inputs, dzs = made[: depth - 1], made[depth - 1 :]
        layers = _Layers(weights, rows, w, arrived)
        for layer in range(depth):
            nothing = jnp.zeros((width,), jnp.float32)
            sums.at[layer][...] = plgpu.layout_cast(nothing, plgpu.Layout.WGMMA.reduce(0))

        @plgpu.nd_loop((samples // ROWS,), collective_axes="processor")
        def _tile(loop: plgpu.NDLoopInfo) -> None:
            at = pl.ds(loop.index[0] * ROWS, ROWS)

            def put(values: Array, result: Ref) -> None:
                """Into memory, and where the next product takes it from."""
                plgpu.wait_smem_to_gmem(0, wait_read_only=True)
                h[...] = values.astype(h.dtype)
                plgpu.commit_smem()
                plgpu.copy_smem_to_gmem(h, result.at[at])

            _fetch(x.at[at], h, arrived)
            _fetch(dlogits.at[at], dy, arrived)
            kept = []
            for layer in range(depth - 1):
                z = layers.sums(h, layer)
                y = form.value(z).astype(output).astype(jnp.float32)
                kept.append(z if form.keeps_sum else y)
                put(y, inputs[layer])
            dz = load(dy, plgpu.Layout.WGMMA).astype(jnp.float32)
            for layer in reversed(range(depth)):
                put(dz, dzs[layer])
                # Each warp reads and writes all of the row. The sum over rows lies between, in which warps wait for
                # each other: without it a warp could read what another has added to already.
                before = load(sums.at[layer], plgpu.Layout.WGMMA.reduce(0), optimized=False)
                sums.at[layer][...] = before + dz.sum(axis=0)
                dhidden = layers.product(h, layer, turned=True).astype(h.dtype)
                if layer:
                    dz = form.gradient(dhidden.astype(jnp.float32), kept[layer - 1])
            put(dhidden, dx)
            # The next tile of x comes into the same place.
            plgpu.wait_smem_to_gmem(0)

        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(sums, dbias.at[pl.ds(lax.axis_index("processor") * depth, depth)])
        plgpu.wait_smem_to_gmem(0)

    activations = jax.ShapeDtypeStruct((samples, width), x.dtype)
    sums = jax.ShapeDtypeStruct((processors * depth, width), jnp.float32)
    return plgpu.kernel(
        body,
        out_type=[activations, sums] + [activations] * (2 * depth - 1),
        scratch_types=[
            _held(weights),
            _shared_memory((ROWS, width), x.dtype),
            _shared_memory((ROWS, width), dlogits.dtype),
            plgpu.SMEM((depth, width), jnp.float32),
            plgpu.Barrier(),
        ],
        grid=(processors,),
        grid_names=("processor",),
        **interpreter(interpret),
    )(x, dlogits, weights, rows)


def _held(weights: Array) -> Any:
    """Place for the kernels of all layers or, where shared memory is too small for that, of one."""
    width = weights.shape[1]
    held = len(weights) // width if 2 * weights.size <= WEIGHT_BYTES else 1
    return _shared_memory((held, width, width), weights.dtype)


class _Layers:
    """The layers of an MLP of one width, as a warpgroup multiplies by them.

    w: place for the kernels of all of them, fetched once, or of one, fetched each time.
    """

    def __init__(self, weights: Ref, rows: Ref, w: Ref, arrived: Ref) -> None:
        self.weights, self.rows, self.w, self.arrived = weights, rows, w, arrived
        self.width = w.shape[1]
        self.all_held = w.shape[0] * self.width == weights.shape[0]
        if self.all_held:
            for layer in range(w.shape[0]):
                self._fetch_kernel(layer, layer)

    def sums(self, h: Ref, layer: int) -> Array:
        """h·W + b of a layer, in float32."""
        z = self.product(h, layer)
        return z + _row(self.rows.at[pl.ds(layer * self.width, self.width)], z.shape)

    def product(self, h: Ref, layer: int, turned: bool = False) -> Array:
        """h·W or h·Wᵀ; of both all reading is done."""
        if not self.all_held:
            self._fetch_kernel(layer, 0)
        kernel = self.w.at[layer if self.all_held else 0]

        def multiplied(total: Ref) -> Array:
            plgpu.wgmma(total, h, _turn_ref(kernel, turned))
            return total[...]  # waits for the product

        return pl.run_scoped(multiplied, plgpu.ACC(h.shape, jnp.float32))

    def _fetch_kernel(self, layer: int, place: int) -> None:
        _fetch(self.weights.at[pl.ds(layer * self.width, self.width)], self.w.at[place], self.arrived)


def _fetch(source: Ref, place: Ref, arrived: Ref) -> None:
    plgpu.copy_gmem_to_smem(source, place, arrived)
    plgpu.barrier_wait(arrived)


def _row(row: Ref, shape: tuple[int, ...]) -> Array:
    """A row of numbers in memory, repeated for each row of a sum in a warpgroup's registers."""
    values = load(row, plgpu.Layout.WGMMA.reduce(0), optimized=False)
    return lax.broadcast_in_dim(values, shape, (1,))


def _shared_memory(shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    return plgpu.SMEM(shape, dtype, transforms=_transforms(dtype))


def _tile_spec(
    tile: tuple[int, int], dtype: DTypeLike, index: Callable[[Any], tuple[Any, Any]], delay: int = 0
) -> plgpu.BlockSpec:
    return plgpu.BlockSpec(tile, index, transforms=_transforms(dtype), delay_release=delay)


def _transforms(dtype: DTypeLike) -> tuple[Any, ...]:
    tiling: Any = plgpu.TilingTransform
    swizzle: Any = plgpu.SwizzleTransform
    return tiling((8, SWIZZLE_BYTES // jnp.dtype(dtype).itemsize)), swizzle(SWIZZLE_BYTES)


def _turn(pair: tuple[Any, ...], turned: bool) -> tuple[Any, Any]:
    first, second = pair
    return (second, first) if turned else (first, second)


def _turn_ref(tile: Ref, turned: bool) -> Ref:
    return tile.T if turned else tile


def _processors() -> int:
    """Multiprocessors: of the abstract device of the mesh in force, else of the device that is here."""
    abstract = jax.sharding.get_abstract_mesh().abstract_device
    if abstract is not None and abstract.num_cores:
        return abstract.num_cores
    return getattr(jax.devices()[0], "core_count", None) or 1
