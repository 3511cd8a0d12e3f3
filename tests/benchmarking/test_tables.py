"""The suite of tables: both sides learn, by the same rows and epochs, and a table that is not there is a line."""

from pathlib import Path

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.benchmarking import table_tasks, tables
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.table_tasks import FASHION, TABLE, TASKS, Task
from neuroforge_jax.benchmarking.table_trainings import split_anew, train_scikit_learn
from neuroforge_jax.commands.config_files import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
SHORT = nf.TrainConfig(
    hidden=(64,), batch_size=32, epochs=30, optimizer="adamw", learning_rate=0.02, patience=30
)


@pytest.fixture
def folder(tmp_path):
    """Two tables: whether someone stays, with gaps and a category, and a price in three files."""
    rng = np.random.default_rng(0)
    age, plan = rng.integers(18, 80, 240), rng.integers(0, 3, 240)
    stays = np.where(age + 20 * plan > 70, "yes", "no")
    rows = [f"{'' if i % 9 == 0 else age[i]},{'abc'[plan[i]]},{stays[i]}" for i in range(240)]
    (tmp_path / "stays.csv").write_text("age,plan,stays\n" + "\n".join(rows))
    for part in ("train", "val", "test"):
        size = rng.normal(size=200)
        prices = "\n".join(f"{x:.4f},{1e5 * (3 + x):.0f}" for x in size)
        (tmp_path / f"price-{part}.csv").write_text("size,price\n" + prices)
    return tmp_path


def measure(folder, *tasks, monkeypatch, **options):
    monkeypatch.setattr(tables, "TASKS", tasks)
    return list(tables.cases(BenchOptions(tables=folder, **options), lambda: 0.001))


def test_both_sides_learn_a_split_of_their_own_each_seed_by_as_many_epochs(folder, monkeypatch):
    task = Task("stays", "stays.csv", splits=True, config=SHORT)
    ours, theirs = measure(folder, task, monkeypatch=monkeypatch, seeds=2)
    assert (ours["name"], theirs["name"]) == ("tables/stays/ours", "tables/stays/scikit-learn")
    for row in (ours, theirs):
        assert row["accuracy"]["mean"] > 0.75  # always the same answer: 0.6
        assert len(row["accuracy"]["values"]) == len(row["seconds"]["values"]) == 2
        assert row["reference_seconds"] == [0.001] * 2
    assert ours["epochs"] == theirs["epochs"] == [30, 30]
    assert ours["goal"] == theirs["accuracy"]["mean"] - 0.005
    assert ours["reached"] == (ours["accuracy"]["mean"] >= ours["goal"])
    assert theirs["ratio"]["to"] == ours["name"]
    assert ours["training_rows"] == 192
    assert ours["config"]["dataset"] == "stays.csv"  # and no folder of this machine


def test_each_seed_has_a_fifth_of_every_class_of_its_own_as_test_data(folder):
    config = Task("stays", "stays.csv", config=SHORT).in_folder(folder)
    first, again, other = (split_anew(config, seed) for seed in (0, 0, 1))
    assert len(first.test) == 48
    assert (first.test.inputs == again.test.inputs)[~np.isnan(first.test.inputs)].all()
    assert not np.array_equal(first.test.inputs, other.test.inputs, equal_nan=True)
    assert abs(first.test.targets.mean() - first.train.targets.mean()) < 0.02


def test_a_quantity_is_scored_in_the_goals_unit_and_the_peer_takes_part_as_often_as_it_can(
    folder, monkeypatch
):
    task = Task(
        "price", "price-train.csv", ("price",), "price-test.csv", "price-val.csv",
        goal=0.3, unit=1e5, peer_seeds=1, config=SHORT,
    )  # fmt: skip
    ours, theirs = measure(folder, task, monkeypatch=monkeypatch, seeds=2)
    assert ours["rmse"]["mean"] < 0.3  # the deviation: 1
    assert theirs["rmse"]["mean"] < 0.8
    assert ours["reached"] is True
    assert (len(ours["epochs"]), len(theirs["epochs"])) == (2, 1)


def test_pictures_are_given_to_the_peer_as_ours_sees_them():
    outcome = train_scikit_learn(SHORT, nf.load_dataset("digits"), 8, 1.0)
    assert outcome.score > 0.85
    assert outcome.epochs == 8


def test_a_table_that_is_not_there_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(table_tasks, "find_files", lambda archive, folder: {"images": None})
    rows = measure(tmp_path, *TASKS, monkeypatch=monkeypatch)
    assert [row["name"] for row in rows] == [task.names[0] for task in TASKS]
    assert rows[2]["skipped"] == "adult-train.csv is not in the folder of tables"
    assert rows[-1]["skipped"] == "fashion-mnist is not in the data folder"
    for only in ("adult", "tables/adult/*"):
        (row,) = measure(tmp_path, *TASKS, monkeypatch=monkeypatch, only=only)
        assert row["name"] == "tables/adult/ours"


def test_the_folder_is_the_one_that_is_named_else_beside_the_datasets(tmp_path, monkeypatch):
    monkeypatch.delenv("NEUROFORGE_TABLES", raising=False)
    assert tables.table_folder(tmp_path) == tmp_path / "tables"
    monkeypatch.setenv("NEUROFORGE_TABLES", str(tmp_path / "mine"))
    assert tables.table_folder(tmp_path) == tmp_path / "mine"


def test_the_configs_are_those_that_are_shipped():
    assert load_config(CONFIGS / "table.py") == TABLE
    assert load_config(CONFIGS / "fashion.py") == FASHION
    assert len(tables.names()) == 3 * len(TASKS)
