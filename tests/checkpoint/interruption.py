"""Runs that end in the middle of what they are doing, and go on."""

import json

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.checkpoint import files
from tests.recorder import Recorder

CONFIG = nf.TrainConfig(
    hidden=(16,),
    batch_size=32,
    epochs=4,
    optimizer="adam",
    learning_rate=0.01,
    schedule="cosine",
    dropout=0.1,
)
"""Seven steps an epoch of 203 samples."""

TIMES = {"train_seconds", "samples_per_second", "memory_bytes"}


class PulledPlugError(Exception):
    pass


class PullsThePlug(Recorder):
    """Ends the run in the middle of what it is doing, once so many steps are done."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def segment(self, trainer, metrics):
        if metrics.last_step >= self.step:
            raise PulledPlugError


def interrupted(config, dataset, folder, step, **options):
    """A run that saves after every step and ends abruptly; the last step that was saved."""
    options = nf.RunOptions(run_dir=folder, checkpoint_every="step", keep_latest=99, log_every=1, **options)
    with pytest.raises(PulledPlugError):
        nf.fit(config, dataset, options, callbacks=[PullsThePlug(step)])
    return max(files.steps(folder / "checkpoints"), default=0)


def resumed(config, dataset, folder, **options):
    return nf.fit(config, dataset, nf.RunOptions(resume=str(folder), log_every=1, **options))


def records(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def assert_same(first, second):
    for a, b in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
