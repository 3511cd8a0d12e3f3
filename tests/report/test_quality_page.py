"""What a run's page says of the quality of its model."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from neuroforge_jax.report.axes import Axis
from neuroforge_jax.report.callback import measure_importance
from neuroforge_jax.report.quality_charts import Cloud, draw_cloud
from neuroforge_jax.report.quality_page import render_class_table, render_quality
from neuroforge_jax.report.run_files import read_run
from tests.job.test_importance import trained
from tests.report.test_pages import EVIL, Outline, folders

__all__ = ["folders", "trained"]

COLUMNS = {
    "columns": ["<b>", EVIL, "useless"],
    "metric": "loss",
    "samples": 40,
    "changes": [[0.5, 0.7], [1.0, 1.2], [-0.02, 0.01]],
}


def make_regression(run, samples=5000):
    """The page of numbers without a training of its own; one target is a fill value."""
    rng = np.random.default_rng(0)
    targets = rng.normal(3e5, 1e5, (samples, 1)).astype(np.float32)
    predicted = (targets + rng.normal(0, 2e4, targets.shape)).astype(np.float32)
    targets[7] = 1e20
    scores = {"test_rmse": 2e4, "test_r2": 0.96}
    return replace(
        run,
        result={**run.result, "test_accuracy": None, **scores},
        model={**run.model, "classes": []},
        predictions={"targets": targets, "predicted": predicted},
    )


def rows_of(page):
    rows = re.findall(r"<tr>(<td>.*?)</tr>", page, re.DOTALL)
    return [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in rows]


def test_each_class_has_its_recall_and_precision_with_their_counts():
    labels, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    assert rows_of(render_class_table(["a", "b", "<c>"], labels, predicted)) == [
        ["a", "3", "3", "2", "66.7%", "66.7%"],
        ["b", "2", "2", "1", "50.0%", "50.0%"],
        ["&lt;c&gt;", "0", "0", "0", "–", "–"],
    ]


def test_of_many_classes_those_with_the_lowest_recall_are_shown():
    labels = np.repeat(np.arange(150), 2)
    predicted = labels.copy()
    predicted[300 - 2 * 120 :: 2] = 0  # of class 30 and all after it one of two is wrong
    table = render_class_table([f"c{at}" for at in range(150)], labels, predicted)
    shown = rows_of(table)
    assert len(shown) == 100
    assert [row[0] for row in shown[:2]] == ["c30", "c31"]
    assert "The 100 of 150 classes with the lowest recall" in table


def test_a_page_of_classes_has_every_score_and_a_calibration_that_counts_every_sample(folders):
    run = read_run(folders / "one")
    page = render_quality(run)
    assert Outline(page).headings == ["Scores and probabilities"]
    scores = dict(rows_of(page))
    assert scores["balanced accuracy"] == f"{run.result['test_balanced_accuracy']:.4g}"
    assert {"log loss", "ROC AUC", "calibration error"} <= set(scores)
    counts = re.findall(r"<title>([\d,]+) samples</title>", page)
    assert sum(map(int, counts)) == len(run.predictions["labels"])
    assert len(counts) == page.count("<title>stated")


def test_a_page_of_numbers_draws_every_sample_but_the_fill_value_and_says_so(folders):
    page = render_quality(make_regression(read_run(folders / "one")))
    assert Outline(page).headings == ["Predicted and actual"]
    assert page.count("far outside and not drawn: 1") == 2
    first, second = page.split("<figure>")[1:]
    for figure in (first, second):
        counts = re.findall(r'class="cell".*?<title>([\d,]+)</title>', figure)
        assert sum(int(count.replace(",", "")) for count in counts) == 4999
    assert page.count('class="ideal"') == 2


def test_a_page_of_labels_counts_what_is_found_of_each_and_draws_no_numbers(folders):
    """Probabilities were drawn against 0 and 1, as numbers 1 to 3."""
    run = make_regression(read_run(folders / "one"))
    target = {"task": "multilabel", "names": ["a", EVIL], "classes": ["a", EVIL]}
    actual = np.array([[1, 0], [1, 0], [1, 0], [0, 0]], np.float32)
    said = np.array([[0.9, 0.1], [0.6, 0.7], [0.5, 0.2], [0.8, 0.3]])
    predictions = {"targets": actual, "predicted": said}
    page = render_quality(replace(run, model={**run.model, "target": target}, predictions=predictions))
    assert Outline(page).headings == ["Labels"]
    first, second = rows_of(page)
    assert first == ["a", "3", "3", "2", "66.7%", "66.7%"]
    assert second[1:] == ["0", "1", "0", "–", "0.0%"]


def test_of_quantiles_the_median_is_drawn_against_the_actual_numbers(folders):
    """The first quantile was, and of several numbers those of others."""
    run = make_regression(read_run(folders / "one"))
    actual = np.arange(40.0).reshape(20, 2)
    predicted = np.repeat(actual, 3, axis=1) + np.tile([-7.0, 0, 7], 2)
    model = {
        **run.model,
        "quantiles": [0.1, 0.5, 0.9],
        "target": {"task": "regression", "names": ["low", "high"]},
    }
    page = render_quality(replace(run, model=model, predictions={"targets": actual, "predicted": predicted}))
    for name in ("low", "high"):
        drawing = page.partition(f"predicted against actual of {name}, quantile 0.5")[2]
        dots = re.search(r'class="points" d="M([\d.]+) ([\d.]+)h0.*M([\d.]+) ([\d.]+)h0"', drawing).groups()
        line = re.search(r'class="ideal" points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"', drawing).groups()
        assert dots == line


def test_few_samples_are_points():
    """Drawn where they are: a perfect prediction lies on the dashed line, from its one end to the other."""
    values = np.array([1.0, 2.0, 4.0])
    drawing = draw_cloud(Cloud(values, values), Axis("x"), Axis("y"), diagonal=True, title="t")
    dots = re.search(r'class="points" d="M([\d.]+) ([\d.]+)h0.*M([\d.]+) ([\d.]+)h0"', drawing).groups()
    assert dots == re.search(r'class="ideal" points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"', drawing).groups()


@pytest.mark.parametrize("values", [[5.0] * 9, [np.nan, 1.0, 2.0], [np.inf] * 3])
def test_numbers_of_any_kind_can_be_drawn(folders, values):
    run = make_regression(read_run(folders / "one"))
    numbers = np.array(values, np.float32)[:, None]
    Outline(render_quality(replace(run, predictions={"targets": numbers, "predicted": numbers})))


def test_columns_are_bars_the_most_important_first(folders):
    run = replace(read_run(folders / "one"), importance=COLUMNS)
    page = render_quality(run)
    assert Outline(page).headings[-1] == "Columns"
    bars = page.split("importance of columns")[-1]
    places = [bars.index(name) for name in ("\\u202ef", "&lt;b&gt;", "useless")]
    assert places == sorted(places)
    assert "among 40 samples" in page
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page


def test_the_report_measures_the_columns_of_a_table(trained, tmp_path):
    dataset, result = trained
    dataset = replace(dataset, names=("noise", "level a", "level b", "level c", "constant"))
    found = json.loads(json.dumps(measure_importance(dataset, result)))
    assert found["columns"] == ["noise", "level a", "level b", "level c", "constant"]
    assert found["samples"] == len(dataset.test)
    assert min(found["changes"][3]) > max(found["changes"][0])
    assert measure_importance(replace(dataset, test=None), result) is None
    assert measure_importance(replace(dataset, names=()), result) is None


def test_what_holds_no_quality_shows_none(folders):
    run = replace(read_run(folders / "one"), predictions={}, result=None)
    assert render_quality(run) == ""
