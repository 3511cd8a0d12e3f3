"""What is not gone on with, and the sentence that says why: other networks, data, optimizers, dtypes, processes."""

import dataclasses
import os

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.errors import CheckpointError, ConfigError
from tests.checkpoint.interruption import (
    CONFIG,
    PulledPlugError,
    PullsThePlug,
    assert_same,
    interrupted,
    resumed,
)
from tests.conftest import make_blobs
from tests.recorder import Recorder


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"hidden": (24,)},
            r"params/layer0/bias is float32 \[16\] there and float32 \[24\] in this config; .*and \d+ more",
        ),
        ({"hidden": (16, 16)}, "params/layer1/kernel is float32 .* in this config and not there"),
        ({"optimizer": "sgd"}, r"opt_state/0/count is int32 \[\] there and not in this config"),
        ({"schedule": "constant"}, r"opt_state/1/count is int32 \[\] there and not in this config"),
        ({"activation": "tanh"}, "--activation relu, and tanh"),
        ({"batch_size": 16}, "--batch-size 32, and 16"),
        ({"seed": 1}, "--seed 0, and 1"),
        ({"shuffle": False}, "--shuffle True, and False"),
        ({"validation_fraction": 0.2}, "--validation-fraction"),
        ({"epochs": 1}, "has 2 epochs behind it, and --epochs 1 is asked for"),
    ],
)
def test_what_a_run_cannot_change_is_refused_by_name(change, sentence, tmp_path, blobs, cut_at_18):
    before = files.steps(tmp_path / "run" / "checkpoints")
    with pytest.raises(CheckpointError, match=sentence) as caught:
        resumed(dataclasses.replace(CONFIG, **change), blobs, tmp_path / "run")
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert files.steps(tmp_path / "run" / "checkpoints") == before


def test_other_data_are_refused_even_under_the_same_name(tmp_path, blobs):
    interrupted(CONFIG, blobs, tmp_path / "run", 9)
    with pytest.raises(CheckpointError, match="other samples of the same name"):
        resumed(CONFIG, make_blobs(seed=1), tmp_path / "run")
    with pytest.raises(
        CheckpointError, match=r"blobs \(203 samples of 13 numbers\), and the data are blobs \(150"
    ):
        resumed(CONFIG, make_blobs(150), tmp_path / "run")


@pytest.mark.faults
def test_an_optimizer_with_the_same_arrays_is_another_optimizer_all_the_same(tmp_path, blobs):
    config = dataclasses.replace(CONFIG, optimizer="momentum")
    interrupted(config, blobs, tmp_path / "run", 9)
    with pytest.raises(CheckpointError, match="with --optimizer momentum, and nesterov is asked for"):
        resumed(dataclasses.replace(config, optimizer="nesterov"), blobs, tmp_path / "run")


def test_arrays_of_another_dtype_are_refused_not_cast(tmp_path, blobs):
    """Orbax would cast in silence."""
    last = interrupted(CONFIG, blobs, tmp_path / "run", 9)
    folder = tmp_path / "run" / "checkpoints"
    saved = files.read(folder / str(last))
    arrays = saved.arrays()
    arrays["state/params/layer0/kernel"] = arrays["state/params/layer0/kernel"].astype(np.float64)
    files.write(folder, last, arrays, saved.progress)
    with pytest.raises(
        CheckpointError, match=r"params/layer0/kernel is float64 \[13, 16\] there and float32"
    ):
        resumed(CONFIG, blobs, tmp_path / "run")


def test_one_process_at_a_time(tmp_path, blobs):
    interrupted(CONFIG, blobs, tmp_path / "run", 9)
    held = RunFolder.reopen(tmp_path / "run")
    with pytest.raises(ConfigError, match=rf"is in use by process {os.getpid()}"):
        resumed(CONFIG, blobs, tmp_path / "run")
    held.release()
    resumed(CONFIG, blobs, tmp_path / "run")


def test_a_finished_run_is_left_as_it_is(tmp_path, blobs):
    first = nf.fit(CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    recorder = Recorder()
    again = nf.fit(CONFIG, blobs, nf.RunOptions(resume=str(tmp_path / "run")), callbacks=[recorder])
    assert not again.trained
    assert_same(first, again)
    assert again.test_accuracy == first.test_accuracy
    assert recorder.all("start") == []
    assert recorder.all("note") == [f"{tmp_path / 'run'} is finished: there is nothing left to train"]
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    assert {path.name for path in after if after[path] != before[path]} <= {"lock"}


def test_the_first_run_of_a_folder_is_never_written_over(tmp_path, blobs):
    nf.fit(CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"))
    with pytest.raises(ConfigError, match="holds a run already; go on with it by --resume"):
        nf.fit(CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"))


def test_without_a_folder_there_is_nothing_to_resume():
    with pytest.raises(ConfigError, match="--resume auto needs the folder of the run"):
        nf.fit(CONFIG, make_blobs(), nf.RunOptions(resume="auto"))


def test_before_the_first_save_there_is_nothing_to_load_and_it_is_said(tmp_path, blobs):
    options = nf.RunOptions(run_dir=tmp_path / "run", checkpoint_every="never")
    with pytest.raises(PulledPlugError):
        nf.fit(CONFIG, blobs, options, callbacks=[PullsThePlug(3)])
    with pytest.raises(CheckpointError, match=r"model.json: .* give the folder of a run that was saved"):
        nf.load(tmp_path / "run")
