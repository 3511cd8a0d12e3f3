"""Loss scaling: what it scales, when it skips, what it freezes, and when it gives up."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroforge_jax as nf
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.errors import ConfigError, DivergedError
from neuroforge_jax.job.job import Job
from neuroforge_jax.precision.loss_scale import (
    FIRST_SCALE,
    PERMANENT,
    LossScale,
    all_finite,
    dynamic_scale,
    make_loss_scale,
    scale_loss,
    static_scale,
    unscale_gradients,
    update_loss_scale,
)
from neuroforge_jax.precision.policy import POLICIES
from neuroforge_jax.training.step import make_step
from tests.conftest import make_blobs


def after(scale, *finite):
    for now in finite:
        scale = update_loss_scale(scale, jnp.asarray(now))
    return scale


def test_a_scale_halves_at_an_overflow_and_doubles_after_enough_finite_steps():
    scale = dataclasses.replace(dynamic_scale(1024), interval=3)
    assert float(after(scale, False).scale) == 512
    assert float(after(scale, True, True).scale) == 1024
    assert float(after(scale, True, True, True).scale) == 2048
    assert float(after(scale, True, True, False, True, True).scale) == 512
    assert int(after(scale, False, True, False).skipped) == 2


def test_the_finite_steps_are_counted_anew_after_each_change_of_the_scale():
    scale = dataclasses.replace(dynamic_scale(1024), interval=3)
    twice = after(scale, *[True] * 6)
    assert [float(after(scale, *[True] * steps).scale) for steps in (3, 5, 6)] == [2048, 2048, 4096]
    assert int(twice.finite_steps) == 0
    assert [float(after(scale, False, *[True] * steps).scale) for steps in (2, 3)] == [512, 1024]


def test_an_overflow_below_the_floor_is_one_at_the_floor():
    below = dataclasses.replace(dynamic_scale(1.0), floor=2.0)
    assert int(after(below, False).failed) == 1
    assert float(after(below, False).scale) == 2


def test_a_static_scale_stays_and_counts():
    scale = after(static_scale(1000), False, True, False)
    assert float(scale.scale) == 1000
    assert int(scale.skipped) == 2
    assert scale.is_static


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), max_size=80), st.integers(1, 4))
def test_a_scale_stays_between_its_floor_and_its_ceiling(finite, interval):
    scale = dataclasses.replace(dynamic_scale(16), interval=interval, floor=2.0, ceiling=64.0)
    step = jax.jit(update_loss_scale)
    for now in finite:
        scale = step(scale, jnp.asarray(now))
        assert 2 <= float(scale.scale) <= 64
        assert float(scale.scale).hex().startswith("0x1.0000000000000p")
    assert int(scale.skipped) == finite.count(False)


def test_a_row_of_overflows_at_the_floor_is_permanent_and_stays_so():
    scale = dynamic_scale(4.0)
    almost = after(scale, False, False, *[False] * (PERMANENT - 1))
    assert int(almost.failed) == PERMANENT - 1
    assert int(after(almost, True).failed) == 0
    assert int(after(almost, False, True, True).failed) == PERMANENT


@pytest.mark.parametrize(
    ("spec", "policy", "first"),
    [
        ("auto", "f32", None),
        ("auto", "bf16", None),
        ("auto", "fp16", FIRST_SCALE),
        ("none", "fp16", None),
        ("dynamic", "f32", FIRST_SCALE),
        ("1024", "fp16", 1024),
        ("1e3", "f32", 1000),
    ],
)
def test_the_flag_and_the_policy_choose_the_scale(spec, policy, first):
    scale = make_loss_scale(spec, POLICIES[policy])
    assert (None if scale is None else float(scale.scale)) == first


@pytest.mark.parametrize("spec", ["", "big", "0", "-1", "nan", "inf", "1e9", "dynamic "])
def test_a_wrong_scale_is_refused_with_what_is_allowed(spec):
    with pytest.raises(ConfigError, match=r"it takes auto, none, dynamic, or a number from 1 to 16777216"):
        make_loss_scale(spec, POLICIES["fp16"])


def test_a_scale_goes_through_jit_with_every_field_off_its_default():
    given_scale = LossScale(*(jnp.asarray(value) for value in (3.0, 1, 2, 4)), 5.0, 0.25, 7, 2.0, 9.0)
    back = jax.jit(lambda scale: jax.tree.map(lambda leaf: leaf + 1, scale))(given_scale)
    assert [float(leaf) for leaf in jax.tree.leaves(back)] == [4, 2, 3, 5]
    assert (back.growth, back.backoff, back.interval, back.floor, back.ceiling) == (5.0, 0.25, 7, 2.0, 9.0)


def test_no_scaling_has_no_leaves():
    _, state = nf.init(nf.TrainConfig(hidden=(4,)), make_blobs())
    assert state.loss_scale is None
    assert scale_loss(jnp.asarray(3.0), None) == 3


def test_one_bad_gradient_is_found_in_any_leaf():
    gradients = {"a": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
    assert all_finite(gradients)
    for bad in (np.inf, -np.inf, np.nan):
        assert not all_finite({"a": {**gradients["a"], "bias": jnp.asarray([1.0, bad])}})


@pytest.fixture
def config():
    return nf.TrainConfig(
        hidden=(16,),
        batch_size=32,
        epochs=3,
        learning_rate=0.01,
        optimizer="adam",
        schedule="cosine",
        clip_norm=0.5,
        loss_scale="dynamic",
        backend="stepped",
    )


def parts_of(config, dataset):
    """The parts of its step, what was fitted to its data, and its first state."""
    job = Job.build(config, dataset)
    return job.parts, job.model.fitted, job.start()


def batch_of(dataset, factor=1.0):
    inputs = jnp.asarray(dataset.train.inputs[:32], jnp.float32) * factor
    return Batch(inputs, jnp.asarray(dataset.train.targets[:32]), jnp.ones(32))


def test_the_loss_is_scaled_and_the_gradients_are_unscaled_before_clipping(config, blobs):
    parts, fitted, state = parts_of(config, blobs)
    plain_parts, _, plain = parts_of(dataclasses.replace(config, loss_scale="none"), blobs)
    batch = batch_of(blobs)
    gradients, metrics = jax.jit(parts.backward)(state, fitted, batch)
    plain_gradients, plain_metrics = jax.jit(plain_parts.backward)(plain, fitted, batch)
    assert metrics.loss == plain_metrics.loss
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(plain_gradients), strict=True):
        np.testing.assert_allclose(ours, FIRST_SCALE * theirs, rtol=1e-5, atol=1e-4)
    # A scale of 2¹⁵ into a limit of the norm would leave nothing of the difference between steps.
    unscaled = unscale_gradients(gradients, state.loss_scale)
    updated = jax.jit(parts.optimize)(state, gradients)
    expected = jax.jit(plain_parts.optimize)(plain, unscaled)
    for ours, theirs in zip(jax.tree.leaves(updated.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_skipped_step_freezes_parameters_count_and_schedule_and_moves_on_in_the_data(config, blobs):
    parts, fitted, state = parts_of(config, blobs)
    step = jax.jit(make_step(parts))
    state, metrics = step(state, fitted, batch_of(blobs))
    assert metrics.skipped == 0
    skipped, metrics = step(state, fitted, batch_of(blobs, factor=np.inf))
    assert metrics.skipped == 1
    for ours, theirs in zip(
        jax.tree.leaves((skipped.params, skipped.opt_state)),
        jax.tree.leaves((state.params, state.opt_state)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert int(skipped.step) == int(state.step) + 1
    assert float(skipped.loss_scale.scale) == float(state.loss_scale.scale) / 2


def test_members_of_a_population_keep_scales_of_their_own(config, blobs):
    """fp16 overflows at a scale of 2²⁴ and not at 2⁴: one member skips, the other learns."""
    config = dataclasses.replace(config, precision="fp16", loss="mse")
    parts, fitted, state = parts_of(config, blobs)
    together = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    scales = jnp.asarray([2.0**24, 2.0**4])
    together = together.replace(loss_scale=together.loss_scale.replace(scale=scales))
    after_step, metrics = jax.jit(jax.vmap(make_step(parts), (0, None, None)))(
        together, fitted, batch_of(blobs)
    )
    assert list(metrics.skipped) == [1, 0]
    assert list(after_step.loss_scale.scale) == [2.0**23, 2.0**4]
    before, after_kernel = state.params["layer0"]["kernel"], after_step.params["layer0"]["kernel"]
    np.testing.assert_array_equal(after_kernel[0], before)
    assert not np.array_equal(after_kernel[1], before)


def test_scaling_keeps_gradients_that_fp16_would_lose():
    """Gradients near 1e-9 are nothing in fp16; scaled by 2¹⁵ they are there."""
    config = nf.TrainConfig(hidden=(), precision="fp16", batch_size=32, loss="mse")
    dataset = make_blobs()
    norms = {}
    for spec in ("none", "16777216"):
        parts, fitted, state = parts_of(dataclasses.replace(config, loss_scale=spec), dataset)

        def tiny(params, parts=parts, fitted=fitted, state=state):
            batch = batch_of(dataset)
            logits = parts.forward(params, fitted, batch.inputs, None)
            return 1e-9 * scale_loss(parts.metrics(logits, batch, state.hyper).loss, state.loss_scale)

        norms[spec] = float(jnp.linalg.norm(jax.jit(jax.grad(tiny))(state.params)["output"]["kernel"]))
    assert norms["none"] == 0
    assert norms["16777216"] > 0


def test_fp16_trains_and_says_how_often_it_skipped(config, tmp_path):
    config = dataclasses.replace(config, precision="fp16", loss_scale="auto", epochs=6)
    result = nf.fit(config, make_blobs(), nf.RunOptions(run_dir=tmp_path / "run", log_every=1))
    assert result.test_accuracy > 0.95
    assert [record["loss_scale"] for record in result.history] == [FIRST_SCALE] * 6
    assert result.figures["skipped_steps"] == sum(record["skipped_steps"] for record in result.history) == 0
    model, params = nf.load(tmp_path / "run")
    assert str(model.policy) == "p=f32,c=f16,o=f32"
    assert nf.evaluate(model, params, make_blobs().test).accuracy == result.test_accuracy


def test_a_static_scale_that_always_overflows_ends_the_run_and_names_the_way_out(config):
    config = dataclasses.replace(config, precision="fp16", loss_scale=str(2**24), epochs=8)
    with pytest.raises(
        DivergedError,
        match=rf"overflowed in {PERMANENT} steps in a row .* 16,777,216, .* set --loss-scale dynamic",
    ):
        nf.fit(config, make_blobs())


def test_skipped_steps_are_counted_and_their_losses_judged_by_nobody(config, tmp_path):
    """Every batch of one sample too many for fp16: its logits are no numbers, and the others still train."""
    blobs = make_blobs()
    inputs = np.float32(blobs.train.inputs) / 255
    inputs[17] = 1e6
    as_it_is = Fitted(np.zeros(13, np.float32), np.ones(13, np.float32))
    dataset = dataclasses.replace(
        nf.Dataset.from_arrays(
            inputs, blobs.train.targets, np.float32(blobs.test.inputs) / 255, blobs.test.targets
        ),
        fitted=as_it_is,
    )
    config = dataclasses.replace(config, precision="fp16", loss_scale="auto", epochs=10)
    result = nf.fit(config, dataset, nf.RunOptions(run_dir=tmp_path / "run", log_every=1))
    assert [record["skipped_steps"] for record in result.history] == [1] * 10
    assert result.figures["skipped_steps"] == 10
    assert result.figures["loss_scale"] == FIRST_SCALE / 2**10
    assert result.history[-1]["train_loss"] < 0.8 * result.history[0]["train_loss"]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    steps = [line["loss"] for line in lines if line["event"] == "step"]
    assert len(steps) == 70
    assert steps.count(None) == 10


def test_a_run_of_nothing_but_overflows_ends_with_code_6(config):
    x = np.full((203, 3), 1e5, np.float32)
    y = np.arange(203) % 2
    dataset = nf.Dataset.from_arrays(x, y, x[:20], y[:20])
    as_it_is = Fitted(np.zeros(3, np.float32), np.ones(3, np.float32))
    dataset = dataclasses.replace(dataset, fitted=as_it_is)
    config = dataclasses.replace(config, precision="fp16", loss_scale="auto", epochs=20)
    with pytest.raises(
        DivergedError, match=r"lowest loss scale, 1, before step .* use --precision bf16"
    ) as caught:
        nf.fit(config, dataset)
    assert caught.value.exit_code == 6
