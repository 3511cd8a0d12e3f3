"""A run that is continued is the run that was never interrupted: its bits, its batches, its log."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.commands.flags import parse_flags
from neuroforge_jax.errors import CheckpointError, ConfigError
from tests.conftest import make_blobs
from tests.test_run import Recorder

pytestmark = pytest.mark.full_effort

CONFIG = nf.TrainConfig(
    hidden=(16,),
    batch_size=32,
    epochs=4,
    optimizer="adam",
    learning_rate=0.01,
    schedule="cosine",
    dropout=0.1,
)
"""Seven steps an epoch of 203 samples."""

TIMES = {"train_seconds", "samples_per_second", "memory_bytes"}


class PulledPlugError(Exception):
    pass


class PullsThePlug(Recorder):
    """Ends the run in the middle of what it is doing, once so many steps are done."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def segment(self, trainer, metrics):
        if metrics.last_step >= self.step:
            raise PulledPlugError


def interrupted(config, dataset, folder, step, **options):
    """A run that saves after every step and ends abruptly; the last step that was saved."""
    options = nf.RunOptions(run_dir=folder, checkpoint_every="step", keep_latest=99, log_every=1, **options)
    with pytest.raises(PulledPlugError):
        nf.fit(config, dataset, options, callbacks=[PullsThePlug(step)])
    return max(files.steps(folder / "checkpoints"), default=0)


