"""Where a training lies: on one device, or divided over a mesh of them.

A program is written for whole arrays. Where its arguments lie, and the few marks that it sets by `mark`, say how
XLA divides it over the devices; the sums that the parts need are XLA's to add (Xu et al., 2021, arXiv:2105.04663).
One table says which axis of an array is divided over which axis of the mesh:

    data=4          each device has all weights and a quarter of the batch; the gradients are summed, once a step
    model=4         each has a quarter of every other hidden layer: the columns of the kernel before it and the rows
                    of the one behind, so that two layers need one sum (Shoeybi et al., 2019, arXiv:1909.08053)
    population=4    each has a quarter of the networks, which meet nowhere
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.kernels.xla import SMALL_BATCH
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.mlp import MLP, Dense, abstract_params
from neuroforge_jax.system.placing import is_whole_here, put, take_own
from neuroforge_jax.typing import Array, Params

MESH_AXIS_OF = {
    "members": "population",
    "batch": "data",
    "inputs": None,
    "hidden": "model",
    "hidden_whole": None,
    "outputs": None,
}
"""Axis of an array → axis of the mesh over which it is divided; None where every device has all of it."""

MESH_AXES = ("population", "data", "model")
"""From the outermost: neighbours along `model`, which exchange the most, are the nearest to each other."""

Tree = TypeVar("Tree")


@dataclass(frozen=True)
class Placement:
    """device: of a training on one device; of any other the first one of this process. mesh: the devices with their
    axes; None for one device. mlp: whose parameters are divided; None where none are.
    """

    device: jax.Device
    mesh: Mesh | None = None
    mlp: MLP | None = None

    @property
    def devices(self) -> int:
        """How many it takes."""
        return 1 if self.mesh is None else self.mesh.size

    def parts(self, axis: str) -> int:
        """In how many parts an axis of an array is divided."""
        name = MESH_AXIS_OF[axis]
        return 1 if self.mesh is None or name is None else self.mesh.shape.get(name, 1)

    def round_up(self, size: int, axis: str) -> int:
        """The next size along an axis that divides into its parts."""
        parts = self.parts(axis)
        return -(-size // parts) * parts

    def own_rows(self, rows: int) -> slice:
        """Of a batch of so many rows those that this process reads: those of its devices where they lie together,
        as many as every other process has, else all.
        """
        if self.mesh is None:
            return slice(0, rows)
        sharding = self.sharding("batch")
        parts = sharding.addressable_devices_indices_map((rows,)).values()
        own = {index for part in parts if part for index in range(*part[0].indices(rows))}
        if len(own) * jax.process_count() != rows or max(own) - min(own) + 1 != len(own):
            return slice(0, rows)
        return slice(min(own), max(own) + 1)

    def spec(self, axes: Sequence[str | None]) -> PartitionSpec:
        """Of an array with these axes, None for one that no table knows."""
        here = () if self.mesh is None else self.mesh.axis_names
        names = [axis and MESH_AXIS_OF[axis] for axis in axes]
        while names and names[-1] not in here:  # equal ones are one to jax where they are written alike
            names.pop()
        return PartitionSpec(*(name if name in here else None for name in names))

    def sharding(self, *axes: str | None) -> Sharding:
        """Of an array whose first axes are these; without any, all of it is on every device."""
        return (
            SingleDeviceSharding(self.device)
            if self.mesh is None
            else NamedSharding(self.mesh, self.spec(axes))
        )

    def mark(self, array: Array, *axes: str | None) -> Array:
        """Within a program: this array is divided so."""
        return array if self.mesh is None else lax.with_sharding_constraint(array, self.sharding(*axes))

    def mark_batch(self, batch: Batch) -> Batch:
        """Within a program: the rows of this batch are divided over the devices."""
        # Not the mask, which each of them can compute: the number of its samples would take a sum of its own, ahead
        # of all others.
        divided: Batch = jax.tree.map(lambda leaf: self.mark(leaf, "batch"), batch)
        return replace(divided, mask=self.mark(batch.mask))

    def mark_params(self, params: Params) -> Params:
        """Within a program: these parameters are divided, those too whose widths do not divide, which XLA pads."""
        if self.parts("hidden") == 1:
            return params
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: self.mark(leaf, *self._axes(path, leaf.shape)), params
        )

    def mark_state(self, state: Tree) -> Tree:
        """Within a program: what it gives back lies where it was taken from."""
        if self.mesh is None:
            return state
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: self.mark(leaf, *self._divided(self._axes(path, leaf.shape), leaf.shape)),
            state,
        )

    def lay_out(self, like: Tree, *, many: bool) -> Tree:
        """The shapes and dtypes of a state, with where each of its arrays lies; as they are for one device.

        A leaf with the path and the shape of a parameter lies as that does, the optimizer's moments too; of an axis
        that does not divide every device has all. many: of a population, every leaf [P, …].
        """
        if self.mesh is None:
            return like
        members = ("members",) if many else ()

        def place(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
            axes = (*members, *self._axes(path, leaf.shape[len(members) :]))
            sharding = self.sharding(*self._divided(axes, leaf.shape))
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree_util.tree_map_with_path(place, like)

    def _axes(self, path: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Of a leaf by the last two names of its path, which those of a parameter are; none of any other."""
        if self.mlp is None:
            return ()
        names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path[-2:]]
        param = abstract_params(self.mlp).get(names[0], {}).get(names[-1])
        return param.axes if param is not None and param.shape == shape else ()

    def _divided(self, axes: Sequence[str], shape: tuple[int, ...]) -> tuple[str | None, ...]:
        return tuple(
            axis if size % self.parts(axis) == 0 else None for axis, size in zip(axes, shape, strict=False)
        )

    def put(self, tree: Tree, like: Tree) -> Tree:
        """Arrays of the host or of one device where those of `like` lie, in buffers of their own."""
        return jax.tree.map(
            lambda leaf, place: put(leaf, place.sharding or self.device, may_alias=False),
            tree,
            like,
        )

    def gather(self, tree: Tree) -> Tree:
        """Arrays over a mesh, whole on the first device; those of one device as they are. Of several processes all
        call it, and each has its own.
        """
        if self.mesh is None:
            return tree
        whole = (
            tree if is_whole_here(tree) else jax.jit(lambda tree: tree, out_shardings=self.sharding())(tree)
        )
        return jax.device_put(take_own(whole), self.device)

    def sum_in_float32(self, model: Model) -> Model:
        """The model whose products leave each device unrounded where devices sum them, over the rows of a batch or
        the units of a layer.
        """
        if self.parts("batch") * self.parts("hidden") == 1:
            return model
        return replace(model, policy=replace(model.policy, rounds_products=False))

    def divide_kernels(self, model: Model) -> Dense | None:
        """The layers of a model where XLA must not divide them itself: each device computes its rows. None where it
        may: hand-written kernels have no rule for it, and few samples are multiplied one by one (`kernels/xla.py`),
        which it would send around.
        """
        mesh, dense = self.mesh, model.dense
        if mesh is None or self.parts("batch") == 1:
            return None
        rows, whole = self.spec(("batch",)), PartitionSpec()

        def dense_of_rows(x: Array, kernel: Array, bias: Array, activation: str) -> Array:
            if model.implementation == "xla" and len(x) > SMALL_BATCH:
                return dense(x, kernel, bias, activation)
            of_device = jax.shard_map(
                lambda x, kernel, bias: dense(x, kernel, bias, activation),
                mesh=mesh,
                in_specs=(rows, whole, whole),
                out_specs=rows,
                axis_names=self.divided_by_hand,
                check_vma=False,
            )
            return of_device(x, kernel, bias)

        return dense_of_rows

    @property
    def divided_by_hand(self) -> frozenset[str]:
        """The axes of the mesh that a program for each device (`jax.shard_map`) is divided over; within it kernels
        that are divided over `model` are XLA's to divide still.
        """
        axes = frozenset(() if self.mesh is None else self.mesh.axis_names)
        return axes if self.parts("hidden") == 1 else axes - {"model"}

    def vmap(self, function: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
        """`jax.vmap` over the members of a population, which are divided over the devices."""
        name = None if self.parts("members") == 1 else MESH_AXIS_OF["members"]
        return jax.vmap(function, in_axes=in_axes, spmd_axis_name=name)

    def __str__(self) -> str:
        return (
            "" if self.mesh is None else ",".join(f"{name}={size}" for name, size in self.mesh.shape.items())
        )
