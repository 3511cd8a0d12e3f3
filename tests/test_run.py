"""A whole run: what it learns, what it says, what it leaves behind."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import ConfigError, DataError, DivergedError
from neuroforge_jax.training.monitor import MONITORS, Monitor
from neuroforge_jax.training.progress import Throughput
from tests.conftest import make_blobs
from tests.recorder import Recorder


@pytest.fixture
def config(small_config):
    """28 steps, for which the program of other tests' 21 is compiled."""
    return dataclasses.replace(small_config, epochs=4)


@pytest.mark.parametrize("backend", ["optimized", "stepped", "mixed", "cpu", "auto"])
def test_a_network_learns_to_tell_the_classes_apart(backend, config, blobs):
    result = nf.fit(dataclasses.replace(config, backend=backend), blobs)
    assert result.test_accuracy > 0.95
    assert result.history[0]["train_loss"] > 3 * result.history[-1]["train_loss"]


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "adam", "adamw", "lion", "muon"])
def test_every_optimizer_learns(optimizer, config, blobs):
    rate = {"momentum": 0.02, "nesterov": 0.02, "muon": 0.02}.get(optimizer, 0.005)
    result = nf.fit(dataclasses.replace(config, optimizer=optimizer, learning_rate=rate, epochs=10), blobs)
    assert result.test_accuracy > 0.9


@pytest.mark.parametrize("schedule", ["one-cycle", "exponential"])
def test_a_schedule_learns(schedule, config, blobs):
    assert nf.fit(dataclasses.replace(config, schedule=schedule), blobs).test_accuracy > 0.9


@pytest.mark.parametrize("loss", ["mse", "binary-cross-entropy"])
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
    y = np.linspace(0, 1, 40)
    with pytest.raises(ConfigError, match=r"--loss cross-entropy needs classes.*use --loss mse"):
        nf.fit(dataclasses.replace(config, loss="cross-entropy"), Dataset.from_arrays(x, y, x, y))


def test_a_loss_of_numbers_on_classes_says_how_to_make_them_quantities(config, blobs):
    """Counts of 0 to 9 are classes unless something else is said."""
    with pytest.raises(ConfigError, match="or --task regression where they are quantities"):
        nf.fit(dataclasses.replace(config, loss="poisson"), blobs)


def test_the_epochs_means_are_over_samples_not_steps(config):
    """With a learning rate next to nothing the parameters stand still, and every mean is known."""
    dataset = make_blobs(203)
    still = dataclasses.replace(config, learning_rate=1e-12)
    model, state = nf.init(still, dataset)
    expected = nf.evaluate(model, state.params, dataset.train)
    for record in nf.fit(still, dataset).history:
        assert record["train_loss"] == pytest.approx(expected.loss, rel=1e-5)
        assert record["train_accuracy"] == pytest.approx(expected.accuracy)


def test_early_stopping_keeps_the_best_weights_by_validation_data_and_tells_of_test_data(config):
    """A learning rate that wrecks the network after its best epoch, and patience that notices."""
    dataset = make_blobs(400, seed=3)
    rough = dataclasses.replace(config, learning_rate=3.0, epochs=40, patience=3, validation_fraction=0.25)
    result = nf.fit(rough, dataset)
    scores = [record["validation_accuracy"] for record in result.history]
    best = int(np.argmin([record["validation_loss"] for record in result.history]))
    assert len(scores) == best + 1 + 3
    assert result.figures["best_epoch"] == best + 1
    assert result.figures["selected_by"] == "loss"
    kept, last = result.history[best], result.history[-1]
    assert kept["validation_loss"] != pytest.approx(last["validation_loss"], rel=0.01)
    validation = dataset.hold_out(0.25, rough.seed).validation
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


