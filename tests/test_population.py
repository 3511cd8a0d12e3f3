"""Many networks at once: each is the run of its seed."""

import dataclasses
from functools import cache
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax import population
from neuroforge_jax.errors import ConfigError, DivergedError
from neuroforge_jax.job.job import Job
from neuroforge_jax.population import build_population, fit_population, member
from neuroforge_jax.precision.loss_scale import PERMANENT
from neuroforge_jax.training.monitor import MONITORS, Monitor
from tests.conftest import SMALL_CONFIG, make_blobs

CHANGES = {"optimizer": "adam", "dropout": 0.2, "schedule": "cosine", "loss_scale": "1024", "epochs": 2}


def test_a_member_is_the_run_of_its_seed_wherever_the_population_is_cut(blobs, small_config):
    config, seeds = dataclasses.replace(small_config, **CHANGES), [3, 0, 7]
    result = fit_population(config, blobs, seeds)
    size, samples = config.batch_size, len(blobs.train)
    weights = np.minimum(size, samples - np.arange(0, samples, size))  # the last batch may be smaller
    for index, seed in enumerate(seeds):
        alone = nf.fit(dataclasses.replace(config, seed=seed), blobs)
        for ours, theirs in zip(
            jax.tree.leaves(result.member(index)), jax.tree.leaves(alone.params), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)
        assert result.accuracies[index] == pytest.approx(alone.test_accuracy, abs=0.02)
        mean = np.average(result.losses[index], weights=weights)
        assert mean == pytest.approx(alone.history[-1]["train_loss"], rel=1e-3)
    first, second, _ = (np.asarray(result.member(index)["output"]["kernel"]) for index in range(3))
    assert np.abs(first - second).max() > 0.01

    job = build_population(config, blobs, seeds)
    run = job.compile()
    states, _ = run(job.start(), 0, 3)
    states, rest = run(states, 3, job.training.steps)
    for ours, theirs in zip(jax.tree.leaves(states.params), jax.tree.leaves(result.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(rest.loss[:, -7:], result.losses)
    assert member(states.params, 1)["output"]["bias"].shape == (blobs.outputs,)


SEEDS = [3, 7, 1]
SLOW = dataclasses.replace(SMALL_CONFIG, epochs=12, learning_rate=0.01, loss_scale="1")


@cache
def stopped():
    """A population whose members have had enough at different epochs, and the run of each of its seeds."""
    config = dataclasses.replace(SLOW, monitor="accuracy", patience=1, train_samples=150)
    dataset = make_blobs()
    result = fit_population(config, dataset, SEEDS)
    split = dataset.first(150).hold_out(config.held_out_fraction, config.seed)
    alone = [nf.fit(dataclasses.replace(config, seed=seed, train_samples=None), split) for seed in SEEDS]
    epochs = {len(run.history) for run in alone}
    assert len(epochs) == len(SEEDS), "they must stop at different epochs"
    assert max(epochs) < config.epochs, "they must stop early"
    return result, alone


def test_a_member_keeps_the_weights_of_its_own_best_epoch():
    result, alone = stopped()
    assert [epoch + 1 for epoch in result.best_epochs] == [run.figures["best_epoch"] for run in alone]
    for index, run in enumerate(alone):
        for ours, theirs in zip(
            jax.tree.leaves(result.member(index)), jax.tree.leaves(run.params), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_population_is_judged_by_test_data_and_selected_by_validation_data():
    result, alone = stopped()
    assert [one.samples for one in result.evaluations] == [57, 57, 57]
    assert result.accuracies == pytest.approx([run.test_accuracy for run in alone], abs=0.02)


def test_a_population_ends_when_its_last_member_has_had_enough():
    """On the samples that the config asks for: 150 less 15 held out are five steps an epoch."""
    result, alone = stopped()
    longest = max(range(3), key=lambda index: len(alone[index].history))
    mean = np.average(result.losses[longest], weights=[32, 32, 32, 32, 7])
    assert mean == pytest.approx(alone[longest].history[-1]["train_loss"], rel=1e-3)


def test_members_are_compared_by_a_metric_that_the_host_computes(blobs, small_config, monkeypatch):
    """By one that grows worse: each keeps its first epoch."""
    epochs = iter(range(99))
    monitor = Monitor(
        "macro-f1", higher_is_better=True, compute=lambda targets, outputs, weights: -next(epochs)
    )
    monkeypatch.setitem(MONITORS, "macro-f1", monitor)
    config = dataclasses.replace(small_config, monitor="macro-f1", validation_fraction=0.2, epochs=3)
    result = fit_population(config, blobs, [0, 1])
    assert result.best_epochs == (0, 0)
    assert next(epochs) == 3 * 2 + 2  # and of each member on the test data


START = Job.start


def start_wild(monkeypatch, *members):
    """Members that begin with finite weights, so large that their logits are not finite."""

    def start_with_wild_members(job):
        state, those = START(job), np.array(members)
        params = jax.tree.map(lambda leaf: leaf.at[those].multiply(1e30), state.params)
        return dataclasses.replace(state, params=params)

    monkeypatch.setattr(Job, "start", start_with_wild_members)


def test_a_member_that_diverges_is_frozen_alone_where_it_was(blobs, small_config, monkeypatch):
    config = dataclasses.replace(small_config, optimizer="momentum", initializer="lsuv")
    healthy = fit_population(config, blobs, [3, 0])
    start_wild(monkeypatch, 1)
    result = fit_population(config, blobs, [3, 0])
    before = build_population(config, blobs, [3, 0]).start().params
    assert dict(result.diverged) == {1: 0}
    assert np.isnan(result.losses[1]).all()
    for ours, first in zip(
        jax.tree.leaves(result.member(1)), jax.tree.leaves(member(before, 1)), strict=True
    ):
        np.testing.assert_array_equal(ours, first)
    np.testing.assert_array_equal(result.losses[0], healthy.losses[0])
    for ours, theirs in zip(
        jax.tree.leaves(result.member(0)), jax.tree.leaves(healthy.member(0)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_member_whose_every_step_is_skipped_diverges_and_where_all_do_it_is_an_error(monkeypatch):
    """One overflow is no end, for skipping its step may help; so many in a row are."""
    dataset = make_blobs(135)
    start_wild(monkeypatch, 1)
    (diverged,) = fit_population(SLOW, dataset, SEEDS).diverged.items()
    assert diverged[0] == 1
    assert diverged[1] + 1 >= PERMANENT
    start_wild(monkeypatch, 0, 1, 2)
    with pytest.raises(DivergedError, match=r"of every member .* became no number.*lower --learning-rate"):
        fit_population(SLOW, dataset, SEEDS)


def test_what_a_population_cannot_be_is_said(blobs, small_config):
    with pytest.raises(ConfigError, match="needs a seed for each of its networks"):
        fit_population(small_config, blobs, [])
    with pytest.raises(ConfigError, match="trains one network at a time; a population needs one whose data"):
        fit_population(dataclasses.replace(small_config, backend="async"), blobs, [1])


def test_a_member_that_has_stopped_is_not_counted_as_diverged_later(blobs, small_config):
    """It has its best weights, as its own run would; what its numbers come to afterwards is nobody's business."""
    config = dataclasses.replace(small_config, target_accuracy=0.5, validation_fraction=0.2, epochs=1)
    job = build_population(config, blobs.hold_out(0.2, 0), [0, 1])
    members = population._Members(job, 2)
    members.stopped[0] = True
    lost = np.full((2, 7), np.nan, np.float32)
    trainer = SimpleNamespace(state=SimpleNamespace(loss_scale=None))
    metrics = SimpleNamespace(loss=lost, skipped=np.zeros_like(lost), first_step=0)
    members.best[0] = dataclasses.replace(members.best[0], params={"some": "weights"})
    members.segment(trainer, metrics)
    assert members.diverged == {1: 0}


@pytest.mark.parametrize("seeds", [np.arange(2), range(2), (np.uint8(0), np.int64(1))], ids=str)
def test_seeds_of_any_whole_kind_are_taken(seeds, blobs, small_config):
    assert build_population(small_config, blobs, seeds).seeds == (0, 1)


@pytest.mark.parametrize("seed", [1.5, 2.0, np.float32(1), "3", None])
def test_a_seed_that_is_no_whole_number_is_refused_and_not_rounded(seed, blobs, small_config):
    with pytest.raises(ConfigError, match="seeds are whole numbers"):
        build_population(small_config, blobs, [seed])
