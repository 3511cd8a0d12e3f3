"""Losses against float64 NumPy, their gradients, extreme logits, and padding."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.nn.losses import LOSSES, correct, make_loss, weighted_mean
from tests.tiers import with_further

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(7, 6)) * 3
QUANTILES = (0.1, 0.5, 0.9)
TARGETS = {
    "classes": RNG.integers(0, 6, 7).astype(np.int32),
    "numbers": RNG.normal(size=(7, 6)).astype(np.float32),
    "counts": RNG.poisson(3.0, (7, 6)).astype(np.float32),
    "labels": RNG.integers(0, 2, (7, 6)).astype(np.float32),
}
LABELS = TARGETS["classes"]
TAKEN = [(name, kind) for name, loss in LOSSES.items() for kind in sorted(loss.takes)]


def targets_of(name, kind):
    return TARGETS[kind][:, :2] if name == "quantile" else TARGETS[kind]


def one_hot(labels, classes, smoothing):
    return np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes


def reference(name, z, targets, smoothing):
    """[B], written in another way than the code is."""
    labels = targets if targets.ndim == 1 else None
    off = np.float64(z - targets) if z.shape == targets.shape else None
    if name == "cross-entropy":
        log_softmax = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
        return -(one_hot(labels, z.shape[1], smoothing) * log_softmax).sum(axis=1)
    if name == "mse":
        wanted = targets if labels is None else one_hot(labels, z.shape[1], smoothing)
        return ((z - wanted) ** 2).mean(axis=1)
    if name == "mae":
        return np.sqrt(off**2).mean(axis=1)
    if name == "huber":
        inner = np.clip(off, -1, 1)
        return (inner**2 / 2 + np.abs(off - inner)).mean(axis=1)
    if name == "quantile":
        every = [
            q * max(t - z[row, column * 3 + at], 0) + (1 - q) * max(z[row, column * 3 + at] - t, 0)
            for row, of_row in enumerate(targets)
            for column, t in enumerate(of_row)
            for at, q in enumerate(QUANTILES)
        ]
        return np.reshape(every, (len(z), -1)).mean(axis=1)
    if name == "poisson":
        return -np.log(np.exp(targets * z) * np.exp(-np.exp(z))).mean(axis=1)
    wanted = (targets if labels is None else np.eye(z.shape[1])[labels]) * (1 - smoothing) + smoothing / 2
    log_yes, log_no = -np.logaddexp(0, -z), -np.logaddexp(0, z)
    return -(wanted * log_yes + (1 - wanted) * log_no).mean(axis=1)


def losses_of(name, z, targets, smoothing):
    """[B] by the code."""
    loss = make_loss(name, QUANTILES)
    return loss.per_sample(jnp.asarray(z, jnp.float32), jnp.asarray(targets), label_smoothing=smoothing)


@pytest.mark.parametrize(("name", "kind"), TAKEN)
@pytest.mark.parametrize("smoothing", [None, 0.0, 0.1])
@pytest.mark.smoke
def test_a_loss_is_its_definition(name, kind, smoothing):
    targets = targets_of(name, kind)
    found = losses_of(name, LOGITS, targets, smoothing)
    np.testing.assert_allclose(found, reference(name, LOGITS, targets, smoothing or 0.0), rtol=4e-6)


@pytest.mark.parametrize(("name", "kind"), TAKEN)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_the_central_difference(name, kind, smoothing):
    targets = targets_of(name, kind)
    gradient = jax.jit(jax.grad(lambda z: losses_of(name, z, targets, smoothing).sum()))(
        jnp.asarray(LOGITS, jnp.float32)
    )
    for row, column in [(0, 0), (3, int(LABELS[3])), (6, 4)]:
        step = np.zeros_like(LOGITS)
        step[row, column] = 1e-5
        slope = (
            reference(name, LOGITS + step, targets, smoothing)
            - reference(name, LOGITS - step, targets, smoothing)
        ).sum() / 2e-5
        assert gradient[row, column] == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_of_labels_is_that_of_their_classes(smoothing):
    loss = LOSSES["binary-cross-entropy"].per_sample
    logits = jnp.asarray(LOGITS, jnp.float32)
    np.testing.assert_array_equal(
        loss(logits, jnp.asarray(np.eye(6)[LABELS], jnp.float32), label_smoothing=smoothing),
        loss(logits, jnp.asarray(LABELS), label_smoothing=smoothing),
    )


@pytest.mark.parametrize(("name", "kind"), [pair for pair in TAKEN if pair[0] != "poisson"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_extreme_outputs_give_the_exact_loss_and_a_finite_gradient(name, kind, smoothing):
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    targets = targets_of(name, kind)[:2] % 3 if kind == "classes" else targets_of(name, kind)[:2, :3]
    targets = targets[:, :1] if name == "quantile" else targets
    found = losses_of(name, z, targets, smoothing)
    np.testing.assert_allclose(found, reference(name, z, targets, smoothing), rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda z: losses_of(name, z, targets, smoothing).sum()))(
        jnp.asarray(z, jnp.float32)
    )
    assert bool(jnp.isfinite(gradient).all())


def test_a_squared_difference_that_overflows_does_not_reach_the_gradient_of_huber():
    gradient = jax.grad(lambda z: losses_of("huber", z, np.zeros((1, 2), np.float32), None).sum())(
        jnp.asarray([[1e30, -1e30]])
    )
    np.testing.assert_array_equal(gradient, [[0.5, -0.5]])


@pytest.mark.parametrize("quantiles", [(0.5,), (0.1, 0.9)])
def test_the_best_outputs_of_quantiles_are_those_of_the_data(quantiles):
    """Of a skewed distribution: on either side of NumPy's quantile the mean loss is larger."""
    numbers = jnp.asarray(np.random.default_rng(1).exponential(size=(401, 1)), jnp.float32)
    loss = make_loss("quantile", quantiles)
    assert loss.outputs_per_target == len(quantiles)
    best = np.quantile(np.asarray(numbers), quantiles).astype(np.float32)

    def mean_at(outputs):
        every = jnp.broadcast_to(jnp.asarray(outputs, jnp.float32), (401, len(quantiles)))
        return float(loss.per_sample(every, numbers, label_smoothing=None).mean())

    for at in range(len(quantiles)):
        for step in (-0.05, 0.05):
            assert mean_at(best + step * (np.arange(len(quantiles)) == at)) > mean_at(best)


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


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "poisson"])
@pytest.mark.parametrize("logit", [1e4, 1e30])
@pytest.mark.parametrize("by", with_further(["mask"], ["weight"]))
def test_a_sample_that_counts_for_nothing_does_so_however_large_its_outputs(name, logit, by):
    """The squared error of 1e30 is inf, and inf · 0 once made the loss of the whole batch NaN."""
    labels, ones, zero = jnp.asarray([0, 1], jnp.int32), jnp.ones(2), jnp.asarray([1.0, 0.0])
    if "classes" not in LOSSES[name].takes:
        labels = jnp.asarray([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    mask, weight = (zero, None) if by == "mask" else (ones, zero)
    share = 1.0 if by == "mask" else 0.5  # of two samples, one of which weighs nothing

    def loss(logits, labels, mask, weight):
        return weighted_mean(LOSSES[name].per_sample(logits, labels, label_smoothing=0.1), mask, weight)

    logits = jnp.asarray([[1.0, 2.0, 3.0], [logit, -logit, logit]])
    slope = jax.jit(jax.value_and_grad(loss))
    value, gradient = slope(logits, labels, mask, weight)
    alone, gradient_alone = slope(logits[:1], labels[:1], ones[:1], None)
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


def test_correct_is_where_the_label_is_the_predicted_class_the_first_of_the_largest_and_none_is_nan():
    """A network that says nothing was once right about everything, and half as often in its predictions."""
    logits = jnp.asarray(
        [[1.0, 2.0], [2.0, 1.0], [jnp.nan, 1.0], [1.0, jnp.nan], [1.0, 1.0], [1.0, 1.0], [-jnp.inf] * 2]
    )
    labels = jnp.asarray([1, 1, 0, 0, 1, 0, 0], jnp.int32)
    np.testing.assert_array_equal(correct(logits, labels), [1, 0, 0, 0, 0, 1, 1])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_correct_agrees_with_the_argmax_of_numpy(seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.integers(-2, 3, (40, 4)).astype(np.float32), rng.integers(0, 4, 40).astype(np.int32)
    found = correct(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_array_equal(found, logits.argmax(axis=1) == labels)


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
