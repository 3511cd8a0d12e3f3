"""A job has every name looked up, and the run asks for none again."""

import collections
import dataclasses

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax import run as run_module
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.job import job as job_module
from neuroforge_jax.job.job import Job
from neuroforge_jax.population import build_population
from neuroforge_jax.system.program_cache import forget_programs
from neuroforge_jax.training.optimizer import OptimizerSpec
from tests.tiers import with_further


@pytest.fixture
def counted(monkeypatch):
    """How often each of these is called."""
    counts = collections.Counter()

    def count(where, name, key=None):
        real = getattr(where, name)

        def counting(*args, **named):
            counts[key or name] += 1
            return real(*args, **named)

        monkeypatch.setattr(where, name, counting)

    count(run_module, "choose")
    count(job_module, "choose")
    count(job_module, "make_model")
    count(job_module, "make_training")
    count(OptimizerSpec, "__init__", "optimizer")
    count(Backend, "parts")
    return counts


@pytest.mark.parametrize("saved", [False, True])
def test_everything_is_looked_up_once(saved, counted, small_config, blobs, tmp_path):
    options = nf.RunOptions(run_dir=tmp_path / "run") if saved else None
    nf.fit(dataclasses.replace(small_config, validation_fraction=0.2, patience=9), blobs, options)
    assert counted == dict.fromkeys(("choose", "make_model", "make_training", "optimizer", "parts"), 1)


def shapes_of(state):
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)], jax.tree.structure(state)


@pytest.mark.parametrize("seeds", [None, (3, 0)], ids=["one", "population"])
def test_the_shapes_of_a_state_are_known_without_a_program_that_draws_it(
    seeds, small_config, blobs, compilations
):
    config = dataclasses.replace(small_config, normalization="layer", initializer="lsuv", optimizer="adam")
    job = Job.build(config, blobs) if seeds is None else build_population(config, blobs, seeds)
    forget_programs()
    compilations.clear()
    like = job.state_like
    job._complete_program.result()
    assert not any("draw" in name for name in compilations)
    assert shapes_of(like) == shapes_of(job.start())


@pytest.mark.parametrize("backend", with_further(["optimized"], ["async"]))
def test_a_training_from_given_parameters_is_the_one_from_drawn_ones_and_draws_none(
    backend, small_config, blobs, compilations
):
    config = dataclasses.replace(small_config, backend=backend, optimizer="adam")
    drawn = Job.build(config, blobs)
    given = jax.tree.map(np.array, drawn.start().params)
    before = jax.tree.map(np.copy, given)
    state, metrics = drawn.compile()(drawn.start(), 0, 9)
    forget_programs()
    compilations.clear()
    for params in (given, jax.tree.map(jax.numpy.asarray, before)):
        job = Job.build(config, blobs)
        again, losses = job.compile()(job.start(params), 0, 9)
        assert jax.tree.all(jax.tree.map(np.array_equal, again, state))
        np.testing.assert_array_equal(losses.loss, metrics.loss)
        assert jax.tree.all(jax.tree.map(np.array_equal, params, before)), "they are the caller's"
    assert not any("draw" in name for name in compilations)


def test_members_of_a_population_begin_with_the_parameters_that_are_given(small_config, blobs):
    job = build_population(small_config, blobs, (3, 0))
    params = jax.tree.map(lambda leaf: np.asarray(leaf)[::-1], job.start().params)
    for found, wanted in zip(jax.tree.leaves(job.start(params).params), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda kernel: kernel[:-1], r"float32 \[15, 4\], and this network's is float32 \[16, 4\]"),
        (np.float64, r"float64 \[16, 4\], and this network's is float32 \[16, 4\]"),
        (None, r"missing, and this network's is float32 \[16, 4\]"),
    ],
    ids=["shape", "dtype", "none"],
)
def test_parameters_of_another_network_are_refused_by_name(change, sentence, small_config, blobs):
    job = Job.build(small_config, blobs)
    params = {layer: dict(leaves) for layer, leaves in jax.device_get(job.start().params).items()}
    kernel = params["output"].pop("kernel")
    if change is not None:
        params["output"]["kernel"] = change(kernel)
    with pytest.raises(ValueError, match=f"the parameter output/kernel is {sentence}"):
        job.start(params)
