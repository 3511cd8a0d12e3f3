"""Optimizers against their update rules in NumPy, and schedules at their ends."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.errors import ConfigError
from neuroforge_jax.training.optimizer import OPTIMIZERS, SCHEDULES, make_optimizer, make_schedule

RNG = np.random.default_rng(0)
PARAMS = {"layer0": {"kernel": RNG.normal(size=(4, 3)), "bias": RNG.normal(size=3)}}
GRADS = [jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape), PARAMS) for _ in range(3)]
RATE = 0.05


def updated(name, **options):
    optimizer = make_optimizer(name, RATE, **options)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), PARAMS)
    state = optimizer.init(params)
    for grads in GRADS:
        updates, state = optimizer.update(
            jax.tree.map(lambda g: jnp.asarray(g, jnp.float32), grads), state, params
        )
        params = optax.apply_updates(params, updates)
    return params["layer0"]


def by_rule(rule):
    """The leaves after three steps of `rule(leaf, gradient, memory, step)` in float64."""
    result = {}
    for leaf in ("kernel", "bias"):
        value, memory = PARAMS["layer0"][leaf].copy(), {"m": 0.0, "v": 0.0}
        for step, grads in enumerate(GRADS, start=1):
            value = value + rule(value, grads["layer0"][leaf], memory, step)
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
    optimizer = make_optimizer("muon", 1.0)
    rng = np.random.default_rng(1)
    params = {"kernel": jnp.zeros((16, 16)), "bias": jnp.zeros(16)}
    grads = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
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


@pytest.mark.parametrize("table", [OPTIMIZERS, SCHEDULES], ids=["optimizer", "schedule"])
def test_an_unknown_name_lists_the_known_ones(table):
    with pytest.raises(ConfigError, match="known are " + ", ".join(table)):
        if table is OPTIMIZERS:
            make_optimizer("adamm", 0.1)
        else:
            make_schedule("linear", learning_rate=0.1, total_steps=10, warmup=0.1)


def curve(name, steps, warmup=0.25, peak=0.2):
    schedule = make_schedule(name, learning_rate=peak, total_steps=steps, warmup=warmup)
    return np.array([float(schedule(step)) if callable(schedule) else schedule for step in range(steps)])


def test_the_constant_schedule_is_a_plain_number():
    assert make_schedule("constant", learning_rate=0.3, total_steps=10, warmup=0.1) == 0.3


@pytest.mark.parametrize(
    ("name", "start", "peak_at", "end"),
    [
        ("cosine", 0.2, 0, 0.0),
        ("one-cycle", 0.2 / 25, 250, 0.2 / 25e4),
        ("warmup-cosine", 0.2 / 251, 250, 0.0),
        ("exponential", 0.2, 0, 0.002),
    ],
)
def test_a_schedule_starts_peaks_and_ends_where_it_says(name, start, peak_at, end):
    rates = curve(name, 1000)
    assert rates[0] == pytest.approx(start, rel=1e-3)
    assert rates.argmax() == peak_at
    assert rates.max() == pytest.approx(0.2, rel=1e-5)
    assert rates[-1] == pytest.approx(end, abs=1e-4)
    assert (np.diff(rates[: peak_at + 1]) > 0).all()
    assert (np.diff(rates[peak_at:]) < 0).all()


@pytest.mark.parametrize("name", ["one-cycle", "warmup-cosine"])
@pytest.mark.parametrize("steps", [2, 3, 10])
def test_a_warmup_as_long_as_the_run_leaves_the_last_step_to_the_peak(name, steps):
    rates = curve(name, steps, warmup=0.999)
    assert rates.argmax() == steps - 1
    assert rates.max() == pytest.approx(0.2, rel=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 12), st.floats(0, 0.999))
def test_a_schedule_is_finite_and_below_its_peak_however_short_the_run(name, steps, warmup):
    rates = curve(name, steps, warmup)
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
    assert rates.max() <= 0.2 * (1 + 1e-6)
    assert rates[0] > 0
