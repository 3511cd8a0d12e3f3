"""Initial weights have the variance that their formula says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax.errors import ConfigError
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.nn.initializers import INITIALIZERS, initializer

SHAPE = (600, 300)


@pytest.mark.parametrize(
    ("name", "activation", "variance"),
    [
        ("he", "relu", 2 / 600),
        ("he", "silu", 2.8107611 / 600),
        ("lecun", "relu", 1 / 600),
        ("glorot", "relu", 2 / 900),
        ("auto", "relu", 2 / 600),
        ("auto", "tanh", 2 / 900),
        ("auto", "identity", 1 / 600),
    ],
)
def test_the_variance_is_the_formulas(name, activation, variance):
    weights = np.asarray(initializer(name, ACTIVATIONS[activation])(jax.random.key(0), SHAPE, jnp.float32))
    assert weights.var() == pytest.approx(variance, rel=0.02)
    assert abs(weights.mean()) < 4 * np.sqrt(variance / weights.size)


def test_orthogonal_columns_are_orthogonal_and_scaled():
    weights = np.asarray(
        initializer("orthogonal", ACTIVATIONS["relu"])(jax.random.key(0), SHAPE, jnp.float32)
    )
    np.testing.assert_allclose(weights.T @ weights, 2 * np.eye(300), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1), (3, 7)])
@pytest.mark.parametrize("name", INITIALIZERS)
def test_narrow_layers_have_finite_weights_of_their_shape(name, shape):
    weights = initializer(name, ACTIVATIONS["relu"])(jax.random.key(0), shape, jnp.float32)
    assert weights.shape == shape
    assert weights.dtype == jnp.float32
    assert bool(jnp.isfinite(weights).all())


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="unknown initializer 'kaiming': known are auto, he, lecun"):
        initializer("kaiming", ACTIVATIONS["relu"])
