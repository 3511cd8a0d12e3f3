import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax.backends import Backend
from neuroforge_jax.backends.executors.base import StretchMetrics
from neuroforge_jax.data.batch import gather, to_device
from neuroforge_jax.data.shuffle import positions_of_step, sample_order, steps_per_epoch


def unrolled(step, state_like, train, device, *, batch_size, steps, options):
    data, per_epoch = to_device(train, device), steps_per_epoch(len(train), batch_size)

    def program(state, data, indices):  # a step for each index, written out: XLA sees no loop
        each = []
        for index in indices:
            positions = positions_of_step(index % per_epoch, batch_size)
            samples = sample_order(state.order_key, index // per_epoch, len(train), positions)
            weights = jnp.float32(positions < len(train))  # the padding of a last batch weighs nothing
            state, metrics = step(state, gather(data, samples, weights))
            each.append(metrics)
        return state, each

    jitted = jax.jit(program, donate_argnums=0, compiler_options=dict(options))
    compiled = {count: jitted.lower(state_like, data, [np.int32(0)] * count).compile() for count in (1, 8)}

    def run(state, first_step, last_step):
        chunks = []
        while (at := first_step + len(chunks)) < last_step:
            count = 8 if at + 8 <= last_step else 1
            state, each = compiled[count](state, data, [np.int32(at + ahead) for ahead in range(count)])
            chunks += [(metrics, 1) for metrics in each]
        return state, StretchMetrics(tuple(chunks), first_step, last_step, len(train), batch_size)

    return run


backend = Backend("unrolled", unrolled, precision="f32")
