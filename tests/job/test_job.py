"""A job has every name looked up, and the run asks for none again."""

import collections
import dataclasses

import pytest

import neuroforge_jax as nf
from neuroforge_jax import run as run_module
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.job import job as job_module
from neuroforge_jax.training.optimizer import OptimizerSpec


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