def test_accuracy_selects_where_it_is_monitored(config):
    rough = dataclasses.replace(
        config, learning_rate=2.5, epochs=40, monitor="accuracy", patience=3, validation_fraction=0.25
    )
    recorder = Recorder()
    result = nf.fit(rough, make_blobs(400, seed=3), callbacks=[recorder])
    scores = [record["validation_accuracy"] for record in result.history]
    assert result.figures["best_epoch"] == max(range(len(scores)), key=lambda at: (scores[at], at)) + 1
    row = recorder.all("finish")[0]["best validation"]
    assert f"{max(scores):.2%} in epoch {result.figures['best_epoch']} (selected by accuracy)" in row


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_metric_of_the_host_sees_every_sample_once_and_selects(higher_is_better, config, monkeypatch):
    """On odd numbers of samples, in chunks of which the last has padding."""
    seen = []

    def sharpness(targets, outputs, weights):
        assert weights is None
        seen.append((targets, outputs))
        return float(outputs.max(axis=1).mean())

    monkeypatch.setattr("neuroforge_jax.training.evaluate.CHUNK", 32)
    monkeypatch.setitem(MONITORS, "sharp-ness", Monitor("sharp-ness", higher_is_better, sharpness))
    dataset, recorder = make_blobs(300), Recorder()
    job = dataclasses.replace(config, monitor="sharp-ness", validation_fraction=0.25)
    result = nf.fit(job, dataset, callbacks=[recorder])
    validation = dataset.hold_out(0.25, 0).validation
    assert len(seen) == config.epochs + 1  # and once of the test data
    for targets, outputs in seen[:-1]:
        np.testing.assert_array_equal(targets, validation.targets)
        assert outputs.shape == (len(validation), 4)
    scores = [record["validation_sharp_ness"] for record in result.history]
    assert scores == [outputs.max(axis=1).mean() for _, outputs in seen[:-1]]
    assert result.figures["best_epoch"] == (int(np.argmax(scores)) + 1 if higher_is_better else 1)
    assert result.figures["test_sharp_ness"] == seen[-1][1].max(axis=1).mean()
    rows = recorder.all("finish")[0]
    assert rows["test sharp-ness"] == f"{result.figures['test_sharp_ness']:.4g}"
    assert "(selected by sharp-ness), whose weights are kept" in rows["best validation"]


