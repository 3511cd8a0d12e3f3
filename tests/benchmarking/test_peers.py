"""Peers train what we train: their losses are ours, and one that computes something else is found out."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.benchmarking.cases import random_pixels
from neuroforge_jax.benchmarking.peers import process as module
from neuroforge_jax.benchmarking.peers.launch import peer_environment
from neuroforge_jax.benchmarking.peers.process import (
    PEERS,
    Peer,
    PeerProcess,
    absence,
    difference,
    make_task,
    our_losses,
    our_peak_resident_bytes,
)
from neuroforge_jax.benchmarking.peers.serving import PeerTask
from neuroforge_jax.errors import DeviceError

HERE = Path(sys.executable)
CONFIG = nf.TrainConfig(hidden=(24, 16), batch_size=16, learning_rate=0.1, seed=3)
DATA = random_pixels(500, 30)


def compared(peer, problem, steps=20):
    process = PeerProcess(peer, HERE, problem, 1)
    try:
        process.compare(our_losses(CONFIG, DATA, steps))
        return process.difference, process.turn(5), process.peak_resident_bytes()
    finally:
        process.close()


@pytest.mark.parametrize("name", ["numpy", "scikit-learn", pytest.param("flax nnx", marks=pytest.mark.slow)])
def test_the_losses_of_a_peer_are_ours(name):
    found, seconds, memory = compared(PEERS[name], make_task(CONFIG, DATA, 60))
    assert found < PEERS[name].tolerance
    assert seconds > 0
    assert 1e7 < memory < 1e10


def test_a_peer_that_computes_something_else_is_found_out():
    problem = replace(make_task(CONFIG, DATA, 60), learning_rate=0.09)
    assert compared(PEERS["numpy"], problem)[0] > 10 * PEERS["numpy"].tolerance


def test_other_batches_are_found_out():
    problem = make_task(CONFIG, DATA, 60)
    shuffled = replace(problem, order=np.flip(problem.order, axis=0).copy())
    assert compared(PEERS["numpy"], shuffled)[0] > 10 * PEERS["numpy"].tolerance


def test_losses_that_are_no_numbers_agree_with_nothing():
    assert difference(np.ones(3), np.array([1.0, np.nan, 1.0])) == np.inf


def test_a_problem_is_read_as_it_was_written(tmp_path):
    problem = make_task(CONFIG, DATA, 40)
    problem.write(tmp_path / "p.npz")
    again = PeerTask.read(tmp_path / "p.npz")
    assert problem.order.shape == (40, 16)
    for name in ("x", "y", "order"):
        np.testing.assert_array_equal(getattr(again, name), getattr(problem, name))
    assert again.learning_rate == 0.1
    for ours, theirs in zip(problem.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_what_is_not_installed_is_told_with_what_to_do():
    assert absence("numpy", HERE) == ""
    reason = absence("a_framework_of_the_future", HERE)
    assert "a_framework_of_the_future cannot be imported (ModuleNotFoundError" in reason
    assert "--peer-python" in reason
    assert "does not run" in absence("numpy", Path("no-such-python"))


def test_a_peer_whose_process_ends_is_one_line(tmp_path):
    problem = make_task(CONFIG, DATA, 20)
    with pytest.raises(DeviceError, match=r"peer gone: its process ended \(.*no_such_worker") as caught:
        PeerProcess(Peer("gone", "no_such_worker", "f32", "numpy"), HERE, problem, 1)
    assert "\n" not in str(caught.value)


def test_a_peer_that_fails_says_why(monkeypatch):
    problem = replace(make_task(CONFIG, DATA, 20), x=np.zeros((500, 29), np.float32))
    process = PeerProcess(PEERS["numpy"], HERE, problem, 1)
    try:
        with pytest.raises(DeviceError, match="peer numpy: ValueError: matmul"):
            process.turn(1)
    finally:
        process.close()


@pytest.mark.slow
@pytest.mark.slow
def test_our_own_memory_is_that_of_a_process_like_theirs():
    assert 5e7 < our_peak_resident_bytes(CONFIG, DATA) < 1e10


def test_every_worker_is_there():
    folder = Path(module.__file__).parent
    assert all((folder / f"{peer.worker}.py").is_file() for peer in PEERS.values())


def test_a_module_on_pythonpath_is_found_by_the_check_and_by_the_peer(tmp_path, monkeypatch):
    """Once the check looked there and the peer did not: it had a PYTHONPATH of its own, and ended."""
    (tmp_path / "a_framework_of_today.py").write_text("")
    worker = "import sys, a_framework_of_today, neuroforge_jax; sys.stdout.write(neuroforge_jax.__file__)"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert absence("a_framework_of_today", HERE) == ""
    done = subprocess.run(
        [HERE, "-c", worker],
        env=peer_environment(1),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == nf.__file__
