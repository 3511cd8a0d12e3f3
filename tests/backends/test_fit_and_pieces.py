"""A whole run and its pieces, bit for bit."""

import dataclasses

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.errors import ConfigError

pytestmark = pytest.mark.full_effort


@pytest.fixture
def config(small_config):
    return dataclasses.replace(small_config, epochs=6)


def test_the_same_config_is_the_same_run(config, blobs):
    first, second = nf.fit(config, blobs), nf.fit(config, blobs)
    for a, b in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_pieces_do_what_fit_does(config, blobs):
    whole = nf.fit(config, blobs)
    model, state = nf.init(config, blobs)
    run = nf.prepare(config, model, blobs)
    steps = nf.steps_per_epoch(config, blobs)
    for epoch in range(config.epochs):
        state, _ = run(state, epoch * steps, (epoch + 1) * steps)
    assert nf.evaluate(model, state.params, blobs.test).accuracy == whole.test_accuracy
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "fp16"}, r"asks for precision p=f32,c=f16,o=f32, and the model has p=f32,c=f32"),
        ({"hidden": (8,)}, r"asks for network .*8.*, and the model has .*16.*; make the model by nf.init"),
        ({"loss": "mse"}, r"asks for loss mse, and the model has cross-entropy"),
    ],
)
def test_a_model_of_another_config_is_refused_and_not_trained_in_silence(changes, words, blobs, small_config):
    model, _ = nf.init(small_config, blobs)
    other = dataclasses.replace(small_config, **changes)
    for function in (nf.prepare, nf.parts):
        with pytest.raises(ConfigError, match=words):
            function(other, model, blobs)


def test_the_kernels_are_those_of_the_config_whatever_the_model_was_made_with(blobs, small_config):
    model, state = nf.init(small_config, blobs)
    inputs = blobs.train.inputs[:8]

    def program(config):
        forward = nf.parts(config, model, blobs).forward
        return str(jax.make_jaxpr(forward)(state.params, model.fitted, inputs, None))

    assert "pallas_call" not in program(small_config)
    assert "pallas_call" in program(dataclasses.replace(small_config, kernels="interpret"))
