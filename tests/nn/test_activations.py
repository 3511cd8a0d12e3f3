"""Activations against their definitions in float64, and their gains against the integral."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax.nn.activations import ACTIVATIONS

_erf = np.vectorize(math.erf)


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


DEFINITIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "gelu": lambda z: z * (1 + _erf(z / np.sqrt(2))) / 2,
    "silu": lambda z: z * _sigmoid(z),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "leaky-relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "identity": lambda z: z,
}
POINTS = np.linspace(-8, 8, 161)


def test_every_activation_has_a_definition_to_be_tested_against():
    assert set(DEFINITIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_function_is_its_definition(name):
    values = jax.jit(ACTIVATIONS[name].function)(jnp.asarray(POINTS, jnp.float32))
    np.testing.assert_allclose(values, DEFINITIONS[name](POINTS), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_derivative_is_the_central_difference(name):
    points = POINTS[np.abs(POINTS) > 0.01]
    step = 1e-5
    slope = (DEFINITIONS[name](points + step) - DEFINITIONS[name](points - step)) / (2 * step)
    gradient = jax.jit(jax.vmap(jax.grad(ACTIVATIONS[name].function)))(jnp.asarray(points, jnp.float32))
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_gain_keeps_the_second_moment(name):
    z = np.linspace(-12, 12, 240_001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    second_moment = np.trapezoid(DEFINITIONS[name](z) ** 2 * density, z)
    assert ACTIVATIONS[name].gain == pytest.approx(1 / second_moment, rel=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_values_and_derivatives_are_finite_far_out(name, dtype):
    points = jnp.asarray([-1e30, -1e4, -100.0, 0.0, 100.0, 1e4, 1e30], dtype)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(ACTIVATIONS[name].function)))(points)
    assert bool(jnp.isfinite(values).all())
    assert bool(jnp.isfinite(slopes).all())


def test_relu_has_derivative_zero_at_zero():
    assert jax.grad(ACTIVATIONS["relu"].function)(0.0) == 0.0


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_dtype_is_kept_and_nan_is_not_hidden(name, dtype):
    function = ACTIVATIONS[name].function
    values = function(jnp.asarray([0.5, -0.5, jnp.nan], dtype))
    assert values.dtype == dtype
    assert bool(jnp.isnan(values[2]))
