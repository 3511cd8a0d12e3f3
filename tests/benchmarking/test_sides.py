"""Sides that take turns: in which order, and what the record says of each."""

import pytest

from neuroforge_jax.benchmarking.sides import Outcome, Side, take_turns

pytestmark = pytest.mark.smoke


def test_the_order_of_the_turns_alternates_and_each_lies_between_two_of_the_reference():
    log, sides = [], {"a": Side(), "b": Side()}

    def work(name):
        log.append(name)
        return Outcome(1.0)

    def reference():
        log.append("reference")
        return len(log)

    for round_ in range(3):
        take_turns({name: lambda name=name: work(name) for name in sides}, sides, round_, reference)
    assert [name for name in log if name != "reference"] == ["a", "b", "b", "a", "a", "b"]
    assert log[:6] == ["reference", "a", "reference", "reference", "b", "reference"]
    assert sides["a"].reference_seconds == [2.0, 11.0, 14.0]


def test_a_row_has_times_and_where_something_is_scored_the_scores():
    side = Side([Outcome(1.0, 0.5, 3), Outcome(3.0, 0.7, 4)], [0.1, 0.1])
    row = side.describe("tables/a/ours", "accuracy")
    assert (row["group"], row["contender"], row["epochs"]) == ("tables", "ours", [3, 4])
    assert (row["seconds"]["median"], row["seconds"]["mean"]) == (2.0, 2.0)
    assert row["accuracy"] == {
        "mean": pytest.approx(0.6),
        "deviation": pytest.approx(0.1),
        "values": [0.5, 0.7],
    }
    assert not {"metric", "epochs"} & Side([Outcome(1.0)], [0.1]).describe("startup/a/b").keys()


def test_a_score_of_many_trainings_has_no_epochs():
    """A grid search was shown with 0 epochs."""
    row = Side([Outcome(1.0, 0.5), Outcome(2.0, 0.7)], [0.1, 0.1]).describe("sklearn/a/ours", "accuracy")
    assert row["accuracy"]["values"] == [0.5, 0.7]
    assert "epochs" not in row
