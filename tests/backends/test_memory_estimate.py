"""The estimate of memory, held to what XLA's own compiler says of the compiled program."""

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.executors.orders import prepare_orders
from neuroforge_jax.backends.executors.scanned import segment_program
from neuroforge_jax.data.batch import to_device
from neuroforge_jax.job.job import Job
from tests.conftest import make_blobs
from tests.tiers import with_further


@pytest.mark.parametrize(
    ("hidden", "batch_size", "optimizer", "precision"),
    with_further(
        [((64,), 1024, "sgd", "bf16"), ((512, 512, 512), 256, "adam", "bf16")],
        [((256, 128), 32, "sgd", "f32"), ((64,), 1024, "adam", "f32")],
    ),
    ids=str,
)
def test_a_training_takes_about_what_was_estimated(hidden, batch_size, optimizer, precision, traced_alone):
    """Never less, so that it fits where it is said to; never twice as much, so that nothing is refused in vain."""
    dataset = make_blobs(samples=3000, inputs=200, classes=10)
    config = nf.TrainConfig(
        hidden=hidden, batch_size=batch_size, optimizer=optimizer, precision=precision, backend="optimized"
    )
    job = Job.build(config, dataset)
    spec, needed = job.spec(), job.memory
    program = segment_program(spec.step, rows=spec.batch_rows, capacity=10, placement=spec.placement)
    data = to_device(dataset.train)
    given = spec.state_like, spec.fitted, data, prepare_orders(spec, data).like, np.int32(0), np.int32(0)
    compiled = jax.jit(program, donate_argnums=0).lower(*given).compile()
    told = compiled.memory_analysis()
    # The state is donated: its output lies where its input lay.
    taken = told.argument_size_in_bytes + told.temp_size_in_bytes + dataset.test.inputs.nbytes
    assert taken < needed.total < 2 * taken
