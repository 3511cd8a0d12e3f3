"""Every operation dispatched on its own, and a batch copied from the host each step: the baseline to learn from.

Nothing is compiled as a whole, nothing is donated, nothing lies on the device but the state. What the other
executions gain, they gain over this.
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax.backends.executors.base import Execution, ExecutorSpec, Run, SegmentMetrics, check_segment
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.shuffle import order_on_host, round_keys, steps_per_epoch, stored_order
from neuroforge_jax.data.types import Split
from neuroforge_jax.system.spans import span
from neuroforge_jax.training.state import TrainState, order_key


def prepare(spec: ExecutorSpec) -> Run:
    """Take a step that is thrown away: jax compiles each operation when it first meets it, without these options.

    So the first step of a training takes as long as the others.
    """
    step, device = spec.step, spec.device
    draw = partial(batch_of_step, spec.train, shuffles=spec.shuffles)
    fitted = jax.device_put(spec.fitted, device)
    # Without the default device that is in force here: jax would compile everything anew where it is not.
    with jax.default_device(None):
        made_up = jax.device_put(jax.tree.map(_small_numbers, spec.state_like), device)
        step(made_up, fitted, draw(made_up, 0, spec.batch_size, device))

    def run(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, SegmentMetrics]:
        check_segment(first_step, last_step)
        # jax compiles an operation once more for operands that are bound to a device, as the batch is.
        state, chunks = jax.device_put(state, device), []
        for index in range(first_step, last_step):
            state, metrics = step(state, fitted, draw(state, index, spec.batch_size, device))
            chunks.append((metrics, 1))
        return state, SegmentMetrics(tuple(chunks), first_step, last_step)

    return run


def batch_of_step(
    train: Split,
    state: TrainState,
    step: int,
    batch_size: int,
    device: jax.Device | None = None,
    *,
    shuffles: bool = True,
) -> Batch:
    """The samples of one step of a training, counted from 0, copied to a device. shuffles: see `draw_batch`."""
    epoch, in_epoch = divmod(step, steps_per_epoch(len(train), batch_size))
    positions = in_epoch * batch_size + np.arange(batch_size)
    with span("data"):
        if shuffles:
            keys = _keys(bytes(np.asarray(state.key_data)), epoch)
            picked = train[order_on_host(keys, len(train), positions)]
        else:
            picked = train[stored_order(len(train), positions)]
        mask = (positions < len(train)).astype(np.float32)
    with span("transfer"):
        return Batch(*jax.device_put((picked.inputs, picked.targets, mask, picked.weights), device))


def _small_numbers(like: jax.ShapeDtypeStruct) -> jax.Array:
    """An array of this shape and dtype; no floating-point number of it is 0, which a loss scale must not be."""
    return jnp.full(like.shape, 0.01 if jnp.issubdtype(like.dtype, jnp.floating) else 0, like.dtype)


@lru_cache(maxsize=1)
def _keys(key_data: bytes, epoch: int) -> np.ndarray:
    """The round keys of an epoch, computed once for all its steps."""
    return np.asarray(round_keys(order_key(jnp.asarray(np.frombuffer(key_data, np.uint32))), epoch))


EAGER = Execution("eager", prepare, resident=lambda spec: spec.batch_size, keeps_order=True)
