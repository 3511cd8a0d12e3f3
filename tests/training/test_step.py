"""A step's parts, called as the plain functions that they are, and what a step hands on."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroforge_jax as nf
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.batch import Batch, DeviceData
from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.data.shuffle import sample_order
from neuroforge_jax.job.job import Job
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.mlp import MLP, init
from neuroforge_jax.precision.loss_scale import LossScale
from neuroforge_jax.precision.policy import POLICIES
from neuroforge_jax.training.gradients import StepMetrics
from neuroforge_jax.training.hyper import Hyper, make_hyper
from neuroforge_jax.training.optimizer import OptimizerSpec
from neuroforge_jax.training.state import TrainState, params_key, state_around
from neuroforge_jax.training.step import Training, make_parts, make_step
from tests.tiers import with_further

AS_IT_IS = Fitted(np.zeros(3, np.float32), np.ones(3, np.float32))
LINEAR = Model(MLP(3, (), 2), POLICIES["f32"], "cross-entropy", Preprocessor(3), (3,), ("a", "b"))
SGD, HYPER = OptimizerSpec(LINEAR.mlp), make_hyper(TrainConfig(learning_rate=0.1), 1)
KEY = jax.random.key(0)
STATE = state_around(init(params_key(KEY), LINEAR.mlp), KEY, SGD, HYPER)
TRAINING = Training(SGD, HYPER, batch_size=6, steps=1)


@jax.jit
def whole_and_in_parts(state, batch):
    parts = (make_parts(LINEAR, dataclasses.replace(TRAINING, accumulate=count)) for count in (1, 3))
    return tuple(one.backward(state, AS_IT_IS, batch) for one in parts)


def check_parts(mask, weight):
    inputs = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    batch = Batch(inputs, np.asarray([0, 1, 1, 0, 1, 0], np.int32), np.float32(mask), weight)
    whole, in_parts = whole_and_in_parts(STATE, batch)
    for expected, found in zip(jax.tree.leaves(whole), jax.tree.leaves(in_parts), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mask", [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]])
def test_a_batch_computed_in_parts_has_the_gradients_and_the_metrics_of_the_whole(mask):
    """A part counts by its share of the samples: the last batch of an epoch ends in padding."""
    check_parts(mask, None)


@settings(deadline=None, max_examples=40)
@given(
    real=st.integers(0, 6),
    weight=st.lists(st.sampled_from([0.0, 0.125, 0.3, 0.7, 1.0, 2.5]), min_size=6, max_size=6),
)
def test_the_same_with_weights_that_are_fractions_and_with_padding(real, weight):
    """A part whose samples weigh little has as many samples as another: weights are no shares."""
    check_parts(np.arange(6) < real, np.float32(weight))


def test_a_step_of_sgd_on_weighted_samples_is_the_one_computed_by_hand():
    """203 samples, of which the first step sees 32: softmax regression, w −= η · Σ m·w·(p − y)ᵀx / Σ m."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(203, 5)).astype(np.float32), rng.integers(0, 3, 203)
    given_weights = rng.uniform(0, 4, 203)
    dataset = nf.Dataset.from_arrays(x, y, sample_weight=given_weights)
    config = nf.TrainConfig(hidden=(), batch_size=32, learning_rate=0.5)
    order = np.asarray(
        sample_order(jax.random.fold_in(jax.random.key(0), 1), 0, 203, jnp.arange(203, dtype=jnp.int32))
    )
    for backend in ("optimized", "naive"):  # the others: in tests/backends/test_executions.py
        backend_config = dataclasses.replace(config, backend=backend)
        model, state = nf.init(backend_config, dataset)
        before = {name: np.float64(leaf) for name, leaf in state.params["output"].items()}
        state, metrics = nf.prepare(backend_config, model, dataset)(state, 0, 1)

        chosen = order[:32]
        weights = (given_weights / given_weights.mean())[chosen]
        inputs = (np.float64(x[chosen]) - x.mean(0)) / x.std(0)
        logits = inputs @ before["kernel"] + before["bias"]
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        errors = weights[:, None] * (np.exp(log_p) - np.eye(3)[y[chosen]]) / 32
        expected = {
            "kernel": before["kernel"] - 0.5 * inputs.T @ errors,
            "bias": before["bias"] - 0.5 * errors.sum(0),
        }
        assert metrics.loss[0] == pytest.approx(-(weights * log_p[range(32), y[chosen]]).mean(), rel=1e-5)
        for name, value in expected.items():
            np.testing.assert_allclose(state.params["output"][name], value, rtol=1e-5, atol=1e-6)


def test_weights_that_are_all_alike_are_no_weights(blobs):
    config = nf.TrainConfig(hidden=(8,), batch_size=32, epochs=2, backend="optimized")
    arrays = blobs.train.inputs, blobs.train.targets, blobs.test.inputs, blobs.test.targets
    weighted = nf.Dataset.from_arrays(*arrays, sample_weight=np.full(203, 7.0))
    losses = [
        [record["train_loss"] for record in nf.fit(config, dataset).history]
        for dataset in (nf.Dataset.from_arrays(*arrays), weighted)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)