@pytest.fixture(scope="module")
def run_of_18_steps(tmp_path_factory):
    """The folder of a run of CONFIG that ended abruptly, and the last step that was saved."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    return folder, interrupted(CONFIG, make_blobs(), folder, 18)


@pytest.fixture
def cut_at_18(run_of_18_steps, tmp_path):
    """A copy of that folder, to go on in, at tmp_path / "run"; the last step that was saved."""
    folder, last = run_of_18_steps
    shutil.copytree(folder, tmp_path / "run")
    return last


def resumed(config, dataset, folder, **options):
    return nf.fit(config, dataset, nf.RunOptions(resume=str(folder), log_every=1, **options))


def records(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def assert_same(first, second):
    for a, b in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    ("backend", "step"),
    [
        *(("optimized", step) for step in (10, 21)),
        *((backend, 10) for backend in ("stepped", "async", "mixed")),
        *(pytest.param(backend, 21, marks=pytest.mark.faults) for backend in ("stepped", "async", "mixed")),
    ],
)
def test_a_continued_run_is_the_uninterrupted_one(backend, step, tmp_path, blobs):
    """Within an epoch and between two; parameters bit for bit, and a log without gaps or repeats."""
    config = dataclasses.replace(CONFIG, backend=backend)
    whole = nf.fit(config, blobs, nf.RunOptions(run_dir=tmp_path / "whole", log_every=1))
    saved = interrupted(config, blobs, tmp_path / "cut", step)
    assert 0 < saved < step
    again = resumed(config, blobs, tmp_path / "cut")
    assert_same(whole, again)
    assert records(tmp_path / "cut") == records(tmp_path / "whole")
    ignored = TIMES | {"compile_seconds", "flops_per_second", "matmul_peak_flops_per_second", "share_of_peak"}
    for name in set(whole.figures) - ignored - {"peak_memory_bytes"}:
        assert again.figures[name] == whole.figures[name], name


@pytest.mark.faults
def test_operation_by_operation_too(tmp_path):
    dataset, config = make_blobs(40), dataclasses.replace(CONFIG, backend="naive", epochs=3, hidden=(4,))
    whole = nf.fit(config, dataset)
    interrupted(config, dataset, tmp_path / "cut", 3)
    assert_same(whole, resumed(config, dataset, tmp_path / "cut"))


@pytest.mark.faults
def test_a_loss_scale_goes_on_from_where_it_was(tmp_path, blobs):
    config = dataclasses.replace(CONFIG, precision="fp16", dropout=0.0)
    whole = nf.fit(config, blobs, nf.RunOptions(run_dir=tmp_path / "whole", log_every=1))
    interrupted(config, blobs, tmp_path / "cut", 17)
    assert_same(whole, resumed(config, blobs, tmp_path / "cut"))
    assert records(tmp_path / "cut") == records(tmp_path / "whole")


@pytest.mark.faults
def test_the_best_weights_and_the_patience_go_on_too(tmp_path):
    """The best epoch lies before the interruption: its weights are the result."""
    dataset = make_blobs(400, seed=3)
    config = nf.TrainConfig(
        hidden=(16,), batch_size=32, epochs=40, patience=3, validation_fraction=0.25, learning_rate=3.0
    )
    whole = nf.fit(config, dataset)
    assert 1 < whole.figures["best_epoch"] < len(whole.history)
    steps = nf.steps_per_epoch(config, dataset.hold_out(0.25, 0))
    interrupted(config, dataset, tmp_path / "cut", whole.figures["best_epoch"] * steps + 5)
    again = resumed(config, dataset, tmp_path / "cut")
    assert_same(whole, again)
    assert again.figures["best_epoch"] == whole.figures["best_epoch"]
    assert len(again.history) == len(whole.history)


@pytest.mark.faults
def test_a_run_can_be_interrupted_any_number_of_times(tmp_path, blobs):
    whole = nf.fit(CONFIG, blobs)
    folder = tmp_path / "cut"
    interrupted(CONFIG, blobs, folder, 2)
    for step in (9, 15, 22):
        options = nf.RunOptions(resume=str(folder), checkpoint_every="step")
        with pytest.raises(PulledPlugError):
            nf.fit(CONFIG, blobs, options, callbacks=[PullsThePlug(step)])
    assert_same(whole, resumed(CONFIG, blobs, folder))


def test_auto_starts_a_run_and_continues_it(tmp_path, blobs):
    whole = nf.fit(CONFIG, blobs)
    options = nf.RunOptions(resume="auto", run_dir=tmp_path / "run", checkpoint_every="step")
    with pytest.raises(PulledPlugError):
        nf.fit(CONFIG, blobs, options, callbacks=[PullsThePlug(12)])
    recorder = Recorder()
    assert_same(whole, nf.fit(CONFIG, blobs, options, callbacks=[recorder]))
    assert any("in epoch" in text for text in recorder.all("note"))


@pytest.mark.smoke
def test_before_the_first_checkpoint_it_starts_at_step_0_and_says_so(tmp_path, blobs):
    with pytest.raises(PulledPlugError):
        options = nf.RunOptions(run_dir=tmp_path / "run", checkpoint_every="never", log_every=1)
        nf.fit(CONFIG, blobs, options, callbacks=[PullsThePlug(9)])
    recorder = Recorder()
    options = nf.RunOptions(resume=str(tmp_path / "run"), log_every=1)
    assert_same(nf.fit(CONFIG, blobs), nf.fit(CONFIG, blobs, options, callbacks=[recorder]))
    assert any("no checkpoint" in text and "starts at step 0" in text for text in recorder.all("note"))
    assert [line["step"] for line in records(tmp_path / "run") if line["event"] == "step"] == list(
        range(1, 29)
    )


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


def test_a_finished_run_may_be_given_more_epochs(tmp_path, blobs):
    # Of 35 and of 42 steps, for which one program is compiled.
    config = dataclasses.replace(CONFIG, schedule="constant", epochs=5)
    longer = dataclasses.replace(config, epochs=6)
    nf.fit(config, blobs, nf.RunOptions(run_dir=tmp_path / "run"))
    again = resumed(longer, blobs, tmp_path / "run")
    assert_same(nf.fit(longer, blobs), again)
    epochs = [record["epoch"] for record in records(tmp_path / "run") if record["event"] == "epoch"]
    assert epochs == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compile_options": {"xla_cpu_prefer_vector_width": 128}}, "a training of this length is compiled"),
        ({"versions": {"jax": "0.1"}}, f"jax 0.1 before and {jax.__version__} now"),
        ({"processor": "Abacus"}, "Abacus before and "),
        ({}, ""),
    ],
)
def test_what_may_change_the_last_bits_of_a_resumed_run_is_said(change, words, tmp_path, blobs, cut_at_18):
    file = tmp_path / "run" / "environment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    recorder = Recorder()
    nf.fit(CONFIG, blobs, nf.RunOptions(resume=str(tmp_path / "run")), callbacks=[recorder])
    told = [text for text in recorder.all("note") if "the last bits may differ" in text]
    assert [words in text for text in told] == [True] * bool(change)


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
@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.001},
        {"schedule": "one-cycle"},
        {"backend": "mixed"},
        {"backend": "async"},
        {"dropout": 0.0},
        {"accumulate": 2},
    ],
)
def test_what_a_run_may_change_takes_effect_from_there(change, tmp_path, blobs):
    interrupted(CONFIG, blobs, tmp_path / "run", 9)
    result = resumed(dataclasses.replace(CONFIG, **change), blobs, tmp_path / "run")
    assert len(result.history) == CONFIG.epochs
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert change.items() <= written.items()


class SetsRate(nf.Callback):
    """Sets the learning rate in the state at a step, as a callback of a user's may; keeps the rate of each step."""

    def __init__(self, step=None, rate=None):
        self.step, self.rate, self.seen = step, rate, {}

    def steps_until_due(self, step):
        return 1

    def segment(self, trainer, metrics):
        hyper = trainer.state.hyper
        self.seen[metrics.last_step] = float(hyper.learning_rate), float(hyper.dropout)
        if metrics.last_step == self.step:
            hyper = dataclasses.replace(hyper, learning_rate=jax.numpy.float32(self.rate))
            trainer.state = dataclasses.replace(trainer.state, hyper=hyper)


