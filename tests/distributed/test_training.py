"""Several processes train what one does: the same losses, one folder, one voice."""

import json
import shutil
import sys

import numpy as np
import pytest

from neuroforge_jax.checkpoint import files
from tests.distributed.processes import QUICK, SHARDS, Team, losses

pytestmark = pytest.mark.distributed

EPOCHS = ("--epochs", "4", "--run-dir", "run")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Losses of one process with two simulated devices, by the flags that are its own."""
    known = {}

    def train(*flags, quick=QUICK):
        if (quick, flags) not in known:
            folder = tmp_path_factory.mktemp("alone")
            with Team(folder) as team:
                team.train((*quick, *EPOCHS, "--mesh", "data=2", *flags), JAX_NUM_CPU_DEVICES="2")
                (ended,) = team.ends()
            assert ended.code == 0, ended.err
            known[quick, flags] = losses(folder / "run")
        return known[quick, flags]

    return train


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6)


IN_PARTS = ("--async-ops", "--accumulate", "4", "--dropout", "0.2")


@pytest.mark.parametrize(
    ("quick", "flags"),
    [(QUICK, ()), (QUICK, ("--async-ops",)), (QUICK, IN_PARTS), (SHARDS, ())],
    ids=["scanned", "pipelined", "in parts", "shards"],
)
def test_two_processes_train_what_one_with_two_devices_does_and_one_of_them_speaks(
    quick, flags, tmp_path, alone
):
    with Team(tmp_path) as team:
        team.train_two(*quick, *EPOCHS, *flags)
        first, second = team.ends()
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "2 × cpu" in first.out
    assert first.err + second.out + second.err == ""
    assert_close(losses(tmp_path / "run"), alone(*flags, quick=quick))


@pytest.mark.parametrize("mesh", ["data=4", "data=2,model=2"])
def test_two_processes_of_two_devices_each_train_to_the_same_losses(mesh, tmp_path, alone):
    with Team(tmp_path) as team:
        team.train_two(*QUICK, *EPOCHS, "--mesh", mesh, JAX_NUM_CPU_DEVICES="2")
        first, second = team.ends()
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert_close(losses(tmp_path / "run"), alone())


@pytest.mark.full_effort
def test_with_shards_of_one_order_two_processes_have_the_bits_of_one(tmp_path, alone):
    flags = ("--deterministic-shards", "8")
    with Team(tmp_path) as team:
        team.train_two(*QUICK, *EPOCHS, *flags)
        first, second = team.ends()
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert losses(tmp_path / "run") == alone(*flags)


def test_a_network_divided_over_two_processes_is_saved_by_both_and_goes_on_on_one_and_on_two(tmp_path, alone):
    """The kernels of its hidden layer lie half on each, which writes them; a checkpoint has all of them."""
    flags = (*QUICK, *EPOCHS, "--mesh", "model=2", "--optimizer", "adam", "--checkpoint-every", "5 steps")
    with Team(tmp_path) as team:
        team.train_two(*flags)
        first, second = team.ends()
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert_close(losses(tmp_path / "run"), alone("--optimizer", "adam"))
    saved, _ = files.newest(tmp_path / "run" / "checkpoints")
    assert len(saved.leaves["state/params/layer0/kernel"].digests) == 2
    assert any("ocdbt.process_1" in file.parts for file in saved.path.rglob("*"))
    with Team(tmp_path) as team:
        team.train(("--resume", "run", "--epochs", "5"), JAX_NUM_CPU_DEVICES="2")
        assert [ended.code for ended in team.ends()] == [0]
    with Team(tmp_path) as team:
        team.train_two("--resume", "run", "--epochs", "6", "--mesh", "data=2")
        assert [ended.code for ended in team.ends()] == [0, 0]
    assert_close(losses(tmp_path / "run"), alone("--optimizer", "adam", "--epochs", "6"))


def test_two_processes_go_on_with_what_one_began_and_the_best_weights_so_far(tmp_path):
    selects = ("--validation-fraction", "0.2", "--monitor", "loss", "--activation", "tanh")
    with Team(tmp_path) as team:
        team.train((*QUICK, *selects, "--epochs", "2", "--run-dir", "run", "--learning-rate", "0.2"))
        assert [ended.code for ended in team.ends()] == [0]
    with Team(tmp_path) as team:
        # At such a rate nothing gets better.
        team.train_two("--resume", "run", "--epochs", "4", "--mesh", "model=2", "--learning-rate", "100")
        assert [ended.code for ended in team.ends()] == [0, 0]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["epochs"] == 4
    assert result["best_epoch"] == 2


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="Open MPI is not installed")
def test_open_mpi_starts_two_that_find_each_other(tmp_path, alone):
    with Team(tmp_path) as team:
        launcher = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "2"]
        command = [sys.executable, "-m", "neuroforge_jax.train", "--distributed", "auto", *QUICK, *EPOCHS]
        team.start([*launcher, *command])
        (ended,) = team.ends()
    assert ended.code == 0, ended.err
    assert_close(losses(tmp_path / "run"), alone())