def test_a_step_counts_real_samples_and_right_answers_whatever_they_weigh():
    batch = Batch(
        np.zeros((6, 3), np.float32),
        np.zeros(6, np.int32),
        np.float32([1, 1, 1, 1, 0, 0]),
        np.float32([0.1, 3, 0.5, 0, 1, 1]),
    )
    state = STATE
    _, metrics = jax.jit(make_step(make_parts(LINEAR, TRAINING)))(state, AS_IT_IS, batch)
    assert (float(metrics.samples), float(metrics.correct)) == (4, 4)  # logits that tie are right


@pytest.mark.parametrize("rate", [0.1, 3e38], ids=["sound", "overflowing"])
def test_a_member_is_frozen_before_an_update_that_overflows_though_its_loss_is_finite(rate):
    ones = np.ones(2, np.float32)
    batch = Batch(np.ones((2, 3), np.float32), np.int32([0, 0]), ones, 8 * ones)
    hyper = dataclasses.replace(HYPER, learning_rate=np.float32(rate))
    state = dataclasses.replace(STATE, hyper=hyper, frozen=jnp.array(False))
    step = jax.jit(make_step(make_parts(LINEAR, TRAINING)))
    (before, measured), (after, metrics) = (
        step(dataclasses.replace(state, frozen=frozen), AS_IT_IS, batch) for frozen in (None, state.frozen)
    )
    lost = rate > 1
    assert np.isfinite(measured.loss)
    assert bool(jnp.isfinite(before.params["output"]["bias"]).all()) != lost
    assert bool(after.frozen) == lost == bool(np.isnan(metrics.loss))
    expected = state.params if lost else before.params
    for ours, theirs in zip(jax.tree.leaves(after.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Once frozen it stays so, whatever its rate.
    again, _ = step(dataclasses.replace(after, hyper=HYPER), AS_IT_IS, batch)
    assert bool(again.frozen) == lost


@pytest.mark.parametrize(("accumulate", "name"), with_further([(2, "adam")], [(1, "sgd"), (1, "adamw")]))
def test_a_loss_that_shows_its_penalty_has_half_the_decay_times_the_squares_of_the_matrices_before_the_update(
    accumulate, name, small_config, blobs
):
    config = dataclasses.replace(
        small_config,
        backend="stepped",
        optimizer=name,
        weight_decay=0.3,
        accumulate=accumulate,
        normalization="layer",
    )
    plain = Job.build(config, blobs)
    shown = dataclasses.replace(plain, training=dataclasses.replace(plain.training, shows_penalty=True))
    before, (after, metrics), (expected, without) = (
        jax.device_get(plain.start().params),
        *(job.compile()(job.start(), 0, 1) for job in (shown, plain)),
    )
    squares = sum((np.float64(layer["kernel"]) ** 2).sum() for layer in before.values())
    penalty = 0 if name == "adamw" else 0.5 * np.float32(0.3) * squares  # decoupled decay is of no loss
    assert metrics.loss[0] == pytest.approx(without.loss[0] + penalty, rel=1e-6)
    for ours, theirs in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_penalty_is_the_function_whose_gradient_is_the_decay():
    spec = OptimizerSpec(LINEAR.mlp, decays=True)
    hyper = make_hyper(TrainConfig(learning_rate=1.0, weight_decay=0.3), 1)
    chain, params = spec.build(jax.tree.map(jnp.asarray, hyper)), STATE.params
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = chain.update(nothing, chain.init(params), params)
    slopes = jax.grad(lambda params: spec.penalty(hyper, params))(params)
    for update, slope in zip(jax.tree.leaves(updates), jax.tree.leaves(slopes), strict=True):
        np.testing.assert_allclose(update, -slope, rtol=1e-6)


def numbers(*shape):
    """Arrays that no default looks like."""
    size = int(np.prod(shape))
    return np.arange(2.0, 2.0 + size, dtype=np.float32).reshape(shape)


SCALE = LossScale(
    *(numbers() for _ in range(4)), growth=5.0, backoff=0.25, interval=7, floor=2.0, ceiling=9.0
)
HYPERS = Hyper(*(np.float32(value) for value in range(3, 14)), {"kernels": np.float32(14)})
STATES = [
    TrainState(
        {"output": {"kernel": numbers(2, 3)}}, (numbers(4),), numbers(), numbers(2), HYPERS, SCALE, numbers()
    ),
    HYPERS,
    SCALE,
    StepMetrics(*(numbers(2) for _ in range(4))),
    Batch(numbers(2, 3), numbers(2), numbers(2), numbers(2)),
    DeviceData(numbers(2, 3), numbers(2), numbers(2), numbers(), inputs=11),
]


@pytest.mark.parametrize("value", STATES, ids=lambda value: type(value).__name__)
def test_a_registered_state_goes_through_jit_with_every_field_off_its_default(value):
    fields = dataclasses.fields(value)
    assert all(getattr(value, field.name) is not field.default for field in fields)
    back = jax.jit(lambda given: jax.tree.map(lambda leaf: leaf + 1, given))(value)
    assert type(back) is type(value)
    for field in fields:
        ours, theirs = getattr(value, field.name), getattr(back, field.name)
        if not field.metadata.get("pytree_node", True):
            assert theirs == ours
            continue
        assert jax.tree.leaves(ours)
        for before, after in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(after, before + 1)


def test_every_registered_state_is_among_them():
    known = {type(value).__name__ for value in STATES}
    found = set()
    for path in (Path(nf.__file__).parent).rglob("*.py"):
        found |= set(re.findall(r"@struct\.dataclass\s+class (\w+)", path.read_text(encoding="utf-8")))
    assert found == known
