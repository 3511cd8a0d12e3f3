"""A whole run: what it learns, what it says, what it leaves behind."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import CheckpointError, ConfigError, DivergedError
from neuroforge_jax.job import summary
from neuroforge_jax.system.accelerators import Accelerator
from neuroforge_jax.training.progress import Pace
from tests.conftest import SMALL_CONFIG, make_blobs


class Recorder:
    """A sink that keeps what it is told."""

    def __init__(self):
        self.events = []

    def header(self, rows):
        self.events.append(("header", dict(rows)))

    def progress(self, progress):
        self.events.append(("progress", progress))

    def record(self, record):
        self.events.append(("record", record))

    def result(self, rows):
        self.events.append(("result", dict(rows)))

    def note(self, text):
        self.events.append(("note", text))

    def close(self):
        self.events.append(("close", None))

    def all(self, kind):
        return [what for name, what in self.events if name == kind]


@pytest.fixture
def config(small_config):
    return dataclasses.replace(small_config, epochs=6)


@pytest.mark.parametrize("backend", ["optimized", "stepped", "mixed", "cpu", "auto"])
def test_a_network_learns_to_tell_the_classes_apart(backend, config, blobs):
    result = nf.fit(dataclasses.replace(config, backend=backend), blobs)
    assert result.test_accuracy > 0.95
    assert result.history[0]["train_loss"] > 3 * result.history[-1]["train_loss"]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw", "lion", "muon"])
def test_every_optimizer_learns(optimizer, config, blobs):
    rate = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "muon": 0.02}.get(optimizer, 0.005)
    result = nf.fit(dataclasses.replace(config, optimizer=optimizer, learning_rate=rate, epochs=10), blobs)
    assert result.test_accuracy > 0.9


@pytest.mark.parametrize("schedule", ["one-cycle", "exponential"])
def test_a_schedule_learns(schedule, config, blobs):
    assert nf.fit(dataclasses.replace(config, schedule=schedule), blobs).test_accuracy > 0.9


@pytest.mark.parametrize("loss", ["cross-entropy", "mse", "binary-cross-entropy"])
def test_every_loss_learns_classes(loss, config, blobs):
    result = nf.fit(dataclasses.replace(config, loss=loss, learning_rate=0.3, epochs=15), blobs)
    assert result.test_accuracy > 0.9


@pytest.mark.smoke
def test_softmax_regression_learns(config, blobs):
    assert nf.fit(dataclasses.replace(config, hidden=()), blobs).test_accuracy > 0.9


def test_a_regression_learns_numbers(config):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)).astype(np.float32)
    y = (x @ rng.normal(size=(5, 2))).astype(np.float32)
    data = Dataset.from_arrays(x[:240], y[:240], x[240:], y[240:])
    result = nf.fit(
        dataclasses.replace(config, loss="mse", epochs=30, optimizer="adam", learning_rate=0.01), data
    )
    assert result.test_accuracy is None
    assert result.test_loss < 0.1 * float(y.var())


def test_cross_entropy_on_numbers_is_refused(config):
    x = np.ones((40, 3), np.float32)
    y = np.ones(40, np.float32)
    with pytest.raises(ConfigError, match=r"--loss cross-entropy needs classes.*use --loss mse"):
        nf.fit(config, Dataset.from_arrays(x, y, x, y))


def test_evaluation_counts_every_sample_once(config, monkeypatch):
    """Odd sizes, so that the last chunk has padding; against the logits, sample by sample."""
    from neuroforge_jax.training import evaluate as module

    monkeypatch.setattr(module, "CHUNK", 32)
    dataset = make_blobs(200)
    model, state = nf.init(config, dataset)
    logits = nf.predict(model, state.params, dataset.train.inputs)
    shifted = np.float64(logits) - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    labels = dataset.train.targets
    evaluation = nf.evaluate(model, state.params, dataset.train)
    assert evaluation.samples == 200
    assert evaluation.accuracy == pytest.approx((logits.argmax(axis=1) == labels).mean(), abs=1e-9)
    assert evaluation.loss == pytest.approx(-log_softmax[np.arange(200), labels].mean(), rel=1e-5)


def test_the_epochs_means_are_over_samples_not_steps(config):
    """With a learning rate next to nothing the parameters stand still, and every mean is known."""
    dataset = make_blobs(203)
    still = dataclasses.replace(config, learning_rate=1e-12, epochs=1)
    model, state = nf.init(still, dataset)
    expected = nf.evaluate(model, state.params, dataset.train)
    (record,) = nf.fit(still, dataset).history
    assert record["train_loss"] == pytest.approx(expected.loss, rel=1e-5)
    assert record["train_accuracy"] == pytest.approx(expected.accuracy)


def test_early_stopping_keeps_the_best_weights_by_validation_data_and_tells_of_test_data(config):
    """A learning rate that wrecks the network after its best epoch, and patience that notices."""
    dataset = make_blobs(400, seed=3)
    rough = dataclasses.replace(config, learning_rate=2.5, epochs=40, patience=3, validation_fraction=0.25)
    result = nf.fit(rough, dataset)
    scores = [record["validation_accuracy"] for record in result.history]
    best = int(np.argmax(scores))
    assert len(scores) == best + 1 + 3
    assert result.figures["best_epoch"] == best + 1
    kept, last = result.history[best], result.history[-1]
    assert kept["validation_loss"] != pytest.approx(last["validation_loss"], rel=0.01)
    _, validation = dataset.hold_out(0.25, rough.seed)
    evaluation = nf.evaluate(result.model, result.params, validation)
    assert evaluation.accuracy == scores[best]
    assert evaluation.loss == pytest.approx(kept["validation_loss"], rel=1e-6)
    # What is told at the end is of the test data, not of the held-out ones that have chosen the weights.
    test = nf.evaluate(result.model, result.params, dataset.test)
    assert result.test_accuracy == test.accuracy != scores[best]
    assert result.test_loss == pytest.approx(test.loss, rel=1e-6)
    assert all("test_accuracy" not in record for record in result.history)


def test_a_target_accuracy_ends_the_run(config, blobs):
    result = nf.fit(dataclasses.replace(config, epochs=50, target_accuracy=0.8), blobs)
    assert result.history[-1]["validation_accuracy"] >= 0.8
    assert len(result.history) < 50


def test_the_first_samples_alone_are_trained_on(config, blobs):
    recorder = Recorder()
    nf.fit(dataclasses.replace(config, train_samples=100), blobs, sinks=[recorder])
    assert "100 training" in recorder.all("header")[0][""]


def test_divergence_is_told_with_its_step(config, blobs):
    with pytest.raises(
        DivergedError, match=r"the loss became (nan|inf) at step \d+ .*lower --learning-rate"
    ) as caught:
        nf.fit(dataclasses.replace(config, learning_rate=1e5, hidden=(16, 16, 16), loss="mse"), blobs)
    assert caught.value.exit_code == 6


def test_a_batch_larger_than_the_data_is_refused(config, blobs):
    with pytest.raises(ConfigError, match="--batch-size 512 is larger than the 203 training samples"):
        nf.fit(dataclasses.replace(config, batch_size=512), blobs)


def test_sinks_hear_the_story_in_order(config, blobs):
    recorder = Recorder()
    nf.fit(config, blobs, sinks=[recorder])
    kinds = [kind for kind, _ in recorder.events]
    assert kinds[0] == "header"
    assert kinds[-2:] == ["result", "close"]
    assert [record["epoch"] for record in recorder.all("record")] == list(range(1, 7))
    steps = [progress.step for progress in recorder.all("progress")]
    assert steps == sorted(set(steps))
    assert steps[-1] == recorder.all("progress")[-1].steps == 42


@pytest.mark.parametrize(
    ("hardware", "installed", "said"),
    [
        (Accelerator("NVIDIA", "550.54.15"), None, 'python -m pip install -e ".[cuda12]"'),
        (Accelerator("NVIDIA", "580.159.04"), None, 'python -m pip install -e ".[cuda13]"'),
        (Accelerator("TPU", None), None, 'python -m pip install -e ".[tpu]"'),
        (Accelerator("NVIDIA", "580.159.04"), "0.12.0", ""),
        (Accelerator("AMD", None), None, ""),
    ],
)
def test_hardware_that_this_jax_cannot_use_is_named_with_what_installs_it(
    hardware, installed, said, monkeypatch
):
    monkeypatch.setattr(summary, "accelerators", lambda: (hardware,))
    monkeypatch.setattr(summary, "installed_version", lambda package: installed)
    note = summary.unused_accelerator(BACKENDS["optimized"])
    assert note.endswith(said)
    assert bool(note) == bool(said)


def test_sinks_are_closed_when_the_run_fails(config, blobs):
    recorder = Recorder()
    with pytest.raises(DivergedError):
        nf.fit(dataclasses.replace(config, learning_rate=1e5, loss="mse"), blobs, sinks=[recorder])
    assert recorder.events[-1][0] == "close"


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    """A run that is saved once for all the tests that look at one."""
    config = dataclasses.replace(SMALL_CONFIG, epochs=6)
    folder = tmp_path_factory.mktemp("saved") / "run"
    return nf.fit(config, make_blobs(), nf.RunOptions(run_dir=folder, log_every=10))


@pytest.fixture
def saved(saved_once, tmp_path):
    """A copy of that run, in a folder that the test may damage."""
    shutil.copytree(saved_once.folder.path, tmp_path / "run")
    return dataclasses.replace(saved_once, folder=RunFolder(tmp_path / "run"))


def test_the_folder_holds_what_was_promised(saved, config):
    folder = saved.folder.path
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "checkpoints",
        "environment.json",
        "lock",
        "metrics.jsonl",
        "model.json",
        "params.safetensors",
        "predictions.npz",
        "result.json",
    }
    from neuroforge_jax.commands.config_files import config_from_data

    assert config_from_data(json.loads((folder / "config.json").read_text()), "config.json") == config
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


def test_an_existing_run_is_never_written_over(saved, config, blobs):
    with pytest.raises(ConfigError, match="holds a run already"):
        nf.fit(config, blobs, nf.RunOptions(run_dir=saved.folder.path))


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


def test_the_pace_fills_a_stretch_and_never_leaps():
    pace = Pace()
    assert pace.next_stretch(1000) == 1
    pace.measured(1, 32, 0.0001)
    assert pace.next_stretch(1000) == 8
    pace.measured(8, 256, 0.8)
    assert pace.next_stretch(1000) == 4
    assert pace.next_stretch(2) == 2
    assert (pace.steps, pace.samples) == (9, 288)
