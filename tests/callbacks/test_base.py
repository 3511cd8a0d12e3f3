"""Callbacks as a user writes them: a few lines, called at the right moments, none of which hurts the others."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.callbacks.base import Callback, Callbacks
from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.errors import CheckpointError, ConfigError
from neuroforge_jax.system.peers import Peers
from tests.checkpoint.interruption import PulledPlugError, PullsThePlug
from tests.conftest import SMALL_CONFIG, make_blobs

PER_EPOCH = 7
STEPS = SMALL_CONFIG.epochs * PER_EPOCH


class Diary(nf.Callback):
    """Writes down which of its methods are called."""

    def __init__(self, pages=None, name=""):
        self.pages = [] if pages is None else pages
        self.who = name

    def _write(self, moment):
        self.pages.append(f"{self.who} {moment}".strip())

    def start(self, job, progress):
        self._write("start")

    def segment(self, trainer, metrics):
        self._write("segment")

    def epoch(self, trainer, record):
        self._write("epoch")

    def finish(self, trainer, result):
        self._write("finish")

    def close(self):
        self._write("close")

    def note(self, text):
        self._write(f"note {text}")


@pytest.mark.smoke
def test_a_callback_of_a_few_lines_is_called_at_each_of_its_moments_in_their_order(blobs):
    class Losses(nf.Callback):
        def epoch(self, trainer, record):
            seen.append((trainer.progress.step, record["train_loss"]))

    seen, diary = [], Diary()
    result = nf.fit(SMALL_CONFIG, blobs, callbacks=[Losses(), diary])
    assert seen == [(record["step"], record["train_loss"]) for record in result.history]
    moments = [
        moment for moment, after in zip(diary.pages, [*diary.pages[1:], ""], strict=True) if moment != after
    ]
    assert moments == ["start", *["segment", "epoch"] * SMALL_CONFIG.epochs, "finish", "close"]


def test_at_each_moment_they_are_called_in_the_order_in_which_they_were_given_and_closed_backwards(blobs):
    pages = []
    nf.fit(SMALL_CONFIG, blobs, callbacks=[Diary(pages, "first"), Diary(pages, "second")])
    assert pages[:2] == ["first start", "second start"]
    assert pages[-4:] == ["first finish", "second finish", "second close", "first close"]
    for at in range(0, len(pages) - 2, 2):
        assert pages[at].split() == ["first", pages[at + 1].split()[1]]


def test_each_sees_every_step_once_and_what_the_step_did(blobs):
    class Steps(nf.Callback):
        def __init__(self):
            self.steps, self.losses = [], []

        def segment(self, trainer, metrics):
            assert trainer.progress.step == int(trainer.state.step) == metrics.last_step
            self.steps += range(metrics.first_step, metrics.last_step)
            self.losses += list(metrics.loss)

    both = Steps(), Steps()
    result = nf.fit(SMALL_CONFIG, blobs, callbacks=both)
    for one in both:
        assert one.steps == list(range(STEPS))
        assert len(one.losses) == STEPS
    last = np.average(both[0].losses[-PER_EPOCH:], weights=[32] * 6 + [203 - 6 * 32])
    assert last == pytest.approx(result.history[-1]["train_loss"], rel=1e-6)


class Due(nf.Callback):
    """Wants to look after every so many steps."""

    def __init__(self, every):
        self.every, self.ends = every, []

    def steps_until_due(self, step):
        return self.every - step % self.every

    def segment(self, trainer, metrics):
        self.ends.append(metrics.last_step)


def test_no_segment_passes_a_step_at_which_one_is_due(blobs):
    threes, fives = Due(3), Due(5)
    nf.fit(dataclasses.replace(SMALL_CONFIG, epochs=6), blobs, callbacks=[threes, nf.Callback(), fives])
    assert threes.ends == fives.ends
    assert set(range(3, 43, 3)) | set(range(5, 43, 5)) | set(range(7, 43, 7)) <= set(threes.ends)
    assert threes.ends == sorted(set(threes.ends))


def test_the_fewest_steps_of_all_count_and_none_is_no_wish():
    assert Callbacks([nf.Callback(), Due(5), Due(3)]).steps_until_due(4) == 1
    assert Callbacks([nf.Callback(), Due(5)]).steps_until_due(5) == 5
    assert Callbacks([nf.Callback()]).steps_until_due(4) is None
    assert Callbacks().steps_until_due(4) is None


def test_where_a_run_is_cut_changes_none_of_its_bits(blobs):
    whole, cut = nf.fit(SMALL_CONFIG, blobs), nf.fit(SMALL_CONFIG, blobs, callbacks=[Due(2)])
    assert [r["train_loss"] for r in whole.history] == [r["train_loss"] for r in cut.history]
    np.testing.assert_array_equal(whole.params["output"]["kernel"], cut.params["output"]["kernel"])


def test_one_that_has_seen_enough_ends_the_run_whole(blobs):
    class Enough(nf.Callback):
        def should_stop(self, progress):
            return bool(progress.history) and progress.history[-1]["epoch"] >= 2

    result = nf.fit(dataclasses.replace(SMALL_CONFIG, epochs=50), blobs, callbacks=[Enough()])
    assert [record["epoch"] for record in result.history] == [1, 2]
    assert result.figures["steps"] == 2 * PER_EPOCH
    assert result.test_accuracy == nf.evaluate(result.model, result.params, blobs.test).accuracy


def test_what_one_says_all_hear_from_the_beginning_of_the_run(blobs):
    class Speaks(nf.Callback):
        def start(self, job, progress):
            self.say("begun")

        def close(self):
            self.say("over")

    pages = []
    nf.fit(SMALL_CONFIG, blobs, callbacks=[Diary(pages), Speaks()])
    assert pages[:2] == ["note begun", "start"] or pages[:2] == ["start", "note begun"]
    assert pages[-2:] == ["note over", "close"]


class FailsAt(nf.Callback):
    def __init__(self, moment):
        def fail(*_):
            raise RuntimeError(f"failed at {moment}")

        setattr(self, moment, fail)


MOMENTS = ["start", "steps_until_due", "segment", "epoch", "should_stop", "finish", "close", "state"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_whatever_fails_all_are_closed_and_the_folder_is_free(moment, tmp_path, blobs):
    """One failing `close` hides no other's, and no failure keeps the lock."""
    fails, pages = FailsAt(moment), []
    fails.name = "fails"
    team = [Diary(pages, "before"), fails, Diary(pages, "after")]
    with pytest.raises(RuntimeError, match=f"failed at {moment}"):
        nf.fit(SMALL_CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"), callbacks=team)
    assert [page for page in pages if page.endswith("close")] == ["after close", "before close"]
    RunFolder.reopen(tmp_path / "run").release()


def closing_with(error):
    callback = nf.Callback()

    def close():
        raise error

    callback.close = close
    return callback


def test_of_two_that_fail_to_close_one_is_raised_and_all_are_closed(blobs):
    pages = []
    team = [closing_with(RuntimeError("one")), Diary(pages), closing_with(RuntimeError("two")), Diary(pages)]
    with pytest.raises(RuntimeError, match="one"):
        nf.fit(SMALL_CONFIG, blobs, callbacks=team)
    assert pages[-4:] == ["finish", "finish", "close", "close"]


def test_what_ended_the_run_is_not_lost_where_closing_fails_too(blobs):
    with pytest.raises(RuntimeError, match="at the end") as caught:
        nf.fit(SMALL_CONFIG, blobs, callbacks=[FailsAt("epoch"), closing_with(RuntimeError("at the end"))])
    assert str(caught.value.__context__) == "failed at epoch"


class Counts(nf.Callback):
    """Counts steps and keeps the sum of their losses: plain values and arrays to be brought back."""

    name = "counts"

    def __init__(self):
        self.steps, self.sums, self.loaded = 0, {"loss": jnp.zeros(2)}, None

    def segment(self, trainer, metrics):
        self.steps += metrics.last_step - metrics.first_step
        self.sums = {"loss": self.sums["loss"] + jnp.asarray([metrics.loss.sum(), 1.0])}

    def steps_until_due(self, step):
        return 1

    def state(self):
        return {"steps": self.steps, "words": ["a", None]}, self.sums

    def load_state(self, values, arrays):
        self.loaded = values
        self.steps, self.sums = values["steps"], arrays


def interrupted(folder, dataset, step, *callbacks):
    options = nf.RunOptions(run_dir=folder, checkpoint_every="step", keep_latest=99)
    with pytest.raises(PulledPlugError):
        nf.fit(SMALL_CONFIG, dataset, options, callbacks=[*callbacks, PullsThePlug(step)])
    return max(files.steps(folder / "checkpoints"))


def test_the_state_of_one_that_has_a_name_comes_back_on_resume(tmp_path, blobs):
    whole, again = Counts(), Counts()
    nf.fit(SMALL_CONFIG, blobs, callbacks=[whole])
    last = interrupted(tmp_path / "run", blobs, 12, Counts())
    nf.fit(SMALL_CONFIG, blobs, nf.RunOptions(resume=str(tmp_path / "run")), callbacks=[again])
    assert again.loaded == {"steps": last, "words": ["a", None]}
    assert again.steps == whole.steps == STEPS
    np.testing.assert_array_equal(again.sums["loss"], whole.sums["loss"])


def test_one_that_was_not_there_begins_anew_and_one_that_is_gone_is_left_behind(tmp_path, blobs):
    interrupted(tmp_path / "a", blobs, 12, Counts())
    result = nf.fit(SMALL_CONFIG, blobs, nf.RunOptions(resume=str(tmp_path / "a")))
    assert len(result.history) == SMALL_CONFIG.epochs
    last, anew = interrupted(tmp_path / "b", blobs, 12), Counts()
    nf.fit(SMALL_CONFIG, blobs, nf.RunOptions(resume=str(tmp_path / "b")), callbacks=[anew])
    assert anew.loaded is None
    assert anew.steps == STEPS - last


@pytest.mark.parametrize("name", ["state", "best", "metrics", "my/own"])
def test_a_name_that_something_else_is_saved_by_is_refused(name, tmp_path, blobs):
    callback = nf.Callback()
    callback.name = name
    with pytest.raises(ConfigError, match=f"cannot have the name '{name}'"):
        nf.fit(SMALL_CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"), callbacks=[callback])
    nf.fit(SMALL_CONFIG, blobs, callbacks=[callback])  # where nothing is saved any name will do


def steps_logged(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["event"] == "step"}


@pytest.mark.parametrize("every", [0, 1, 4, 100])
def test_every_so_many_steps_are_logged_however_the_run_is_cut(every, tmp_path, blobs):
    class Losses(nf.Callback):
        def segment(self, trainer, metrics):
            losses.update(
                zip(range(metrics.first_step + 1, metrics.last_step + 1), metrics.loss, strict=True)
            )

    losses = {}
    options = nf.RunOptions(run_dir=tmp_path / "run", log_every=every)
    nf.fit(SMALL_CONFIG, blobs, options, callbacks=[Losses(), Due(5)])
    wanted = range(every, STEPS + 1, every) if every else ()
    assert steps_logged(tmp_path / "run") == {step: float(losses[step]) for step in wanted}


def test_a_loss_that_is_no_number_is_logged_as_none(tmp_path):
    """Of a step that was skipped: JSON knows no NaN."""
    dataset = make_blobs()
    x = dataset.train.inputs.astype(np.float32)
    x[3] = 3e38
    dataset = nf.Dataset.from_arrays(x, dataset.train.targets)
    dataset = dataclasses.replace(dataset, fitted=type(dataset.fitted)(np.zeros(13, "f"), np.ones(13, "f")))
    options = nf.RunOptions(run_dir=tmp_path / "run", log_every=1, on_divergence="skip")
    config = dataclasses.replace(SMALL_CONFIG, learning_rate=1e-3, epochs=1)
    nf.fit(config, dataset, options)
    assert list(steps_logged(tmp_path / "run").values()).count(None) == 1


def test_a_save_that_failed_is_not_hidden_by_who_closes_after_it(tmp_path, blobs, monkeypatch):
    def full(*_):
        raise CheckpointError("the checkpoint could not be written (No space left on device)")

    monkeypatch.setattr(files, "write", full)
    pages, options = [], nf.RunOptions(run_dir=tmp_path / "run", checkpoint_every="epoch")
    with pytest.raises(CheckpointError, match="No space left"):
        nf.fit(SMALL_CONFIG, blobs, options, callbacks=[Diary(pages)])
    assert pages[-1] == "close"
    assert "finish" not in pages


def test_a_file_belongs_to_the_main_process(monkeypatch):
    monkeypatch.setattr("neuroforge_jax.callbacks.base.is_main_process", lambda: False)
    console = Callback()
    console.main_process_only = True
    assert list(Callbacks([console, other := Callback()])) == [other]


def test_of_several_processes_all_but_the_main_one_write_and_print_nothing(
    tmp_path, blobs, capsys, monkeypatch
):
    """With every callback of ours that a run can have; of a checkpoint each writes its part."""
    monkeypatch.setattr("neuroforge_jax.callbacks.base.is_main_process", lambda: False)
    monkeypatch.setattr("neuroforge_jax.run.find_peers", lambda: Peers(process=1))
    monkeypatch.setattr("neuroforge_jax.checkpoint.run_folder.share_folder", lambda *_: folder)
    folder, benchmark = tmp_path / "run", tmp_path / "benchmark.json"
    options = nf.RunOptions(
        run_dir=folder,
        log_every=1,
        checkpoint_every="never",
        tensorboard=True,
        trace=2,
        memory_profile=True,
        benchmark=True,
        benchmark_output=benchmark,
    )
    result = nf.fit(SMALL_CONFIG, blobs, options, callbacks=[nf.Console(), nf.Report()])
    assert len(result.history) == SMALL_CONFIG.epochs
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_the_folder_is_locked_until_the_last_callback_is_closed(tmp_path, blobs):
    """Another process must not go on with a run whose last save is still being written."""
    refused = []

    class TriesToTakeIt(nf.Callback):
        def close(self):
            with pytest.raises(ConfigError, match="is in use by process"):
                RunFolder.reopen(tmp_path / "run")
            refused.append(True)

    nf.fit(SMALL_CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"), callbacks=[TriesToTakeIt()])
    assert refused == [True]
    RunFolder.reopen(tmp_path / "run").release()


def test_whether_to_stop_is_asked_once_an_epoch_and_never_before_the_first(tmp_path, blobs):
    """Else who saves and the loop could hear two answers, and a run could end without its last save."""

    class StopsTheSecondTime(nf.Callback):
        def __init__(self):
            self.asked = []

        def should_stop(self, progress):
            self.asked.append(progress.epoch)
            return len(self.asked) >= 2

    callback = StopsTheSecondTime()
    result = nf.fit(SMALL_CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"), callbacks=[callback])
    assert callback.asked == [1, 2]
    assert len(result.history) == 2
    assert files.steps(tmp_path / "run" / "checkpoints") == [14]


def test_what_a_callback_saves_may_be_infinite(tmp_path, blobs):
    class Lowest(nf.Callback):
        name = "lowest"

        def state(self):
            return {}, {"loss": np.float32(np.inf)}

    nf.fit(SMALL_CONFIG, blobs, nf.RunOptions(run_dir=tmp_path / "run"), callbacks=[Lowest()])
    assert files.steps(tmp_path / "run" / "checkpoints") == [21]
