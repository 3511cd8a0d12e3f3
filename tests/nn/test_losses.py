"""Losses against float64 NumPy, their gradients, extreme logits, and padding."""

import re

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
        log_softmax = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return -(one_hot(labels, logits.shape[1], smoothing) * log_softmax).sum(axis=1)
    if name == "mse":
        return ((logits - one_hot(labels, logits.shape[1], smoothing)) ** 2).mean(axis=1)
    wanted = np.eye(logits.shape[1])[labels] * (1 - smoothing) + smoothing / 2
    log_yes, log_no = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    return -(wanted * log_yes + (1 - wanted) * log_no).mean(axis=1)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [None, 0.0, 0.1])
@pytest.mark.smoke
def test_a_loss_is_its_definition(name, smoothing):
    found = LOSSES[name].per_sample(
        jnp.asarray(LOGITS, jnp.float32), jnp.asarray(LABELS), label_smoothing=smoothing
    )
    np.testing.assert_allclose(found, reference(name, LOGITS, LABELS, smoothing or 0.0), rtol=2e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_the_central_difference(name, smoothing):
    def total(logits):
        return LOSSES[name].per_sample(logits, jnp.asarray(LABELS), label_smoothing=smoothing).sum()

    gradient = jax.jit(jax.grad(total))(jnp.asarray(LOGITS, jnp.float32))
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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_of_numbers_is_that_of_their_labels(smoothing):
    logits = jnp.asarray(LOGITS, jnp.float32)
    loss = LOSSES["binary-cross-entropy"].per_sample
    np.testing.assert_array_equal(
        loss(logits, jnp.asarray(np.eye(5)[LABELS], jnp.float32), label_smoothing=smoothing),
        loss(logits, jnp.asarray(LABELS), label_smoothing=smoothing),
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_extreme_logits_give_the_exact_loss_and_a_finite_gradient(name, smoothing):
    logits, labels = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]]), np.array([1, 1], np.int32)

    def losses(logits):
        return LOSSES[name].per_sample(logits, jnp.asarray(labels), label_smoothing=smoothing)

    found = losses(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(found, reference(name, logits, labels, smoothing), rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda logits: losses(logits).sum()))(jnp.asarray(logits, jnp.float32))
    assert bool(jnp.isfinite(gradient).all())


compiled_mean = jax.jit(weighted_mean)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_mean_is_over_the_samples_that_are_no_padding(samples, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=40).astype(np.float32)
    mask = rng.integers(0, 2, 40).astype(np.float32) * (np.arange(40) < samples)
    expected = values[mask > 0].mean() if mask.any() else 0.0
    assert float(compiled_mean(values, np.float32(mask))) == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_weighted_mean_is_the_weighted_sum_over_the_number_of_samples(samples, seed):
    """Over their number, not over their weight: a batch of heavy samples counts for more than one of light ones."""
    rng = np.random.default_rng(seed)
    values, weight = rng.normal(size=(2, 40)).astype(np.float32)
    weight = np.maximum(weight, 0)
    mask = np.float32(np.arange(40) < samples)
    expected = (values * weight)[:samples].sum() / samples
    assert float(compiled_mean(values, mask, weight)) == pytest.approx(expected, abs=1e-5)


def test_padding_has_no_gradient_and_a_batch_of_nothing_else_is_no_nan():
    gradient = jax.grad(weighted_mean)(jnp.arange(4.0), jnp.asarray([1.0, 1.0, 0.0, 0.0]))
    np.testing.assert_allclose(gradient, [0.5, 0.5, 0, 0])
    value, gradient = jax.value_and_grad(weighted_mean)(jnp.arange(3.0), jnp.zeros(3))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("logit", [1e4, 1e30])
@pytest.mark.parametrize("by", ["mask", "weight"])
def test_a_sample_that_counts_for_nothing_does_so_however_large_its_logits(name, logit, by):
    """The squared error of 1e30 is inf, and inf · 0 once made the loss of the whole batch NaN."""
    labels, ones, zero = jnp.asarray([0, 1], jnp.int32), jnp.ones(2), jnp.asarray([1.0, 0.0])
    mask, weight = (zero, None) if by == "mask" else (ones, zero)
    share = 1.0 if by == "mask" else 0.5  # of two samples, one of which weighs nothing

    def loss(logits, labels, mask, weight):
        return weighted_mean(LOSSES[name].per_sample(logits, labels, label_smoothing=0.1), mask, weight)

    logits = jnp.asarray([[1.0, 2.0, 3.0], [logit, -logit, logit]])
    value, gradient = jax.value_and_grad(loss)(logits, labels, mask, weight)
    alone, gradient_alone = jax.value_and_grad(loss)(logits[:1], labels[:1], ones[:1], None)
    assert value == pytest.approx(share * float(alone), rel=1e-6)
    np.testing.assert_allclose(gradient[:1], share * gradient_alone, rtol=1e-6)
    np.testing.assert_array_equal(gradient[1], 0)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_the_weighted_mean_never_looks_at_values_that_count_for_nothing(value):
    values, zero = jnp.asarray([2.0, value]), jnp.asarray([0.5, 0.0])
    mean, gradient = jax.value_and_grad(weighted_mean)(values, zero)
    assert mean == 2.0
    np.testing.assert_array_equal(gradient, [1.0, 0.0])
    mean, gradient = jax.value_and_grad(weighted_mean)(values, jnp.ones(2), zero)
    assert mean == 0.5
    np.testing.assert_array_equal(gradient, [0.25, 0.0])


def test_correct_is_where_no_logit_is_above_the_labels_and_none_is_nan():
    logits = jnp.asarray([[1.0, 2.0], [2.0, 1.0], [jnp.nan, 1.0], [1.0, jnp.nan], [1.0, 1.0]])
    labels = jnp.asarray([1, 1, 0, 0, 1], jnp.int32)
    np.testing.assert_array_equal(correct(logits, labels), [1, 0, 0, 0, 1])


def test_the_loss_and_the_count_of_correct_samples_share_one_maximum():
    def both(logits):
        losses = LOSSES["cross-entropy"].per_sample(logits, jnp.asarray(LABELS), label_smoothing=None)
        return losses, correct(logits, jnp.asarray(LABELS))

    program = jax.jit(both).lower(jnp.asarray(LOGITS, jnp.float32))
    # Two are written, and a compiler that keeps both would show here.
    assert program.as_text().count("stablehlo.reduce(") == 5
    text = program.compile().as_text()
    bodies = re.findall(r"^%?([\w.-]+) \([^\n]*\n(?:(?!\}).*\n)*?.* maximum\(", text, re.M)
    reduces = re.findall(r" reduce\(.*to_apply=%?([\w.-]+)", text)
    assert len([body for body in reduces if body in bodies]) == 1


def test_the_gradient_of_the_label_pick_is_no_scatter():
    def total(logits):
        return LOSSES["cross-entropy"].per_sample(logits, jnp.asarray(LABELS), label_smoothing=0.0).sum()

    program = jax.jit(jax.grad(total)).lower(jnp.asarray(LOGITS, jnp.float32)).as_text()
    assert "scatter" not in program