def values_after(change, folder, dataset):
    """Learning rate and dropout of the steps after a resume of a run whose rate a callback set to 0.25."""
    options = nf.RunOptions(run_dir=folder, checkpoint_every="step", keep_latest=99)
    with pytest.raises(PulledPlugError):
        nf.fit(CONFIG, dataset, options, callbacks=[SetsRate(5, 0.25), PullsThePlug(12)])
    seen = SetsRate()
    config = dataclasses.replace(CONFIG, **change)
    nf.fit(config, dataset, nf.RunOptions(resume=str(folder)), callbacks=[seen])
    assert max(seen.seen) == 7 * config.epochs
    (values,) = set(seen.seen.values())
    return values


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (0.25, 0.1)),
        ({"learning_rate": 0.02}, (0.02, 0.1)),
        ({"dropout": 0.3}, (0.25, 0.3)),
        ({"epochs": 5}, (0.25, 0.1)),
        ({"backend": "stepped"}, (0.25, 0.1)),
    ],
)
def test_a_value_that_is_asked_for_anew_wins_and_any_other_is_as_a_callback_left_it(
    change, expected, tmp_path, blobs
):
    assert values_after(change, tmp_path / "run", blobs) == pytest.approx(expected)


def test_a_rate_that_was_asked_for_anew_stays_when_the_run_goes_on_once_more(tmp_path, blobs):
    interrupted(CONFIG, blobs, tmp_path / "run", 9)
    changed = dataclasses.replace(CONFIG, learning_rate=0.02)
    with pytest.raises(PulledPlugError):
        options = nf.RunOptions(resume=str(tmp_path / "run"))
        nf.fit(changed, blobs, options, callbacks=[SetsRate(11, 0.5), PullsThePlug(15)])
    seen = SetsRate()
    nf.fit(changed, blobs, nf.RunOptions(resume=str(tmp_path / "run")), callbacks=[seen])
    assert {rate for rate, _ in seen.seen.values()} == {0.5}


def test_a_learning_rate_that_is_given_as_a_flag_wins_over_the_saved_one(tmp_path):
    """And without the flag the saved config has it."""
    dataset = nf.load_dataset("digits")

    def rate_of(*words):
        seen = SetsRate()
        config, options = parse_flags(words)
        nf.fit(config, dataset, options, callbacks=[seen])
        return {rate for rate, _ in seen.seen.values()}

    # Of 36 to 54 steps, for which one program is compiled.
    words = ["--dataset", "digits", "--hidden", "8", "--batch-size", "256", "--learning-rate", "0.25"]
    assert rate_of(*words, "--epochs", "6", "--run-dir", str(tmp_path / "run")) == {0.25}
    again = "--resume", str(tmp_path / "run"), "--epochs"
    assert rate_of(*again, "7") == {0.25}
    assert rate_of(*again, "8", "--learning-rate", "0.125") == {0.125}
    assert rate_of(*again, "9") == {0.125}


@pytest.mark.parametrize(
    ("first", "then", "scale"),
    [("dynamic", "128", 128), pytest.param("64", "dynamic", 2**15, marks=pytest.mark.slow)],
)
def test_a_loss_scale_that_is_changed_begins_anew(tmp_path, blobs, first, then, scale):
    """The saved scale with the settings of another would be neither."""
    config = dataclasses.replace(CONFIG, loss_scale=first, epochs=1)
    nf.fit(config, blobs, nf.RunOptions(run_dir=tmp_path / "run"))
    more = dataclasses.replace(config, loss_scale=then, epochs=2)
    result = nf.fit(more, blobs, nf.RunOptions(resume=str(tmp_path / "run")))
    assert [record["loss_scale"] for record in result.history] == [
        float(first) if first != "dynamic" else 2**15,
        scale,
    ]


