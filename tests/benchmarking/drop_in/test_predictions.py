"""Predictions of one row and of many, by networks that are fitted."""

from neuroforge_jax.benchmarking.drop_in import predictions
from neuroforge_jax.benchmarking.drop_in.tasks import read_breast_cancer
from neuroforge_jax.benchmarking.options import BenchOptions


def test_one_row_is_to_be_answered_in_time_and_many_faster(monkeypatch):
    monkeypatch.setattr(predictions, "DATA", {"small": read_breast_cancer})
    monkeypatch.setattr(predictions, "CALLS", {1: 3, 2000: 1})
    monkeypatch.setattr(predictions, "MAX_ITER", 2)
    rows = list(predictions.cases(BenchOptions(seeds=2), lambda: 0.001))
    assert [row["name"] for row in rows] == predictions.names()
    assert rows[0]["name"] == "sklearn/predict 1 row of small/ours"
    assert [row["goals"][0]["what"] for row in rows[::3]] == ["latency", "time"]
    assert [row["rows"] for row in rows[::3]] == [1, 2000]
    assert all(len(row["seconds"]["values"]) == 2 for row in rows)
    only = "sklearn/predict 1 row of small/*"
    assert len(list(predictions.cases(BenchOptions(seeds=1, only=only), lambda: 0.001))) == 3
