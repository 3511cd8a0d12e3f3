"""A comparison from beginning to end, by processes that are made up and by real ones of a package that is small."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neuroforge_jax.bench import main
from neuroforge_jax.benchmarking import conditions
from neuroforge_jax.benchmarking.against import comparison, worker
from neuroforge_jax.benchmarking.against.process import MissingError, VersionProcess
from neuroforge_jax.benchmarking.against.versions import PACKAGE, Version
from neuroforge_jax.benchmarking.against.work import Work, changes_of, plan_suite
from neuroforge_jax.benchmarking.peers.process import difference
from neuroforge_jax.benchmarking.suites import SUITES, regression
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import ConfigError, DeviceError

OLD = Version("0123abcd", "0123abcd" * 5, "2026-01-01 10:00", 0, Path("old"))
NEW = Version("the working tree", "4567abcd" * 5, "2026-01-02 10:00", 2, Path("new"))


class MadeUpProcess:
    """Its working tree is slower by a factor: a list of one for each pair of processes; the last one remains."""

    slower = (1.0,)
    lacks = ""
    losses = (2.4, 2.3)
    started = 0

    def __init__(self, version):
        self.version = version
        cls = type(self)
        if version is NEW:
            self.factor = cls.slower[min(cls.started, len(cls.slower) - 1)]
            cls.started += 1

    def begin(self, work):
        pass

    def wait(self, work):
        if self.version is OLD and self.lacks and self.lacks in work.name:
            raise MissingError("TypeError: TrainConfig takes no 'beta1'")
        return None if work.is_process else [2.4, 2.3] if self.version is OLD else list(self.losses)

    def turn(self, work, count):
        is_slow = self.version is NEW and work.name == "regression/small/optimized"
        return 0.01 * count * (self.factor if is_slow else 1.0)

    def close(self):
        pass


@pytest.fixture
def processes(monkeypatch):
    class Process(MadeUpProcess):
        pass

    @contextmanager
    def open_versions(revision):
        yield OLD, NEW

    monkeypatch.setattr(comparison, "VersionProcess", Process)
    monkeypatch.setattr(comparison, "open_versions", open_versions)
    monkeypatch.setattr(conditions, "busy_cores", lambda: 0.0)
    return Process


def run(capsys, tmp_path, *words):
    code = main(["--against", "HEAD~1", "--output", str(tmp_path / "r.json"), *words])
    out, err = capsys.readouterr()
    return code, out, err, json.loads((tmp_path / "r.json").read_text())


def test_versions_of_one_speed_pass_and_the_record_says_what_was_compared_where(processes, capsys, tmp_path):
    code, out, err, record = run(capsys, tmp_path)
    assert (code, err) == (0, "")
    assert "before: 0123abcd of 2026-01-01 10:00\n" in out
    assert "after:  the working tree at 4567abcd of 2026-01-02 10:00, with changes in 2 of its files\n" in out
    assert all(len(line) <= 80 for line in out.splitlines()[2:] if str(tmp_path) not in line)
    names = [case["name"] for case in record["cases"]]
    assert {name.rpartition("/")[2] for name in names} >= {"naive", "stepped", "async", "optimized", "mixed"}
    assert {"fits/small/again", "startup/process/import", "startup/process/first step"} <= set(names)
    assert {case["verdict"] for case in record["cases"]} == {"same"}
    assert record["before"] == {"commit": OLD.commit, "date": OLD.date, "changed_files": 0}
    assert record["after"] == {"commit": NEW.commit, "date": NEW.date, "changed_files": 2}
    assert {"processor", "processors", "versions", "threads"} <= record["environment"].keys()
    assert str(tmp_path) not in json.dumps(record)
    assert record["confirmed"] == []


def test_a_slow_down_that_new_processes_confirm_is_exit_code_7(processes, capsys, tmp_path):
    processes.slower = (1.6,)
    code, out, err, record = run(capsys, tmp_path)
    assert code == 7
    assert err == (
        "error: slower than 0123abcd by more than 25%, in a second measurement too: "
        "regression/small/optimized (1.60 ×)\n"
    )
    assert "measured again, longer, by new processes: regression/small/optimized\n" in out
    first = next(case for case in record["cases"] if "again" in case)
    assert record["confirmed"] == [first["name"]]
    turns = [case["after"]["repetitions"] for case in (first, first["again"])]
    assert turns == [15, 45]


@pytest.mark.parametrize("later", [(1.0,), (1.6, 1.0, 1.0), (1.0, 1.0, 1.6)])
def test_a_first_measurement_beside_a_noisy_neighbour_stops_nobody(processes, capsys, tmp_path, later):
    processes.slower = (1.6, *later)
    code, out, err, record = run(capsys, tmp_path)
    assert (code, err, record["confirmed"]) == (0, "", [])
    assert "measured again" in out


def test_a_larger_slow_down_can_be_allowed(processes, capsys, tmp_path):
    processes.slower = (1.6,)
    code, out, _, record = run(capsys, tmp_path, "--fail-margin", "0.7", "--only", "regression/small/*")
    assert code == 0
    assert "slower" in out
    assert "again" not in record["cases"][0]


def test_what_the_commit_lacks_is_a_line_and_the_rest_goes_on(processes, capsys, tmp_path):
    processes.lacks = "adam"
    code, out, _, record = run(capsys, tmp_path, "--only", "regression/*")
    assert code == 0
    assert "regression/adam/optimized: not in 0123abcd: TypeError: TrainConfig takes no 'beta1'\n" in out
    assert sum("verdict" in case for case in record["cases"]) == len(record["cases"]) - 1 > 3


@pytest.mark.parametrize(
    ("losses", "apart"),
    [
        ((2.4, 2.5), "their losses differ by 0.043 of their size"),
        ((2.4, float("nan")), "their losses differ by inf of their size"),
        ((2.4, 2.3, 2.2), "they tell 2 and 3 losses"),
    ],
)
def test_versions_that_do_not_train_the_same_are_noted(losses, apart, processes, capsys, tmp_path):
    processes.losses = losses
    _, out, _, _ = run(capsys, tmp_path, "--only", "regression/small/*")
    assert f"note: regression/small/optimized: the versions do not train the same, {apart}\n" in out


def test_the_record_names_the_command_that_makes_it_again(processes, capsys, tmp_path):
    words = ["--only", "regression/small/*", "--repetitions", "7", "--fail-margin", "0.5"]
    *_, record = run(capsys, tmp_path, *words)
    assert record["command"] == (
        "python -m neuroforge_jax.bench --suite regression --against 'HEAD~1' --fail-margin 0.5 "
        "--only 'regression/small/*' --repetitions 7"
    )


def test_a_suite_without_anything_to_compare_is_refused(processes, capsys):
    assert main(["--against", "HEAD", "--suite", "speedrun"]) == 2
    assert "suite speedrun has nothing named * that --against can measure" in capsys.readouterr().err


def test_parts_of_a_suite_that_are_not_compared_are_named(tmp_path):
    plan = plan_suite(SUITES["population"], "*", tmp_path)
    assert [work.name.split("/")[1] for work in plan.works] == ["1 at once", "1 at once"]
    assert "population 64-32-10/64 at once/optimized" in plan.left_out


def test_a_config_is_told_by_what_it_changes():
    assert changes_of(TrainConfig(batch_size=64, hidden=(3,))) == {"batch_size": 64, "hidden": (3,)}


# The worker, and processes of it.


@pytest.fixture
def data(tmp_path, blobs):
    path = tmp_path / "data.npz"
    arrays = {"x": blobs.train.inputs, "y": blobs.train.targets, "classes": np.asarray(blobs.classes)}
    np.savez(path, **arrays, x_test=blobs.test.inputs, y_test=blobs.test.targets)
    return path


CONFIG = {"hidden": [16], "batch_size": 32, "epochs": 2, "learning_rate": 0.1, "backend": "optimized"}


def test_a_worker_trains_what_it_is_told(data):
    trainings = {}
    orders = (
        {"start": what, "what": what, "config": CONFIG, "data": str(data)} for what in ("steps", "fits")
    )
    losses, epochs = (worker.answer_to(order, trainings)["losses"] for order in orders)
    assert len(losses) == worker.COMPARED_STEPS
    assert epochs[1] < epochs[0] < losses[0] < 3
    assert worker.answer_to({"case": "steps", "count": 5}, trainings)["seconds"] > 0
    assert worker.answer_to({"case": "fits", "count": 1}, trainings)["seconds"] > 0


def test_another_learning_rate_shows_in_the_losses_that_are_compared():
    """Once the loss of the first step alone was compared, which no update has touched."""
    (case,) = [
        case for group in regression() for case in group.cases if case.name == "regression/small/optimized"
    ]
    same, again, half = (
        np.asarray(worker.start_steps(replace(case.config, learning_rate=rate), case.dataset)[1])
        for rate in (0.01, 0.01, 0.005)
    )
    assert half[0] == same[0]
    assert difference(same, again) < comparison.SAME_LOSSES < difference(same, half)


def test_a_worker_says_what_its_version_lacks(data):
    order = {"start": "case", "what": "steps", "config": {"beta7": 1}, "data": str(data)}
    missing = worker.answer_to(order, {})["missing"]
    assert missing.startswith("TypeError: ")
    assert "beta7" in missing


SMALL_PACKAGE = """
class TrainConfig:
    def __init__(self, hidden=()):
        assert isinstance(hidden, tuple)
