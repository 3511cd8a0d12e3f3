"""Speedruns: candidates in turn, what a command prints, and what is told where torch is not there."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.benchmarking import speedrun
from neuroforge_jax.benchmarking.speedrun import (
    Candidate,
    Outcome,
    operations_of,
    our_command,
    our_training,
    race,
)
from neuroforge_jax.commands.config_files import load_config
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.train import main

SHORT = nf.TrainConfig(
    dataset="digits",
    hidden=(32,),
    batch_size=64,
    epochs=4,
    optimizer="adam",
    learning_rate=0.01,
    backend="optimized",
)


def test_contenders_take_turns_and_the_fastest_of_ours_is_compared_over_the_seeds_that_both_had():
    turns = []

    def candidate(name, seconds, rounds, config=None):
        def train(seed):
            turns.append((name, seed))
            return Outcome(seconds * (1 + seed / 10), 0.97 + seed / 100)

        return Candidate(train, rounds, config=config)

    slow, ours, theirs = race(
        "s",
        {
            "slow": candidate("slow", 0.6, 3, SHORT),
            "ours": candidate("ours", 0.5, 3, SHORT),
            "theirs": candidate("theirs", 0.25, 2),
        },
        0.98,
        lambda: 0.001,
    )
    names = ("slow", "ours", "theirs")
    assert (
        turns
        == [
            *[(name, 0) for name in names],  # they warm up
            *[(name, seed) for seed in range(2) for name in names],
            *[(name, 2) for name in names[:2]],
        ]
    )
    assert ours["seconds"]["mean"] == pytest.approx(0.55)
    assert ours["accuracy"]["mean"] == pytest.approx(0.98)
    assert ours["reference_seconds"] == [0.001] * 3
    assert (ours["reached"], theirs["reached"]) == (True, False)
    assert "ratio" not in ours
    assert slow["ratio"]["median"] == pytest.approx(0.5 / 0.6)
    assert theirs["ratio"]["median"] == pytest.approx(2)
    assert slow["ratio"]["to"] == theirs["ratio"]["to"] == ours["name"] == "s/ours"


def test_a_training_is_compiled_once_and_its_seed_decides_it():
    data = nf.load_dataset("digits")
    train = our_training(SHORT, data)
    first, again, other = train(1), train(1), train(2)
    assert first.accuracy == again.accuracy > 0.85
    assert other.accuracy != first.accuracy
    assert first.seconds < 5


def test_where_the_time_goes_is_read_from_a_trace(tmp_path):
    told = operations_of(SHORT, nf.load_dataset("digits"), tmp_path)
    shares = [operation["share"] for operation in told]
    assert shares == sorted(shares, reverse=True)
    assert 0.5 < sum(shares) <= 1
    assert all(0 < operation["seconds_per_step"] < 0.1 for operation in told)
    assert any("dot_general" in operation["source"] for operation in told)


def test_the_command_prints_one_line_of_its_last_epoch_and_is_timed_to_it(tmp_path, capsys):
    flags = "--dataset digits --hidden 16 --batch-size 64 --epochs 2 --run-dir"
    assert main([*flags.split(), str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out.splitlines()
    (at,) = (index for index, line in enumerate(printed) if speedrun._accuracy_of_epoch(line, 2) is not None)
    told = json.loads((tmp_path / "run" / "result.json").read_text())["test_accuracy"]
    assert speedrun._accuracy_of_epoch(printed[at], 2) == pytest.approx(told, abs=1e-4)

    script = "import sys, time; print(sys.argv[1], flush=True); time.sleep(0.5)"
    outcome = speedrun._time_command(
        [sys.executable, "-c", script, printed[at]],
        tmp_path,
        None,
        lambda line: speedrun._accuracy_of_epoch(line, 2),
    )
    assert outcome.accuracy == pytest.approx(told, abs=1e-4)


def test_a_command_that_fails_says_why(tmp_path):
    with pytest.raises(DeviceError, match=r"neuroforge_jax.train .* ended with code 2 .*unknown dataset"):
        our_command(nf.TrainConfig(dataset="nothing"), None, tmp_path)(0)


def test_the_first_recipe_is_the_one_that_is_shipped():
    shipped = load_config(Path(__file__).parents[2] / "configs" / "speedrun.py")
    assert speedrun.RECIPES[0.98] == shipped


def test_the_samples_are_written_as_pytorchs_side_reads_them(tmp_path):
    data = nf.load_dataset("digits")
    speedrun.write_for_torch(data, tmp_path / "d.npz")
    with np.load(tmp_path / "d.npz", allow_pickle=False) as saved:
        assert saved["x_train"].shape == (1437, 64)
        assert saved["y_test"].dtype == np.int64


def test_without_torch_its_rows_say_so(monkeypatch):
    monkeypatch.setattr(speedrun, "load_dataset", lambda name, data_dir: nf.load_dataset("digits"))
    monkeypatch.setattr(speedrun, "absence", lambda module, python: "torch cannot be imported")
    monkeypatch.setattr(speedrun, "RECIPES", {0.5: SHORT})
    monkeypatch.setattr(speedrun, "our_command", lambda *args: lambda seed: Outcome(1.0, 0.99))
    cases = []
    speedrun.cases(2, None, None, 2, lambda: 0.001, cases.append)
    speedrun.command_cases(2, None, None, 2, lambda: 0.001, cases.append)
    assert [case["contender"] for case in cases if "skipped" in case] == [
        f"torch {m}" for m in speedrun.TORCH_MODES
    ]
    told = {case["contender"]: case for case in cases if case["name"].startswith("speedrun/50 %/ours")}
    assert list(told) == ["ours bf16", "ours f32"]
    assert [told[name]["config"]["backend"] for name in told] == ["mixed", "optimized"]
    (fastest,) = [case for case in told.values() if "operations" in case]
    assert fastest["seconds"]["median"] == min(case["seconds"]["median"] for case in told.values())
    assert [case["name"] for case in cases if "seconds" in case] == [
        f"speedrun/50 %{way}/ours {precision}"
        for way in ("", " from the command")
        for precision in ("bf16", "f32")
    ]
