"""The oracle: right by hand, by central differences, by optax, and free of jax."""

import itertools
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.nn.losses import LOSSES
from neuroforge_jax.nn.mlp import MLP, NORMALIZATIONS
from neuroforge_jax.training.hyper import make_hyper
from neuroforge_jax.training.optimizer import OptimizerSpec
from neuroforge_jax.verification import descent, oracle
from neuroforge_jax.verification.descent import Descent
from neuroforge_jax.verification.oracle import Network, Samples

pytestmark = [pytest.mark.smoke, pytest.mark.full_effort]

ROOT = Path(__file__).parents[2]


AS_IT_IS = Fitted(np.zeros((), np.float32), np.ones((), np.float32))


def network(
    activation="identity", normalization="none", residual=False, loss="mse", smoothing=0.0, numbers=1
):
    quantiles = (0.1, 0.8) if loss == "quantile" else ()
    plan = Preprocessor(numbers)
    return Network(activation, normalization, residual, loss, smoothing, plan, AS_IT_IS, quantiles)


def test_the_oracle_imports_no_jax():
    script = (
        "import sys, neuroforge_jax.verification.descent, neuroforge_jax.verification.self_check\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('jax', 'jaxlib', 'optax', 'flax')])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "[]\n"


def test_the_oracle_knows_every_activation():
    assert set(oracle.ACTIVATIONS) == set(ACTIVATIONS)


def test_softmax_regression_by_hand():
    """Two classes, logits (0, ln 3): probabilities 1/4 and 3/4."""
    params = {"output": {"kernel": np.array([[0.0, math.log(3)]]), "bias": np.zeros(2)}}
    samples = Samples(np.array([[1.0], [5.0]]), np.array([0, 1]), np.array([1.0, 0.0]), np.ones(2))
    logits, value, grads = oracle.gradients(network(loss="cross-entropy"), params, samples)
    np.testing.assert_allclose(logits[0], [0, math.log(3)])
    assert value == pytest.approx(math.log(4))
    np.testing.assert_allclose(grads["output"]["kernel"], [[-0.75, 0.75]])
    np.testing.assert_allclose(grads["output"]["bias"], [-0.75, 0.75])


def test_a_weight_scales_the_share_of_its_sample_and_not_the_number_of_samples():
    """Errors 1 and 4, weights 3 and 1/2, and a third sample that is padding: (3·1 + ½·4) / 2."""
    params = {"output": {"kernel": np.ones((1, 1)), "bias": np.zeros(1)}}
    inputs, targets = np.array([[1.0], [2.0], [9.0]]), np.zeros((3, 1))
    samples = Samples(inputs, targets, np.array([1.0, 1.0, 0.0]), np.array([3.0, 0.5, 7.0]))
    _, value, grads = oracle.gradients(network(), params, samples)
    assert value == pytest.approx(2.5)
    np.testing.assert_allclose(grads["output"]["bias"], [(3 * 2 + 0.5 * 4) / 2])


def test_a_relu_layer_and_squared_error_by_hand():
    """x = 2, hidden sums 2·(1, −1) + (1, 1) = (3, −1), outputs 3·2 + 0.5 = 6.5, wanted 6: error 1/4."""
    params = {
        "layer0": {"kernel": np.array([[1.0, -1.0]]), "bias": np.ones(2)},
        "output": {"kernel": np.array([[2.0], [7.0]]), "bias": np.array([0.5])},
    }
    samples = Samples(np.array([[2.0]]), np.array([[6.0]]), np.ones(1), np.ones(1))
    _, value, grads = oracle.gradients(network("relu"), params, samples)
    assert value == 0.25
    np.testing.assert_allclose(grads["output"]["kernel"], [[3.0], [0.0]])
    np.testing.assert_allclose(grads["layer0"]["kernel"], [[4.0, 0.0]])
    np.testing.assert_allclose(grads["layer0"]["bias"], [2.0, 0.0])


def test_a_scaled_input_is_what_the_network_sees():
    fitted = Fitted(np.float32(10), np.float32(0.5))
    net = Network("identity", "none", False, "mse", 0.0, Preprocessor(2, pixels=True), fitted)
    params = {"output": {"kernel": np.eye(2), "bias": np.zeros(2)}}
    logits, _ = oracle.forward(net, params, np.array([[10, 14]], np.uint8))
    np.testing.assert_array_equal(logits, [[0, 2]])


@settings(deadline=None, max_examples=60)
@given(
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    loss=st.sampled_from(sorted(LOSSES)),
    normalization=st.sampled_from(sorted(NORMALIZATIONS)),
    hidden=st.lists(st.integers(1, 5), max_size=3),
    residual=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_every_gradient_is_the_central_difference(
    activation, loss, normalization, hidden, residual, smoothing, seed, data
):
    """Element by element."""
    if normalization != "none":
        hidden = [width + 2 for width in hidden]  # of one unit the normalized value is a constant or a sign
    rng = np.random.default_rng(seed)
    net = network(activation, normalization, residual, loss, smoothing, numbers=3)
    widths, params = [3, *hidden, 4], {}
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        last = index == len(hidden)
        leaves = {"kernel": rng.normal(size=(fan_in, fan_out)), "bias": rng.normal(size=fan_out)}
        for leaf in () if last else NORMALIZATIONS[normalization][1]:
            leaves[leaf] = rng.normal(size=fan_out)
        params["output" if last else f"layer{index}"] = leaves
    mask, weights = np.array([1, 1, 1, 0, 1]), np.array([1, 0.5, 2, 3, 0])
    targets = {
        "classes": rng.integers(0, 4, 5),
        "numbers": rng.normal(size=(5, 2 if loss == "quantile" else 4)),
        "counts": rng.poisson(2.0, (5, 4)).astype(float),
        "labels": rng.integers(0, 2, (5, 4)).astype(float),
    }
    kind = data.draw(st.sampled_from(sorted(LOSSES[loss].takes)))
    samples = Samples(rng.normal(size=(5, 3)), targets[kind], mask, weights)
    if oracle.nearness_to_kink(net, params, samples.inputs, samples.targets).min() < 1e-3:
        return
    _, loss_there, grads = oracle.gradients(net, params, samples)
    if abs(loss_there) > 1e4:
        return  # as exp makes it: the difference of two such losses, divided by 2e-5, is their rounding
    for name, leaves in params.items():
        for leaf, value in leaves.items():
            for at in np.ndindex(value.shape):
                direction = descent.tree_map(np.zeros_like, params)
                direction[name][leaf][at] = 1
                wanted = oracle.central_difference(net, params, samples, direction)
                # The third derivative of a normalization of few, nearly equal sums is large.
                assert grads[name][leaf][at] == pytest.approx(wanted, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", descent.KNOWN)
@pytest.mark.parametrize("fields", [{}, {"weight_decay": 0.1, "clip_norm": 0.7}])
def test_the_optimizers_are_optaxs(name, fields):
    """Five steps of the same gradients, in float32 there; the clipped norm is reached on some of them only."""
    rng = np.random.default_rng(0)
    params = {"output": {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)}}
    ours, memory = params, descent.start(params)
    theirs = descent.tree_map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    spec = OptimizerSpec(MLP(3, (), 4), name, decays=bool(fields), clips=bool(fields))
    hyper = make_hyper(TrainConfig(learning_rate=0.1, momentum=0.8, **fields), 5)
    optimizer = spec.build(jax.tree.map(jnp.asarray, hyper))
    state = optimizer.init(theirs)
    for step in range(5):
        grads = descent.tree_map(lambda leaf: rng.normal(size=leaf.shape) / (1 + 3 * (step % 2)), params)  # noqa: B023
        ours, memory = descent.update(Descent(name, 0.8, **fields), ours, memory, grads, 0.1)
        grads32 = descent.tree_map(lambda leaf: jnp.asarray(leaf, jnp.float32), grads)
        updates, state = optimizer.update(grads32, state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    for leaf, value in ours["output"].items():
        np.testing.assert_allclose(np.asarray(theirs["output"][leaf]), value, rtol=2e-5, atol=2e-6)


def test_nearness_to_a_kink_is_in_units_of_the_layers_rms():
    params = {
        "layer0": {"kernel": np.eye(2), "bias": np.zeros(2)},
        "output": {"kernel": np.ones((2, 1)), "bias": np.zeros(1)},
    }
    inputs = np.array([[0.0, 2.0], [2.0, -2.0]])
    rms = math.sqrt(3)
    targets = np.array([[3.0], [0.5]])
    np.testing.assert_allclose(
        oracle.nearness_to_kink(network("relu", numbers=2), params, inputs, targets), [0, 2 / rms]
    )
    assert np.isinf(oracle.nearness_to_kink(network("tanh", numbers=2), params, inputs, targets)).all()
    linear = network("identity", loss="mae", numbers=2)  # outputs 2 and 0, of rms √2
    found = oracle.nearness_to_kink(linear, params, inputs, targets)
    np.testing.assert_allclose(found, [1 / math.sqrt(2), 0.5 / math.sqrt(2)])


def test_the_losses_of_numbers_by_hand():
    """Outputs 1 and −2, wanted 0 and 1: differences 1 and −3."""
    outputs, samples = (
        np.array([[1.0, -2.0]]),
        Samples(np.zeros((1, 1)), np.array([[0.0, 1.0]]), np.ones(1), np.ones(1)),
    )
    expected = {
        "mae": (2.0, [[0.5, -0.5]]),
        "huber": ((0.5 + 2.5) / 2, [[0.5, -0.5]]),
        "poisson": ((math.e + math.exp(-2) + 2) / 2, [[math.e / 2, (math.exp(-2) - 1) / 2]]),
    }
    for name, (value, slope) in expected.items():
        found = oracle.loss(network(loss=name), outputs, samples)
        assert found[0] == pytest.approx(value), name
        np.testing.assert_allclose(found[1], slope, err_msg=name)
    one = replace(samples, targets=np.zeros((1, 1)))  # quantiles 0.1 and 0.8 of one number: too high, too low
    value, slope = oracle.loss(network(loss="quantile"), outputs, one)
    assert value == pytest.approx((0.9 * 1 + 0.8 * 2) / 2)
    np.testing.assert_allclose(slope, [[0.45, -0.4]])


def test_the_predicted_class_is_the_first_of_the_largest_logits():
    logits = np.array([[1.0, 2.0], [1.0, 1.0], [1.0, 1.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(oracle.correct(logits, np.array([1, 0, 1, 0])), [True, True, False, False])
