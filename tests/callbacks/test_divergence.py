"""Numbers that are lost: found where they were lost, and never saved."""

import dataclasses
import re

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.checkpoint import files
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import DivergedError
from tests.conftest import make_blobs

CONFIG = nf.TrainConfig(hidden=(16, 8), batch_size=32, epochs=4, learning_rate=0.05, backend="optimized")
"""28 steps of 203 samples."""


def diverged(config, dataset, **options):
    with pytest.raises(DivergedError) as caught:
        nf.fit(config, dataset, nf.RunOptions(**options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def poisoned(at, value=3e38, samples=203, scale=1.0):
    """One sample whose activations overflow in the first layer: the row `at` of the training set.

    value: of its inputs, once they are scaled as the training scales all inputs.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples + 40, 13)).astype(np.float32)
    x[at] = value
    x /= scale
    y = rng.integers(0, 4, samples + 40)
    dataset = Dataset.from_arrays(x[:samples], y[:samples], x[samples:], y[samples:])
    fitted = Fitted(shift=np.zeros(13, np.float32), scale=np.full(13, scale, np.float32))
    return dataclasses.replace(dataset, fitted=fitted)


@pytest.mark.parametrize("backend", ["optimized", "async"])
def test_a_forward_pass_that_overflows_is_told_with_step_layer_and_last_loss(backend):
    message = diverged(dataclasses.replace(CONFIG, backend=backend), poisoned(3))
    assert re.search(r"the loss became (nan|inf) at step \d+ \(epoch 1\)", message)
    assert "layer0 is the first layer whose output is not finite" in message
    assert "lower --learning-rate, set --clip-norm 1, or try --on-divergence skip" in message


def test_the_layer_is_found_on_inputs_scaled_as_in_training():
    """As they are stored no layer would overflow."""
    message = diverged(CONFIG, poisoned(3, scale=1e18))
    assert "layer0 is the first layer whose output is not finite" in message


def test_the_step_that_is_told_is_the_one_that_had_the_sample():
    dataset = poisoned(3)
    message = diverged(CONFIG, dataset)
    step = int(re.search(r"at step (\d+)", message)[1])
    _, state = nf.init(CONFIG, dataset)
    from neuroforge_jax.backends.executors.eager import batch_of_step

    holders = [
        at for at in range(7) if np.abs(batch_of_step(dataset.train, state, at, 32).inputs).max() > 1e30
    ]
    assert holders == [step - 1]


def test_an_update_that_overflows_is_told_with_the_gradient_that_made_it():
    config = dataclasses.replace(CONFIG, learning_rate=1e5, loss="mse")
    message = diverged(config, make_blobs())
    assert re.search(r"after [\d.e+]+ in the step before: ", message)
    assert re.search(r"(layer\d|output)", message)


def test_debug_nans_names_the_operation():
    message = diverged(CONFIG, poisoned(3), debug_nans=True)
    assert re.search(
        r"operation by operation, \w+ made the first (infinity|NaN), in \w+ \(\w+\.py, line \d+\)", message
    )


@pytest.mark.slow
def test_a_healthy_step_raises_no_alarm_operation_by_operation():
    """Otherwise the operation that is named would be any."""
    import jax

    from neuroforge_jax.backends.executors.eager import batch_of_step
    from neuroforge_jax.job.job import Job
    from neuroforge_jax.training.step import make_step

    dataset = make_blobs()
    for changes in ({"normalization": "layer", "dropout": 0.2}, {"loss": "mse", "activation": "gelu"}):
        config = dataclasses.replace(CONFIG, optimizer="adam", schedule="cosine", **changes)
        job = Job.build(config, dataset)
        state = job.start()
        batch = batch_of_step(dataset.train, state, 0, 32)
        with jax.disable_jit(), jax.debug_nans(True):
            make_step(job.parts)(state, job.model.fitted, batch)


def test_a_state_that_is_no_number_is_never_the_latest(tmp_path):
    options = {"run_dir": tmp_path / "run", "checkpoint_every": "step", "keep_latest": 99}
    message = diverged(CONFIG, poisoned(3), **options)
    step = int(re.search(r"at step (\d+)", message)[1])
    saved, damaged = files.newest(tmp_path / "run" / "checkpoints")
    assert damaged == []
    assert saved is None or saved.progress["step"] < step
    assert all(np.isfinite(array).all() for array in (saved.arrays() if saved else {}).values())


def test_such_a_step_can_be_skipped_and_is_counted():
    result = nf.fit(CONFIG, poisoned(3), nf.RunOptions(on_divergence="skip"))
    assert result.figures["skipped_steps"] == CONFIG.epochs
    assert [record["skipped_steps"] for record in result.history] == [1] * CONFIG.epochs
    assert np.isfinite(result.test_loss)


def test_where_every_step_is_lost_skipping_ends():
    dataset = poisoned(slice(0, 203))
    message = diverged(CONFIG, dataset, on_divergence="skip")
    assert "the gradients were not finite in 20 steps in a row" in message


def test_a_loss_that_overflows_while_its_gradients_do_not_is_skipped_too():
    """The square of 1e25 is beyond float32, its derivative is not: such a step would throw the weights away."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(203, 5)).astype(np.float32)
    y = x.sum(axis=1)
    y[3] = 1e25
    dataset = Dataset.from_arrays(x[:160], y[:160], x[160:], y[160:], name="outlier", classes=None)
    fitted = dataset.fitted._replace(
        target_shift=np.zeros(1, np.float32), target_scale=np.ones(1, np.float32)
    )
    dataset = dataclasses.replace(dataset, fitted=fitted)
    config = dataclasses.replace(CONFIG, loss="mse", learning_rate=0.01, epochs=6)
    assert "loss" in diverged(config, dataset)
    result = nf.fit(config, dataset, nf.RunOptions(on_divergence="skip"))
    assert result.figures["skipped_steps"] == config.epochs
    assert result.test_loss < 2.5  # of targets with a variance of 5
