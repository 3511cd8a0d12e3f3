import jax
import numpy as np

import neuroforge_jax as nf


def prepare(spec):
    data, fitted = nf.to_device(spec.train, spec.device), jax.device_put(spec.fitted, spec.device)

    def program(state, fitted, data, indices):  # a step for each index, written out: XLA sees no loop
        each = []
        for index in indices:
            batch = nf.draw_batch(data, state.order_key, index, spec.batch_size, shuffles=spec.shuffles)
            state, metrics = spec.step(state, fitted, batch)
            each.append(metrics)
        return state, each

    jitted = jax.jit(program, donate_argnums=0, compiler_options=dict(spec.options))
    like = spec.state_like, fitted, data
    compiled = {count: jitted.lower(*like, np.zeros(count, np.int32)).compile() for count in (1, 8)}

    def run(state, first_step, last_step):
        chunks = []
        while (at := first_step + len(chunks)) < last_step:
            count = 8 if at + 8 <= last_step else 1
            state, each = compiled[count](state, fitted, data, np.arange(at, at + count, dtype=np.int32))
            chunks += [(metrics, 1) for metrics in each]
        return state, nf.SegmentMetrics(tuple(chunks), first_step, last_step)

    return run


backend = nf.Backend("unrolled", nf.Execution("unrolled", prepare, keeps_order=True), precision="f32")
