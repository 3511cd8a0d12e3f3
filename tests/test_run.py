"""A whole run: what it says, what it leaves behind, how it ends."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.errors import ConfigError, DivergedError
from neuroforge_jax.training.progress import Throughput
from tests.conftest import make_blobs, untested
from tests.recorder import Recorder


def test_the_epochs_means_are_over_samples_not_steps(config):
    """With a learning rate next to nothing the parameters stand still, and every mean is known."""
    dataset = make_blobs(203)
    still = dataclasses.replace(config, learning_rate=1e-12)
    model, state = nf.init(still, dataset)
    expected = nf.evaluate(model, state.params, dataset.train)
    for record in nf.fit(still, dataset).history:
        assert record["train_loss"] == pytest.approx(expected.loss, rel=1e-5)
        assert record["train_accuracy"] == pytest.approx(expected.accuracy)


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


@pytest.mark.smoke
def test_without_test_data_there_is_a_model_and_no_test_figure(config):
    result = nf.fit(config, untested())
    assert result.test_accuracy is None is result.test_loss
    assert result.figures["test_accuracy"] is None
    assert result.figures["best_epoch"] is None
    assert not {name for record in result.history for name in record if name.startswith("test")}
    assert result.figures["train_loss"] == result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    assert nf.evaluate(result.model, result.params, untested().train).accuracy > 0.9


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
