"""A run that goes on is carried out as its first command said, unless the second says otherwise."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.checkpoint.saved_options import find_data, restore_options
from neuroforge_jax.commands.flags import parse_flags
from neuroforge_jax.errors import CheckpointError
from neuroforge_jax.train import main
from tests.checkpoint.interruption import PulledPlugError, PullsThePlug
from tests.conftest import SMALL_CONFIG
from tests.recorder import Recorder

FIRST = nf.RunOptions(
    checkpoint_every="5 steps",
    keep_latest=3,
    keep_best=0,
    on_save_error="continue",
    chunk_steps=7,
    read_ahead=4,
    log_every=2,
    tensorboard=True,
    benchmark=True,
    memory_profile=True,
    memory_fraction=0.5,
    preallocate=False,
    trace=3,
    verify=True,
    tolerance=1e-3,
    on_divergence="skip",
    debug_nans=True,
)
"""Every option off its default but for paths and for what says which run it is."""

PATHS = {"data_dir"}
LOOKS_ONCE = {"verify", "tolerance", "benchmark", "benchmark_output", "memory_profile", "trace"}
JOINS = {"distributed", "coordinator", "num_processes", "process_id", "join_seconds", "heartbeat_seconds"}
NEVER_RESTORED = {"config", "run_dir", "resume", "debug"} | JOINS | LOOKS_ONCE


def begun(folder, options=FIRST, config=SMALL_CONFIG):
    """The folder of a run that has begun."""
    folder.mkdir(parents=True)
    RunFolder(folder).write_config(config, dataclasses.replace(options, run_dir=folder))
    return folder


def from_python(folder, **given):
    return restore_options(nf.RunOptions(resume=str(folder), **given))


def from_flags(folder, *words):
    return parse_flags(["--resume", str(folder), *words])[1]


def changed(options):
    """What of the options is not as it was first, but for what is never restored."""
    fields = {field.name for field in dataclasses.fields(options)} - NEVER_RESTORED
    return {name for name in fields if getattr(options, name) != getattr(FIRST, name)}


def test_every_option_but_those_that_name_the_run_is_among_them():
    default = nf.RunOptions()
    fields = {field.name for field in dataclasses.fields(default)}
    here = {name for name in fields if getattr(default, name) != getattr(FIRST, name)}
    assert here == fields - PATHS - (NEVER_RESTORED - LOOKS_ONCE) - {"benchmark_output"}


@pytest.mark.parametrize("resumed", [from_python, from_flags])
def test_what_a_command_looks_at_once_is_asked_for_each_time(tmp_path, resumed):
    """A resume must not write over the benchmark of the first command, nor verify, trace and profile once more."""
    options = resumed(begun(tmp_path / "run"))
    assert {name: getattr(options, name) for name in LOOKS_ONCE} == {
        name: getattr(nf.RunOptions(), name) for name in LOOKS_ONCE
    }


@pytest.mark.smoke
@pytest.mark.parametrize("resumed", [from_python, from_flags])
def test_a_resume_without_options_has_those_of_the_first_command(resumed, tmp_path):
    folder = begun(tmp_path / "run")
    options = resumed(folder)
    assert changed(options) == set()
    assert options.resume == str(folder)
    assert not options.debug


def test_from_python_an_option_that_is_off_its_default_wins(tmp_path):
    options = from_python(begun(tmp_path / "run"), log_every=9, on_save_error="stop", debug=True)
    assert (options.log_every, options.debug) == (9, True)
    # `stop` is the default: from Python it cannot be told from an option that was left out.
    assert options.on_save_error == "continue"
    assert changed(options) == {"log_every"}


def test_a_flag_that_is_given_wins_though_it_is_the_default(tmp_path):
    words = "--on-divergence stop --log-every 0 --no-tensorboard --keep-latest 2 --chunk-steps None --debug"
    options = from_flags(begun(tmp_path / "run"), *words.split())
    assert (options.on_divergence, options.log_every, options.tensorboard) == ("stop", 0, False)
    assert (options.keep_latest, options.chunk_steps, options.debug) == (2, None, True)
    assert changed(options) == {"on_divergence", "log_every", "tensorboard", "keep_latest", "chunk_steps"}


def test_auto_restores_too_where_it_finds_a_run(tmp_path):
    folder, empty = begun(tmp_path / "run"), tmp_path / "none"
    words = ["--resume", "auto", "--keep-latest", "2"]
    options = parse_flags([*words, "--run-dir", str(folder)])[1]
    assert changed(options) == {"keep_latest"}
    assert (options.resume, options.run_dir) == ("auto", folder)
    assert parse_flags([*words, "--run-dir", str(empty)])[1] == nf.RunOptions(resume="auto", run_dir=empty)
    assert restore_options(nf.RunOptions(resume="auto", run_dir=empty)).log_every == 0
    assert changed(restore_options(nf.RunOptions(resume="auto", run_dir=folder))) == set()


def test_auto_finds_the_folder_that_the_same_command_began_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun(Path("runs", "digits"))
    config, options = parse_flags(["--dataset", "digits", "--resume", "auto"])
    assert changed(options) == set()
    assert options.run_dir == Path("runs", "digits")
    assert config.hidden == SMALL_CONFIG.hidden


def test_the_saved_options_are_those_of_the_last_command(tmp_path):
    folder = begun(tmp_path / "run")
    RunFolder(folder).write_config(SMALL_CONFIG, from_flags(folder, "--log-every", "0"))
    assert changed(from_flags(folder)) == {"log_every"}


def test_a_run_of_version_0_1_has_none(tmp_path):
    folder = begun(tmp_path / "run")
    (folder / "options.json").unlink()
    for options in (from_python(folder), from_flags(folder)):
        assert dataclasses.replace(options, resume=None) == nf.RunOptions()


def test_what_a_later_version_saved_beside_is_passed_over(tmp_path):
    file = begun(tmp_path / "run") / "options.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"wings": 2}))
    assert changed(from_flags(tmp_path / "run")) == set()


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"keep_latest": 0}', '{"log_every": "often"}', '{"data_dir": 7}']
)
def test_damaged_options_are_named(damage, tmp_path):
    folder = begun(tmp_path / "run")
    (folder / "options.json").write_text(damage)
    for resumed in (from_python, from_flags):
        with pytest.raises(CheckpointError, match=r"run/options\.json") as caught:
            resumed(folder)
        assert "\n" not in str(caught.value)


def test_a_resumed_run_is_carried_out_as_the_first_was(tmp_path, blobs):
    """By what it does: a line for every second step, a look at each step that is to be saved, and counts of
    skipped steps.
    """
    folder = tmp_path / "run"
    options = nf.RunOptions(
        run_dir=folder, checkpoint_every="5 steps", keep_latest=4, log_every=2, on_divergence="skip"
    )
    with pytest.raises(PulledPlugError):
        nf.fit(SMALL_CONFIG, blobs, options, callbacks=[PullsThePlug(9)])
    recorder = Recorder()
    result = nf.fit(SMALL_CONFIG, blobs, nf.RunOptions(resume=str(folder)), callbacks=[recorder])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(2, 22, 2))
    assert {10, 15, 20} <= {metrics.last_step for metrics in recorder.all("segment")}
    assert 21 in files.steps(folder / "checkpoints")
    assert set(files.steps(folder / "checkpoints")) <= {21, 20, 15, 10, 5}
    assert [record["skipped_steps"] for record in result.history] == [0, 0, 0]
    written = json.loads((folder / "options.json").read_text())
    assert (written["checkpoint_every"], written["keep_latest"]) == ("5 steps", 4)


def write_table(path):
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'big' if a + b > 0 else 'small'}" for a, b in rng.normal(size=(90, 2))]
    path.write_text("\n".join(["a,b,size", *rows]))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Two folders, of which the first is where a command is started now; what goes to the second."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda: monkeypatch.chdir(tmp_path / "there")


def test_a_relative_table_is_found_again_from_another_folder(elsewhere, tmp_path, capsys):
    write_table(Path("data.csv"))
    words = ["--dataset", "data.csv", "--hidden", "4", "--batch-size", "16", "--epochs"]
    assert main([*words, "4", "--run-dir", "runs/table"]) == 0
    elsewhere()
    assert main(["--resume", "../here/runs/table", "--epochs", "5"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "in epoch 5 of 5" in out
    # And once more, from a third place: what was found is what is saved.
    folder = tmp_path / "here" / "runs" / "table"
    assert parse_flags(["--resume", str(folder)])[0].dataset == str(tmp_path / "here" / "data.csv")
    (tmp_path / "here" / "data.csv").unlink()
    assert main(["--resume", str(folder), "--epochs", "6"]) == 3


def test_from_python_too(elsewhere):
    write_table(Path("data.csv"))
    config = dataclasses.replace(SMALL_CONFIG, dataset="data.csv", hidden=(4,), epochs=3)
    nf.fit(config, options=nf.RunOptions(run_dir=Path("run")))
    elsewhere()
    more = dataclasses.replace(config, epochs=4)
    assert len(nf.fit(more, options=nf.RunOptions(resume="../here/run")).history) == 4


def test_what_lies_where_the_second_command_is_started_comes_first(elsewhere, tmp_path):
    """A path that is given is a path from here; other data are refused by what is in them."""
    folder = begun(tmp_path / "run", config=dataclasses.replace(SMALL_CONFIG, dataset="data.csv"))
    write_table(Path("data.csv"))
    elsewhere()
    assert parse_flags(["--resume", str(folder)])[0].dataset == str(tmp_path / "here" / "data.csv")
    write_table(Path("data.csv"))
    assert parse_flags(["--resume", str(folder)])[0].dataset == "data.csv"


def test_a_relative_folder_of_data_is_found_again_and_an_absolute_one_is_kept(elsewhere, tmp_path):
    relative = dataclasses.replace(FIRST, data_dir=Path("data"))
    absolute = dataclasses.replace(FIRST, data_dir=tmp_path / "data")
    folders = begun(tmp_path / "relative", relative), begun(tmp_path / "absolute", absolute)
    elsewhere()
    found, kept = (from_flags(folder) for folder in folders)
    assert found.data_dir == tmp_path / "here" / "data"
    assert kept.data_dir == tmp_path / "data"


def test_a_run_whose_folder_was_moved_with_its_data_finds_them(elsewhere, tmp_path):
    config = dataclasses.replace(SMALL_CONFIG, dataset="data.csv")
    begun(Path("run"), config=config)
    write_table(Path("data.csv"))
    elsewhere()
    (tmp_path / "here").rename(tmp_path / "moved")
    assert parse_flags(["--resume", "../moved/run"])[0].dataset == str(tmp_path / "moved" / "data.csv")


def test_the_name_of_a_dataset_stays_a_name_whatever_lies_there(elsewhere, tmp_path):
    """A folder `digits` beside the first command was taken for it."""
    folder = begun(tmp_path / "run", config=dataclasses.replace(SMALL_CONFIG, dataset="digits"))
    Path("digits").mkdir()
    elsewhere()
    config, options = parse_flags(["--resume", str(folder)])
    assert config.dataset == find_data(config, options).dataset == "digits"
