"""The estimate of memory, held to what XLA's own compiler says of the compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.executors.pipelined import Streaming
from neuroforge_jax.backends.executors.scanned import stretch_program
from neuroforge_jax.backends.memory_estimate import estimate
from neuroforge_jax.backends.resolve import choose
from neuroforge_jax.data.batch import to_device
from neuroforge_jax.job.pieces import make_model, make_training
from neuroforge_jax.training.state import init_state
from neuroforge_jax.training.step import make_step
from tests.conftest import make_blobs

pytestmark = pytest.mark.full_effort


@pytest.mark.parametrize(
    ("hidden", "batch_size", "optimizer", "precision"),
    [
        ((256, 128), 32, "sgd", "f32"),
        ((64,), 1024, "sgd", "bf16"),
        ((64,), 1024, "adam", "f32"),
        ((512, 512, 512), 256, "adam", "bf16"),
    ],
    ids=str,
)
def test_a_training_takes_about_what_was_estimated(hidden, batch_size, optimizer, precision):
    """Never less, so that it fits where it is said to; never twice as much, so that nothing is refused in vain."""
    dataset = make_blobs(samples=3000, inputs=200, classes=10)
    config = nf.TrainConfig(
        hidden=hidden, batch_size=batch_size, optimizer=optimizer, precision=precision, backend="optimized"
    )
    backend = choose(config).backend
    model, training = make_model(config, dataset), make_training(config, dataset)
    needed = estimate(config, backend, dataset, model, training, Streaming())
    state = jax.eval_shape(
        lambda: init_state(jax.random.key(0), model.init, training.optimizer, training.loss_scale)
    )
    program = stretch_program(
        make_step(backend.parts(model, training)), samples=3000, batch_size=batch_size, capacity=10
    )
    data = to_device(dataset.train, backend.device)
    compiled = jax.jit(program, donate_argnums=0).lower(state, data, np.int32(0), jnp.int32(0)).compile()
    told = compiled.memory_analysis()
    # The state is donated: its output lies where its input lay.
    taken = told.argument_size_in_bytes + told.temp_size_in_bytes + dataset.test.inputs.nbytes
    assert taken < needed.total < 2 * taken
