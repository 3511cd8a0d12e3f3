"""Many networks at once: each is the run of its seed."""

import dataclasses

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.population import fit_population, member, prepare_population

pytestmark = pytest.mark.full_effort


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

    cut = prepare_population(config, blobs, seeds)
    states, _ = cut.run(cut.states, 0, 3)
    states, rest = cut.run(states, 3, cut.steps)
    for ours, theirs in zip(jax.tree.leaves(states.params), jax.tree.leaves(result.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(rest.loss[:, -7:], result.losses)
    assert member(states.params, 1)["output"]["bias"].shape == (blobs.outputs,)


def test_what_a_population_cannot_be_is_said(blobs, small_config):
    with pytest.raises(ConfigError, match="needs a seed for each of its networks"):
        fit_population(small_config, blobs, [])
    with pytest.raises(ConfigError, match="trains one network at a time; a population needs one whose data"):
        fit_population(dataclasses.replace(small_config, backend="async"), blobs, [1])
