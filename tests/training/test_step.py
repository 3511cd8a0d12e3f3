"""A step's parts, called as the plain functions that they are."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.types import Scaling
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.policy import POLICIES
from neuroforge_jax.training.state import init_state
from neuroforge_jax.training.step import Training, make_parts

AS_IT_IS = Scaling(np.zeros(3, np.float32), np.ones(3, np.float32))
LINEAR = Model(MLP(3, (), 2), POLICIES["f32"], "cross-entropy", AS_IT_IS, (3,), ("a", "b"))
SGD = optax.sgd(0.1)


@jax.jit
def whole_and_in_parts(state, batch):
    training = Training(SGD, batch_size=6, epochs=1, steps=1)
    parts = (make_parts(LINEAR, dataclasses.replace(training, accumulate=count)) for count in (1, 3))
    return tuple(one.backward(state, batch) for one in parts)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]])
def test_a_batch_computed_in_parts_has_the_gradients_and_the_metrics_of_the_whole(weights):
    """A part counts by its share of the weight: the last batch of an epoch ends in padding."""
    inputs = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    batch = Batch(inputs, np.asarray([0, 1, 1, 0, 1, 0], np.int32), np.asarray(weights, np.float32))
    state = init_state(jax.random.key(0), LINEAR.init, SGD)
    whole, in_parts = whole_and_in_parts(state, batch)
    for expected, found in zip(jax.tree.leaves(whole), jax.tree.leaves(in_parts), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
