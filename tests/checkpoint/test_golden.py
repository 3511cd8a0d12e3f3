"""A run that version 0.1 of this package left half way: every later version goes on with it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.checkpoint import files
from neuroforge_jax.data.types import Partition
from tests.conftest import make_blobs

pytestmark = pytest.mark.full_effort

GOLDEN = Path(__file__).parent / "golden"
CONFIG = nf.TrainConfig(
    hidden=(4,),
    batch_size=8,
    epochs=12,
    optimizer="adam",
    learning_rate=0.02,
    validation_fraction=0.2,
    precision="fp16",
)


def make_data():
    return make_blobs(60)


def test_the_golden_checkpoint_holds_what_was_saved():
    saved, damaged = files.newest(GOLDEN / "checkpoints")
    assert damaged == []
    assert saved.progress["step"] == 40
    arrays = saved.arrays()
    assert int(arrays["state/step"]) == 40
    assert float(arrays["state/loss_scale/scale"]) == 2**15
    assert arrays["state/params/layer0/kernel"].shape == (13, 4)
    assert arrays["best/output/bias"].shape == (4,)
    assert arrays["state/opt_state/0/mu/layer0/bias"].dtype == np.float32


def test_the_golden_run_goes_on_to_its_end(tmp_path):
    folder = shutil.copytree(GOLDEN, tmp_path / "run")
    # Validation data were not held out class by class then, nor are they when such a run goes on.
    whole = nf.fit(CONFIG, replace(make_data(), partition=Partition(by_class=False)))
    result = nf.fit(CONFIG, make_data(), nf.RunOptions(resume=str(folder)))
    assert [record["epoch"] for record in result.history] == list(range(1, 13))
    # Not bit for bit: it was begun by another jax on another machine.
    assert result.history[-1]["train_loss"] == pytest.approx(whole.history[-1]["train_loss"], rel=0.02)
