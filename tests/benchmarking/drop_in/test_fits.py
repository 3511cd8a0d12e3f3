"""Fits of both to equal arrays by equal parameters, and data that are not there."""

import numpy as np
import pytest

from neuroforge_jax.benchmarking import table_tasks
from neuroforge_jax.benchmarking.drop_in import fits, tasks
from neuroforge_jax.benchmarking.drop_in.tasks import FitTask, read_breast_cancer, read_files
from neuroforge_jax.benchmarking.options import BenchOptions

SHORT = {"hidden_layer_sizes": (8,), "max_iter": 10, "learning_rate_init": 0.02}
SMALL = FitTask("small", read_breast_cancer, SHORT, ("score", "time", "each"))


def measure(monkeypatch, *chosen, **options):
    monkeypatch.setattr(tasks, "TASKS", chosen)
    return list(fits.cases(BenchOptions(**options), lambda: 0.001))


def test_both_learn_and_the_record_has_a_verdict_on_each_goal(monkeypatch):
    ours, theirs, one_thread = measure(monkeypatch, SMALL, seeds=2)
    assert (ours["name"], theirs["name"]) == ("sklearn/small/ours", "sklearn/small/scikit-learn")
    assert one_thread["name"] == "sklearn/small/scikit-learn, one thread"
    for row in (ours, theirs, one_thread):
        assert row["accuracy"]["mean"] > 0.9
        assert row["epochs"] == [10, 10]
        assert row["reference_seconds"] == [0.001] * 2
    assert (ours["training_rows"], ours["test_rows"], ours["inputs"]) == (426, 143, 30)
    assert [goal["what"] for goal in ours["goals"]] == ["score", "time", "each"]
    times = {
        row["contender"]: [
            their / our
            for our, their in zip(ours["seconds"]["values"], row["seconds"]["values"], strict=True)
        ]
        for row in (theirs, one_thread)
    }
    faster = min(times, key=lambda contender: np.median(times[contender]))  # pair by pair
    assert ours["goals"][1]["against"] == faster
    assert ours["goals"][1]["value"] == pytest.approx(np.median(times[faster]))
    assert ours["goals"][2]["reached"] == (min(times[faster]) > 1)
    assert theirs["ratio"]["to"] == one_thread["ratio"]["to"] == ours["name"]


def test_of_a_table_both_get_standardised_columns_and_a_quantity_in_its_unit(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    size, town = rng.normal(size=300), rng.integers(0, 3, 300)
    lines = [f"{size[i]:.4f},{'abc'[town[i]]},{1e5 * (3 + size[i] + town[i]):.0f}" for i in range(300)]
    (tmp_path / "prices.csv").write_text("size,town,price\n" + "\n".join(lines))
    source = table_tasks.Task("prices", "prices.csv", ("price",), unit=1e5)
    task = FitTask("prices", read_files(source), {**SHORT, "max_iter": 80}, ("score",), True, source)
    rows = task.read(BenchOptions(tables=tmp_path))
    assert (rows.x.shape, rows.x_test.shape) == ((240, 4), (60, 4))
    assert rows.x.dtype == np.float64
    assert abs(rows.x[:, 0].mean()) < 1e-6
    assert abs(rows.x[:, 0].std() - 1) < 1e-6
    assert sorted(set(rows.x[:, 1:].ravel())) == [0, 1]
    assert 2 < rows.y.mean() < 6
    ours, theirs, _ = measure(monkeypatch, task, seeds=1, tables=tmp_path)
    for row in (ours, theirs):
        assert row["r2"]["mean"] > 0.8
    assert ours["goals"] == []  # one seed has no noise


def test_files_that_are_not_there_are_a_line_and_what_needs_none_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(table_tasks, "find_files", lambda archive, folder: {"images": None})
    chosen = [task for task in tasks.TASKS if task.source]
    rows = measure(monkeypatch, *chosen, tables=tmp_path)
    assert [row["name"] for row in rows] == [task.names[0] for task in chosen]
    reasons = [row["skipped"] for row in rows]
    assert reasons[0] == "adult-train.csv is not in the folder of tables"
    assert reasons[-1] == "mnist is not in the data folder"


def test_tasks_are_selected_by_their_own_names_or_by_those_of_rows(tmp_path, monkeypatch):
    for only in ("adult", "sklearn/adult/*"):
        (row,) = measure(monkeypatch, *tasks.TASKS, tables=tmp_path, only=only)
        assert row["skipped"]
    assert measure(monkeypatch, *tasks.TASKS, only="sklearn/nothing/*") == []


def test_what_is_drawn_and_read_is_standardised_and_split_alike():
    rows = tasks.read_digits(BenchOptions())
    assert (rows.x.shape, rows.x_test.shape) == ((1347, 64), (450, 64))
    assert np.bincount(rows.y_test).min() >= 43
    assert abs(rows.x.mean()) < 1e-6
