"""Products of matrices, a tile of the result after the other, by multiprocessors that take them in turn."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.typing import DTypeLike

from neuroforge_jax.kernels.hopper import division
from neuroforge_jax.kernels.hopper.memory import Ref, load_row, shared_memory, tile_spec, transpose_if
from neuroforge_jax.kernels.tiling import Tiles, blocks, whole_tiles
from neuroforge_jax.kernels.versions import interpreter
from neuroforge_jax.typing import Array

TILES = Tiles(128, 128, 64)
"""Unless others were measured to be faster: 128 registers of sum for each of a warpgroup's 128 threads."""

STEPS_AHEAD = 3
"""Tiles of operands in shared memory at a time: with TILES 96 of its 227 kB; y in float32 and z in bf16 take 96."""

LEAST_STEPS = 8
"""Of a part of a product whose terms are divided: each part writes a result of its own, to be read once more."""


@dataclass(frozen=True)
class Operand:
    """One matrix of a product. tile: of it, as it is multiplied; transposed: whether it lies so in memory."""

    tile: tuple[int, int]
    transposed: bool

    def shape(self, array: Array | Ref) -> tuple[int, int]:
        """As it is multiplied."""
        return self._turn(array.shape)

    def pad(self, array: Array) -> Array:
        """With zeros to whole tiles."""
        return whole_tiles(array, *self._turn(self.tile))

    def spec(self, dtype: DTypeLike, index: Callable[[Any], tuple[Any, Any]]) -> plgpu.BlockSpec:
        """Of the tiles of a pipeline, which index gives by the step.

        One product is still being computed when the next step begins: its tiles must not be written over before
        that step has waited for it, hence the delay.
        """
        return tile_spec(self._turn(self.tile), dtype, lambda k: self._turn(index(k)), delay=1)

    def _turn(self, pair: tuple[Any, ...]) -> tuple[Any, Any]:
        first, second = pair
        return (second, first) if self.transposed else (first, second)


@dataclass(frozen=True)
class Plan:
    """How a·b is computed. transposed: whether a and b lie so in memory.

    parts: into which the terms are divided, where the tiles alone would leave processors without work. Each part is
    finished by itself, and XLA adds them up.
    """

    tiles: Tiles
    transposed: tuple[bool, bool] = (False, False)
    parts: int = 1
    interpret: Any = False

    @property
    def operands(self) -> tuple[Operand, Operand]:
        """A and b."""
        t = self.tiles
        return Operand((t.rows, t.terms), self.transposed[0]), Operand(
            (t.terms, t.columns), self.transposed[1]
        )


@dataclass(frozen=True)
class Epilogue:
    """What becomes of a tile of a·b + bias in registers: a result for each dtype."""

    dtypes: Sequence[DTypeLike]
    finish: Callable[[Array], Sequence[Array]]
    bias: Array | None = None


def multiply(a: Array, b: Array, plan: Plan, epilogue: Epilogue) -> list[Array]:
    """The results of the epilogue, of the whole product."""
    left, right = plan.operands
    rows, columns = left.shape(a)[0], right.shape(b)[1]

    def run(a: Array, b: Array, row: Array) -> list[Array]:
        return _launch(a, b, row, plan, epilogue)

    row = jnp.zeros(columns, jnp.float32) if epilogue.bias is None else epilogue.bias
    padded_row = whole_tiles(row[None], 1, plan.tiles.columns)[0]
    results = sequential_vmap(run)(left.pad(a), right.pad(b), padded_row)
    if plan.parts > 1:
        results = [result.reshape(plan.parts, -1, result.shape[1]).sum(axis=0) for result in results]
    return [result[:rows, :columns] for result in results]


def multiply_by_transpose(dz: Array, kernel: Array, tiles: Tiles | None, interpret: Any) -> Array:
    """dz·Wᵀ in the compute dtype."""
    plan = Plan(tiles or TILES, transposed=(False, True), interpret=interpret)
    return multiply(dz, kernel, plan, Epilogue([kernel.dtype], lambda dx: [dx]))[0]


def multiply_over_batch(x: Array, dz: Array, tiles: Tiles | None, interpret: Any) -> Array:
    """xᵀ·dz in float32. Its sum is as long as the batch and its tiles are few, so that it is divided."""
    t = tiles or TILES
    steps = blocks(len(x), t.terms)
    idle = division.processors() // (blocks(x.shape[1], t.rows) * blocks(dz.shape[1], t.columns))
    parts = division.count_parts(steps, min(idle, steps // LEAST_STEPS))
    plan = Plan(t, transposed=(True, False), parts=parts, interpret=interpret)
    return multiply(x, dz, plan, Epilogue([jnp.float32], lambda dkernel: [dkernel]))[0]


def _launch(a: Array, b: Array, row: Array, plan: Plan, epilogue: Epilogue) -> list[Array]:
    """The kernel, for operands of whole tiles."""
    t, (left, right) = plan.tiles, plan.operands
    (m, terms), n = left.shape(a), right.shape(b)[1]
    grid = (plan.parts, m // t.rows, n // t.columns)

    def body(a: Ref, b: Ref, row: Ref, *refs: Ref) -> None:
        results, staged = refs[: len(epilogue.dtypes)], refs[len(epilogue.dtypes) :]

        @plgpu.nd_loop(grid, collective_axes="processor")
        def _tile(loop: plgpu.NDLoopInfo) -> None:
            part, i, j = loop.index
            at = pl.ds((part * grid[1] + i) * t.rows, t.rows), pl.ds(j * t.columns, t.columns)
            z = _sum_tile(a, b, plan, (i, j), division.locate_part(terms // t.terms, plan.parts, part))
            if epilogue.bias is not None:
                z = z + load_row(row.at[at[1]], z.shape)
            for result, stage, values in zip(results, staged, epilogue.finish(z), strict=True):
                stage[...] = values.astype(stage.dtype)
                plgpu.commit_smem()
                plgpu.copy_smem_to_gmem(stage, result.at[at])
            plgpu.wait_smem_to_gmem(0)

    return plgpu.kernel(
        body,
        out_type=[jax.ShapeDtypeStruct((plan.parts * m, n), dtype) for dtype in epilogue.dtypes],
        scratch_types=[shared_memory((t.rows, t.columns), dtype) for dtype in epilogue.dtypes],
        grid=(min(division.processors(), math.prod(grid)),),
        grid_names=("processor",),
        **interpreter(plan.interpret),
    )(a, b, row)


def _sum_tile(a: Ref, b: Ref, plan: Plan, tile: tuple[Any, Any], steps: tuple[Any, Any]) -> Array:
    """A tile of a·b, in float32. steps: the first and the number of those that its terms take."""
    (i, j), (first, count), (left, right) = tile, steps, plan.operands

    def accumulate(total: Ref) -> Array:
        def step(_: Any, a_tile: Ref, b_tile: Ref) -> None:
            plgpu.wgmma(total, transpose_if(left.transposed, a_tile), transpose_if(right.transposed, b_tile))
            plgpu.wgmma_wait(1)

        plgpu.emit_pipeline(
            step,
            grid=(count,),
            in_specs=[
                left.spec(a.dtype, lambda k: (i, first + k)),
                right.spec(b.dtype, lambda k: (first + k, j)),
            ],
            max_concurrent_steps=STEPS_AHEAD,
        )(a, b)
        return total[...]

    return pl.run_scoped(accumulate, plgpu.ACC((plan.tiles.rows, plan.tiles.columns), jnp.float32))
