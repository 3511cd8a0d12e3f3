"""The folder of a run: what is in it, what can be had from it again, and what is told of a damaged one."""

import dataclasses
import errno
import fcntl
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.checkpoint.run_folder import RunFolder, new_folder
from neuroforge_jax.commands.config_files import config_from_data
from neuroforge_jax.errors import CheckpointError, ConfigError
from tests.conftest import SMALL_CONFIG, make_blobs

CONFIG = dataclasses.replace(SMALL_CONFIG, epochs=6)


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    """A run that is saved once for all the tests that look at one."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    return nf.fit(CONFIG, make_blobs(), nf.RunOptions(run_dir=folder, log_every=10))


@pytest.fixture
def saved(saved_once, tmp_path):
    """A copy of that run, in a folder that the test may damage."""
    shutil.copytree(saved_once.folder.path, tmp_path / "run")
    return dataclasses.replace(saved_once, folder=RunFolder(tmp_path / "run"))


def test_the_folder_holds_what_was_promised(saved):
    folder = saved.folder.path
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "checkpoints",
        "environment.json",
        "lock",
        "metrics.jsonl",
        "model.json",
        "options.json",
        "params.safetensors",
        "predictions.npz",
        "result.json",
    }
    assert config_from_data(json.loads((folder / "config.json").read_text()), "config.json") == CONFIG
    result = json.loads((folder / "result.json").read_text())
    promised = {
        "test_accuracy",
        "test_loss",
        "best_validation_accuracy",
        "compile_seconds",
        "train_seconds",
        "samples_per_second",
        "steps",
        "epochs",
        "parameters",
        "peak_memory_bytes",
        "dataset",
        "backend",
        "precision",
        "device",
    }
    assert promised <= set(result)
    assert result["steps"] == 42
    assert result["parameters"] == 13 * 16 + 16 + 16 * 4 + 4
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "step"] == [10, 20, 30, 40]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3, 4, 5, 6]


def test_a_saved_model_predicts_the_same(saved, blobs):
    model, params = nf.load(saved.folder.path)
    expected = nf.predict(saved.model, saved.params, blobs.test.inputs)
    np.testing.assert_array_equal(nf.predict(model, params, blobs.test.inputs), expected)
    assert nf.evaluate(model, params, blobs.test).accuracy == saved.test_accuracy
    assert model.classes == blobs.classes


def test_the_predictions_of_the_folder_agree_with_the_result(saved, blobs):
    with np.load(saved.folder.path / "predictions.npz") as predictions:
        right = predictions["labels"] == predictions["predicted"]
        assert right.mean() == pytest.approx(saved.test_accuracy)
        np.testing.assert_array_equal(predictions["worst_inputs"], blobs.test.inputs[predictions["worst"]])
        assert not right[predictions["worst"]].any()


def test_an_existing_run_is_never_written_over(saved, blobs):
    with pytest.raises(ConfigError, match="holds a run already"):
        nf.fit(CONFIG, blobs, nf.RunOptions(run_dir=saved.folder.path))


@pytest.mark.parametrize("name", ["params.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "nonsense"])
def test_a_damaged_run_is_named_not_loaded(saved, name, damage):
    path = saved.folder.path / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40] if damage == "truncated" else b"nonsense" * 9)
    with pytest.raises(CheckpointError, match=name) as caught:
        nf.load(saved.folder.path)
    assert caught.value.exit_code == 4


def test_parameters_of_another_shape_are_refused(saved):
    path = saved.folder.path / "model.json"
    described = json.loads(path.read_text())
    described["mlp"]["hidden"] = [17]
    path.write_text(json.dumps(described))
    with pytest.raises(
        CheckpointError,
        match=r"layer0/bias is float32 \(16,\), and model.json says float32 \(17,\)|layer0/kernel",
    ):
        nf.load(saved.folder.path)


def test_commands_that_start_together_each_have_a_folder_of_their_own(tmp_path):
    started, ended = threading.Barrier(8), threading.Barrier(8)

    def start(_):
        started.wait(10)
        with new_folder(tmp_path / "runs", "mnist") as path:
            folder = RunFolder.create(path)
            (path / "config.json").write_text("{}")
            ended.wait(10)
            folder.release()
            return path.name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(start, range(8)))
    assert sorted(names) == ["mnist", *(f"mnist-{number}" for number in range(2, 9))]


def test_a_run_that_never_began_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError), new_folder(tmp_path, "run") as path:
        assert path.is_dir()
        raise ConfigError("a mistake")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a file").touch()
    with (
        new_folder(tmp_path / "a file", "run") as path,
        pytest.raises(ConfigError, match="cannot be written"),
    ):
        RunFolder.create(path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_a_warning_and_a_run(
    number, tmp_path, monkeypatch, blobs, small_config
):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    class Notes(nf.Callback):
        def note(self, text):
            notes.append(text)

    notes: list[str] = []
    monkeypatch.setattr(fcntl, "flock", no_locks)
    if number != errno.ENOLCK:
        folder = RunFolder.create(tmp_path / "run")
        assert os.strerror(number) in folder.warning
        folder.release()
        return
    options = nf.RunOptions(run_dir=tmp_path / "run", checkpoint_every="never")
    nf.fit(dataclasses.replace(small_config, epochs=1), blobs, options, callbacks=[Notes()])
    assert (tmp_path / "run" / "result.json").exists()
    assert any("has no locks" in note and "no other process trains in this folder" in note for note in notes)
