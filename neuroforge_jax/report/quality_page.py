"""The part of a run's page that says how good its model is: scores, classes, calibration, residuals, and what each
column is worth to it.
"""

from collections.abc import Sequence

import numpy as np

from neuroforge_jax.report import page
from neuroforge_jax.report.axes import Axis
from neuroforge_jax.report.charts import Bar, draw_bar_chart
from neuroforge_jax.report.quality_charts import Cloud, draw_cloud, draw_reliability
from neuroforge_jax.report.run_files import RunFiles
from neuroforge_jax.scoring.classification import bin_by_confidence, count_classes
from neuroforge_jax.scoring.metrics import METRICS

MOST_ROWS = 100
"""Classes in a table that is still read."""

MOST_NUMBERS = 4
"""Of the numbers that a regression predicts, those that are drawn."""

MOST_COLUMNS = 25
"""Of the columns of a table, those that are drawn."""


def render_quality(run: RunFiles) -> str:
    """All that is known of the quality of one run, beside its mistakes; empty where nothing is."""
    parts = [_render_probabilities(run), _render_labels(run), _render_numbers(run), _render_importance(run)]
    return "\n".join(filter(None, parts))


def render_class_table(classes: Sequence[str], labels: np.ndarray, predicted: np.ndarray) -> str:
    """Recall and precision of each class, with the numbers of samples that they come from."""
    counts = count_classes(labels, predicted, np.ones(len(labels)), len(classes))
    return _render_recall("class", "classes", classes, counts)


def _render_recall(one: str, several: str, names: Sequence[str], counts: Sequence[np.ndarray]) -> str:
    """counts: of each name, the samples that are right, those that are of it, and those that are said to be."""
    right, actual, read = (count.astype(np.int64).tolist() for count in counts)
    shown, note = list(range(len(names))), ""
    if len(names) > MOST_ROWS:
        occurring = filter(actual.__getitem__, shown)
        shown = sorted(occurring, key=lambda at: right[at] / actual[at])[:MOST_ROWS]
        note = page.render_note(f"The {len(shown)} of {len(names):,} {several} with the lowest recall.")
    rows = [
        (
            names[at],
            *(f"{count[at]:,}" for count in (actual, read, right)),
            _format_share(right[at], actual[at]),
            _format_share(right[at], read[at]),
        )
        for at in shown
    ]
    headings = [one, "samples", "predicted", "right", "recall", "precision"]
    return page.render_table(headings, rows) + note


def _render_probabilities(run: RunFiles) -> str:
    """Of classes every score, and what the probabilities are worth."""
    result, predictions = run.result or {}, run.predictions
    if "confidence" not in predictions:
        return ""
    keys = {f"test_{name.replace('-', '_')}": metric.label for name, metric in METRICS.items()}
    rows = [(label, f"{result[key]:.4g}") for key, label in keys.items() if result.get(key) is not None]
    scores = page.render_table(["score of the test data", ""], rows) if rows else ""
    return page.render_section("Scores and probabilities", page.render_grid([scores, _draw_calibration(run)]))


def _draw_calibration(run: RunFiles) -> str:
    stated = run.predictions["confidence"].astype(np.float64)
    right = run.predictions["labels"] == run.predictions["predicted"]
    known = np.isfinite(stated)
    if not known.any():
        return ""
    bins = bin_by_confidence(stated[known], right[known], np.ones(known.sum()))
    caption = (
        "calibration: of the samples whose predicted class has this probability, the share that is right; on the "
        "dashed line a probability is what it says. Below: how many samples."
    )
    return page.render_figure(draw_reliability(bins, title="calibration"), caption)


def _format_share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _render_labels(run: RunFiles) -> str:
    """Of several labels, how many samples of each are found."""
    target, predictions = (run.model or {}).get("target", {}), run.predictions
    if target.get("task") != "multilabel" or "targets" not in predictions:
        return ""
    actual, read = predictions["targets"] == 1, predictions["predicted"] > 0.5
    counts = [(actual & read).sum(axis=0), actual.sum(axis=0), read.sum(axis=0)]
    return page.render_section("Labels", _render_recall("label", "labels", target["classes"], counts))


def _render_numbers(run: RunFiles) -> str:
    """The predicted numbers against the actual ones, and what is left between them; of quantiles the one that is
    nearest the median.
    """
    model = run.model or {}
    targets, predicted = (run.predictions.get(name) for name in ("targets", "predicted"))
    if targets is None or predicted is None or model.get("target", {}).get("task") == "multilabel":
        return ""
    quantiles, names = model.get("quantiles") or [], model.get("target", {}).get("names", ())
    count = targets.shape[1]
    middle = int(np.argmin(np.abs(np.array(quantiles) - 0.5))) if quantiles else 0
    figures = []
    for output in range(min(count, MOST_NUMBERS)):
        name = names[output] if len(names) == count else f"number {output + 1}"
        of = f" of {name}" if count > 1 else ""
        of += f", quantile {quantiles[middle]:g}" if quantiles else ""
        read = predicted[:, output * max(1, len(quantiles)) + middle]
        figures += _draw_numbers(targets[:, output].astype(float), read.astype(float), of)
    left_out = f"The first {MOST_NUMBERS} of {count} predicted numbers." if count > MOST_NUMBERS else ""
    return page.render_section(
        "Predicted and actual",
        page.render_grid(figures),
        page.render_note(left_out) if left_out else "",
    )


def _draw_numbers(targets: np.ndarray, predicted: np.ndarray, of: str) -> list[str]:
    with np.errstate(all="ignore"):
        residuals = targets - predicted
    charts = (
        (
            Cloud.within_reach(targets, predicted),
            "actual",
            "predicted",
            True,
            f"predicted against actual{of}",
        ),
        (
            Cloud.within_reach(predicted, residuals),
            "predicted",
            "actual − predicted",
            False,
            f"residuals over predictions{of}",
        ),
    )
    return [
        page.render_figure(
            draw_cloud(cloud, Axis(x), Axis(y), diagonal=diagonal, title=caption),
            caption + _describe_outside(cloud),
        )
        for cloud, x, y, diagonal, caption in charts
        if len(cloud.x)
    ]


def _describe_outside(cloud: Cloud) -> str:
    return f"; far outside and not drawn: {cloud.outside:,}" if cloud.outside else ""


def _render_importance(run: RunFiles) -> str:
    """The columns that the model needs most, where that was measured."""
    if not run.importance:
        return ""
    changes = np.array(run.importance["changes"])
    order = np.argsort(-changes.mean(axis=1), kind="stable")[:MOST_COLUMNS]
    names = run.importance["columns"]
    bars = [
        Bar(names[at], float(changes[at].mean()), (float(changes[at].min()), float(changes[at].max())))
        for at in order
    ]
    caption = (
        f"what the {run.importance['metric']} rises by where the values of a column are shuffled among "
        f"{run.importance['samples']:,} samples: mean, lowest and highest of {changes.shape[1]} shuffles. A column "
        "that another one stands in for shows little."
    )
    if len(names) > len(order):
        caption += f" The first {len(order)} of {len(names)} columns."
    drawing = draw_bar_chart(bars, title="importance of columns")
    return page.render_section("Columns", page.render_grid([page.render_figure(drawing, caption)]))
