"""Peers of other frameworks: their losses are ours, and a speedrun of theirs learns what ours learns.

They are of the Python that NEUROFORGE_PEER_PYTHON names, which need not be the one of the tests.
"""

import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import neuroforge_jax as nf
from neuroforge_jax.benchmarking.cases import random_pixels
from neuroforge_jax.benchmarking.peers.launch import launch_peer
from neuroforge_jax.benchmarking.peers.process import PEERS, PeerProcess, absence, make_task, our_losses
from neuroforge_jax.benchmarking.speedrun import RECIPES, our_training, write_for_torch
from neuroforge_jax.errors import DeviceError
from tests.tiers import with_further

pytestmark = pytest.mark.peers

PYTHON = Path(os.environ.get("NEUROFORGE_PEER_PYTHON", sys.executable))
FOREIGN = [name for name, peer in PEERS.items() if peer.foreign and "cuda" not in name]
CONFIG = nf.TrainConfig(hidden=(24, 16), batch_size=16, learning_rate=0.1, seed=3)
DATA = random_pixels(500, 30)


def needs(module):
    if reason := absence(module, PYTHON):
        pytest.skip(reason)


def difference_of(name, problem):
    process = PeerProcess(PEERS[name], PYTHON, problem, 1)
    try:
        process.compare(our_losses(CONFIG, DATA, 20))
        assert process.turn(5) > 0
        assert process.version[0].isdecimal()
        return process.difference
    finally:
        process.close()


@pytest.mark.parametrize("name", FOREIGN)
def test_the_losses_of_a_framework_are_ours(name):
    needs(PEERS[name].needs)
    assert difference_of(name, make_task(CONFIG, DATA, 60)) < PEERS[name].tolerance


@pytest.mark.parametrize("name", ["torch eager f32", "keras"])
def test_another_rate_is_found_out(name):
    needs(PEERS[name].needs)
    assert difference_of(name, replace(make_task(CONFIG, DATA, 60), learning_rate=0.09)) > 1e-3


ADAMW = {"optimizer": "adamw", "weight_decay": 0.1, "learning_rate": 0.01, "activation": "gelu"}


@pytest.mark.parametrize(
    ("mode", "changes"),
    with_further(
        [("eager f32", {}), ("eager f32", ADAMW), ("compiled bf16", ADAMW)], [("compiled bf16", {})]
    ),
)
def test_a_speedrun_learns_what_ours_learns(tmp_path, mode, changes):
    needs("torch")
    digits = nf.load_dataset("digits")
    recipe = replace(
        RECIPES[0.98], backend="optimized", hidden=(32,), batch_size=64, epochs=4, learning_rate=0.1
    )
    recipe = replace(recipe, **changes)
    write_for_torch(digits, tmp_path / "digits.npz")
    talk = launch_peer("torch", PYTHON, "torch_speedrun", 1)
    try:
        talk.ask({"data": str(tmp_path / "digits.npz"), "recipe": asdict(recipe), "mode": mode, "threads": 1})
        theirs = [talk.ask({"seed": seed})["accuracy"] for seed in range(4)]
    finally:
        talk.close()
    train = our_training(recipe, digits)
    ours = [train(seed).accuracy for seed in range(4)]
    assert min(theirs) > 0.9
    assert sum(theirs) / 4 == pytest.approx(sum(ours) / 4, abs=0.025)


def test_a_recipe_that_it_does_not_know_is_an_error(tmp_path):
    needs("torch")
    digits = nf.load_dataset("digits")
    write_for_torch(digits, tmp_path / "digits.npz")
    recipe = asdict(replace(RECIPES[0.98], optimizer="muon"))
    talk = launch_peer("torch", PYTHON, "torch_speedrun", 1)
    try:
        talk.ask({"data": str(tmp_path / "digits.npz"), "recipe": recipe, "mode": "eager f32", "threads": 1})
        with pytest.raises(DeviceError, match="torch: AssertionError: muon"):
            talk.ask({"seed": 0})
    finally:
        talk.close()
