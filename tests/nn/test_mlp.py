"""The network against NumPy in float64, and the one description that everything else comes from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.nn.dropout import Dropout
from neuroforge_jax.nn.mlp import MLP
from tests.tiers import with_further

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)


def reference(mlp, params, x):
    """The equation of the module, spelled out for relu."""
    x = x.astype(np.float64)
    for index in range(len(mlp.hidden)):
        layer = {name: np.float64(leaf) for name, leaf in params[f"layer{index}"].items()}
        y = x @ layer["kernel"] + layer["bias"]
        if mlp.normalization == "layer":
            y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-6)
            y = y * layer["scale"] + layer["shift"]
        if mlp.normalization == "rms":
            y = y / np.sqrt((y**2).mean(1, keepdims=True) + 1e-6) * layer["scale"]
        y = np.maximum(y, 0)
        x = x + y if mlp.residual and x.shape == y.shape else y
    return x @ np.float64(params["output"]["kernel"]) + np.float64(params["output"]["bias"])


def perturbed(params):
    """Biases and scales off their start values, so that leaving one out is seen."""
    return jax.tree.map(
        lambda leaf: leaf + 0.1 * jnp.sin(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), params
    )


@pytest.mark.parametrize("normalization", with_further(["none", "layer"], ["rms"]))
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("hidden", [(), (7,), (9, 9, 5)])
def test_apply_is_the_equation(normalization, residual, hidden):
    mlp = MLP(9, hidden, 4, normalization=normalization, residual=residual)
    params = perturbed(nn.init(KEY, mlp))
    np.testing.assert_allclose(
        nn.apply(mlp, params, jnp.asarray(X)), reference(mlp, params, X), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("normalization", ["none", "layer", "rms"])
def test_the_description_is_what_init_makes(normalization):
    mlp = MLP(9, (8, 7), 4, normalization=normalization)
    params, described = nn.init(KEY, mlp), nn.abstract_params(mlp)
    assert {layer: set(leaves) for layer, leaves in params.items()} == {
        layer: set(leaves) for layer, leaves in described.items()
    }
    for layer, leaves in described.items():
        for leaf, abstract in leaves.items():
            assert params[layer][leaf].shape == abstract.shape
            assert params[layer][leaf].dtype == abstract.dtype
            assert len(abstract.axes) == len(abstract.shape)
    assert nn.count(mlp) == sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("residual", [False, True])
def test_every_layer_makes_unit_variance_of_the_rows_that_lsuv_was_given(residual):
    """Mishkin and Matas, 2016: on rows whose scale no formula knows."""
    mlp, rows = MLP(9, (7, 7, 5), 4, "tanh", residual=residual, initializer="lsuv"), jnp.asarray(X) * 50 + 3
    params = nn.init(KEY, mlp, sample=rows)
    made = []

    def dense(x, kernel, bias, activation):
        made.append(float((x @ kernel + bias).std()))
        return nn.plain_dense(x, kernel, bias, activation)

    nn.apply(mlp, params, rows, dense=dense)
    assert made[:-1] == pytest.approx([1, 1, 1], rel=1e-5)
    drawn = nn.init(KEY, mlp)
    np.testing.assert_array_equal(params["output"]["kernel"], drawn["output"]["kernel"])


def test_rows_that_are_all_alike_leave_lsuv_as_it_was_drawn():
    mlp = MLP(9, (7,), 4, initializer="lsuv")
    drawn, fitted = nn.init(KEY, mlp), nn.init(KEY, mlp, sample=jnp.zeros((6, 9)))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), drawn, fitted))


def test_training_flops_as_counted_by_hand():
    """784-1024-512-10: 6 operations a weight, less the input gradient of the first layer."""
    weights = 784 * 1024 + 1024 * 512 + 512 * 10
    assert nn.train_flops(MLP(784, (1024, 512), 10)) == 6 * weights - 2 * 784 * 1024
    assert nn.train_flops(MLP(9, (), 4)) == 4 * 9 * 4


@pytest.mark.smoke
def test_dropout_drops_its_share_and_keeps_the_mean():
    mlp = MLP(9, (4000,), 4, dropout=True, activation="identity")
    params = nn.init(KEY, mlp)
    params["layer0"]["kernel"] = jnp.zeros((9, 4000))
    params["layer0"]["bias"] = jnp.ones(4000)
    params["output"]["kernel"] = jnp.eye(4000, 4000)[:, :4].at[:].set(1 / 4000)
    out = nn.apply(mlp, params, jnp.asarray(X), dropout=Dropout(jax.random.key(1), jnp.float32(0.25)))
    np.testing.assert_allclose(out, 1.0, atol=0.05)
    assert float(jnp.abs(out - 1.0).max()) > 0
    np.testing.assert_allclose(nn.apply(mlp, params, jnp.asarray(X)), 1.0, rtol=1e-5)


def test_without_dropout_no_random_number_is_drawn_though_a_key_is_given():
    def bits_drawn(dropout):
        mlp = MLP(9, (8,), 4, dropout=dropout)
        program = jax.make_jaxpr(
            lambda key: nn.apply(
                mlp, nn.init(KEY, mlp), jnp.asarray(X), dropout=Dropout(key, jnp.float32(0.5))
            )
        )
        return str(program(KEY)).count("random_bits")

    drawn_by_init = bits_drawn(False)
    assert bits_drawn(True) == drawn_by_init + 1


def test_the_rate_of_dropout_is_a_value_of_the_program():
    mlp = MLP(9, (400,), 4, dropout=True)
    params = nn.init(KEY, mlp)
    logits = jax.jit(lambda rate: nn.apply(mlp, params, jnp.asarray(X), dropout=Dropout(KEY, rate)))
    for rate in (0.0, 0.5):
        own = jax.random.bernoulli(jax.random.fold_in(KEY, 0), 1 - rate, (6, 400))
        hidden = np.where(own, np.maximum(X @ np.float64(params["layer0"]["kernel"]), 0) / (1 - rate), 0)
        np.testing.assert_allclose(
            logits(jnp.float32(rate)), hidden @ np.float64(params["output"]["kernel"]), rtol=1e-4, atol=1e-5
        )
    assert logits._cache_size() == 1


def test_matrices_decay_and_the_description_says_which():
    described = nn.abstract_params(MLP(9, (8, 7), 4, normalization="layer"))
    groups = {"kernel": "kernels", "bias": "biases", "scale": "norms", "shift": "norms"}
    for leaves in described.values():
        for leaf, param in leaves.items():
            assert param.group == groups[leaf]
            assert param.decays == (leaf == "kernel")


def test_the_dense_layer_is_an_argument():
    calls = []

    def counting(x, kernel, bias, activation):
        calls.append((*kernel.shape, activation))
        return nn.plain_dense(x, kernel, bias, activation)

    mlp = MLP(9, (8, 7), 4)
    nn.apply(mlp, nn.init(KEY, mlp), jnp.asarray(X), dense=counting)
    assert calls == [(9, 8, "relu"), (8, 7, "relu"), (7, 4, "identity")]


def test_a_signal_keeps_its_size_through_many_layers():
    for activation in ("relu", "gelu", "silu", "elu"):
        mlp = MLP(256, (256,) * 12, 256, activation=activation)
        x = jax.random.normal(jax.random.key(2), (64, 256))
        hidden = nn.apply(mlp, nn.init(KEY, mlp), x)
        assert 0.2 < float(hidden.std()) < 5, activation


def test_adding_a_layer_leaves_the_others_initial_values_alone():
    short, long = nn.init(KEY, MLP(9, (8,), 4)), nn.init(KEY, MLP(9, (8, 8), 4))
    np.testing.assert_array_equal(short["layer0"]["kernel"], long["layer0"]["kernel"])
