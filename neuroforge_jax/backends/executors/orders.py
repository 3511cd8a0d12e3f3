"""The orders in which the samples of whole epochs are taken, computed on the device ahead of their steps.

They have a program of their own. It is one for all networks, batches and runs on about as many rows, and to compile
it takes about as long as to compile a small network's step, beside which it is compiled.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.backends.executors.base import ExecutorSpec
from neuroforge_jax.data.batch import Batch, BatchRows, DeviceData, bucket, gather, take_stored
from neuroforge_jax.data.shuffle import order_bits, positions_of_step, sample_order, steps_per_epoch
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.compiling import Compiling, start_compiling
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.state import TrainState, order_key
from neuroforge_jax.typing import Array, Integer, UInt32

POSITIONS_AHEAD = 1 << 14
"""Orders of several epochs are computed at once where they have at most so many positions together (64 KiB)."""


@dataclass(frozen=True, eq=False)
class Orders:
    """The orders of a training's epochs. per_epoch: steps of one; epochs: computed at once, at most.

    compiled: (key data, first epoch, last epoch, samples) → i32 [E, S], of a population [P, E, S], whose rows are
    the orders of first … last − 1, then zeros. S: positions of an epoch and some of padding. None where samples are
    taken as they are stored. like: the shape of what it gives, and where it lies.
    """

    per_epoch: int
    epochs: int
    compiled: Compiling | None = None
    like: jax.ShapeDtypeStruct | None = None

    def pieces(self, first_step: int, last_step: int, most: int) -> Iterator[tuple[int, int, int]]:
        """The steps first_step … last_step − 1 in pieces (first step, last step, first epoch) of at most so many
        steps, each within epochs whose orders are computed at once.
        """
        while first_step < last_step:
            epoch = first_step // self.per_epoch
            end = min(last_step, first_step + most, (epoch + self.epochs) * self.per_epoch)
            yield first_step, end, epoch
            first_step = end

    def of(self, state: TrainState, data: DeviceData, epoch: int, last_step: int) -> Array | None:
        """The orders from this epoch on to that of the step before `last_step`."""
        if self.compiled is None:
            return None
        end = -(-last_step // self.per_epoch)
        orders: Array = self.compiled(state.key_data, np.int32(epoch), np.int32(end), data.samples)
        return orders

    @property
    def programs(self) -> dict[str, jax.stages.Compiled]:
        """What XLA compiled for it, by name."""
        return {} if self.compiled is None else {"order": self.compiled.result()}


def prepare_orders(spec: ExecutorSpec, data: DeviceData) -> Orders:
    """Begin to compile what computes the orders of a training's samples."""
    size = spec.batch_rows.size
    per_epoch = steps_per_epoch(len(spec.train), size)
    if not spec.shuffles:
        return Orders(per_epoch, epochs=spec.sized_for)
    shape, zero = shape_of_orders(data.rows, size), np.int32(0)
    many = spec.members is not None
    jitted = _jit_program(order_bits(data.rows), shape, many, spec.placement)
    compiled = start_compiling(jitted, spec.device, spec.state_like.key_data, zero, zero, data.samples)
    return Orders(per_epoch, shape[0], compiled, orders_like(shape, spec.placement, spec.members))


def shape_of_orders(rows: int, batch_size: int) -> tuple[int, int]:
    """(E, S) of so many rows on the device. S is rounded up, so that other batches are the same program."""
    positions = steps_per_epoch(rows, batch_size) * batch_size
    small = positions <= POSITIONS_AHEAD
    positions = 1 << (positions - 1).bit_length() if small else bucket(positions)
    return max(1, POSITIONS_AHEAD // positions), positions


def orders_like(
    shape: tuple[int, int], placement: Placement, members: int | None = None
) -> jax.ShapeDtypeStruct:
    """The shape of orders, and over a mesh where they lie: every device has those of its networks."""
    axes, of_members = ((), ()) if members is None else (("members",), (members,))
    sharding = None if placement.mesh is None else placement.sharding(*axes)
    return jax.ShapeDtypeStruct((*of_members, *shape), jnp.int32, sharding=sharding)


def order_program(
    bits: int, shape: tuple[int, int], placement: Placement
) -> Callable[[UInt32[Array, "2"], Array, Array, Array], Integer[Array, "E S"]]:
    """The pure program (key data, first epoch, last epoch, samples) → orders. bits: `order_bits` of the rows."""

    def order(key_data: Array, first: Array, last: Array, samples: Array) -> Array:
        key, every = order_key(key_data), jnp.arange(shape[1], dtype=jnp.int32)

        def add_epoch(epoch: Array, orders: Array) -> Array:
            return orders.at[epoch - first].set(sample_order(key, epoch, samples, every, bits))

        with jax.named_scope("data"):
            orders = lax.fori_loop(first, last, add_epoch, jnp.zeros(shape, jnp.int32))
        return placement.mark(orders)

    return order


@by_structure
def _jit_program(bits: int, shape: tuple[int, int], many: bool, placement: Placement) -> jax.stages.Wrapped:
    # Without the training's options for XLA, which are about its products, so that it is one program for all.
    program = order_program(bits, shape, placement)
    return jax.jit(placement.vmap(program, in_axes=(0, None, None, None)) if many else program)


def take_step(data: DeviceData, orders: Array | None, step: Integer[Array, ""], rows: BatchRows) -> Batch:
    """The samples of a step, counted from the first one of the epochs in `orders`; of None, as they are stored."""
    per_epoch = steps_per_epoch(data.samples, rows.size)
    in_epoch = lax.rem(step, per_epoch)
    positions = positions_of_step(in_epoch, rows.size)
    if orders is None:
        return take_stored(data, positions, rows)
    at = lax.div(step, per_epoch), in_epoch * rows.size
    indices = lax.dynamic_slice(orders, at, (1, rows.size))[0]
    return gather(data, rows.spread(indices), rows.spread((positions < data.samples).astype(jnp.float32)))
