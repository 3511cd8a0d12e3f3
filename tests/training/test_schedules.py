"""Schedules at their ends, at any length, and as values of one compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.training.hyper import make_hyper
from neuroforge_jax.training.optimizer import OptimizerSpec
from neuroforge_jax.training.schedules import SCHEDULES, learning_rate_at

rates_of = jax.jit(
    lambda schedule, hyper, steps: jax.vmap(lambda step: learning_rate_at(schedule, hyper, step))(steps),
    static_argnums=0,
)


def curve(name, steps, warmup=0.25, peak=0.2):
    hyper = make_hyper(TrainConfig(learning_rate=peak, warmup=warmup), steps)
    # One program for runs of any length: the steps behind the end are not looked at.
    padded = np.arange(max(steps, 1000), dtype=np.int32)
    return np.asarray(rates_of(name, hyper, padded))[:steps]


def test_the_constant_schedule_is_the_rate_and_counts_no_steps():
    np.testing.assert_array_equal(curve("constant", 10, peak=0.3), np.full(10, np.float32(0.3)))
    hyper = make_hyper(TrainConfig(), 10)
    params = {"output": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}}
    states = {
        schedule: jax.tree.leaves(OptimizerSpec(MLP(4, (), 3), "sgd", schedule).build(hyper).init(params))
        for schedule in ("constant", "cosine")
    }
    assert (len(states["constant"]), len(states["cosine"])) == (0, 1)


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


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("cosine", optax.cosine_decay_schedule(0.2, 40)),
        ("exponential", optax.exponential_decay(0.2, 40, 0.01)),
        (
            "warmup-cosine",
            optax.join_schedules(
                [optax.linear_schedule(0.2 / 11, 0.2, 10), optax.cosine_decay_schedule(0.2, 30)], [10]
            ),
        ),
        (
            "one-cycle",
            optax.join_schedules(
                [
                    lambda step: 0.2 + (0.2 / 25 - 0.2) * optax.cosine_decay_schedule(1.0, 10)(step),
                    optax.cosine_decay_schedule(0.2, 30, alpha=1 / 25e4),
                ],
                [10],
            ),
        ),
    ],
)
def test_a_schedule_is_what_optax_makes_of_its_parts(name, theirs):
    """With a warm-up of a quarter of 40 steps; saved runs go on along the same curve."""
    expected = [float(theirs(step)) for step in range(40)]
    np.testing.assert_allclose(curve(name, 40), expected, rtol=2e-5, atol=1e-7)
