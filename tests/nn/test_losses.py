"""Losses against float64 NumPy, their gradients, extreme logits, and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.nn.losses import LOSSES, correct, weighted_mean

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(7, 5)) * 3
LABELS = RNG.integers(0, 5, 7).astype(np.int32)


def one_hot(labels, classes, smoothing):
    return np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes


def reference(name, logits, labels, smoothing):
    if name == "cross-entropy":
        log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -(one_hot(labels, logits.shape[1], smoothing) * log_softmax).sum(axis=1)
    if name == "mse":
        return ((logits - one_hot(labels, logits.shape[1], smoothing)) ** 2).mean(axis=1)
    wanted = np.eye(logits.shape[1])[labels] * (1 - smoothing) + smoothing / 2
    probability = 1 / (1 + np.exp(-logits))
    return -(wanted * np.log(probability) + (1 - wanted) * np.log(1 - probability)).mean(axis=1)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_loss_is_its_definition(name, smoothing):
    found = LOSSES[name].per_sample(
        jnp.asarray(LOGITS, jnp.float32), jnp.asarray(LABELS), label_smoothing=smoothing
    )
    np.testing.assert_allclose(found, reference(name, LOGITS, LABELS, smoothing), rtol=2e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_the_central_difference(name, smoothing):
    def total(logits):
        return LOSSES[name].per_sample(logits, jnp.asarray(LABELS), label_smoothing=smoothing).sum()

    gradient = jax.grad(total)(jnp.asarray(LOGITS, jnp.float32))
    for row, column in [(0, 0), (3, int(LABELS[3])), (6, 4)]:
        step = np.zeros_like(LOGITS)
        step[row, column] = 1e-5
        slope = (
            reference(name, LOGITS + step, LABELS, smoothing)
            - reference(name, LOGITS - step, LABELS, smoothing)
        ).sum() / 2e-5
        assert gradient[row, column] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_squared_error_of_numbers():
    targets = RNG.normal(size=(7, 5)).astype(np.float32)
    found = LOSSES["mse"].per_sample(
        jnp.asarray(LOGITS, jnp.float32), jnp.asarray(targets), label_smoothing=0.0
    )
    np.testing.assert_allclose(found, ((LOGITS - targets) ** 2).mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("name", ["cross-entropy", "binary-cross-entropy"])
def test_extreme_logits_give_finite_losses_and_gradients(name):
    logits = jnp.asarray([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], jnp.float32)

    def total(logits):
        return LOSSES[name].per_sample(logits, jnp.asarray([1, 1], jnp.int32), label_smoothing=0.1).sum()

    value, gradient = jax.value_and_grad(total)(logits)
    assert bool(jnp.isfinite(value))
    assert bool(jnp.isfinite(gradient).all())


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_weighted_mean_is_over_the_weight(samples, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=samples).astype(np.float32)
    weights = rng.integers(0, 2, samples).astype(np.float32)
    expected = values[weights > 0].mean() if weights.any() else 0.0
    assert float(weighted_mean(jnp.asarray(values), jnp.asarray(weights))) == pytest.approx(
        expected, abs=1e-5
    )


def test_padding_has_no_gradient_and_no_weight_at_all_is_no_nan():
    gradient = jax.grad(weighted_mean)(jnp.arange(4.0), jnp.asarray([1.0, 1.0, 0.0, 0.0]))
    np.testing.assert_allclose(gradient, [0.5, 0.5, 0, 0])
    value, gradient = jax.value_and_grad(weighted_mean)(jnp.arange(3.0), jnp.zeros(3))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_correct_is_where_the_labels_logit_is_largest_and_never_nan():
    logits = jnp.asarray([[1.0, 2.0], [2.0, 1.0], [jnp.nan, 1.0], [1.0, 1.0]])
    labels = jnp.asarray([1, 1, 0, 1], jnp.int32)
    np.testing.assert_array_equal(correct(logits, labels), [1, 0, 0, 1])


def test_the_gradient_of_the_label_pick_is_no_scatter():
    def total(logits):
        return LOSSES["cross-entropy"].per_sample(logits, jnp.asarray(LABELS), label_smoothing=0.0).sum()

    program = jax.jit(jax.grad(total)).lower(jnp.asarray(LOGITS, jnp.float32)).as_text()
    assert "scatter" not in program
