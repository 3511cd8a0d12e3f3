"""Speedruns: candidates in turn, what a command prints, and what is told where torch is not there, or fails."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.benchmarking import speedrun, speedrun_command
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.race import Candidate, Outcome, race
from neuroforge_jax.benchmarking.speedrun import operations_of, our_training
from neuroforge_jax.benchmarking.speedrun_command import our_command
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


def test_candidates_take_turns_and_the_fastest_of_ours_is_compared_over_the_seeds_that_both_had():
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


@pytest.mark.slow
def test_the_command_prints_one_line_of_its_last_epoch_and_is_timed_to_it(tmp_path, capsys):
    flags = "--dataset digits --hidden 16 --batch-size 64 --epochs 2 --run-dir"
    assert main([*flags.split(), str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out.splitlines()
    (shown,) = (line for line in printed if speedrun_command._accuracy_of_epoch(line, 2) is not None)
    told = json.loads((tmp_path / "run" / "result.json").read_text())["test_accuracy"]
    assert speedrun_command._accuracy_of_epoch(shown, 2) == pytest.approx(told, abs=1e-4)

    script = "import sys, time; print(sys.argv[1], flush=True); time.sleep(0.5)"
    outcome = speedrun_command._time_command(
        [sys.executable, "-c", script, shown],
        tmp_path,
        None,
        lambda line: speedrun_command._accuracy_of_epoch(line, 2),
    )
    assert outcome.accuracy == pytest.approx(told, abs=1e-4)


def test_a_command_that_fails_says_why(tmp_path):
    with pytest.raises(DeviceError, match=r"neuroforge_jax.train .* ended with code 2 .*unknown dataset"):
        our_command(nf.TrainConfig(dataset="nothing"), None, tmp_path)(0)


def test_a_command_that_fails_behind_its_line_is_no_time(tmp_path):
    script = "import sys; print('{\"accuracy\": 0.98}', flush=True); sys.exit('out of memory')"
    command = [sys.executable, "-c", script]
    with pytest.raises(DeviceError, match=r"ended with code 1 \(out of memory\)"):
        speedrun_command._time_command(command, tmp_path, None, speedrun_command._accuracy_of_answer)


@pytest.mark.parametrize("line", ["", "a warning of a framework", "3", "{}", "[1]"])
def test_what_is_no_answer_of_torch_has_no_accuracy(line):
    assert speedrun_command._accuracy_of_answer(line) is None
    assert speedrun_command._accuracy_of_answer('{"accuracy": 0.98}') == 0.98


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_one_of_others_that_fails_is_a_row_and_our_times_are_kept(turn):
    """Once the first mode of torch that failed, in its warm-up or later, ended the whole suite."""
    turns = iter(range(9))

    def fail(seed):
        if next(turns) == turn:
            raise DeviceError("torch: no such kernel")
        return Outcome(0.2, 0.99)

    ours = Candidate(lambda seed: Outcome(0.5, 0.99), 3, config=SHORT)
    first, second = race("s/b", {"ours": ours, "torch": Candidate(fail, 3)}, 0.98, lambda: 0.001)
    assert first["seconds"]["repetitions"] == 3
    assert second == {
        "name": "s/b/torch",
        "group": "s",
        "contender": "torch",
        "skipped": "torch: no such kernel",
    }
    assert next(turns) == turn + 1  # it was not asked again


def test_what_is_ours_and_fails_is_an_error():
    def fail(seed):
        raise DeviceError("out of memory")

    with pytest.raises(DeviceError, match="out of memory"):
        race("s", {"ours": Candidate(fail, 1, config=SHORT)}, 0.98, lambda: 0.001)


def test_the_first_recipe_is_the_one_that_is_shipped():
    shipped = load_config(Path(__file__).parents[2] / "configs" / "speedrun.py")
    assert speedrun.RECIPES[0.98] == shipped


def test_the_samples_are_written_as_pytorchs_side_reads_them(tmp_path):
    data = nf.load_dataset("digits")
    speedrun.write_for_torch(data, tmp_path / "d.npz")
    with np.load(tmp_path / "d.npz", allow_pickle=False) as saved:
        assert saved["x_train"].shape == (1437, 64)
        assert saved["y_test"].dtype == np.int64


@pytest.fixture
def digits_for_mnist(monkeypatch):
    for module in (speedrun, speedrun_command):
        monkeypatch.setattr(module, "load_dataset", lambda name, data_dir: nf.load_dataset("digits"))
    recipes = {0.5: SHORT}
    monkeypatch.setattr(speedrun, "RECIPES", recipes)
    monkeypatch.setattr(speedrun_command, "RECIPES", recipes)
    monkeypatch.setattr(speedrun_command, "our_command", lambda *args: lambda seed: Outcome(1.0, 0.99))


def measure(**options):
    options = BenchOptions(**{"seeds": 2, **options})
    return [row for part in (speedrun, speedrun_command) for row in part.cases(options, lambda: 0.001)]


@pytest.mark.slow
def test_without_torch_its_rows_say_so(digits_for_mnist, monkeypatch):
    monkeypatch.setattr(speedrun, "absence", lambda module, python: "torch cannot be imported")
    cases = measure()
    ways = ("", " from the command")
    assert [(case["name"], case["skipped"]) for case in cases if "skipped" in case] == [
        (f"speedrun/50 %{way}/torch {mode}", "torch cannot be imported")
        for way in ways
        for mode in speedrun.TORCH_MODES
    ]
    told = {case["contender"]: case for case in cases if case["name"].startswith("speedrun/50 %/ours")}
    assert list(told) == ["ours bf16", "ours f32"]
    assert [told[name]["config"]["backend"] for name in told] == ["mixed", "optimized"]
    (fastest,) = [case for case in told.values() if "operations" in case]
    assert fastest["seconds"]["median"] == min(case["seconds"]["median"] for case in told.values())
    assert [case["name"] for case in cases if "seconds" in case] == [
        f"speedrun/50 %{way}/ours {precision}" for way in ways for precision in ("bf16", "f32")
    ]
    assert {case["name"] for case in cases} == {*speedrun.names(), *speedrun_command.names()}


def test_a_torch_that_cannot_be_launched_is_a_row_and_its_process_ends_with_its_recipe(
    digits_for_mnist, monkeypatch
):
    closed = []

    class Talk:
        def __init__(self, label):
            self.label = label

        def ask(self, order):
            if "bf16" in self.label:
                raise DeviceError(f"{self.label}: its process ended (out of memory)")
            assert self.label not in closed
            return {"seconds": 9.0, "accuracy": 0.99} if "seed" in order else {"version": "2.13"}

        def close(self):
            closed.append(self.label)

    monkeypatch.setattr(speedrun, "absence", lambda module, python: "")
    monkeypatch.setattr(speedrun, "launch_peer", lambda label, *args: Talk(label))
    monkeypatch.setattr(speedrun, "our_training", lambda config, dataset: lambda seed: Outcome(1.0, 0.99))
    monkeypatch.setattr(speedrun, "operations_of", lambda *args: [])
    rows = {}
    for row in speedrun.cases(BenchOptions("speedrun/50 %/torch eager*", seeds=2), lambda: 0.001):
        rows[row["contender"]] = row
        assert not {"torch eager f32"} & {*closed}
    assert list(rows) == ["torch eager bf16", "ours bf16", "ours f32", "torch eager f32"]
    assert rows["torch eager bf16"]["skipped"] == "torch eager bf16: its process ended (out of memory)"
    assert rows["torch eager f32"]["version"] == "2.13"
    assert {*closed} == {"torch eager f32", "torch eager bf16"}
