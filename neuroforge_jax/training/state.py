"""The state of a training: all that one step hands to the next."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from neuroforge_jax.nn.mlp import ParamsLike
from neuroforge_jax.precision.loss_scale import LossScale
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.optimizer import OptimizerSpec
from neuroforge_jax.typing import Array, Bool, Integer, Params, PRNGKey, UInt32


@struct.dataclass
class TrainState:
    """params: float32 master weights; opt_state: the optimizer's; step: i32 [], steps done so far; hyper: the
    values of the training, which a step reads and never changes.

    key_data: u32 [2], the bits of the seed's key; a typed key would slow down every dispatch. Randomness is
    addressed from it by purpose and step, never drawn from it in turn.
    loss_scale: of a training whose losses are scaled, else None, which has no leaves and costs nothing.
    frozen: bool [], of a member of a population, whether it diverged and trains no more; else None.
    """

    params: Params
    opt_state: Any
    step: Integer[Array, ""]
    key_data: UInt32[Array, "2"]
    hyper: Hyper
    loss_scale: LossScale | None = None
    frozen: Bool[Array, ""] | None = None

    @property
    def key(self) -> PRNGKey:
        """The key of the seed."""
        return jax.random.wrap_key_data(self.key_data)

    @property
    def order_key(self) -> PRNGKey:
        """The key of the order of samples."""
        return order_key(self.key_data)

    @property
    def dropout_key(self) -> PRNGKey:
        """The key of this step's dropout."""
        return jax.random.fold_in(jax.random.fold_in(self.key, 2), self.step)


def order_key(key_data: UInt32[Array, "2"]) -> PRNGKey:
    """The key of the order of samples, from the bits of the seed's key."""
    return jax.random.fold_in(jax.random.wrap_key_data(key_data), 1)


def params_key(key: PRNGKey) -> PRNGKey:
    """The key of the parameters before the first step, from the key of the seed."""
    return jax.random.fold_in(key, 0)


def copy_params(params: Params, like: ParamsLike, device: jax.Device) -> Params:
    """Parameters on a device, in arrays of their own, which may be donated.

    like: their shapes and dtypes. Raises ValueError for others, with the first that differs.
    """
    given, wanted = (_describe_leaves(tree) for tree in (params, like))
    for name in dict.fromkeys((*wanted, *given)):
        if given.get(name) != wanted.get(name):
            raise ValueError(
                f"the parameter {name} is {given.get(name, 'missing')}, and this network's is "
                f"{wanted.get(name, 'none')}"
            )
    return jax.tree.map(lambda leaf: jax.device_put(leaf, device, may_alias=False), params)


def _describe_leaves(params: Params | ParamsLike) -> dict[str, str]:
    return {
        f"{layer}/{leaf}": f"{array.dtype} {list(array.shape)}"
        for layer, leaves in params.items()
        for leaf, array in leaves.items()
    }


def state_around(
    params: Params, key: PRNGKey, optimizer: OptimizerSpec, hyper: Hyper, loss_scale: LossScale | None = None
) -> TrainState:
    """The state before the first step that has these parameters."""
    step, hyper, loss_scale = jax.tree.map(jnp.array, (np.int32(0), hyper, loss_scale))
    opt_state = optimizer.build(hyper).init(params)
    return TrainState(params, opt_state, step, jax.random.key_data(key), hyper, loss_scale)