class Dataset:
    @staticmethod
    def from_arrays(*arrays, name, classes):
        return len(arrays[0])
class Result:
    history = ({"train_loss": 0.25},)
def fit(config, dataset):
    return Result
init = prepare = None
"""


def make_version(folder, content=SMALL_PACKAGE):
    (folder / PACKAGE).mkdir(parents=True)
    (folder / PACKAGE / "__init__.py").write_text(content)
    return Version("0123abcd", "0123abcd" * 5, "2026-01-01 10:00", 0, folder)


def start(process, work):
    process.begin(work)
    return process.wait(work)


def test_a_version_of_another_api_inside_is_measured_by_what_is_public(tmp_path, data):
    process = VersionProcess(make_version(tmp_path / "old"))
    try:
        fits = Work("fits", 3, "fits", {"hidden": [3]}, data)
        assert start(process, fits) == [0.25]
        assert process.turn(fits, 2) > 0
        imports = Work("import", 3, "processes", arguments=("import",))
        assert start(process, imports) is None
        assert process.turn(imports, 1) > 0.01
        with pytest.raises(MissingError, match="'NoneType' object is not callable"):
            start(process, Work("steps", 3, "steps", {}, data))
        with pytest.raises(MissingError, match="'NoneType' object is not callable"):
            start(process, Work("first step", 3, "processes", arguments=("train", "{}", str(data))))
        assert process.turn(fits, 1) > 0
    finally:
        process.close()


def test_a_version_that_cannot_be_imported_is_one_line(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"0123abcd cannot be imported here \(ModuleNotFoundError: No module named 'jex'\); choose",
    ):
        VersionProcess(make_version(tmp_path / "old", "import jex"))


def test_a_package_that_comes_before_the_version_is_found_out(tmp_path, monkeypatch):
    other = make_version(tmp_path / "other")
    (other.folder / "sitecustomize.py").write_text(f"import sys; sys.path.insert(0, {str(other.folder)!r})")
    monkeypatch.setenv("PYTHONPATH", str(other.folder))
    with pytest.raises(ConfigError, match="0123abcd was not imported, but another neuroforge_jax"):
        VersionProcess(make_version(tmp_path / "old"))


ENDS = SMALL_PACKAGE + "def fit(config, dataset):\n    import os; os._exit(3)\n"


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("0123abcd", ConfigError, r"0123abcd: its process ended .*; choose another commit"),
        ("the working tree", DeviceError, "the working tree: its process ended"),
    ],
)
def test_a_process_that_ends_is_a_commit_that_cannot_run_or_a_fault_of_the_working_tree(
    name, error, sentence, tmp_path, data
):
    """A check that tolerates the one (exit code 2) must not tolerate the other (5)."""
    process = VersionProcess(replace(make_version(tmp_path / "one", ENDS), name=name))
    try:
        with pytest.raises(error, match=sentence):
            start(process, Work("fits", 3, "fits", {}, data))
    finally:
        process.close()