def test_what_cannot_be_monitored_is_said(config, blobs):
    for fields, sentence in (
        (
            {"monitor": "acuracy"},
            r"unknown monitor of classes 'acuracy': known are loss, accuracy.*did you mean 'accuracy'",
        ),
        ({"monitor": "accuracy"}, r"selects by validation data, and there are none; add --patience 5"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            nf.fit(dataclasses.replace(config, **fields), blobs)
    numbers = numbers_to_predict(lambda x: x)
    with pytest.raises(
        ConfigError, match="unknown monitor of numbers 'accuracy': known are loss, rmse, mae, r2"
    ):
        nf.fit(dataclasses.replace(config, loss="mse", monitor="accuracy", patience=2), numbers)


def numbers_to_predict(target):
    """400 samples, a quarter of them to test on, whose two targets are this of two linear numbers."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    y = target(x @ rng.normal(size=(5, 2)) / 2).astype(np.float32)
    return Dataset.from_arrays(x[:300], y[:300], x[300:], y[300:])


TRAINED = {"epochs": 25, "optimizer": "adam", "learning_rate": 0.01}


@pytest.mark.parametrize("loss", ["mae", "huber"])
def test_a_loss_of_numbers_learns_them(loss, config):
    data = numbers_to_predict(lambda z: z)
    result = nf.fit(dataclasses.replace(config, loss=loss, **TRAINED), data)
    off = nf.predict(result.model, result.params, data.test.inputs) - data.test.targets
    assert np.abs(off).mean() < 0.15


def test_quantiles_hold_their_share_of_the_numbers_and_come_back_with_the_model(config, tmp_path):
    noise = np.random.default_rng(1).exponential(size=(400, 2))
    data = numbers_to_predict(lambda z: z + noise)
    quantiles = (0.1, 0.5, 0.9)
    result = nf.fit(
        dataclasses.replace(config, loss="quantile", quantiles=quantiles, **TRAINED),
        data,
        nf.RunOptions(run_dir=tmp_path / "run"),
    )
    model, params = nf.load(tmp_path / "run")
    assert model.spec.quantiles == quantiles
    outputs = nf.predict(model, params, data.test.inputs).reshape(100, 2, 3)
    shares = (data.test.targets[:, :, None] <= outputs).mean(axis=(0, 1))
    np.testing.assert_allclose(shares, quantiles, atol=0.12)
    assert result.test_loss == pytest.approx(nf.evaluate(model, params, data.test).loss)


def test_poisson_learns_the_logarithm_of_the_mean_of_counts(config):
    rng = np.random.default_rng(2)
    data = numbers_to_predict(lambda z: rng.poisson(np.exp(z)))
    result = nf.fit(dataclasses.replace(config, loss="poisson", **TRAINED), data)
    mean = nf.predict(result.model, result.params, data.test.inputs)
    deviation = ((mean - data.test.targets) ** 2).mean()
    assert deviation < 0.6 * data.test.targets.var()


def test_several_labels_are_learnt_each_for_itself(config):
    data = numbers_to_predict(lambda z: z > 0)
    result = nf.fit(dataclasses.replace(config, loss="binary-cross-entropy", **TRAINED), data)
    found = nf.predict(result.model, result.params, data.test.inputs) > 0
    assert (found == data.test.targets).mean() > 0.95
    assert result.test_accuracy is None


@pytest.mark.parametrize(
    ("loss", "target", "sentence"),
    [
        (
            "poisson",
            lambda z: z,
            r"target of training sample \d+ is -[\d.]+, and --loss poisson takes counts",
        ),
        ("binary-cross-entropy", lambda z: z, r"takes classes, or labels that are 0 or 1; use --loss mse"),
    ],
)
def test_numbers_that_a_loss_has_no_value_for_are_refused_by_name(loss, target, sentence, config):
    with pytest.raises(DataError, match=sentence):
        nf.fit(dataclasses.replace(config, loss=loss), numbers_to_predict(target))


def test_label_smoothing_of_numbers_is_refused(config):
    with pytest.raises(
        ConfigError, match=r"--label-smoothing 0.1 is for classes, and the targets are numbers"
    ):
        nf.fit(dataclasses.replace(config, loss="mse", label_smoothing=0.1), numbers_to_predict(lambda z: z))


def test_the_first_samples_alone_are_trained_on(config, blobs):
    recorder = Recorder()
    nf.fit(dataclasses.replace(config, train_samples=100), blobs, callbacks=[recorder])
    assert "100 training" in recorder.all("start")[0][""]


def test_divergence_is_told_with_its_step(config, blobs):
    with pytest.raises(
        DivergedError, match=r"the loss became (nan|inf) at step \d+ .*lower --learning-rate"
    ) as caught:
        nf.fit(dataclasses.replace(config, learning_rate=1e5, loss="mse", epochs=15), blobs)
    assert caught.value.exit_code == 6


def test_a_batch_larger_than_the_data_is_refused(config, blobs):
    with pytest.raises(ConfigError, match="--batch-size 512 is larger than the 203 training samples"):
        nf.fit(dataclasses.replace(config, batch_size=512), blobs)


def test_callbacks_hear_the_story_in_order(config, blobs):
    recorder = Recorder()
    nf.fit(config, blobs, callbacks=[recorder])
    kinds = [kind for kind, _ in recorder.events]
    assert kinds[0] == "start"
    assert kinds[-2:] == ["finish", "close"]
    assert [record["epoch"] for record in recorder.all("epoch")] == list(range(1, 5))
    steps = [metrics.last_step for metrics in recorder.all("segment")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 28
    assert "4 epochs of 7 steps" in recorder.all("start")[0]["training"]


def test_callbacks_are_closed_when_the_run_fails(config, blobs):
    recorder = Recorder()
    with pytest.raises(DivergedError):
        nf.fit(
            dataclasses.replace(config, learning_rate=1e5, loss="mse", epochs=15), blobs, callbacks=[recorder]
        )
    assert recorder.events[-1][0] == "close"


def test_the_throughput_fills_a_segment_and_never_leaps():
    throughput = Throughput()
    assert throughput.next_segment(1000) == 1
    throughput.add(1, 32, 0.0001)
    assert throughput.next_segment(1000) == 8
    throughput.add(8, 256, 0.8)
    assert throughput.next_segment(1000) == 4
    assert throughput.next_segment(2) == 2
    assert (throughput.steps, throughput.samples) == (9, 288)


def untested(with_validation=False):
    """Data of which none is to test on."""
    blobs = make_blobs()
    held = (blobs.test.inputs, blobs.test.targets) if with_validation else None
    return Dataset.from_arrays(blobs.train.inputs, blobs.train.targets, validation=held, name="untested")


@pytest.mark.smoke
def test_without_test_data_there_is_a_model_and_no_test_figure(config):
    result = nf.fit(config, untested())
    assert result.test_accuracy is None is result.test_loss
    assert result.figures["test_accuracy"] is None
    assert result.figures["best_epoch"] is None
    assert not {name for record in result.history for name in record if name.startswith("test")}
    assert result.figures["train_loss"] == result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    assert nf.evaluate(result.model, result.params, untested().train).accuracy > 0.9


def test_validation_data_that_came_with_the_data_choose_the_weights(config):
    dataset = untested(with_validation=True)
    rough = dataclasses.replace(config, learning_rate=2.5, epochs=40, monitor="accuracy", patience=3)
    result = nf.fit(rough, dataset)
    scores = [record["validation_accuracy"] for record in result.history]
    best = max(range(len(scores)), key=lambda epoch: (scores[epoch], epoch))
    assert result.figures["best_epoch"] == best + 1
    assert len(scores) == scores.index(max(scores)) + 1 + 3 < 40
    assert nf.evaluate(result.model, result.params, dataset.validation).accuracy == scores[best]
    assert result.test_accuracy is None


def test_such_data_and_a_share_to_hold_out_contradict_each_other(config):
    with pytest.raises(ConfigError, match=r"--validation-fraction 0.2: untested comes with validation data"):
        nf.fit(dataclasses.replace(config, validation_fraction=0.2), untested(with_validation=True))


@pytest.mark.parametrize("with_validation", [False, True])
def test_a_run_without_test_data_is_saved_shown_and_loaded(with_validation, config, tmp_path, capsys):
    options = nf.RunOptions(run_dir=tmp_path / "run")
    dataset = untested(with_validation)
    result = nf.fit(config, dataset, options, callbacks=[nf.Console(), nf.Report()])
    out = capsys.readouterr().out
    assert (
        "test"
        not in out.split("epoch   1")[1].replace("nothing was held out to test on", "").split("saved in")[0]
    )
    page = (tmp_path / "run" / "report.html").read_text()
    assert "untested" in page
    assert "NaN" not in page
    assert not (tmp_path / "run" / "predictions.npz").exists()
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["test_accuracy"] is None is written["test_loss"]
    model, params = nf.load(tmp_path / "run")
    expected = nf.predict(result.model, result.params, dataset.train.inputs)
    np.testing.assert_array_equal(nf.predict(model, params, dataset.train.inputs), expected)
    again = nf.fit(config, dataset, nf.RunOptions(resume=str(tmp_path / "run")))
    assert not again.trained
    assert again.test_accuracy is None


def test_a_config_file_is_for_the_command_line(config, blobs):
    with pytest.raises(ConfigError, match=r"options\.config own\.py: .*give the config in it"):
        nf.fit(config, blobs, nf.RunOptions(config=Path("own.py")))


@pytest.mark.slow
def test_whatever_the_options_ask_for_is_done_from_python_too(config, blobs, tmp_path, monkeypatch):
    """All at once, for a net that is small, and one case of the verifier's."""
    from neuroforge_jax.profiling.step_parts import ROWS  # tools: the other tests do without
    from neuroforge_jax.verification import checks

    (case,) = (case for case in checks.standard_cases() if case.name == "sgd")
    monkeypatch.setattr(checks, "standard_cases", lambda: (case,))

    folder, file = tmp_path / "run", tmp_path / "benchmark.json"
    options = nf.RunOptions(
        run_dir=folder,
        tensorboard=True,
        trace=5,
        memory_profile=True,
        benchmark=True,
        benchmark_output=file,
        verify=True,
        tolerance=1e-4,
        log_every=7,
        checkpoint_every="epoch",
    )
    recorder = Recorder()
    result = nf.fit(dataclasses.replace(config, backend="stepped"), blobs, options, callbacks=[recorder])
    told = "\n".join(recorder.all("note"))
    for said in (
        "verified",
        "5 steps traced",
        "arrays alive at the end",
        "where the time went",
        "in parts (",
    ):
        assert said in told
    assert list((folder / "tensorboard").glob("events*"))
    assert list((folder / "trace").rglob("perfetto_trace.json.gz"))
    assert (folder / "memory.pprof").stat().st_size > 0
    written = json.loads(file.read_text())
    assert written["result"] == json.loads((folder / "result.json").read_text()) == result.figures
    assert written["memory"] == json.loads((folder / "memory.json").read_text())
    assert written["operations"]
    parts = written["step_parts"]
    assert sum(parts[row] or 0.0 for row in ROWS) == pytest.approx(parts["measured_seconds"], rel=0.05)
    assert {"compile", "train", "evaluate", "save", "verify"} <= set(written["seconds"])


@pytest.mark.parametrize("option", ["tensorboard", "memory_profile", "trace"])
def test_what_is_written_into_a_folder_needs_one(option, config, blobs):
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')} writes into the run's folder"):
        nf.fit(config, blobs, nf.RunOptions(**{option: 3 if option == "trace" else True}))


def test_a_dataset_may_be_a_function_that_is_called_once(config, blobs):
    calls = []

    def load():
        calls.append(1)
        return blobs

    assert nf.fit(config, load).figures["dataset"] == "blobs"
    assert calls == [1]


def test_a_run_in_another_thread_says_that_it_hears_no_signals(tmp_path, blobs, small_config):
    """It is saved like any other."""
    recorder = Recorder()
    options = nf.RunOptions(run_dir=tmp_path / "run")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(nf.fit, small_config, blobs, options, callbacks=[recorder]).result()
    assert any("heard in the main thread alone" in note for note in recorder.all("note"))
    assert (tmp_path / "run" / "result.json").is_file()


def test_a_result_is_a_few_lines_and_in_a_notebook_a_page(blobs, small_config):
    result = nf.fit(small_config, blobs)
    lines = repr(result).splitlines()
    assert len(lines) == 5
    assert lines[0] == "Result of blobs, backend optimized, 13-16-4"
    assert f"{result.test_accuracy:.2%}" in lines[1]
    page = result._repr_html_()
    assert page.startswith("<iframe srcdoc=")
    assert "loss by epoch" in page
    assert "mistakes in 57 test samples" in page
