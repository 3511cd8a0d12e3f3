"""Functions of single numbers, and their sums over the rows, in one pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.typing import DTypeLike

from neuroforge_jax.kernels.hopper import division
from neuroforge_jax.kernels.hopper.division import COLUMNS, ROWS
from neuroforge_jax.kernels.hopper.memory import Ref, load_row, shared_memory, tile_spec
from neuroforge_jax.kernels.tiling import blocks, whole_tiles
from neuroforge_jax.kernels.versions import interpreter, load
from neuroforge_jax.typing import Array, Float


@dataclass(frozen=True)
class Pass:
    """One pass over the operands. function: (tiles of the operands in float32, bias or None) → the result."""

    function: Callable[[list[Array], Any], Array]
    output: DTypeLike
    interpret: Any = False


def map_elements(
    one_pass: Pass, operands: Sequence[Array], bias: Array | None = None
) -> tuple[Float[Array, "B O"], Float[Array, " O"]]:
    """The function's result in the output dtype, and its sum over the rows in float32."""
    rows, columns = operands[0].shape

    def run(row: Array, *operands: Array) -> list[Array]:
        return _launch(one_pass, row, operands, adds_bias=bias is not None)

    row = jnp.zeros((1, columns), jnp.float32) if bias is None else bias[None]
    whole = [whole_tiles(operand, ROWS, COLUMNS) for operand in operands]
    results, sums = sequential_vmap(run)(whole_tiles(row, 1, COLUMNS)[0], *whole)
    return results[:rows, :columns], sums.sum(axis=0)[:columns]


def _launch(one_pass: Pass, row: Array, operands: Sequence[Array], *, adds_bias: bool) -> list[Array]:
    """The kernel, for operands of whole tiles.

    The rows are divided into groups; each adds its tiles up in registers and writes one tile of sums, and XLA adds
    those of all groups.
    """
    shape, output = operands[0].shape, one_pass.output
    down, across = blocks(shape[0], ROWS), blocks(shape[1], COLUMNS)
    groups = division.count_parts(down, min(down, division.processors() // across))

    def kernel(row: Ref, *refs: Ref) -> None:
        *operands, result, sums, staged, total = refs
        group, column = lax.axis_index("group"), lax.axis_index("column")
        first, steps = division.locate_part(down, groups, group)
        columns = pl.ds(column * COLUMNS, COLUMNS)
        added = load_row(row.at[columns], (ROWS, COLUMNS)) if adds_bias else None

        def step(index: Any, *refs: Ref) -> Array:
            (k,), (*tiles, sum_so_far) = index, refs
            loaded = [load(tile, plgpu.Layout.WGMMA).astype(jnp.float32) for tile in tiles]
            value = one_pass.function(loaded, added)
            # Two tiles of results take turns: that of the step before may still be on its way to memory.
            plgpu.wait_smem_to_gmem(1, wait_read_only=True)
            slot = staged.at[lax.rem(k, 2)]
            slot[...] = value.astype(staged.dtype)
            plgpu.commit_smem()
            plgpu.copy_smem_to_gmem(slot, result.at[pl.ds((first + k) * ROWS, ROWS), columns])
            return sum_so_far + value

        total[...] = plgpu.emit_pipeline(
            step,
            grid=(steps,),
            in_specs=[
                tile_spec((ROWS, COLUMNS), operand.dtype, lambda k: (first + k, column))
                for operand in operands
            ],
            max_concurrent_steps=2,
            init_carry=plgpu.layout_cast(jnp.zeros((ROWS, COLUMNS), jnp.float32), plgpu.Layout.WGMMA),
        )(*operands)
        plgpu.commit_smem()
        plgpu.copy_smem_to_gmem(total, sums.at[pl.ds(group * ROWS, ROWS), columns])
        plgpu.wait_smem_to_gmem(0)

    return plgpu.kernel(
        kernel,
        out_type=[
            jax.ShapeDtypeStruct(shape, output),
            jax.ShapeDtypeStruct((groups * ROWS, shape[1]), jnp.float32),
        ],
        scratch_types=[
            shared_memory((2, ROWS, COLUMNS), output),
            shared_memory((ROWS, COLUMNS), jnp.float32),
        ],
        grid=(groups, across),
        grid_names=("group", "column"),
        **interpreter(one_pass.interpret),
    )(row, *operands)
