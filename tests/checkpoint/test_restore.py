"""What a step may be continued with, asked of a step that holds no arrays."""

import dataclasses
import json
from pathlib import Path

import jax
import pytest

from neuroforge_jax.checkpoint.files import SavedStep
from neuroforge_jax.checkpoint.restore import FIXED, describe_config, restore
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import CheckpointError
from neuroforge_jax.training.placement import Placement

CONFIG = TrainConfig(loss="quantile")
BLOBS = {"name": "blobs", "samples": 1200, "inputs": 13, "sha256": "a"}


def refusal(config=CONFIG, data=BLOBS, epochs_done=0):
    progress = json.loads(
        json.dumps({"config": describe_config(CONFIG), "data": BLOBS, "epoch": epochs_done})
    )
    with pytest.raises(CheckpointError) as caught:
        restore(SavedStep(Path("run/40"), {}, progress), config, data, {}, Placement(jax.devices()[0]))
    return str(caught.value)


CHANGES = {
    "target": ("price",), "train_samples": 100, "held_out_fraction": 0.25, "hidden": (7, 5), "activation": "tanh",
    "normalization": "rms", "residual": True, "loss": "mse", "quantiles": (0.1, 0.9),
    "batch_size": 17, "optimizer": "lion", "seed": 5, "shuffle": False,
    "deterministic_shards": 4,
}  # fmt: skip


@pytest.mark.parametrize("name", FIXED)
def test_what_a_run_cannot_change_is_named_by_its_own_flag(name):
    field = "validation_fraction" if name == "held_out_fraction" else name
    flag = "--" + field.replace("_", "-")
    said = refusal(dataclasses.replace(CONFIG, **{field: CHANGES[name]}))
    assert f"was trained with {flag} " in said
    assert f", and {CHANGES[name]} is asked for" in said


def test_fewer_epochs_than_are_done_are_refused():
    config = dataclasses.replace(CONFIG, epochs=4)
    assert "has 5 epochs behind it, and --epochs 4 is asked for" in refusal(config, epochs_done=5)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"sha256": "b"}, "other samples of the same name"),
        ({"sha256": "b", "samples": 900}, "blobs (900 samples of 13 numbers)"),
        ({"sha256": "b", "samples": 1300}, "blobs (1,300 samples of 13 numbers)"),
    ],
)
def test_other_data_are_told_from_those_it_was_trained_on(data, found):
    said = refusal(data=BLOBS | data)
    assert f"was trained on blobs (1,200 samples of 13 numbers), and the data are {found};" in said