@pytest.mark.faults
def test_a_run_that_diverged_goes_on_with_such_steps_skipped(tmp_path, blobs):
    """Skipping keeps counts of its own, which the run did not have: they begin anew."""
    interrupted(CONFIG, blobs, tmp_path / "run", 9)
    result = resumed(CONFIG, blobs, tmp_path / "run", on_divergence="skip")
    expected = nf.fit(CONFIG, blobs)
    for a, b in zip(jax.tree.leaves(expected.params), jax.tree.leaves(result.params), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-6)
    assert result.figures["skipped_steps"] == 0


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


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_log_is_written_anew_from_the_checkpoint(damage, tmp_path, blobs, cut_at_18):
    log = tmp_path / "run" / "metrics.jsonl"
    if damage == "cut":
        log.write_bytes(log.read_bytes()[:100])
    else:
        log.unlink()
    recorder = Recorder()
    options = nf.RunOptions(resume=str(tmp_path / "run"))
    nf.fit(CONFIG, blobs, options, callbacks=[recorder])
    assert any("written anew from the epochs of the checkpoint" in text for text in recorder.all("note"))
    lines = records(tmp_path / "run")
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(cut_at_18 + 1, 29))


def test_a_damaged_latest_step_costs_the_steps_since_the_one_before(tmp_path, blobs, cut_at_18):
    victim = tmp_path / "run" / "checkpoints" / str(cut_at_18) / "progress.json"
    victim.write_bytes(victim.read_bytes().replace(b"1", b"2", 1))
    recorder = Recorder()
    options = nf.RunOptions(resume=str(tmp_path / "run"))
    result = nf.fit(CONFIG, blobs, options, callbacks=[recorder])
    assert_same(nf.fit(CONFIG, blobs), result)
    assert any(
        "progress.json" in text and "the step before it is used" in text for text in recorder.all("note")
    )


def test_one_process_at_a_time(tmp_path, blobs):
    interrupted(CONFIG, blobs, tmp_path / "run", 9)
    held = RunFolder.reopen(tmp_path / "run")
    with pytest.raises(ConfigError, match=rf"is in use by process {__import__('os').getpid()}"):
        resumed(CONFIG, blobs, tmp_path / "run")
    held.release()
    resumed(CONFIG, blobs, tmp_path / "run")


def test_the_first_run_of_a_folder_is_never_written_over(tmp_path, blobs):
    nf.fit(CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"))
    with pytest.raises(ConfigError, match="holds a run already; go on with it by --resume"):
        nf.fit(CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"))


def test_without_a_folder_there_is_nothing_to_resume():
    with pytest.raises(ConfigError, match="--resume auto needs the folder of the run"):
        nf.fit(CONFIG, make_blobs(), nf.RunOptions(resume="auto"))


@pytest.mark.parametrize(
    ("fields", "tree"), [({}, "state/params"), ({"patience": 3}, "best")], ids=["latest", "best"]
)
def test_a_run_that_was_stopped_is_loaded_with_the_weights_of_its_last_save(fields, tree, tmp_path, blobs):
    config = dataclasses.replace(CONFIG, **fields)
    interrupted(config, blobs, tmp_path / "run", 18)
    saved, _ = files.newest(tmp_path / "run" / "checkpoints")
    model, params = nf.load(tmp_path / "run")
    for layer, leaf in (("layer0", "kernel"), ("output", "bias")):
        np.testing.assert_array_equal(saved.arrays()[f"{tree}/{layer}/{leaf}"], params[layer][leaf])
    assert nf.predict(model, params, blobs.test.inputs).shape == (57, 4)
    result = resumed(config, blobs, tmp_path / "run")
    assert_same(SimpleNamespace(params=nf.load(tmp_path / "run")[1]), result)


def test_before_the_first_save_there_is_nothing_to_load_and_it_is_said(tmp_path, blobs):
    options = nf.RunOptions(run_dir=tmp_path / "run", checkpoint_every="never")
    with pytest.raises(PulledPlugError):
        nf.fit(CONFIG, blobs, options, callbacks=[PullsThePlug(3)])
    with pytest.raises(CheckpointError, match=r"model.json: .* give the folder of a run that was saved"):
        nf.load(tmp_path / "run")
