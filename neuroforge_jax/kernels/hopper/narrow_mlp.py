"""A whole narrow MLP in one kernel: its weights stay in shared memory, and so do the activations of a tile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.typing import DTypeLike

from neuroforge_jax.kernels.forms import FORMS, Form
from neuroforge_jax.kernels.hopper import division
from neuroforge_jax.kernels.hopper.division import ROWS
from neuroforge_jax.kernels.hopper.memory import Ref, fetch, load_row, shared_memory, transpose_if
from neuroforge_jax.kernels.hopper.product import multiply_over_batch
from neuroforge_jax.kernels.tiling import round_up, whole_tiles
from neuroforge_jax.kernels.versions import interpreter, load
from neuroforge_jax.typing import Array, Float

WEIGHT_BYTES = 160 * 1024
"""Of a multiprocessor's shared memory, what the weights of an MLP may fill with the rest beside them; of more, each
layer's are fetched as they are needed."""


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
    x_whole, weights, rows = _pad_to_one_width(x, kernels, biases)
    network = _Network(FORMS[activation], output, interpret)
    return sequential_vmap(network.logits)(x_whole, weights, rows)[: len(x), : len(biases[-1])]


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
    x_whole, weights, rows = _pad_to_one_width(x, kernels, biases)
    network = _Network(FORMS[activation], output, interpret)
    dlogits = whole_tiles(dlogits, ROWS, x_whole.shape[1])
    dx, dbias, *written = sequential_vmap(network.gradients)(x_whole, dlogits, weights, rows)
    inputs, dzs = [x_whole, *written[: len(kernels) - 1]], written[len(kernels) - 1 :]
    products = (multiply_over_batch(h, dz, None, interpret) for h, dz in zip(inputs, dzs, strict=True))
    dkernels = [product[: len(w), : w.shape[1]] for product, w in zip(products, kernels, strict=True)]
    dbiases = dbias.reshape(-1, len(kernels), dbias.shape[1]).sum(axis=0)
    return dx[: len(x), : x.shape[1]], dkernels, [dbiases[k, : len(bias)] for k, bias in enumerate(biases)]


def _pad_to_one_width(
    x: Array, kernels: Sequence[Array], biases: Sequence[Array]
) -> tuple[Array, Array, Array]:
    """Inputs, kernels and biases padded to the widest, the kernels one below the other, the biases too."""
    width = round_up(max(x.shape[1], *(kernel.shape[1] for kernel in kernels)), 64)
    weights = jnp.concatenate([whole_tiles(kernel, width, width) for kernel in kernels])
    rows = jnp.concatenate([whole_tiles(bias[None], 1, width)[0] for bias in biases])
    return whole_tiles(x, ROWS, width), weights, rows


