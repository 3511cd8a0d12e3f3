"""Optimizers against their update rules in NumPy; what decays and what is orthogonalized."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.nn.mlp import MLP, abstract_params
from neuroforge_jax.training import optimizer as module
from neuroforge_jax.training.hyper import make_hyper, parse_rate_factors
from neuroforge_jax.training.optimizer import OPTIMIZERS, OptimizerSpec
from neuroforge_jax.training.schedules import SCHEDULES

RNG = np.random.default_rng(0)
LINEAR = MLP(4, (), 3)
PARAMS = {"output": {"kernel": RNG.normal(size=(4, 3)), "bias": RNG.normal(size=3)}}
GRADS = [jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape), PARAMS) for _ in range(3)]
RATE = 0.05


def make_optimizer(name, learning_rate, mlp=LINEAR, *, adds_epsilon_first=False, **options):
    """The chain that a training with these fields of a config has."""
    config = TrainConfig(optimizer=name, learning_rate=learning_rate, **options)
    spec = OptimizerSpec(
        mlp,
        name,
        decays=config.weight_decay > 0,
        clips=config.clip_norm is not None,
        by_group=config.rate_factors is not None,
        adds_epsilon_first=adds_epsilon_first,
    )
    return spec.build(jax.tree.map(jnp.asarray, make_hyper(config, 10)))


def updated(name, **options):
    optimizer = make_optimizer(name, RATE, **options)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), PARAMS)
    state = optimizer.init(params)
    for grads in GRADS:
        updates, state = optimizer.update(
            jax.tree.map(lambda g: jnp.asarray(g, jnp.float32), grads), state, params
        )
        params = optax.apply_updates(params, updates)
    return params["output"]


def by_rule(rule):
    """The leaves after three steps of `rule(leaf, gradient, memory, step)` in float64."""
    result = {}
    for leaf in ("kernel", "bias"):
        value, memory = PARAMS["output"][leaf].copy(), {"m": 0.0, "v": 0.0}
        for step, grads in enumerate(GRADS, start=1):
            value = value + rule(value, grads["output"][leaf], memory, step)
        result[leaf] = value
    return result


def sgd(w, g, memory, step):
    return -RATE * g


def momentum(w, g, memory, step):
    memory["m"] = g + 0.9 * memory["m"]
    return -RATE * memory["m"]


def nesterov(w, g, memory, step):
    memory["m"] = g + 0.9 * memory["m"]
    return -RATE * (g + 0.9 * memory["m"])


def adam(w, g, memory, step):
    memory["m"] = 0.9 * memory["m"] + 0.1 * g
    memory["v"] = 0.999 * memory["v"] + 0.001 * g**2
    return -RATE * (memory["m"] / (1 - 0.9**step)) / (np.sqrt(memory["v"] / (1 - 0.999**step)) + 1e-8)


def lion(w, g, memory, step):
    direction = np.sign(0.9 * memory["m"] + 0.1 * g)
    memory["m"] = 0.99 * memory["m"] + 0.01 * g
    return -RATE * direction


RULES = {"sgd": sgd, "momentum": momentum, "nesterov": nesterov, "adam": adam, "adamw": adam, "lion": lion}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.smoke
def test_three_steps_are_the_rule(name):
    found, expected = updated(name), by_rule(RULES[name])
    for leaf in expected:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_l2_decay_enters_the_gradient_of_matrices_only(name):
    found = updated(name, weight_decay=0.1)
    expected = by_rule(lambda w, g, memory, step: RULES[name](w, g + 0.1 * w * (w.ndim > 1), memory, step))
    for leaf in expected:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_the_rate_of_a_group_is_the_learning_rate_times_its_factor(name):
    found, usual = updated(name, rate_factors="biases=0.25"), updated(name)
    start = jax.tree.map(np.float32, PARAMS["output"])
    np.testing.assert_allclose(found["kernel"], usual["kernel"], rtol=1e-6)
    np.testing.assert_allclose(
        found["bias"] - start["bias"], 0.25 * (usual["bias"] - start["bias"]), rtol=1e-4, atol=1e-6
    )


def test_a_factor_of_0_freezes_a_group_against_decoupled_decay_too():
    found = updated("adamw", weight_decay=0.1, rate_factors="kernels=0")
    np.testing.assert_array_equal(found["kernel"], np.float32(PARAMS["output"]["kernel"]))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_betas_are_those_that_are_given(name):
    def rule(w, g, memory, step):
        memory["m"] = 0.5 * memory["m"] + 0.5 * g
        memory["v"] = 0.8 * memory["v"] + 0.2 * g**2
        return -RATE * (memory["m"] / (1 - 0.5**step)) / (np.sqrt(memory["v"] / (1 - 0.8**step)) + 1e-8)

    found, expected = updated(name, beta1=0.5, beta2=0.8), by_rule(rule)
    for leaf in expected:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_epsilon_is_added_to_what_is_divided_by_and_is_no_part_of_the_state(name):
    def rule(w, g, memory, step):
        memory["m"] = 0.9 * memory["m"] + 0.1 * g
        memory["v"] = 0.999 * memory["v"] + 0.001 * g**2
        return -RATE * (memory["m"] / (1 - 0.9**step)) / (np.sqrt(memory["v"] / (1 - 0.999**step)) + 0.5)

    found, expected = updated(name, epsilon=0.5), by_rule(rule)
    for leaf in expected:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-4, atol=1e-5)
    states = (make_optimizer(name, RATE, epsilon=epsilon).init(GRADS[0]) for epsilon in (None, 0.5))
    assert len(set(map(jax.tree.structure, states))) == 1


def test_epsilon_that_is_added_first_is_larger_in_the_first_steps():
    def rule(w, g, memory, step):
        memory["m"] = 0.9 * memory["m"] + 0.1 * g
        memory["v"] = 0.999 * memory["v"] + 0.001 * g**2
        rate = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        return -rate * memory["m"] / (np.sqrt(memory["v"]) + 0.5)

    found, expected = updated("adam", epsilon=0.5, adds_epsilon_first=True), by_rule(rule)
    for leaf in expected:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-4, atol=1e-5)
    states = (
        make_optimizer("adam", RATE, adds_epsilon_first=first).init(GRADS[0]) for first in (False, True)
    )
    assert len(set(map(jax.tree.structure, states))) == 1


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "lion", "muon"])
def test_an_epsilon_of_an_optimizer_without_it_is_refused(name):
    with pytest.raises(ConfigError, match=f"--epsilon 0.5 is for --optimizer adam, adamw; {name} takes none"):
        make_optimizer(name, RATE, epsilon=0.5)


@pytest.mark.parametrize(
    "spec", ["bias=1", "biases", "biases=", "biases=-1", "biases=nan", "norms=1,norms=1"]
)
def test_a_factor_that_cannot_be_used_is_named(spec):
    with pytest.raises(ConfigError, match="is not one of kernels, biases, norms, each at most once"):
        parse_rate_factors(spec)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_decoupled_decay_shrinks_matrices_only(name):
    found = updated(name, weight_decay=0.1)
    expected = by_rule(
        lambda w, g, memory, step: RULES[name](w, g, memory, step) - RATE * 0.1 * w * (w.ndim > 1)
    )
    for leaf in expected:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-4, atol=1e-5)


def test_clipping_bounds_the_global_norm():
    optimizer = make_optimizer("sgd", 1.0, clip_norm=0.5)
    params = jax.tree.map(jnp.asarray, PARAMS)
    updates, _ = optimizer.update(jax.tree.map(jnp.asarray, GRADS[0]), optimizer.init(params), params)
    assert float(optax.tree.norm(updates)) == pytest.approx(0.5, rel=1e-5)


def test_muon_orthogonalizes_matrices_and_leaves_biases_to_adam():
    optimizer = make_optimizer("muon", 1.0, MLP(16, (), 16))
    rng = np.random.default_rng(1)
    params = {"output": {"kernel": jnp.zeros((16, 16)), "bias": jnp.zeros(16)}}
    grads = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    updates, grads = updates["output"], grads["output"]
    singular = np.linalg.svd(np.asarray(updates["kernel"]), compute_uv=False)
    assert singular.max() < 1.3
    assert np.median(singular) > 0.6
    # The first step of Adam (here Nesterov's form) is the sign of the gradient, whatever its size.
    np.testing.assert_allclose(
        updates["bias"] / jnp.abs(updates["bias"]).max(), -np.sign(grads["bias"]), atol=1e-3
    )


def test_a_plain_optimizer_keeps_no_state():
    params = jax.tree.map(jnp.asarray, PARAMS)
    assert jax.tree.leaves(make_optimizer("sgd", 0.1).init(params)) == []


@pytest.mark.parametrize(
    ("names", "table"),
    [(("adamm", "constant"), OPTIMIZERS), (("sgd", "linear"), SCHEDULES)],
    ids=["optimizer", "schedule"],
)
def test_an_unknown_name_lists_the_known_ones(names, table):
    with pytest.raises(ConfigError, match="known are " + ", ".join(table)):
        OptimizerSpec(LINEAR, *names)


def described(**changes):
    """In the place of `abstract_params`: its description, but for some fields of some leaves."""

    def describe(mlp):
        layers = abstract_params(mlp)
        return {
            layer: {leaf: replace(param, **changes.get(leaf, {})) for leaf, param in leaves.items()}
            for layer, leaves in layers.items()
        }

    return describe


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion", "muon"])
def test_what_decays_is_what_the_description_says_whatever_its_rank(name, monkeypatch):
    params = {"output": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones((4, 3))}}
    nothing = jax.tree.map(jnp.zeros_like, params)

    def decay_of():
        optimizer = make_optimizer(name, 0.1, weight_decay=0.5)
        updates, _ = optimizer.update(nothing, optimizer.init(params), params)
        return {leaf: float(update[0, 0]) for leaf, update in updates["output"].items()}

    # A bias of rank 2, as those of several networks together are, is a bias.
    assert decay_of() == {"kernel": pytest.approx(-0.05), "bias": 0}
    monkeypatch.setattr(module, "abstract_params", described(kernel={"decays": False}, bias={"decays": True}))
    # Muon leaves biases to an Adam of its own, which has no decay.
    assert decay_of() == {"kernel": 0, "bias": 0 if name == "muon" else pytest.approx(-0.05)}


def test_what_muon_takes_is_what_the_description_calls_kernels_whatever_its_rank(monkeypatch):
    rng = np.random.default_rng(1)
    grads = {"output": {name: jnp.float32(rng.normal(size=(16, 16))) for name in ("kernel", "bias")}}
    params = jax.tree.map(jnp.zeros_like, grads)

    def signs_alone():
        """Of Adam's first update all elements have one size."""
        optimizer = make_optimizer("muon", 1.0, MLP(16, (), 16))
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        return {leaf: float(jnp.abs(u).std()) < 1e-3 for leaf, u in updates["output"].items()}

    assert signs_alone() == {"kernel": False, "bias": True}
    monkeypatch.setattr(
        module, "abstract_params", described(kernel={"group": "norms"}, bias={"group": "kernels"})
    )
    assert signs_alone() == {"kernel": True, "bias": False}


def test_other_values_are_the_same_program():
    """A learning rate, a momentum, a decay and a limit are arguments of what is compiled."""
    spec = OptimizerSpec(LINEAR, "momentum", "cosine", decays=True, clips=True)
    params, grads = (jax.tree.map(jnp.float32, tree) for tree in (PARAMS, GRADS[0]))

    @jax.jit
    def first_update(hyper):
        chain = spec.build(hyper)
        return chain.update(grads, chain.init(params), params)[0]

    base = TrainConfig(weight_decay=0.1, clip_norm=1.0)
    found = []
    for changes in ({}, {"learning_rate": 0.02}, {"weight_decay": 0.5}, {"clip_norm": 0.3}):
        updates = first_update(make_hyper(replace(base, **changes), 10))
        found.append(np.asarray(updates["output"]["kernel"]))
    assert first_update._cache_size() == 1
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-5)
    assert all((other != found[0]).any() for other in found[2:])