@dataclass(frozen=True)
class _Network:
    """The kernels of an MLP whose layers are all of one width, forward and backward."""

    form: Form
    output: DTypeLike
    interpret: Any

    def logits(self, x: Array, weights: Array, rows: Array) -> Array:
        """By tiles of the batch."""
        width, samples = weights.shape[1], len(x)
        depth = len(weights) // width

        def body(
            x: Ref, weights: Ref, rows: Ref, logits: Ref, w: Ref, h: Ref, out: Ref, arrived: Ref
        ) -> None:
            layers = _Layers(weights, rows, w, arrived)

            @plgpu.nd_loop((samples // ROWS,), collective_axes="processor")
            def _tile(loop: plgpu.NDLoopInfo) -> None:
                at = pl.ds(loop.index[0] * ROWS, ROWS)
                fetch(x.at[at], h, arrived)
                for layer in range(depth):
                    z = layers.sums(h, layer)
                    if layer < depth - 1:
                        h[...] = self.form.value(z).astype(self.output).astype(h.dtype)
                    else:
                        out[...] = z.astype(out.dtype)
                    plgpu.commit_smem()
                plgpu.copy_smem_to_gmem(out, logits.at[at])
                plgpu.wait_smem_to_gmem(0)

        return plgpu.kernel(
            body,
            out_type=jax.ShapeDtypeStruct((samples, width), self.output),
            scratch_types=[
                _place_for(weights),
                shared_memory((ROWS, width), x.dtype),
                shared_memory((ROWS, width), self.output),
                plgpu.Barrier(),
            ],
            grid=(min(division.processors(), samples // ROWS),),
            grid_names=("processor",),
            **interpreter(self.interpret),
        )(x, weights, rows)

    def gradients(self, x: Array, dlogits: Array, weights: Array, rows: Array) -> list[Array]:
        """Of x and, by processor and layer, of the biases; what goes into each layer; the sums' gradients."""
        width, samples = weights.shape[1], len(x)
        depth, processors = len(weights) // width, min(division.processors(), samples // ROWS)

        def body(x: Ref, dlogits: Ref, weights: Ref, rows: Ref, dx: Ref, dbias: Ref, *refs: Ref) -> None:
            written, (w, h, dy, sums, arrived) = refs[:-5], refs[-5:]
            inputs, dzs = written[: depth - 1], written[depth - 1 :]
            layers = _Layers(weights, rows, w, arrived)
            for layer in range(depth):
                zeros = jnp.zeros((width,), jnp.float32)
                sums.at[layer][...] = plgpu.layout_cast(zeros, plgpu.Layout.WGMMA.reduce(0))

            @plgpu.nd_loop((samples // ROWS,), collective_axes="processor")
            def _tile(loop: plgpu.NDLoopInfo) -> None:
                tile = _Tile(pl.ds(loop.index[0] * ROWS, ROWS), h, layers)
                fetch(x.at[tile.at], h, arrived)
                fetch(dlogits.at[tile.at], dy, arrived)
                kept = self._forward_again(tile, inputs)
                dz = load(dy, plgpu.Layout.WGMMA).astype(jnp.float32)
                tile.put(self._backward(tile, dz, kept, dzs, sums), dx)
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
                _place_for(weights),
                shared_memory((ROWS, width), x.dtype),
                shared_memory((ROWS, width), dlogits.dtype),
                plgpu.SMEM((depth, width), jnp.float32),
                plgpu.Barrier(),
            ],
            grid=(processors,),
            grid_names=("processor",),
            **interpreter(self.interpret),
        )(x, dlogits, weights, rows)

    def _forward_again(self, tile: "_Tile", inputs: Sequence[Ref]) -> list[Array]:
        """Write what goes into each layer but the first; returns what their slopes are computed from."""
        kept = []
        for layer, result in enumerate(inputs):
            z = tile.layers.sums(tile.h, layer)
            y = self.form.value(z).astype(self.output).astype(jnp.float32)
            kept.append(z if self.form.keeps_sum else y)
            tile.put(y, result)
        return kept

    def _backward(
        self, tile: "_Tile", dz: Array, kept: Sequence[Array], dzs: Sequence[Ref], sums: Ref
    ) -> Array:
        """Write the gradient of each layer's sum, and add it to that of its bias; returns the gradient of x."""
        dhidden = dz
        for layer in reversed(range(len(dzs))):
            tile.put(dz, dzs[layer])
            # Each warp reads and writes all of the row. The sum over rows lies between, in which warps wait for
            # each other: without it a warp could read what another has added to already.
            before = load(sums.at[layer], plgpu.Layout.WGMMA.reduce(0), optimized=False)
            sums.at[layer][...] = before + dz.sum(axis=0)
            dhidden = tile.layers.product(tile.h, layer, transposed=True).astype(tile.h.dtype)
            if layer:
                dz = self.form.gradient(dhidden.astype(jnp.float32), kept[layer - 1])
        return dhidden


@dataclass(frozen=True)
class _Tile:
    """A tile of the batch on its way through the layers. at: its rows; h: where the products take it from."""

    at: Any
    h: Ref
    layers: "_Layers"

    def put(self, values: Array, result: Ref) -> None:
        """Into memory, and where the next product takes it from."""
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)
        self.h[...] = values.astype(self.h.dtype)
        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(self.h, result.at[self.at])


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
        return z + load_row(self.rows.at[pl.ds(layer * self.width, self.width)], z.shape)

    def product(self, h: Ref, layer: int, transposed: bool = False) -> Array:
        """h·W or h·Wᵀ; of both all reading is done."""
        if not self.all_held:
            self._fetch_kernel(layer, 0)
        kernel = self.w.at[layer if self.all_held else 0]

        def accumulate(total: Ref) -> Array:
            plgpu.wgmma(total, h, transpose_if(transposed, kernel))
            return total[...]  # waits for the product

        return pl.run_scoped(accumulate, plgpu.ACC(h.shape, jnp.float32))

    def _fetch_kernel(self, layer: int, place: int) -> None:
        fetch(self.weights.at[pl.ds(layer * self.width, self.width)], self.w.at[place], self.arrived)


def _place_for(weights: Array) -> Any:
    """Place for the kernels of all layers or, where shared memory is too small for that, of one."""
    width = weights.shape[1]
    layers = len(weights) // width if 2 * weights.size <= WEIGHT_BYTES else 1
    return shared_memory((layers, width, width), weights.dtype)
